//! Whom jobs tell.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Client;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{HERE, cheap, elsewhere::Told};
use crate::{
    helpers::{get, ok, photo},
    jobs::{again, archive, ended},
};

const SECRET: &str = "a secret of the receiver";

/// Verifies a message as a receiver does, and reads it.
fn verified(told: &Told) -> Value {
    let signature = &told.headers["x-facesocial-signature"];
    let (time, mac) = signature.split_once(',').unwrap();
    let (time, mac) = (time.strip_prefix("t=").unwrap(), mac.strip_prefix("v1=").unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(time.parse().unwrap()) < 300, "{signature}");
    let bytes: Vec<u8> = (0..mac.len()).step_by(2).map(|i| u8::from_str_radix(&mac[i..i + 2], 16).unwrap()).collect();
    let mut expected = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    expected.update(format!("{time}.{}", told.body).as_bytes());
    expected.verify_slice(&bytes).expect("the signature is that of the body");
    let body: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(body["id"], told.headers["x-facesocial-delivery"].as_str());
    body
}

#[tokio::test]
async fn progress_and_end_are_told_and_signed_again_until_they_are_taken() {
    let here = &*HERE;
    let names: Vec<String> = (0..6).map(|i| format!("{i}.jpg")).collect();
    let entries: Vec<(&str, Vec<u8>)> =
        names.iter().enumerate().map(|(i, name)| (name.as_str(), again("portrait.jpg", i))).collect();
    let webhook = json!({ "url": here.elsewhere.url("/hook/busy"), "secret": SECRET, "every": 2 });
    let response = here.upload(archive(&entries), &[("options", cheap()), ("webhook", webhook)]).await;
    let job = here.accepted(response).await;
    let done = ended(&job).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["options"]["webhook"], true);
    let told = loop {
        let told = here.elsewhere.told("/hook/busy", 3).await;
        if told.last().is_some_and(|last| last.body.contains("job.completed")) && told.len() >= 3 {
            break told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    let bodies: Vec<Value> = told.iter().map(verified).collect();
    let end = bodies.last().unwrap();
    assert_eq!((&end["job"]["id"], &end["job"]["processed_items"]), (&done["id"], &json!(6)));
    assert_eq!(end["results"], format!("/api/v1/jobs/{}/results", done["id"].as_str().unwrap()));
    for body in &bodies[..bodies.len() - 1] {
        let known = ["job.progress", "job.completed"];
        assert!(known.contains(&body["event"].as_str().unwrap()), "{body}");
        // What was not taken the first time has the same identifier the second time.
        assert!(body["id"].as_str().unwrap().starts_with(done["id"].as_str().unwrap()), "{body}");
    }
    // The secret is nowhere to be seen.
    for url in [job.clone(), here.app.gateway("/api/v1/jobs?limit=100"), here.app.gateway("/api/v1/audit?limit=100")] {
        let shown = ok(get(url).await).await.to_string();
        assert!(!shown.contains(SECRET) && !shown.contains("/hook/busy"), "{shown}");
    }
}

#[tokio::test]
async fn the_end_of_a_cancelled_job_is_told_without_a_signature_where_there_is_no_secret() {
    let here = &*HERE;
    let names: Vec<String> = (0..50).map(|i| format!("{i}.jpg")).collect();
    let entries: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), photo("group.jpg"))).collect();
    let options = json!({ "face_service": "mtcnn", "predict_gender_age": true });
    let webhook = json!({ "url": here.elsewhere.url("/hook/cancelled") });
    let response = here.upload(archive(&entries), &[("options", options), ("webhook", webhook)]).await;
    let job = here.accepted(response).await;
    ok(Client::new().post(format!("{job}/cancel")).send().await.unwrap()).await;
    let told = here.elsewhere.told("/hook/cancelled", 1).await;
    let body: Value = serde_json::from_str(&told[0].body).unwrap();
    assert_eq!((&body["event"], &body["job"]["status"]), (&json!("job.cancelled"), &json!("cancelled")));
    assert!(!told[0].headers.contains_key("x-facesocial-signature"));
    assert_eq!(told[0].headers["content-type"], "application/json");
}
