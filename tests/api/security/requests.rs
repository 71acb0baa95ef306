//! Requests that two servers could read in two ways, and requests that are too large: refused, and the connection closed, so
//! that nothing that was sent behind them is taken for a request of somebody else's.

use std::time::Duration;

use facesocial::config::Role;
use facesocial_types::Service;

use super::raw::exchange;
use crate::helpers::app;

/// The request that should be swallowed with the first one.
const BEHIND: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// What it would be answered.
const ANSWERED: &str = "alive";
/// No wait: a server that closes does so at once.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A login, with these headers and this body.
fn login(headers: &str, body: &str) -> String {
    format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
    )
}

#[tokio::test]
async fn a_body_whose_end_can_be_read_in_two_ways_is_refused() {
    let chunks = "0\r\n\r\n";
    for (what, bytes) in [
        ("length, then chunks", login("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks)),
        ("chunks, then length", login("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunks)),
        ("two lengths", login("Content-Length: 2\r\nContent-Length: 3\r\n", "{}")),
        ("one length twice", login("Content-Length: 2\r\nContent-Length: 2\r\n", "{}")),
        ("a list of lengths", login("Content-Length: 2, 2\r\n", "{}")),
        ("a length with a sign", login("Content-Length: +2\r\n", "{}")),
        ("a length below nothing", login("Content-Length: -2\r\n", "{}")),
        ("a length in hex", login("Content-Length: 0x2\r\n", "{}")),
        ("a length beyond numbers", login("Content-Length: 99999999999999999999999\r\n", "{}")),
        ("a length with a blank inside", login("Content-Length: 2 0\r\n", "{}")),
        ("two encodings", login("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunks)),
        ("an unknown encoding", login("Transfer-Encoding: xchunked\r\n", chunks)),
        ("an encoding with a tab inside", login("Transfer-Encoding: \x0bchunked\r\n", chunks)),
        ("a list of encodings", login("Transfer-Encoding: gzip, chunked\r\n", chunks)),
        ("a blank before the colon", login("Transfer-Encoding : chunked\r\n", chunks)),
        ("a folded line", login("Content-Length: 2\r\nTransfer-Encoding:\r\n chunked\r\n", "{}")),
        ("chunks of an older version", login("Transfer-Encoding: chunked\r\n", chunks).replace("HTTP/1.1", "HTTP/1.0")),
    ] {
        for role in [Role::Gateway, Role::Service(Service::Recognition)] {
            let answer = exchange(app().address(role), (bytes.clone() + BEHIND).as_bytes()).await;
            assert_eq!(answer.statuses, [400], "{what}: {}", answer.text);
            assert!(!answer.text.contains(ANSWERED) && answer.took < AT_ONCE, "{what}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn chunks_that_are_none_end_the_connection() {
    for (what, body) in [
        ("a size that is no number", "ZZ\r\n{}\r\n0\r\n\r\n"),
        ("a size beyond numbers", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("a size with a sign", "+2\r\n{}\r\n0\r\n\r\n"),
        ("a size below nothing", "-2\r\n{}\r\n0\r\n\r\n"),
        ("no size", "\r\n{}\r\n0\r\n\r\n"),
        ("lines that end with LF alone", "2\n{}\n0\n\n"),
        ("more bytes than it says", "2\r\n{}{}\r\n0\r\n\r\n"),
        ("an extension with a line in it", "2;a\nb\r\n{}\r\n0\r\n\r\n"),
    ] {
        let bytes = login("Transfer-Encoding: chunked\r\n", body) + BEHIND;
        let answer = exchange(app().address(Role::Gateway), bytes.as_bytes()).await;
        assert_eq!(answer.statuses, [400], "{what}: {}", answer.text);
        assert!(!answer.text.contains(ANSWERED) && answer.took < AT_ONCE, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_none_is_refused() {
    let get = |headers: &str| format!("GET /healthz HTTP/1.1\r\n{headers}\r\n");
    for (what, bytes) in [
        ("a folded line", get("Host: localhost\r\nX-A: b\r\n c\r\n")),
        ("a bare CR", get("Host: localhost\r\nX-A: b\rX-B: c\r\n")),
        ("a NUL", get("Host: localhost\r\nX-A: b\0c\r\n")),
        ("a blank before the colon", get("Host: localhost\r\nX-A : b\r\n")),
        ("a header without a name", get("Host: localhost\r\n: b\r\n")),
        ("no colon", get("Host: localhost\r\nX-A\r\n")),
        ("no host", get("")),
        ("two hosts", get("Host: a\r\nHost: b\r\n")),
        ("another protocol", "HELO example.org\r\n\r\n".to_owned()),
        ("the other version", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("an unknown version", "GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n".to_owned()),
        ("a blank in the path", "GET /health z HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        ("a hello of TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".to_owned()),
    ] {
        let answer = exchange(app().address(Role::Gateway), (bytes + BEHIND).as_bytes()).await;
        assert_eq!(answer.statuses, [400], "{what}: {}", answer.text);
        assert!(!answer.text.contains(ANSWERED) && answer.took < AT_ONCE, "{what}: {answer:?}");
    }
    // What is no fault, though few send it so: lines that end with LF alone are one request, and one only.
    let answer =
        exchange(app().address(Role::Gateway), b"GET /healthz HTTP/1.1\nHost: localhost\nConnection: close\n\n").await;
    assert_eq!(answer.statuses, [200], "{}", answer.text);
    assert_eq!(answer.text.matches(ANSWERED).count(), 1);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let host = "Host: localhost\r\n";
    let many: String = (0..200).map(|n| format!("X-{n}: a\r\n")).collect();
    for (what, bytes) in [
        ("many headers", format!("GET /healthz HTTP/1.1\r\n{host}{many}\r\n")),
        ("a giant header", format!("GET /healthz HTTP/1.1\r\n{host}X-A: {}\r\n\r\n", "a".repeat(300_000))),
        (
            "a giant token",
            format!("GET /healthz HTTP/1.1\r\n{host}Authorization: Bearer {}\r\n\r\n", "a".repeat(300_000)),
        ),
        ("a giant name", format!("GET /healthz HTTP/1.1\r\n{host}{}: a\r\n\r\n", "a".repeat(300_000))),
        ("a giant address", format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(300_000))),
    ] {
        let answer = exchange(app().address(Role::Gateway), bytes.as_bytes()).await;
        // Where the rest of it is still on its way, the connection may be cut before the answer is read.
        let refused = matches!(answer.statuses[..], [] | [400 | 414 | 431]);
        assert!(refused && answer.took < AT_ONCE && !answer.text.contains(ANSWERED), "{what}: {answer:?}");
    }
    app().assert_unharmed().await;
}
