//! What nobody should enrol, name or look for: each a clear refusal.

use reqwest::{Client, Method, multipart::Form};
use serde_json::{Value, json};

use super::{
    answered,
    backend::{Backend, Gallery, OLD, on_every_backend},
    send, text,
};
use crate::helpers::{form, get, ok, post, problem};

on_every_backend! {
    photos_that_cannot_be_enrolled,
    names_of_every_kind,
    people_that_are_not_there,
    another_networks_faces,
    wrong_values,
}

async fn photos_that_cannot_be_enrolled(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "a" })).await;
    let url = || gallery.url("/persons/external:a/faces");
    problem(post(url(), form("no_face.jpg")).await, 422, "NO_FACE").await;
    let several = post(url(), form("group.jpg")).await;
    assert_eq!(several.status(), 422);
    let body: Value = several.json().await.unwrap();
    assert_eq!((&body["code"], body["faces"].as_array().unwrap().len()), (&json!("MULTIPLE_FACES"), 5));
    assert!(text(&body["detail"]).contains("target_face"), "{body}");
    let detail = problem(post(url(), form("group.jpg").text("target_face", "9")).await, 400, "INVALID_INPUT").await;
    assert!(detail.contains("0 to 4"), "{detail}");
    // The fourth is good enough, the first is blurred and dark.
    let chosen = form("group.jpg").text("target_face", "3");
    answered(post(url(), chosen).await, 201).await;
    let poor = || form("group.jpg").text("target_face", "largest");
    let refused = post(url(), poor()).await;
    assert_eq!(refused.status(), 422);
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["code"], "LOW_QUALITY", "{body}");
    assert!(body["reasons"].as_array().unwrap().contains(&json!("blurred")), "{body}");
    answered(post(url(), poor().text("quality_gate", "false")).await, 201).await;
    // No photo at all.
    problem(post(url(), Form::new().text("x", "y")).await, 400, "MISSING_FIELD").await;
    problem(send(Method::POST, url(), json!({ "face_group": "x" })).await, 400, "MISSING_FIELD").await;
    problem(send(Method::POST, url(), json!({ "image": 7 })).await, 400, "INVALID_INPUT").await;
    problem(send(Method::POST, url(), json!({ "image": "bm8gcGhvdG8=" })).await, 415, "UNSUPPORTED_FORMAT").await;
    let bare = Client::new().post(url()).body("x").send().await.unwrap();
    problem(bare, 415, "UNSUPPORTED_MEDIA_TYPE").await;
}

async fn names_of_every_kind(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let create = |body: Value| send(Method::POST, gallery.url("/persons"), body);
    let long = "x".repeat(10_000);
    for (body, hint) in [
        (json!({ "external_id": "a", "name": long }), "at most 255"),
        (json!({ "external_id": long }), "at most 255"),
        (json!({ "external_id": "a\0b" }), "control characters"),
        (json!({ "external_id": "a", "name": "b\0" }), "control characters"),
        (json!({ "external_id": " " }), "empty"),
        (json!({ "external_id": "a", "metadata": [1] }), "JSON object"),
        (json!({ "external_id": "a", "metadata": { "k": "\0" } }), "NUL"),
        (json!({ "external_id": "a", "metadata": { "k": "x".repeat(17_000) } }), "at most 16384"),
        (json!({ "external_id": "a", "admin": true }), "unknown field"),
        (json!({ "external_id": 7 }), "not valid"),
    ] {
        let detail = problem(create(body).await, 400, "INVALID_INPUT").await;
        assert!(detail.contains(hint) && detail.len() < 600, "{detail}");
    }
    // Nothing special in SQL, paths or templates.
    for odd in ["'; DROP TABLE persons; --", "../../etc/passwd", "%00", "{{7*7}}", "\" OR \"\"=\"", "名前", "a%2Fb"] {
        let made = answered(create(json!({ "external_id": odd, "name": odd })).await, 201).await;
        let mut url = reqwest::Url::parse(&gallery.url("/persons/")).unwrap();
        url.path_segments_mut().unwrap().pop().push(&format!("external:{odd}"));
        let found = ok(get(url.to_string()).await).await;
        assert_eq!((&found["id"], &found["name"]), (&made["id"], &json!(odd)));
    }
    let body = json!({ "external_id": "twice" });
    let first = answered(create(body.clone()).await, 201).await;
    let second = create(body).await;
    assert_eq!(second.status(), 409);
    let second: Value = second.json().await.unwrap();
    assert_eq!((&second["code"], &second["existing"]), (&json!("ALREADY_EXISTS"), &first["id"]));
    let collections = || backend.app.gateway("/api/v1/collections");
    for name in ["", "a b", "../x", "a/b", "..", "ü", "a\0", &"x".repeat(65), "'; --"] {
        problem(send(Method::POST, collections(), json!({ "name": name })).await, 400, "INVALID_INPUT").await;
    }
    let again = send(Method::POST, collections(), json!({ "name": gallery.name })).await;
    problem(again, 409, "ALREADY_EXISTS").await;
}

