//! Somebody who shows nothing gets nothing but probes, the API's document and its page, the console's files, and a login.

use std::collections::BTreeSet;

use facesocial::config::Role;
use facesocial_types::Service;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use super::{document::operations, raw::exchange};
use crate::{
    accounts::{Secured, secured},
    helpers::{get, problem},
};

/// What answers whoever asks.
const FOR_EVERYBODY: [(&str, &str); 10] = [
    ("GET", "/api/v1/auth/status"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/auth/refresh"),
    ("POST", "/api/v1/auth/setup"),
    ("GET", "/console"),
    ("GET", "/console/{path}"),
    ("GET", "/docs"),
    ("GET", "/healthz"),
    ("GET", "/openapi.json"),
    ("GET", "/readyz"),
];
/// Methods that exist, and some that the server has never heard of.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "FACE"];
/// Where something could be, and is not; and where something is, in another spelling.
const NOWHERE: [&str; 20] = [
    "/nowhere",
    "/.env",
    "/.git/config",
    "/admin",
    "/metrics/",
    "//metrics",
    "/METRICS",
    "/api",
    "/api/v1",
    "/api/v1/",
    "/api/v1/nowhere",
    "/api/v1/users/",
    "/api/v1//users",
    "/API/v1/users",
    "/api/v2/users",
    "/api/v1/auth/nowhere",
    "/register",
    "/face-recognition/nowhere",
    "/healthz/x",
    "/consolex",
];

async fn server() -> Secured {
    secured(|access| access.login_attempts = 100_000).await
}

/// The refusal without what differs from one to the next.
async fn refusal(answer: Response) -> Value {
    assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"facesocial\"");
    let mut body: Value = answer.json().await.unwrap();
    assert!(body["request_id"].take().is_string());
    body
}

#[tokio::test]
async fn every_operation_but_the_listed_ones_refuses_a_stranger_alike() {
    let server = server().await;
    let (mut open, mut told, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for operation in operations() {
        let method = operation.method.as_str().to_owned();
        if operation.told["security"].as_array().unwrap().is_empty() {
            open.insert((method, operation.path));
            continue;
        }
        let url = server.app.gateway(&operation.filled(&[]));
        for body in [None, Some(json!({ "token": "guess" }))] {
            let request = Client::new().request(operation.method.clone(), &url);
            let request = match &body {
                Some(body) => request.json(body),
                None => request,
            };
            let answer = request.send().await.unwrap();
            if answer.status() == 401 {
                told.insert(refusal(answer).await.to_string());
            } else {
                wrong.push(format!("{method} {}: {}", operation.path, answer.status()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(open, FOR_EVERYBODY.map(|(method, path)| (method.to_owned(), path)).into());
    assert_eq!(told.len(), 1, "one refusal can be told from another: {told:#?}");
}

#[tokio::test]
async fn a_stranger_is_not_told_what_is_served_and_how() {
    let server = server().await;
    let recognition = Role::Service(Service::Recognition);
    let (mut told, mut wrong) = (BTreeSet::new(), Vec::new());
    for role in [Role::Gateway, recognition, Role::Service(Service::Yolo)] {
        for path in NOWHERE.into_iter().chain(["/", "/health", "/services", "/metrics", "/detect", "/api/v1/users"]) {
            for method in METHODS {
                let url = format!("http://{}{path}", server.app.address(role));
                let method: Method = method.parse().unwrap();
                let answer = Client::new().request(method.clone(), url).send().await.unwrap();
                match (answer.status().as_u16(), &method) {
                    (401, &Method::HEAD) => {}
                    (401, _) => {
                        told.insert(refusal(answer).await.to_string());
                    }
                    (status, _) => wrong.push(format!("{role} {method} {path}: {status}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(told.len(), 1, "what is there can be told from what is not: {told:#?}");
}

#[tokio::test]
async fn no_spelling_of_an_open_path_leads_to_another() {
    let server = server().await;
    let page = get(server.app.gateway("/console/")).await.text().await.unwrap();
    for path in [
        "/console/../api/v1/users",
        "/console/..%2fapi/v1/users",
        "/console/%2e%2e/api/v1/users",
        "/console/..;/api/v1/users",
        "/healthz/../metrics",
        "/healthz/..%2fmetrics",
        "/docs/../metrics",
        "/api/v1/auth/login/../../users",
        "/api/v1/auth/login%2f..%2f..%2fusers",
        "/api/v1/users?/healthz",
        "/api/v1/users#/healthz",
        "/api/v1/users;/healthz",
        "/metrics%00/healthz",
        "/metrics%2f",
        "http://x/healthz/../metrics",
        "http://healthz/api/v1/users",
        "*",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = exchange(server.app.address(Role::Gateway), head.as_bytes()).await;
        let body = answer.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        // The console's page stands under every address below its own, and holds nothing.
        let is_page = answer.statuses == [200] && body == page;
        assert!(is_page || matches!(answer.statuses[..], [400 | 401 | 404]), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn no_header_stands_for_a_token_or_for_another_method() {
    let server = server().await;
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;host=localhost"),
        ("x-forwarded-user", "admin"),
        ("remote-user", "admin"),
        ("x-original-url", "/healthz"),
        ("x-rewrite-url", "/healthz"),
        ("x-forwarded-prefix", "/healthz"),
        ("cookie", "access_token=x; session=x"),
        ("x-http-method-override", "POST"),
    ] {
        let answer = Client::new().get(server.api("/users")).header(name, value).send().await.unwrap();
        problem(answer, 401, "UNAUTHENTICATED").await;
    }
    // A token in the address, where it would be logged, or in a cookie, which other pages could make a browser send.
    let token = server.token(facesocial_store::Role::Admin);
    for query in ["access_token", "token", "api_key", "x-api-key", "authorization"] {
        problem(get(server.api(&format!("/users?{query}={token}"))).await, 401, "UNAUTHENTICATED").await;
    }
    let cookie = Client::new().get(server.api("/users")).header("cookie", format!("access_token={token}"));
    problem(cookie.send().await.unwrap(), 401, "UNAUTHENTICATED").await;
    // The method is the one of the first line.
    let made = server.by(facesocial_store::Role::Admin, Method::POST, "/collections").json(&json!({ "name": "stays" }));
    assert_eq!(made.send().await.unwrap().status(), 201);
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let read = server.by(facesocial_store::Role::Admin, Method::GET, "/collections/stays?_method=DELETE");
        assert_eq!(read.header(name, "DELETE").send().await.unwrap().json::<Value>().await.unwrap()["name"], "stays");
    }
}
