//! The cache in Redis, lost and back.

use facesocial::config::Secret;
use facesocial_testkit::Redis;
use reqwest::Client;
use serde_json::Value;

use super::System;
use crate::helpers::{form, get, ok};

/// Whether the gateway tells that its cache answers.
async fn is_up(system: &System) -> bool {
    let url = system.gateway.gateway("/metrics?format=prometheus");
    let figures = Client::new().get(url).send().await.unwrap().text().await.unwrap();
    let line = figures.lines().find(|line| line.starts_with("facesocial_cache_up{")).expect("the figure is told");
    line.ends_with(" 1")
}

#[tokio::test]
async fn without_redis_answers_are_whole_and_it_is_used_again_when_it_is_back() {
    let Some(mut redis) = Redis::start() else { return };
    let url = redis.url();
    let system = System::start_with(|config| config.access.redis_url = Some(Secret::new(url))).await;
    let asked = || system.gateway.gateway("/analyze/comprehensive");
    let ask = || async { ok(Client::new().post(asked()).multipart(form("portrait.jpg")).send().await.unwrap()).await };
    let whole = |answer: &Value| {
        let data = &answer["data"];
        assert!(data["antispoofing"]["detections"][0]["is_real"].is_boolean(), "{answer}");
        assert_eq!(data["recognition"]["faces"].as_array().unwrap().len(), 1, "{answer}");
        answer["metadata"]["cached"].as_bool().unwrap()
    };
    assert_eq!([whole(&ask().await), whole(&ask().await)], [false, true]);

    redis.kill();
    assert_eq!([whole(&ask().await), whole(&ask().await)], [false, false]);
    assert!(!is_up(&system).await);
    assert_eq!(get(system.gateway.gateway("/readyz")).await.status(), 200);

    redis.restart();
    // Asked again after a pause that grows with failures.
    for _ in 0..100 {
        whole(&ask().await);
        if whole(&ask().await) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(whole(&ask().await), "the cache is used again");
    assert!(is_up(&system).await);
}
