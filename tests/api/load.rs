//! More clients than a small server answers in time: some are answered before their deadline, the others are sent away with
//! the time to come back, nobody waits for nothing, and the server is the same afterwards.

use std::time::{Duration, Instant};

use facesocial_types::Service;
use futures_util::future::join_all;
use reqwest::{Client, header::RETRY_AFTER};
use serde_json::Value;

use crate::helpers::{app_with, config_with, form, get, ok, post, spawn_app};

const DETECTORS: [&str; 3] = ["blazeface-short", "blazeface-full", "mtcnn"];

#[tokio::test]
async fn a_burst_is_refused_politely_and_kills_nothing() {
    let (_folder, mut config) = config_with(&DETECTORS, &[Service::Mtcnn]);
    (config.limits.at_once, config.limits.waiting) = (2, 4);
    let app = spawn_app(config);
    app.ready().await;
    let client = Client::new();
    let burst = (0..60).map(|_| {
        let (client, url) = (client.clone(), app.service(Service::Mtcnn, "/detect"));
        async move {
            let answer = client.post(url).multipart(form("group.jpg")).send().await.unwrap();
            let (status, wait) = (answer.status().as_u16(), answer.headers().get(RETRY_AFTER).cloned());
            (status, wait, answer.json::<Value>().await.unwrap())
        }
    });
    let answers = join_all(burst).await;
    let answered = answers.iter().filter(|(status, ..)| *status == 200).count();
    assert!(answered >= 6, "{answered} were answered");
    for (status, wait, body) in &answers {
        match status {
            200 => assert_eq!(body["total_faces"], 5),
            429 => {
                assert_eq!(body["code"], "OVERLOADED");
                let seconds: u64 = wait.as_ref().unwrap().to_str().unwrap().parse().unwrap();
                assert!((1..=60).contains(&seconds), "{seconds}");
            }
            other => panic!("{other}: {body}"),
        }
    }
    assert!(answered < answers.len(), "nobody was sent away");
    assert_eq!(get(app.gateway("/readyz")).await.status(), 200, "a burst is no reason to be unready");
    ok(post(app.service(Service::Mtcnn, "/detect"), form("portrait.jpg")).await).await;
    app.stopper.stop();
}

#[tokio::test]
async fn photos_in_flight_share_batches() {
    let (_folder, app) = app_with(&DETECTORS, &[Service::Mediapipe]);
    app.ready().await;
    let client = Client::new();
    let begun = Instant::now();
    let crowd = (0..24).map(|_| {
        let (client, url) = (client.clone(), app.service(Service::Mediapipe, "/detect"));
        async move { ok(client.post(url).multipart(form("portrait.jpg")).send().await.unwrap()).await }
    });
    for answer in join_all(crowd).await {
        assert_eq!(answer["total_faces"], 1);
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    let listed = ok(get(app.gateway("/api/v1/models")).await).await;
    let network = listed["models"].as_array().unwrap().iter().find(|m| m["name"] == "blazeface-full").cloned().unwrap();
    let (items, batches) = (network["batches"]["items"].as_u64().unwrap(), network["batches"]["run"].as_u64().unwrap());
    assert!(items >= 24 && batches < items, "{network}");
    app.stopper.stop();
}
