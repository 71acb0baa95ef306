//! Servers that do not know each other, or do not run the same.

use std::{collections::BTreeMap, fs};

use facesocial::{auth::InternalTokens, config::Role};
use facesocial_types::Service;
use reqwest::{Client, StatusCode};

use super::{INTERNAL_SECRET, SERVERS, comprehensive, in_front_of, wait_for};
use crate::helpers::{app, config_with, form, get, ok, problem, spawn_app};

/// The servers for liveness that know [`INTERNAL_SECRET`].
fn liveness() -> BTreeMap<Service, Vec<String>> {
    let address = SERVERS.first[&Service::Antispoof].address(Role::Service(Service::Antispoof));
    BTreeMap::from([(Service::Antispoof, vec![format!("http://{address}")])])
}

/// A gateway that finds faces itself and leaves liveness to others, with a weights folder of its own.
fn gateway(secret: &str) -> (tempfile::TempDir, facesocial::config::Config) {
    let (folder, mut config) =
        config_with(&["yolov10n-face", "face-antispoofing"], &[Service::Yolo, Service::Antispoof]);
    let front = in_front_of(&liveness(), secret);
    config.listeners.retain(|(role, _)| *role == Role::Gateway);
    config.distributed = front.distributed;
    (folder, config)
}

#[tokio::test]
async fn another_secret_is_refused_and_said_so() {
    let (_folder, config) = gateway("a secret that the servers do not know");
    let gateway = spawn_app(config);
    gateway.ready().await;
    wait_for(&gateway, Service::Antispoof, |replicas| replicas[0]["state"] == "ejected").await;
    wait_for(&gateway, Service::Antispoof, |replicas| {
        replicas[0]["reason"].as_str().is_some_and(|reason| reason.contains("internal secrets"))
    })
    .await;
    let asked = form("portrait.jpg").text("face_service", "yolo").text("detect_spoofing", "true");
    let answer = ok(comprehensive(&gateway, asked).await).await;
    let part = &answer["data"]["antispoofing"];
    assert_eq!(part["status"], "unavailable", "{answer}");
    assert!(part["reason"].as_str().is_some_and(|reason| reason.contains("secret")), "{answer}");
}

#[tokio::test]
async fn other_weights_are_refused_and_said_so() {
    let (folder, config) = gateway(INTERNAL_SECRET);
    // The gateway reads the list alone, not the weights.
    let lock = folder.path().join("weights.lock");
    let text = fs::read_to_string(&lock).unwrap();
    let (before, after) = text.split_once("name = \"face-antispoofing\"").unwrap();
    let (between, digest) = after.split_once("sha256 = \"").unwrap();
    let changed = format!("{before}name = \"face-antispoofing\"{between}sha256 = \"00000000{}", &digest[8..]);
    fs::write(&lock, changed).unwrap();
    fs::remove_file(folder.path().join("face_antispoofing.safetensors")).unwrap();
    let gateway = spawn_app(config);
    gateway.ready().await;
    wait_for(&gateway, Service::Antispoof, |replicas| {
        let reason = replicas[0]["reason"].as_str().unwrap_or_default();
        replicas[0]["state"] == "ejected" && reason.contains("face-antispoofing@00000000")
    })
    .await;
    let asked = form("portrait.jpg").text("face_service", "yolo").text("detect_spoofing", "true");
    let answer = ok(comprehensive(&gateway, asked).await).await;
    let part = &answer["data"]["antispoofing"];
    assert_eq!(part["status"], "unavailable", "{answer}");
    assert!(part["reason"].as_str().is_some_and(|reason| reason.contains("another version")), "{answer}");
}

#[tokio::test]
async fn without_a_secret_nobody_is_answered_and_no_token_crosses_over() {
    let client = Client::new();
    let token = InternalTokens::new(INTERNAL_SECRET.as_bytes()).sign().unwrap();
    // The server of most tests has no secret.
    let url = app().service(Service::Antispoof, "/internal/v1/networks");
    assert_eq!(client.get(&url).bearer_auth(&token).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let server = &SERVERS.first[&Service::Antispoof];
    let url = server.service(Service::Antispoof, "/internal/v1/networks");
    let networks = ok(client.get(&url).bearer_auth(&token).send().await.unwrap()).await;
    assert_eq!(networks["networks"][0]["name"], "face-antispoofing", "{networks}");
    problem(get(url.clone()).await, 401, "UNAUTHENTICATED").await;
    let other = InternalTokens::new(b"another secret of the same length or so").sign().unwrap();
    problem(client.get(&url).bearer_auth(other).send().await.unwrap(), 401, "UNAUTHENTICATED").await;
}
