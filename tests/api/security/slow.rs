//! Clients that take their time: cut off after a while, and nobody else waits for them.

use std::time::{Duration, Instant};

use facesocial::config::Role;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::raw::rest;
use crate::{
    accounts::SECRET,
    helpers::{config, config_with, get, ok, spawn_app},
};

/// How long the head of a request may take: the framework's.
const HEAD: Duration = Duration::from_secs(5);
/// How long a body may take on this server.
const BODY: Duration = Duration::from_secs(2);
/// What a busy machine takes beside that.
const GRACE: Duration = Duration::from_secs(4);
/// Slow clients at a time.
const CLIENTS: usize = 300;

/// Sends the beginning, then a byte at a time until the server has had enough; gives its answer and the time until then.
async fn trickle(mut stream: TcpStream, begin: &str, byte: &[u8]) -> (String, Duration) {
    let begun = Instant::now();
    stream.write_all(begin.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let byte = byte.to_vec();
    let sending = tokio::spawn(async move {
        while writing.write_all(&byte).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let mut bytes = Vec::new();
    let all = tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut bytes);
    let _ = tokio::time::timeout(HEAD * 6, all).await.expect("the server keeps the connection open");
    let took = begun.elapsed();
    sending.abort();
    (String::from_utf8_lossy(&bytes).into_owned(), took)
}

#[tokio::test]
async fn slow_heads_are_cut_off_and_starve_nobody() {
    let (_weights, config) = config_with(&["yolov10n-face"], &[facesocial_types::Service::Yolo]);
    let app = spawn_app(config);
    app.ready().await;
    let address = app.address(Role::Gateway);
    let mut waiting = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.unwrap();
        waiting.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(get(app.gateway("/healthz")).await.status(), 200);
    assert!(begun.elapsed() < HEAD, "everybody waits for the slow ones: {:?}", begun.elapsed());
    let stream = TcpStream::connect(address).await.unwrap();
    let (answer, took) = trickle(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"a").await;
    assert!(took < HEAD + GRACE, "{took:?}");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    for mut stream in waiting {
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert_eq!(get(app.gateway("/healthz")).await.status(), 200);
}

#[tokio::test]
async fn slow_bodies_are_cut_off_and_starve_nobody() {
    let (_weights, mut config) = config_with(&["yolov10n-face"], &[facesocial_types::Service::Yolo]);
    config.limits.upload_timeout = BODY;
    let app = spawn_app(config);
    app.ready().await;
    let address = app.address(Role::Gateway);
    let head = |path: &str, media_type: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: 10000\r\n\r\n"
        )
    };
    let form = "multipart/form-data; boundary=x";
    let part = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n";
    let slow: Vec<(String, &[u8])> = vec![
        (head("/api/v1/collections", "application/json") + "{\"name\": \"", b"a"),
        (head("/yolo/detect", form) + part, b"a"),
        (head("/yolo/detect", form), b"-"),
        (head("/api/v1/collections/default/persons", "application/json"), b" "),
    ];
    let mut clients = Vec::new();
    for (begin, byte) in slow.iter().cycle().take(CLIENTS / 5) {
        let stream = TcpStream::connect(address).await.unwrap();
        let (begin, byte) = (begin.clone(), byte.to_vec());
        clients.push(tokio::spawn(async move { trickle(stream, &begin, &byte).await }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    ok(get(app.gateway("/healthz")).await).await;
    assert!(begun.elapsed() < BODY, "everybody waits for the slow ones: {:?}", begun.elapsed());
    for client in clients {
        let (answer, took) = client.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("UPLOAD_TIMEOUT"), "{answer}");
        assert!(took < BODY + GRACE + GRACE, "{took:?}");
    }
}

#[tokio::test]
async fn whoever_is_refused_is_not_waited_for() {
    let mut config = config();
    config.access.auth = true;
    config.access.jwt_secret = Some(facesocial::config::Secret::new(SECRET));
    crate::accounts::seed(&config).await;
    let app = spawn_app(config);
    app.ready().await;
    for path in
        ["/analyze/comprehensive", "/api/v1/jobs", "/api/v1/collections/default/imports", "/api/v1/users", "/nowhere"]
    {
        let begin = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: \
             1000000\r\n\r\n--x\r\n"
        );
        let stream = TcpStream::connect(app.address(Role::Gateway)).await.unwrap();
        let (answer, took) = trickle(stream, &begin, b"a").await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && took < HEAD, "{path}: {took:?} {answer}");
    }
}
