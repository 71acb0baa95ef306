//! Networks that operators load, unload, pin and give memory to.

use std::time::Duration;

use facesocial_types::Service;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::helpers::{TestApp, app_with, form, get, ok, post, problem};

async fn ask(app: &TestApp, path: &str) -> Response {
    Client::new().post(app.gateway(&format!("/api/v1/models/{path}"))).send().await.unwrap()
}

async fn budget(app: &TestApp, service: &str, body: Value) -> Response {
    let url = app.gateway(&format!("/api/v1/models/budgets/{service}"));
    Client::new().put(url).json(&body).send().await.unwrap()
}

async fn model(app: &TestApp, name: &str) -> Value {
    let listed = ok(get(app.gateway("/api/v1/models")).await).await;
    let found = listed["models"].as_array().unwrap().iter().find(|m| m["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no {name} in {listed}"))
}

#[tokio::test]
async fn networks_come_and_go_as_operators_say_and_requests_bring_them_back() {
    let (_folder, app) =
        app_with(&["blazeface-short", "blazeface-full", "mtcnn"], &[Service::Mtcnn, Service::Mediapipe]);
    app.ready().await;
    let mtcnn = model(&app, "mtcnn").await;
    assert_eq!(
        (&mtcnn["state"], &mtcnn["pinned"], &mtcnn["services"]),
        (&json!("loaded"), &json!(false), &json!(["mtcnn"]))
    );
    assert!(mtcnn["memory"]["weights_mb"].as_f64().unwrap() > 1.0, "{mtcnn}");
    assert!(mtcnn["memory"]["batch_mb"]["1"].as_f64().unwrap() > 1.0, "{mtcnn}");

    assert_eq!(ok(ask(&app, "mtcnn/unload").await).await["state"], "unloaded");
    let found = ok(post(app.service(Service::Mtcnn, "/detect"), form("portrait.jpg")).await).await;
    assert_eq!(found["total_faces"], 1, "a request loads what it needs");
    let again = model(&app, "mtcnn").await;
    assert_eq!((&again["state"], again["loads"].as_u64()), (&json!("loaded"), mtcnn["loads"].as_u64().map(|n| n + 1)));

    assert_eq!(ok(ask(&app, "mtcnn/pin").await).await["pinned"], true);
    problem(ask(&app, "mtcnn/unload").await, 409, "PINNED").await;
    assert_eq!(ok(ask(&app, "mtcnn/unpin").await).await["pinned"], false);
    assert_eq!(ok(ask(&app, "mtcnn/unload").await).await["state"], "unloaded");
    assert_eq!(ok(ask(&app, "mtcnn/load").await).await["state"], "loaded");
    problem(ask(&app, "resnet/load").await, 404, "RESOURCE_NOT_FOUND").await;
    app.stopper.stop();
}

#[tokio::test]
async fn a_budget_cuts_batches_and_is_refused_where_one_item_would_not_fit() {
    let (_folder, app) = app_with(&["blazeface-short", "blazeface-full", "mtcnn"], &[Service::Mediapipe]);
    app.ready().await;
    assert_eq!(model(&app, "blazeface-full").await["memory"]["largest_batch"], 16);
    let listed = ok(get(app.gateway("/api/v1/models")).await).await;
    assert_eq!((&listed["budgets_mb"]["mediapipe"], &listed["budget_total_mb"]), (&json!(400.0), &json!(6084.0)));

    let refused = problem(budget(&app, "mediapipe", json!({ "limit_mb": 1 })).await, 400, "INVALID_INPUT").await;
    let (_, needed) = refused.rsplit_once("--memory mediapipe=").unwrap_or_else(|| panic!("{refused}"));
    let needed: u64 = needed.trim().parse().unwrap();
    assert!((3..400).contains(&needed), "{refused}");
    // Other servers of this process allocate while this one measures, so that only the direction is sure.
    ok(budget(&app, "mediapipe", json!({ "limit_mb": needed })).await).await;
    let cut = model(&app, "blazeface-full").await["memory"]["largest_batch"].as_u64().unwrap();
    assert!((1..=16).contains(&cut), "{cut} at {needed} MB");
    ok(post(app.service(Service::Mediapipe, "/detect"), form("portrait.jpg")).await).await;

    problem(budget(&app, "dog", json!({ "limit_mb": 1 })).await, 400, "INVALID_INPUT").await;
    problem(budget(&app, "mtcnn", json!({ "limit": 1 })).await, 400, "INVALID_INPUT").await;
    assert_eq!(model(&app, "blazeface-full").await["memory"]["largest_batch"], cut, "a refused budget changes nothing");
    app.stopper.stop();
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_work_along() {
    let (_folder, app) = app_with(&["blazeface-short", "blazeface-full", "mtcnn"], &[Service::Mtcnn]);
    app.ready().await;
    // As many as wait and run at a time, each gone before its answer.
    let impatient = Client::builder().timeout(Duration::from_millis(5)).build().unwrap();
    for _ in 0..40 {
        let sent = impatient.post(app.service(Service::Mtcnn, "/detect")).multipart(form("group.jpg")).send().await;
        drop(sent);
    }
    let begun = std::time::Instant::now();
    assert_eq!(ok(post(app.service(Service::Mtcnn, "/detect"), form("portrait.jpg")).await).await["total_faces"], 1);
    // Forty cascades over the group photo would take far longer than one over the portrait.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    app.stopper.stop();
}
