//! How the server starts, stops, and what it puts around every answer.

use std::time::{Duration, Instant};

use facesocial::{config::Role, error::Code};
use facesocial_types::Service;
use reqwest::Client;

use crate::helpers::{app, config, form, get, ok, post, problem, spawn_app};

#[tokio::test]
async fn every_answer_carries_an_id_and_protecting_headers() {
    for path in ["/healthz", "/nowhere", "/health"] {
        let answer = Client::new().get(app().gateway(path)).header("x-request-id", "order-17").send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-request-id"), "order-17");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cache-control"), "no-store");
    }
    let answer = Client::new().get(app().gateway("/healthz")).header("x-request-id", "a b").send().await.unwrap();
    assert!(answer.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    problem(get(app().gateway("/nowhere")).await, 404, "NOT_FOUND").await;
    problem(get(app().service(Service::Mtcnn, "/register")).await, 404, "NOT_FOUND").await;
    problem(get(app().gateway("/analyze/comprehensive")).await, 405, "METHOD_NOT_ALLOWED").await;
    problem(post(app().gateway("/health"), form("portrait.jpg")).await, 405, "METHOD_NOT_ALLOWED").await;
    let head = Client::new().head(app().gateway("/healthz")).send().await.unwrap();
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn until_the_networks_are_loaded_only_probes_are_answered_and_stopping_drains() {
    let mut config = config();
    config.services = vec![Service::Mtcnn];
    config.listeners.retain(|(role, _)| matches!(role, Role::Gateway | Role::Service(Service::Mtcnn)));
    let app = spawn_app(config);
    // The listeners are bound before the networks are read, and no machine reads them before this request.
    assert_eq!(get(app.gateway("/healthz")).await.status(), 200);
    let early = get(app.gateway("/readyz")).await;
    if early.status() == 503 {
        problem(early, 503, "NOT_READY").await;
    }
    app.ready().await;
    let health = ok(get(app.gateway("/health")).await).await;
    assert_eq!((&health["total_services"], &health["status"]), (&1.into(), &"healthy".into()));
    problem(post(app.gateway("/antispoof/detect"), form("portrait.jpg")).await, 404, "NOT_FOUND").await;

    let running = tokio::spawn(post(app.service(Service::Mtcnn, "/detect"), form("group.jpg")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    app.stopper.stop();
    assert_eq!(ok(running.await.unwrap()).await["total_faces"], 5, "the request under way was answered");
    let begun = Instant::now();
    while Client::new().get(app.gateway("/healthz")).send().await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(30), "still listening");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn nothing_is_computed_before_the_networks_are_there() {
    let state = facesocial::state::State::new(&config(), facesocial_cache::open(None, 1 << 20).unwrap());
    assert_eq!(state.loaded().err().map(|e| e.code), Some(Code::NotReady));
    assert_eq!(state.ready().err().map(|e| e.code), Some(Code::NotReady));
}
