//! Line ends and escapes in whatever clients name: they reach no header, and no line of the log but their own.

use facesocial::config::Role;
use reqwest::{Client, multipart::Form};
use serde_json::{Value, json};

use super::raw::exchange;
use crate::helpers::{app, part, photo};

/// What would begin a line or a header of its own, or colour a terminal.
const BAD: [&str; 6] = [
    "a\r\nSet-Cookie: owned=1",
    "a\nX-Owned: 1",
    "a\r\n\r\n<script>alert(1)</script>",
    "\u{1b}[2J\u{1b}[31mowned\u{7}",
    "{\"level\":\"ERROR\",\"owned\":1}\n{\"level\":\"ERROR\",\"owned\":2}",
    "a\u{85}b\u{2028}c\u{2029}d\u{9b}31m",
];

fn assert_clean(answer: &str) {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    assert!(!head.to_ascii_lowercase().contains("owned"), "{answer}");
}

#[tokio::test]
async fn no_header_of_an_answer_is_made_by_a_client() {
    let address = app().address(Role::Gateway);
    for bad in BAD {
        let encoded: String = bad.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [
            format!("/console/{encoded}"),
            format!("/console/assets/{encoded}"),
            format!("/{encoded}"),
            format!("/api/v1/collections/{encoded}"),
            format!("/api/v1/collections/default/persons/external:{encoded}"),
            format!("/api/v1/collections/default/persons?cursor={encoded}"),
            format!("/api/v1/jobs/{encoded}"),
            format!("/metrics?format={encoded}"),
        ] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let answer = exchange(address, head.as_bytes()).await;
            assert_eq!(answer.statuses.len(), 1, "{path}: {}", answer.text);
            assert_clean(&answer.text);
        }
        // As they are, they end the head: what follows is another request's or nobody's.
        for name in ["X-Request-Id", "Idempotency-Key", "User-Agent", "Origin", "Accept-Encoding", "If-None-Match"] {
            let plain: String = bad.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            let head =
                format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{name}: {plain}\r\nConnection: close\r\n\r\n");
            assert_clean(&exchange(address, head.as_bytes()).await.text);
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_line_of_the_log_is_written_by_the_server_alone() {
    use super::process::Server;

    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--auth=off"]).await;
    let address = server.url.trim_start_matches("http://").parse().unwrap();
    let url = |path: &str| format!("{}{path}", server.url);
    let client = Client::new();
    let json = |path: &str, body: Value| client.post(url(path)).json(&body).send();
    for bad in BAD {
        // In the names of everything that has one.
        json("/api/v1/collections", json!({ "name": bad, "description": bad })).await.unwrap();
        json("/api/v1/collections/default/persons", json!({ "external_id": bad, "name": bad })).await.unwrap();
        json("/api/v1/collections/default/persons", json!({ "external_id": "a", "metadata": { bad: bad } }))
            .await
            .unwrap();
        json("/api/v1/auth/login", json!({ "username": bad, "password": bad })).await.unwrap();
        json("/api/v1/auth/setup", json!({ "token": bad, "username": bad, "password": bad })).await.unwrap();
        json("/api/v1/jobs", json!({ "kind": bad, "source": { "urls": [bad], "folder": bad } })).await.unwrap();
        json("/api/v1/collections/default/jobs", json!({ "kind": bad, bad: bad })).await.unwrap();
        let file = || Form::new().part("file", part(bad, photo("no_face.jpg")));
        client.post(url("/yolo/detect")).multipart(file().text("min_face_size", bad)).send().await.unwrap();
        client.post(url("/analyze/comprehensive")).multipart(file().text("face_service", bad)).send().await.unwrap();
        client.post(url("/analyze/comprehensive")).multipart(Form::new().text(bad, bad)).send().await.unwrap();
        let broken = Form::new().part("file", part(bad, b"\x89PNG\r\n\x1a\nbroken".to_vec()));
        client.post(url("/antispoof/detect")).multipart(broken).send().await.unwrap();
        let encoded: String = bad.bytes().map(|byte| format!("%{byte:02x}")).collect();
        client.get(url(&format!("/{encoded}?{encoded}={encoded}"))).send().await.unwrap();
        // And in headers, by hand, with and without what ends a line.
        for name in [
            "X-Request-Id",
            "User-Agent",
            "Referer",
            "X-Forwarded-For",
            "Authorization",
            "traceparent",
            "Idempotency-Key",
        ] {
            let head =
                format!("GET /api/v1/users HTTP/1.1\r\nHost: localhost\r\n{name}: {bad}\r\nConnection: close\r\n\r\n");
            exchange(address, head.as_bytes()).await;
        }
        exchange(address, format!("GET /{bad} HTTP/1.1\r\nHost: {bad}\r\n\r\n").as_bytes()).await;
    }
    let log = server.log();
    assert!(log.len() > 200, "{} lines", log.len());
    for line in &log {
        // Each line is one the server wrote: it has a time and a target of its own, and no member that was smuggled in.
        assert!(line["timestamp"].is_string() && line["target"].is_string() && line.get("owned").is_none(), "{line}");
    }
    // What a terminal would obey is written as an escape. Line ends of Unicode are, too, or stand in no line at all.
    let written = server.written();
    let controls: Vec<char> = written.chars().filter(|c| c.is_control() && !matches!(c, '\n')).collect();
    assert!(controls.is_empty(), "{controls:?}");
    // No request was logged under an id of such a kind.
    let ids =
        log.iter().filter_map(|line| line["fields"]["request_id"].as_str().or(line["span"]["request_id"].as_str()));
    assert!(ids.clone().count() > 50);
    for id in ids {
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')), "{id}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_fills_the_log_with_errors_of_their_own() {
    use super::process::Server;

    let folder = tempfile::tempdir().unwrap();
    let server = Server::logging(folder.path(), &["--auth=off"], None).await;
    let address = server.url.trim_start_matches("http://").parse().unwrap();
    for bytes in [
        "HELO x\r\n\r\n",
        "GET / HTTP/1.1\r\nX-A : b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    ] {
        assert_eq!(exchange(address, bytes.as_bytes()).await.statuses, [400]);
    }
    let chunks = "POST /api/v1/users HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n";
    exchange(address, chunks.as_bytes()).await;
    exchange(address, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let log = server.log();
    assert!(log.iter().any(|line| line["fields"]["route"] == "/healthz"), "requests are logged");
    let errors: Vec<_> = log.iter().filter(|line| line["level"] == "ERROR").collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
