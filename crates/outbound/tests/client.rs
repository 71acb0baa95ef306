//! The client against a server of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use facesocial_outbound::{Client, Hosts, Limits, OutboundError, Target};

const LIMITS: Limits = Limits { bytes: 1000, time: Duration::from_secs(5) };

/// A server that gives each connection to `answer`, with the request's head and body.
fn server(answer: impl Fn(&str, &[u8], &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                head += &line;
                line.clear();
            }
            let length =
                head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            if reader.read_exact(&mut body).is_ok() {
                answer(&head, &body, &mut stream);
            }
        }
    });
    address
}

fn say(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    write!(stream, "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len())
        .unwrap();
    stream.write_all(body).ok();
}

fn target(address: SocketAddr, path: &str) -> Target {
    let hosts = Hosts::new(vec![format!("http://{address}=private").parse().unwrap()]);
    hosts.target(&format!("http://{address}{path}")).unwrap()
}

#[test]
fn a_file_is_given_and_what_is_none_is_told() {
    let here = server(|head, _, stream| match head.split(' ').nth(1).unwrap() {
        "/photo" => say(stream, "200 OK", "", &[7; 1000]),
        "/large" => say(stream, "200 OK", "", &[7; 1001]),
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").unwrap();
            while stream.write_all(&[7; 4096]).is_ok() {}
        }
        "/moved" => say(stream, "302 Found", "location: /photo\r\n", b""),
        "/round" => say(stream, "302 Found", "location: /round\r\n", b""),
        "/away" => say(stream, "302 Found", "location: http://127.0.0.1:9/photo\r\n", b""),
        "/inside" => say(stream, "302 Found", "location: http://169.254.169.254/latest\r\n", b""),
        "/busy" => say(stream, "503 Service Unavailable", "", b""),
        _ => say(stream, "404 Not Found", "", b""),
    });
    let client = Client::new();
    let get = |path: &str| client.get(&target(here, path), &LIMITS);
    let host = || "127.0.0.1".to_owned();
    assert_eq!(get("/photo").unwrap().len(), 1000);
    assert_eq!(get("/moved").unwrap().len(), 1000);
    for (path, expected) in [
        ("/large", OutboundError::TooLarge { limit: 1000 }),
        ("/endless", OutboundError::TooLarge { limit: 1000 }),
        ("/round", OutboundError::Redirect { host: host() }),
        ("/away", OutboundError::Redirect { host: host() }),
        ("/inside", OutboundError::Redirect { host: host() }),
        ("/none", OutboundError::Status { host: host(), status: 404 }),
        ("/busy", OutboundError::Status { host: host(), status: 503 }),
    ] {
        let told = get(path).unwrap_err();
        assert_eq!(told.passes(), path == "/busy", "{told}");
        assert_eq!(told, expected, "{path}");
    }
}

#[test]
fn a_listed_host_with_an_address_of_its_own_kind_only() {
    let here = server(|_, _, stream| say(stream, "200 OK", "", b"x"));
    let hosts = Hosts::new(vec![format!("http://localhost:{}", here.port()).parse().unwrap()]);
    let target = hosts.target(&format!("http://localhost:{}/", here.port())).unwrap();
    let told = Client::new().get(&target, &LIMITS).unwrap_err();
    assert_eq!(told, OutboundError::Address { host: "localhost".to_owned() });
    assert!(!told.passes());
}

#[test]
fn one_that_is_too_slow_is_not_waited_for() {
    let here = server(|_, _, stream| {
        for _ in 0..100 {
            // Always something, never all of it.
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n").is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    let begun = Instant::now();
    let told = Client::new().get(&target(here, "/"), &Limits { bytes: 10_000, time: Duration::from_millis(600) });
    assert_eq!(told, Err(OutboundError::Timeout { host: "127.0.0.1".to_owned() }));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_receiver_is_told_with_headers_and_body_and_leads_nowhere() {
    let (sender, received) = mpsc::channel();
    let here = server(move |head, body, stream| {
        sender.send((head.to_owned(), body.to_vec())).unwrap();
        let status = if head.starts_with("POST /moved") { "307 Temporary Redirect" } else { "204 No Content" };
        say(stream, status, "location: /elsewhere\r\n", b"");
    });
    let client = Client::new();
    let post = |path| client.post(&target(here, path), &[("X-Test", "1")], b"{}", Duration::from_secs(5));
    assert_eq!(post("/hook?a=1"), Ok(()));
    let (head, body) = received.recv().unwrap();
    assert!(head.starts_with("POST /hook?a=1 HTTP/1.1") && head.to_ascii_lowercase().contains("x-test: 1"), "{head}");
    assert_eq!(body, b"{}");
    assert_eq!(post("/moved"), Err(OutboundError::Redirect { host: "127.0.0.1".to_owned() }));
    assert!(received.recv().unwrap().0.starts_with("POST /moved"));
    assert!(received.try_recv().is_err(), "it followed");
}
