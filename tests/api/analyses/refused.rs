//! What jobs of analyses are refused for.

use reqwest::{Client, multipart::Form};
use serde_json::{Value, json};

use super::{HERE, cheap};
use crate::{
    helpers::{app, part, photo, post, problem},
    jobs::archive,
};

#[tokio::test]
async fn nothing_is_read_fetched_or_told_unless_it_was_listed() {
    let bare = app();
    let start = |body: Value| Client::new().post(bare.gateway("/api/v1/jobs")).json(&body).send();
    for (source, told) in [
        (json!({ "folder": "/etc" }), "--job-folders"),
        (json!({ "urls": ["https://example.org/1.jpg"] }), "--job-url-hosts"),
    ] {
        let body = json!({ "kind": "analyze", "source": source });
        let detail = problem(start(body).await.unwrap(), 403, "FORBIDDEN").await;
        assert!(detail.contains(told), "{detail}");
    }
    let body = json!({
        "kind": "analyze", "source": { "folder": "/etc" }, "webhook": { "url": "https://example.org/" },
    });
    let detail = problem(start(body).await.unwrap(), 403, "FORBIDDEN").await;
    assert!(detail.contains("--webhook-hosts"), "{detail}");
}

#[tokio::test]
async fn places_beside_the_listed_ones_are_refused_and_not_told_apart() {
    let here = &*HERE;
    let folder = here.folder.to_str().unwrap();
    for outside in [
        format!("{folder}/../private"),
        format!("{folder}/link"),
        format!("{folder}/.."),
        format!("{folder}/nowhere"),
        "/etc".to_owned(),
        "/no/such/folder".to_owned(),
        "photos".to_owned(),
    ] {
        let body = json!({ "kind": "analyze", "source": { "folder": outside } });
        let detail = problem(here.start(&body).await, 403, "FORBIDDEN").await;
        assert!(detail.starts_with("the folder is none of those"), "{outside}: {detail}");
    }
    let port = here.elsewhere.port;
    for (url, status, code) in [
        ("https://example.org/1.jpg".to_owned(), 403, "FORBIDDEN"),
        (format!("https://127.0.0.1:{port}/1.jpg"), 403, "FORBIDDEN"),
        (format!("http://127.0.0.1:{}/1.jpg", port ^ 1), 403, "FORBIDDEN"),
        (format!("http://127.0.0.1:{port}@example.org/1.jpg"), 400, "INVALID_INPUT"),
        (format!("http://ann:secret@127.0.0.1:{port}/1.jpg"), 400, "INVALID_INPUT"),
        ("file:///etc/passwd".to_owned(), 400, "INVALID_INPUT"),
        ("not an address".to_owned(), 400, "INVALID_INPUT"),
    ] {
        let body = json!({ "kind": "analyze", "source": { "urls": [here.elsewhere.url("/photo/portrait.jpg"), url] } });
        let detail = problem(here.start(&body).await, status, code).await;
        assert!(detail.starts_with("urls[1]: ") && !detail.contains("secret"), "{detail}");
        let webhook = json!({ "kind": "analyze", "source": { "folder": folder }, "webhook": { "url": url } });
        let detail = problem(here.start(&webhook).await, status, code).await;
        assert!(detail.starts_with("webhook: "), "{detail}");
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_with_what_is_allowed() {
    let here = &*HERE;
    let folder = json!({ "folder": here.folder });
    let url = here.elsewhere.url("/photo/portrait.jpg");
    for (body, told) in [
        (json!({ "kind": "group", "source": folder }), "/collections/NAME/jobs"),
        (json!({ "kind": "analyze", "source": { "folder": "/a", "urls": ["https://a"] } }), "more than one"),
        (json!({ "kind": "analyze", "source": { "urls": [] } }), "1 to 10000"),
        (json!({ "kind": "analyze", "source": { "urls": [url, url] } }), "twice"),
        (json!({ "kind": "analyze", "source": folder, "options": { "detect_spoof": true } }), "detect_spoofing"),
        (json!({ "kind": "analyze", "source": folder, "options": { "detect_spoofing": "maybe" } }), "true, false"),
        (json!({ "kind": "analyze", "source": folder, "options": { "max_faces": 0 } }), "1 to 1000"),
        (json!({ "kind": "analyze", "source": folder, "surprise": 1 }), "surprise"),
        (json!({ "kind": "analyze", "source": { "path": "/a" } }), "path"),
        (
            json!({ "kind": "analyze", "source": folder, "webhook": { "url": here.elsewhere.url("/hook/x"), "secret": "short" } }),
            "16 to 256",
        ),
    ] {
        let detail = problem(here.start(&body).await, 400, "INVALID_INPUT").await;
        assert!(detail.contains(told), "{body}: {detail}");
    }
    problem(here.start(&json!({ "kind": "analyze" })).await, 400, "MISSING_FIELD").await;
    let unknown = json!({ "kind": "analyze", "source": folder, "options": { "collection": "no-such-one" } });
    problem(here.start(&unknown).await, 404, "COLLECTION_NOT_FOUND").await;
    let method = json!({ "kind": "analyze", "source": folder, "options": { "face_service": "dlib" } });
    problem(here.start(&method).await, 400, "INVALID_DETECTION_METHOD").await;

    problem(here.upload(b"hello".to_vec(), &[]).await, 415, "UNSUPPORTED_FORMAT").await;
    problem(here.upload(Vec::new(), &[]).await, 400, "EMPTY_FILE").await;
    problem(here.upload(archive(&[("a/.hidden", b"x".to_vec())]), &[]).await, 400, "INVALID_INPUT").await;
    let zip = archive(&[("1.jpg", photo("portrait.jpg"))]);
    let send = |form: Form| post(here.app.gateway("/api/v1/jobs"), form);
    let file = || Form::new().part("file", part("photos.zip", zip.clone()));
    problem(send(Form::new().text("kind", "analyze")).await, 400, "MISSING_FIELD").await;
    problem(send(file()).await, 400, "MISSING_FIELD").await;
    let detail = problem(send(file().text("kind", "analyze").text("source", "{}")).await, 400, "INVALID_INPUT").await;
    assert!(detail.contains("source"), "{detail}");
    problem(send(file().text("kind", "analyze").text("options", "{")).await, 400, "INVALID_INPUT").await;
    let two = file().part("file", part("more.zip", zip.clone())).text("kind", "analyze");
    problem(send(two).await, 400, "INVALID_INPUT").await;
    // Refused archives do not stay, so that they do not fill the places for those that wait.
    let started = here.upload(zip.clone(), &[("options", cheap())]).await;
    here.accepted(started).await;
}
