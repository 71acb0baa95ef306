//! What every answer carries for the sake of browsers and caches, and what none does.

use facesocial::config::Role;
use facesocial_store::Role as Rank;
use reqwest::{Client, Method, header::HeaderMap};
use serde_json::json;

use super::document::operations;
use crate::{
    accounts::{PASSWORD, secured},
    helpers::{app, get},
};

/// Faults of an answer's headers. `page`: of the console's own, which may be kept and run scripts.
fn faults(headers: &HeaderMap, page: bool) -> Vec<String> {
    let text = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>().join(" & ");
    let mut found = Vec::new();
    for (name, wanted) in
        [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer")]
    {
        if text(name) != wanted {
            found.push(format!("{name} is \"{}\"", text(name)));
        }
    }
    let policy = text("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'"] {
        if !policy.contains(part) || policy.contains("unsafe") || policy.contains('*') {
            found.push(format!("content-security-policy is \"{policy}\""));
        }
    }
    if !page && text("cache-control") != "no-store" {
        found.push(format!("cache-control is \"{}\"", text("cache-control")));
    }
    if !page && policy != "default-src 'none'; frame-ancestors 'none'" {
        found.push(format!("an answer for programs has the policy of a page: {policy}"));
    }
    // What tells of the insides, what only TLS may say, and what would make a browser a holder of credentials.
    for never in
        ["server", "x-powered-by", "strict-transport-security", "set-cookie", "access-control-allow-credentials"]
    {
        if headers.contains_key(never) {
            found.push(format!("there is {never}: {}", text(never)));
        }
    }
    if !headers.contains_key("x-request-id") {
        found.push("there is no x-request-id".to_owned());
    }
    found
}

#[tokio::test]
async fn every_answer_protects_who_reads_it_in_a_browser() {
    let server = secured(|access| access.login_attempts = 100_000).await;
    let (mut wrong, mut seen) = (Vec::new(), std::collections::BTreeMap::<u16, usize>::new());
    for operation in operations() {
        let path = operation.filled(&[("name", "default"), ("path", ""), ("service", "yolo")]);
        for token in [None, Some(server.token(Rank::ReadOnly)), Some(server.token(Rank::Admin))] {
            let url = server.app.gateway(&path);
            let mut request = Client::new().request(operation.method.clone(), url);
            if let Some(token) = &token {
                request = request.bearer_auth(token);
            }
            if !matches!(operation.method, Method::GET | Method::DELETE) {
                request = request.json(&json!({ "no such field": 1 }));
            }
            let answer = request.send().await.unwrap();
            *seen.entry(answer.status().as_u16()).or_default() += 1;
            let page = matches!(operation.path, "/docs" | "/openapi.json" | "/console" | "/console/{path}");
            let found = faults(answer.headers(), page && answer.status().is_success());
            // The document is no page, though it may be kept.
            let found: Vec<_> = found
                .into_iter()
                .filter(|fault| !(operation.path == "/openapi.json" && fault.contains("of a page")))
                .collect();
            if !found.is_empty() {
                wrong.push(format!("{} {} {}: {found:?}", operation.method, operation.path, answer.status()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Answers of many kinds were looked at.
    assert!([200, 400, 401, 403, 404].iter().all(|status| seen.contains_key(status)), "{seen:?}");
    // Tokens, whether they are given or refused.
    for password in [PASSWORD, "wrong horse battery"] {
        let answer = server.log_in("user", password).await;
        assert_eq!(faults(answer.headers(), false), Vec::<String>::new());
    }
    for path in ["/nowhere", "/api/v1/nowhere", "/console/assets/none.js"] {
        let answer = Client::new().get(server.app.gateway(path)).bearer_auth(server.token(Rank::Admin));
        assert_eq!(faults(answer.send().await.unwrap().headers(), false), Vec::<String>::new(), "{path}");
    }
    let refused = Client::new().request(Method::TRACE, app().gateway("/healthz")).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["allow"].to_str().unwrap()), (405, "GET, HEAD"));
    assert_eq!(faults(refused.headers(), false), Vec::<String>::new());
}

#[tokio::test]
async fn only_listed_origins_are_answered_and_never_with_credentials() {
    let server = secured(|access| {
        access.login_attempts = 100_000;
        access.cors_origins = vec!["https://app.example.org".to_owned()];
    })
    .await;
    let token = server.token(Rank::Admin);
    let others = [
        "https://evil.example",
        "https://app.example.org.evil.example",
        "https://evil.example/https://app.example.org",
        "http://app.example.org",
        "https://app.example.org:8443",
        "https://APP.example.org.",
        "null",
        "file://",
        "*",
        "",
    ];
    for operation in operations() {
        let url = server.app.gateway(&operation.filled(&[("name", "default"), ("path", ""), ("service", "yolo")]));
        let asked = |method: Method, origin: &'static str| {
            Client::new().request(method, &url).header("origin", origin).bearer_auth(&token)
        };
        let origin = others[operation.path.len() % others.len()];
        let allowed =
            |headers: &HeaderMap| headers.get("access-control-allow-origin").map(|v| v.to_str().unwrap().to_owned());
        // Reading only: what a request of another origin does is for its token to decide, which no page of another origin has.
        if operation.method == Method::GET {
            let answer = asked(Method::GET, origin).send().await.unwrap();
            assert_eq!(allowed(answer.headers()), None, "{} to {origin}", operation.path);
            let answer = asked(Method::GET, "https://app.example.org").send().await.unwrap();
            assert_eq!(allowed(answer.headers()).as_deref(), Some("https://app.example.org"), "{}", operation.path);
            assert!(!answer.headers().contains_key("access-control-allow-credentials"), "{}", operation.path);
            let vary = answer
                .headers()
                .get_all("vary")
                .iter()
                .any(|v| v.to_str().unwrap().to_ascii_lowercase().contains("origin"));
            assert!(vary, "{}: a cache would mix the answers up", operation.path);
        }
        let preflight = Client::new()
            .request(Method::OPTIONS, &url)
            .header("origin", origin)
            .header("access-control-request-method", operation.method.as_str())
            .header("access-control-request-headers", "authorization");
        let answer = preflight.send().await.unwrap();
        assert!(
            answer.status().is_client_error() && allowed(answer.headers()).is_none(),
            "{} to {origin}",
            operation.path
        );
    }
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_send_what_needs_no_preflight() {
    let server = secured(|access| access.login_attempts = 100_000).await;
    // The media types that a form or a simple request of any page may have: none is read where JSON is wanted.
    let body = json!({ "username": "user", "password": PASSWORD }).to_string();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "text/plain; application/json", ""] {
        let request = server.anonymous(Method::POST, "/auth/login").header("content-type", media_type);
        let status = request.header("origin", "https://evil.example").body(body.clone()).send().await.unwrap().status();
        assert_eq!(status, 415, "{media_type}");
    }
    // Without authentication, where the machine itself is the credential, no page of others is answered.
    for path in ["/api/v1/users", "/healthz-not", "/api/v1/auth/status", "/"] {
        let answer =
            Client::new().get(app().gateway(path)).header("origin", "https://evil.example").send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        let answer = Client::new().get(app().gateway(path)).header("host", "evil.example").send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
    }
    assert_eq!(get(format!("http://{}/healthz", server.app.address(Role::Gateway))).await.status(), 200);
}
