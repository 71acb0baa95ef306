//! Members that a body has and the document does not name: refused, or read by nobody.

use facesocial_store::Role as Rank;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    document::operations,
    whole::{Somebody, WHOLE, collection},
};
use crate::{
    accounts::created,
    helpers::{form, ok, problem},
};

/// What somebody would like to set.
fn privileged() -> Vec<(&'static str, Value)> {
    vec![
        ("id", json!("0198c0de-0000-7000-8000-000000000000")),
        ("user_id", json!("0198c0de-0000-7000-8000-000000000000")),
        ("owner", json!("admin")),
        ("role", json!("admin")),
        ("is_admin", json!(true)),
        ("is_active", json!(true)),
        ("is_verified", json!(true)),
        ("permissions", json!(["users"])),
        ("scopes", json!(["users"])),
        ("collections", json!([])),
        ("collection_id", json!("0198c0de-0000-7000-8000-000000000000")),
        ("person_id", json!("0198c0de-0000-7000-8000-000000000000")),
        ("password_hash", json!("$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAA")),
        ("key_hash", json!("0")),
        ("status", json!("completed")),
        ("created_at", json!("2000-01-01T00:00:00Z")),
        ("embedding", json!([0.0])),
        ("__proto__", json!({ "role": "admin" })),
        ("constructor", json!({ "prototype": { "role": "admin" } })),
    ]
}

/// A body with which the operation would do what it is there for.
fn good(path: &str) -> Value {
    match path {
        "/api/v1/auth/setup" => json!({ "token": "x", "username": "setter", "password": "correct horse battery" }),
        "/api/v1/auth/login" => json!({ "username": "admin", "password": "wrong horse battery" }),
        "/api/v1/auth/refresh" => json!({ "refresh_token": "fsr_x" }),
        "/api/v1/users" => json!({ "username": "assigned", "password": "correct horse battery", "role": "read-only" }),
        "/api/v1/keys" => json!({ "name": "assigned", "scopes": ["analyze"] }),
        "/api/v1/collections" => json!({ "name": "assigned" }),
        "/api/v1/collections/{name}/persons" => json!({ "external_id": "assigned" }),
        "/api/v1/collections/{name}/jobs" => json!({ "kind": "group" }),
        "/api/v1/jobs" => json!({ "kind": "analyze", "source": { "urls": ["https://a.example/1"] } }),
        "/api/v1/models/budgets/{service}" => json!({ "limit_mb": 400 }),
        "/api/v1/collections/{name}/persons/{id}" | "/api/v1/account" | "/api/v1/users/{id}" => json!({}),
        "/api/v1/collections/{name}/faces/{id}" => json!({ "searchable": true }),
        "/api/v1/auth/logout" => json!({ "all": false }),
        unknown => panic!("{unknown} takes JSON and is not tried here"),
    }
}

#[tokio::test]
async fn a_member_that_the_document_does_not_name_is_refused_in_every_body() {
    collection("assignment").await;
    let mut tried = 0;
    for operation in operations() {
        let Some(schema) = operation.body("application/json") else { continue };
        // Photos come with fields as a form has them: unknown ones are read by nobody. See below.
        if schema["additionalProperties"] != json!(false) {
            continue;
        }
        let path = operation.filled(&[("name", "assignment"), ("service", "yolo")]);
        for (name, value) in privileged() {
            if schema["properties"].get(name).is_some() {
                continue;
            }
            let mut body = good(operation.path);
            body[name] = value;
            let request =
                WHOLE.by(Rank::Admin, operation.method.clone(), path.trim_start_matches("/api/v1")).json(&body);
            let detail = problem(request.send().await.unwrap(), 400, "INVALID_INPUT").await;
            assert!(detail.contains(name), "{} {}: {detail}", operation.method, operation.path);
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
    // Nothing was made, and whoever sent it can still do so.
    for path in ["/collections/assigned", "/users?limit=100", "/keys?all=true&limit=100"] {
        let answer = WHOLE.by(Rank::Admin, Method::GET, path).send().await.unwrap();
        assert!(!answer.text().await.unwrap().contains("\"assigned\""), "{path}");
    }
}

#[tokio::test]
async fn an_account_cannot_raise_itself() {
    let ann = Somebody::new(Rank::ReadOnly, &[]).await;
    let account = async || ok(ann.ask(Method::GET, "/api/v1/account").send().await.unwrap()).await;
    let before = account().await;
    for (name, value) in privileged() {
        let body = json!({ "first_name": "Ann", name: value });
        problem(ann.ask(Method::PATCH, "/api/v1/account").json(&body).send().await.unwrap(), 400, "INVALID_INPUT")
            .await;
    }
    // A member that is there twice counts neither time, and a list is no object.
    for body in [r#"{"first_name":"a","first_name":"b"}"#, r#"["a@example.org","Ann"]"#, r#"[[]]"#, "null"] {
        let request = ann.ask(Method::PATCH, "/api/v1/account").header("content-type", "application/json").body(body);
        problem(request.send().await.unwrap(), 400, "INVALID_INPUT").await;
    }
    assert_eq!(account().await, before);
    assert_eq!(before["username"], ann.username.as_str());
}

#[tokio::test]
async fn unknown_fields_of_a_photo_are_read_by_nobody() {
    collection("assignment-photos").await;
    let user = Somebody::new(Rank::User, &[]).await;
    let plain = form("portrait.jpg").text("external_id", "ann");
    let photo = privileged().into_iter().fold(plain, |form, (name, value)| form.text(name, value.to_string()));
    let made = created(user.send("/api/v1/collections/assignment-photos/faces", photo).await).await;
    let (face, person) = (&made["face"], &made["person"]);
    assert_ne!(face["id"], "0198c0de-0000-7000-8000-000000000000");
    assert_eq!((&face["person_id"], &person["external_id"]), (&person["id"], &json!("ann")));
    assert!(!face["created_at"].as_str().unwrap().starts_with("2000"), "{face}");
    // The original's form of a change.
    let path = format!("/api/v1/face-recognition/faces/{}?collection=assignment-photos", face["id"].as_str().unwrap());
    let body: Value =
        privileged().into_iter().chain([("face_group", json!("changed"))]).map(|(n, v)| (n.to_owned(), v)).collect();
    let changed = ok(user.ask(Method::PUT, &path).json(&body).send().await.unwrap()).await;
    let same = |name: &str| assert_eq!(changed[name], face[name], "{name}");
    ["id", "person_id", "created_at", "models", "quality_score"].into_iter().for_each(same);
    assert_eq!(changed["face_group"], "changed");
    // An analysis is stored as its sender's.
    let photo = form("no_face.jpg").text("store", "true").text("user_id", WHOLE.user(Rank::Admin).to_string());
    let stored = ok(user.send("/analyze/comprehensive", photo).await).await;
    let session = format!("/api/v1/sessions/{}", stored["metadata"]["session_id"].as_str().unwrap());
    assert_eq!(ok(user.ask(Method::GET, &session).send().await.unwrap()).await["user_id"], user.id.as_str());
}
