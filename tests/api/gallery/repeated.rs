//! The same request twice: with the same Idempotency-Key it changes nothing and gives the first answer.

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{
    answered,
    backend::{self, Backend, Gallery, on_every_backend},
    items, text,
};
use crate::helpers::{form, get, ok, post, problem};

on_every_backend! {
    a_repeated_write_gives_the_first_answer,
    an_enrolment_is_repeated_in_either_form,
    a_repeated_deletion_finds_its_first_answer,
    the_same_photo_is_enrolled_once,
}

fn request(method: Method, url: String, key: &str) -> RequestBuilder {
    Client::new().request(method, url).header("idempotency-key", key)
}

async fn keyed(method: Method, url: String, key: &str, body: &Value) -> Response {
    request(method, url, key).json(body).send().await.unwrap()
}

fn replayed(response: &Response) -> bool {
    response.headers().get("idempotency-replayed").is_some_and(|v| v == "true")
}

async fn a_repeated_write_gives_the_first_answer(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let key = format!("create-{}", gallery.name);
    let body = json!({ "external_id": "a", "name": "first" });
    let create = |body: Value| {
        let (url, key) = (gallery.url("/persons"), key.clone());
        async move { keyed(Method::POST, url, &key, &body).await }
    };
    let (first, second) = (create(body.clone()).await, create(body).await);
    assert!(!replayed(&first) && replayed(&second));
    let (first, second) = (answered(first, 201).await, answered(second, 201).await);
    assert_eq!(first, second);
    problem(create(json!({ "external_id": "b" })).await, 422, "IDEMPOTENCY_KEY_REUSED").await;
    assert_eq!(items(&ok(get(gallery.url("/persons")).await).await).len(), 1);

    let change = json!({ "name": "second" });
    let url = || gallery.url("/persons/external:a");
    let patch = format!("patch-{}", gallery.name);
    ok(keyed(Method::PATCH, url(), &patch, &change).await).await;
    ok(super::send(Method::PATCH, url(), json!({ "name": "third" })).await).await;
    let again = keyed(Method::PATCH, url(), &patch, &change).await;
    assert!(replayed(&again));
    assert_eq!(ok(again).await["name"], "second");
    assert_eq!(ok(get(url()).await).await["name"], "third", "the repetition changed nothing");
    for wrong in ["two words", &"k".repeat(256)] {
        problem(keyed(Method::PATCH, url(), wrong, &change).await, 400, "INVALID_INPUT").await;
    }
}

async fn an_enrolment_is_repeated_in_either_form(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "a" })).await;
    let key = format!("enrol-{}", gallery.name);
    let url = || gallery.url("/persons/external:a/faces");
    let as_form = form("portrait.jpg").text("face_group", "badge");
    let first = request(Method::POST, url(), &key).multipart(as_form).send().await.unwrap();
    assert!(!replayed(&first));
    let first = answered(first, 201).await;
    let as_json = json!({ "image": backend::base64("portrait.jpg"), "face_group": "badge" });
    let second = keyed(Method::POST, url(), &key, &as_json).await;
    assert!(replayed(&second));
    assert_eq!(answered(second, 201).await["face"], first["face"]);
    let other = json!({ "image": backend::base64("portrait.jpg"), "face_group": "other" });
    problem(keyed(Method::POST, url(), &key, &other).await, 422, "IDEMPOTENCY_KEY_REUSED").await;
    assert_eq!(items(&ok(get(url()).await).await).len(), 1);
}

async fn a_repeated_deletion_finds_its_first_answer(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "a" })).await;
    let face = gallery.enrol("a", "portrait.jpg").await;
    for (path, what) in [
        (format!("/faces/{}", text(&face["face"]["id"])), "faces"),
        ("/persons/external:a".to_owned(), "persons"),
        (String::new(), "embeddings"),
    ] {
        let key = format!("delete-{}{what}", gallery.name);
        let send = || request(Method::DELETE, gallery.url(&path), &key).send();
        let (first, second) = (send().await.unwrap(), send().await.unwrap());
        assert!(!replayed(&first) && replayed(&second), "{path}");
        let (first, second) = (ok(first).await, ok(second).await);
        assert_eq!(first, second);
    }
    problem(get(gallery.url("")).await, 404, "COLLECTION_NOT_FOUND").await;
}

async fn the_same_photo_is_enrolled_once(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "a" })).await;
    gallery.person(json!({ "external_id": "b" })).await;
    let first = gallery.enrol("a", "portrait.jpg").await;
    for person in ["a", "b"] {
        let url = gallery.url(&format!("/persons/external:{person}/faces"));
        let answer = post(url, form("portrait.jpg")).await;
        assert_eq!(answer.status(), 409);
        let body: Value = answer.json().await.unwrap();
        assert_eq!((&body["code"], &body["existing"]), (&json!("DUPLICATE_FACE"), &first["face"]["id"]), "{body}");
    }
}
