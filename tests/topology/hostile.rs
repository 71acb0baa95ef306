//! Bytes that are no questions: refused as such, whoever sends them.

use facesocial::{auth::InternalTokens, config::Role};
use facesocial_types::Service;
use reqwest::{Client, RequestBuilder, Response, header::CONTENT_TYPE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{INTERNAL_SECRET, SERVERS};
use crate::helpers::{ok, problem};

const PATH: &str = "/internal/v1/networks";

fn asked(service: Service, name: &str) -> RequestBuilder {
    let url = SERVERS.first[&service].service(service, &format!("{PATH}/{name}"));
    let token = InternalTokens::new(INTERNAL_SECRET.as_bytes()).sign().unwrap();
    Client::new().post(url).bearer_auth(token).header(CONTENT_TYPE, "application/octet-stream")
}

async fn ask(service: Service, name: &str, body: Vec<u8>) -> Response {
    asked(service, name).body(body).send().await.unwrap()
}

/// The version of a network that a server runs.
async fn version(service: Service, name: &str) -> String {
    let token = InternalTokens::new(INTERNAL_SECRET.as_bytes()).sign().unwrap();
    let url = SERVERS.first[&service].service(service, PATH);
    let list = ok(Client::new().get(url).bearer_auth(token).send().await.unwrap()).await;
    let found = list["networks"].as_array().unwrap().iter().find(|network| network["name"] == name);
    found.unwrap()["version"].as_str().unwrap().to_owned()
}

/// A question as it is written, about `count` items that are `items`.
fn question(name: &str, version: &str, count: u32, items: &[u8]) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [b"FSNW\x01\x01", &text(name)[..], &text(version), &count.to_le_bytes(), items].concat()
}

/// A grey picture.
fn picture(width: u32, height: u32) -> Vec<u8> {
    let pixels = vec![128; width as usize * height as usize * 3];
    [&width.to_le_bytes()[..], &height.to_le_bytes(), &pixels].concat()
}

#[tokio::test]
async fn what_is_no_question_is_refused_as_such() {
    let (service, name) = (Service::Deepfake, "deepfake-efficientnet-lite");
    let version = version(service, name).await;
    let of = |count, items: &[u8]| question(name, &version, count, items);
    let good = of(1, &picture(160, 160));
    let answer = ask(service, name, good.clone()).await;
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);

    let huge = u32::MAX.to_le_bytes();
    for (what, body) in [
        ("nothing", Vec::new()),
        ("noise", (0..5000_u32).map(|n| ((n * 7919) >> 3) as u8).collect()),
        ("a question that ends early", good[..good.len() - 1].to_vec()),
        ("a question that goes on", [&good[..], b"x"].concat()),
        ("another form", [&good[..4], b"\x09", &good[5..]].concat()),
        ("an answer", [&good[..5], b"\x02", &good[6..]].concat()),
        ("more items than there are bytes for", of(4000, &picture(2, 2))),
        ("more items than any message has", of(u32::MAX, &[])),
        ("a picture of all the memory there is", of(1, &[&huge[..], &huge, &[0; 64]].concat())),
        ("a picture without pixels", of(1, &[0; 8])),
        ("a crop of another size", of(1, &picture(32, 32))),
    ] {
        let answer = ask(service, name, body).await;
        assert_eq!(answer.status(), 400, "{what}: {:?}", answer.text().await);
        problem(answer, 400, "MALFORMED_BODY").await;
    }
    let other = question(name, "00000000", 1, &picture(160, 160));
    let detail = problem(ask(service, name, other).await, 409, "MODEL_MISMATCH").await;
    assert!(detail.contains(&version) && detail.contains("00000000"), "{detail}");
    let detail = problem(ask(service, "vit-deepfake", good.clone()).await, 409, "MODEL_MISMATCH").await;
    assert!(detail.contains(name), "{detail}");
    // Another service's network, though the process could have it.
    problem(ask(service, "mtcnn", good.clone()).await, 409, "MODEL_MISMATCH").await;

    let header =
        |name: &'static str, value: &'static str| asked(service, "deepfake-efficientnet-lite").header(name, value);
    let url = SERVERS.first[&service].service(service, &format!("{PATH}/{name}"));
    let token = InternalTokens::new(INTERNAL_SECRET.as_bytes()).sign().unwrap();
    let text = Client::new().post(url).bearer_auth(token).body("what do you see?").send().await.unwrap();
    problem(text, 415, "UNSUPPORTED_MEDIA_TYPE").await;
    for (name, value) in [("x-facesocial-time-left", "soon"), ("x-facesocial-client", "nobody")] {
        problem(header(name, value).body(good.clone()).send().await.unwrap(), 400, "INVALID_INPUT").await;
    }
    let late = header("x-facesocial-time-left", "0").body(good.clone()).send().await.unwrap();
    problem(late, 504, "DEADLINE_EXCEEDED").await;

    // After all of that, a question is answered as before.
    let answer = ask(service, name, good).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn numbers_that_are_none_are_refused() {
    let version = version(Service::Mtcnn, "mtcnn").await;
    let photo = picture(64, 48);
    let look = |kind: u8, rest: &[u8]| question("mtcnn", &version, 1, &[&[kind], rest, &photo].concat());
    let faces = ask(Service::Mtcnn, "mtcnn", look(0, &20_f32.to_le_bytes())).await;
    assert_eq!(faces.status(), 200, "{:?}", faces.text().await);
    for number in [f32::NAN, f32::INFINITY, -f32::INFINITY] {
        let number = number.to_le_bytes();
        let boxes = [&1_u32.to_le_bytes()[..], &number, &[0; 12]].concat();
        for body in [look(0, &number), look(1, &boxes), look(7, &number)] {
            problem(ask(Service::Mtcnn, "mtcnn", body).await, 400, "MALFORMED_BODY").await;
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    // 50 megapixels and what surrounds them.
    const LIMIT: usize = 150_000_000 + (1 << 20);
    let address = SERVERS.first[&Service::Mtcnn].address(Role::Service(Service::Mtcnn));
    let token = InternalTokens::new(INTERNAL_SECRET.as_bytes()).sign().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {PATH}/mtcnn HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        LIMIT + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