async fn people_that_are_not_there(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let nobody = "0198c0de-0000-7000-8000-000000000000";
    for (path, code) in [
        (format!("/persons/{nobody}"), "PERSON_NOT_FOUND"),
        ("/persons/external:nobody".to_owned(), "PERSON_NOT_FOUND"),
        (format!("/persons/{nobody}/faces"), "PERSON_NOT_FOUND"),
        (format!("/faces/{nobody}"), "FACE_NOT_FOUND"),
    ] {
        problem(get(gallery.url(&path)).await, 404, code).await;
    }
    for path in ["/persons/nobody", "/persons/external:", "/faces/7", "/faces/external:x"] {
        problem(get(gallery.url(path)).await, 400, "INVALID_INPUT").await;
    }
    problem(get(backend.app.gateway("/api/v1/collections/nowhere/persons")).await, 404, "COLLECTION_NOT_FOUND").await;
    problem(get(backend.app.gateway("/api/v1/collections/..%2Fx/persons")).await, 400, "INVALID_INPUT").await;
    let claim = || form("portrait.jpg").text("person", "external:nobody");
    problem(post(gallery.url("/verify"), claim()).await, 404, "PERSON_NOT_FOUND").await;
    problem(post(gallery.url("/verify"), form("portrait.jpg")).await, 400, "MISSING_FIELD").await;
    gallery.person(json!({ "external_id": "faceless" })).await;
    let claim = form("portrait.jpg").text("person", "external:faceless");
    problem(post(gallery.url("/verify"), claim).await, 404, "FACE_NOT_FOUND").await;
    // A face of another person says nothing about this one; of another collection, it is not there.
    for person in ["a", "b"] {
        gallery.person(json!({ "external_id": person })).await;
    }
    let face = gallery.enrol("a", "portrait.jpg").await["face"].clone();
    let claim = |person: &str| {
        form("portrait.jpg").text("person", format!("external:{person}")).text("face_id", text(&face["id"]).to_owned())
    };
    ok(post(gallery.url("/verify"), claim("a")).await).await;
    problem(post(gallery.url("/verify"), claim("b")).await, 404, "FACE_NOT_FOUND").await;
    let elsewhere = Gallery::new(backend).await;
    let path = format!("/faces/{}", text(&face["id"]));
    problem(get(elsewhere.url(&path)).await, 404, "FACE_NOT_FOUND").await;
    problem(super::delete(elsewhere.url(&path)).await, 404, "FACE_NOT_FOUND").await;
    let person = format!("/persons/{}", text(&face["person_id"]));
    problem(get(elsewhere.url(&person)).await, 404, "PERSON_NOT_FOUND").await;
}

async fn another_networks_faces(backend: &Backend) {
    let url = |path: &str| backend.app.gateway(&format!("/api/v1/collections/{OLD}{path}"));
    let claim = form("portrait.jpg").text("person", "external:old");
    let detail = problem(post(url("/verify"), claim).await, 409, "MODEL_MISMATCH").await;
    assert!(detail.contains("retired@1") && detail.contains("re-embedding"), "{detail}");
    problem(post(url("/identify"), form("portrait.jpg")).await, 409, "MODEL_MISMATCH").await;
}

async fn wrong_values(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "a" })).await;
    gallery.enrol("a", "portrait.jpg").await;
    for (name, value, hint) in [
        ("top_k", "0", "1 to 100"),
        ("top_k", "101", "1 to 100"),
        ("min_similarity", "2", "-1 to 1"),
        ("min_similarity", "NaN", "-1 to 1"),
        ("verification_level", "paranoid", "basic, standard, strict"),
        ("faces", "both", "largest nor all"),
        ("face_groups", "a b", "letters"),
    ] {
        let answer = post(gallery.url("/identify"), form("portrait.jpg").text(name, value)).await;
        let detail = problem(answer, 400, "INVALID_INPUT").await;
        assert!(detail.contains(hint), "{detail}");
    }
    let claim = form("portrait.jpg").text("person", "external:a").text("face_id", "7");
    problem(post(gallery.url("/verify"), claim).await, 400, "INVALID_INPUT").await;
    let person = || gallery.url("/persons/external:a");
    problem(send(Method::PATCH, person(), json!({})).await, 400, "INVALID_INPUT").await;
    problem(send(Method::PATCH, person(), json!({ "external_id": "b" })).await, 400, "INVALID_INPUT").await;
    problem(send(Method::PUT, person(), json!({})).await, 405, "METHOD_NOT_ALLOWED").await;
    let broken =
        Client::new().patch(person()).header("content-type", "application/json").body("{").send().await.unwrap();
    problem(broken, 400, "INVALID_INPUT").await;
    let huge = json!({ "name": "x".repeat(100_000) });
    problem(send(Method::PATCH, person(), huge).await, 413, "PAYLOAD_TOO_LARGE").await;
}
