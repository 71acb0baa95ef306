//! What nobody should send: each is a clear refusal, and the server goes on as before.

use std::time::Duration;

use facesocial::config::Role;
use facesocial_tests::png::black_png;
use facesocial_types::Service;
use reqwest::{Client, multipart::Form};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::helpers::{app, assert_speaks_to_people, batch, form, ok, part, photo, post, problem};

const BOUNDARY: &str = "------------------------facesocial";

fn file(name: &str, bytes: Vec<u8>) -> Form {
    Form::new().part("file", part(name, bytes))
}

/// Sends one file to an endpoint of each kind and expects the same refusal everywhere.
async fn refused(name: &str, bytes: Vec<u8>, status: u16, code: &str) {
    let urls = [
        app().gateway("/analyze/comprehensive"),
        app().gateway("/api/v1/face-detection/detect"),
        app().service(Service::Mediapipe, "/detect"),
        app().service(Service::Antispoof, "/detect"),
        app().service(Service::GenderAge, "/predict"),
    ];
    for url in urls {
        problem(post(url, file(name, bytes.clone())).await, status, code).await;
    }
    app().assert_unharmed().await;
}

#[tokio::test]
async fn an_empty_file() {
    refused("empty.jpg", Vec::new(), 400, "EMPTY_FILE").await;
}

#[tokio::test]
async fn text_renamed_to_jpg() {
    refused("notes.jpg", b"These are notes, not a photo.".to_vec(), 415, "UNSUPPORTED_FORMAT").await;
    let answer = post(app().service(Service::Mtcnn, "/detect"), file("notes.jpg", b"plain notes".to_vec())).await;
    let detail = problem(answer, 415, "UNSUPPORTED_FORMAT").await;
    assert!(detail.contains("plain text") && detail.contains("JPEG, PNG, WebP, BMP, GIF or TIFF"), "{detail}");
}

#[tokio::test]
async fn a_photo_under_another_name_and_type_is_taken_by_its_content() {
    let odd = part("notes.txt", photo("portrait.jpg")).mime_str("text/plain").unwrap();
    let found = ok(post(app().service(Service::Mediapipe, "/detect"), Form::new().part("file", odd)).await).await;
    assert_eq!(found["total_faces"], 1);
}

#[tokio::test]
async fn a_truncated_jpeg() {
    let whole = photo("portrait.jpg");
    refused("cut.jpg", whole[..whole.len() / 2].to_vec(), 422, "CORRUPT_IMAGE").await;
}

#[tokio::test]
async fn an_image_of_100_000_by_1_pixels() {
    refused("line.png", black_png(100_000, 1, 1), 413, "IMAGE_TOO_LARGE").await;
}

#[tokio::test]
async fn a_decompression_bomb() {
    // 900 megapixels in less than a megabyte.
    let bomb = black_png(30_000, 30_000, 30_000);
    assert!(bomb.len() < 1 << 20);
    refused("bomb.png", bomb, 413, "IMAGE_TOO_LARGE").await;
    // 64 x 64 pixels declared, a hundred megabytes compressed behind them.
    let hidden = black_png(64, 64, 12_000_000);
    let status = post(app().service(Service::Mediapipe, "/detect"), file("hidden.png", hidden)).await.status();
    assert!(status == 200 || status == 422, "{status}");
    app().assert_unharmed().await;
}

#[tokio::test]
async fn a_missing_field() {
    for path in ["/analyze/comprehensive", "/detect/faces", "/api/v1/face-detection/detect", "/mediapipe/detect"] {
        let detail =
            problem(post(app().gateway(path), Form::new().text("other", "x")).await, 400, "MISSING_FIELD").await;
        assert!(detail.contains("file"), "{detail}");
    }
    let misnamed = Form::new().part("image", part("portrait.jpg", photo("portrait.jpg")));
    problem(post(app().gateway("/analyze/comprehensive"), misnamed).await, 400, "MISSING_FIELD").await;
    problem(post(app().gateway("/analyze/batch"), form("portrait.jpg")).await, 400, "MISSING_FIELD").await;
    let bare = Client::new().post(app().gateway("/analyze/comprehensive")).body("x").send().await.unwrap();
    problem(bare, 415, "UNSUPPORTED_MEDIA_TYPE").await;
}

#[tokio::test]
async fn a_wrong_option_value() {
    let wrong = [
        ("/analyze/comprehensive", "detect_spoofing", "maybe", "true, false, 1, 0, yes, no"),
        ("/analyze/comprehensive", "detection_confidence", "7", "from 0 to 1"),
        ("/api/v1/face-detection/detect", "max_faces", "-1", "from 1 to 1000"),
        ("/api/v1/face-detection/detect", "min_face_size", "big", "from 1"),
        ("/antispoof/detect", "face_boxes", "[1]", "face_boxes"),
        ("/antispoof/detect", "face_boxes", r#"[{"x":9000,"y":0,"width":9,"height":9}]"#, "outside"),
    ];
    for (path, name, value, hint) in wrong {
        let answer = post(app().gateway(path), form("portrait.jpg").text(name, value)).await;
        let detail = problem(answer, 400, "INVALID_INPUT").await;
        assert!(detail.contains(name) && detail.contains(hint), "{detail}");
    }
    for (path, name) in
        [("/analyze/comprehensive", "face_service"), ("/api/v1/face-detection/detect", "detection_method")]
    {
        let answer = post(app().gateway(path), form("portrait.jpg").text(name, "dlib")).await;
        assert!(problem(answer, 400, "INVALID_DETECTION_METHOD").await.contains("mtcnn"));
    }
    let two = form("portrait.jpg").part("file", part("second.jpg", photo("portrait.jpg")));
    problem(post(app().gateway("/analyze/comprehensive"), two).await, 400, "INVALID_INPUT").await;
}

#[tokio::test]
async fn more_files_than_a_batch_takes() {
    let limits = [
        (app().gateway("/analyze/batch"), 25, 20),
        (app().gateway("/api/v1/face-detection/batch-detect"), 21, 20),
        (app().service(Service::Mediapipe, "/detect/batch"), 11, 10),
        (app().service(Service::Mtcnn, "/detect/batch"), 9, 8),
        (app().service(Service::GenderAge, "/predict/batch"), 9, 8),
        (app().service(Service::Antispoof, "/detect/batch"), 6, 5),
    ];
    for (url, sent, most) in limits {
        let answer = post(url, batch(&vec!["rotated_exif_3.jpg"; sent])).await;
        let detail = problem(answer, 400, "BATCH_SIZE_EXCEEDED").await;
        assert!(detail.contains(&format!("at most {most}")), "{detail}");
    }
    app().assert_unharmed().await;
}

#[tokio::test]
async fn one_bad_file_in_a_batch_fails_alone() {
    let files = Form::new()
        .part("files", part("first.jpg", photo("portrait.jpg")))
        .part("files", part("notes.jpg", b"no image".to_vec()))
        .part("files", part("huge.jpg", vec![0xFF; (20 << 20) + 1]))
        .part("files", part("last.jpg", photo("portrait_2.jpg")));
    let answer = ok(post(app().gateway("/analyze/batch"), files).await).await;
    assert_eq!((&answer["completed_images"], &answer["failed_images"]), (&2.into(), &2.into()));
    assert_eq!(answer["success_rate"], 0.5);
    let results = &answer["results"];
    assert_eq!(results[1]["filename"], "notes.jpg");
    assert_eq!(results[1]["error"]["code"], "UNSUPPORTED_FORMAT");
    assert_eq!(results[2]["error"]["code"], "PAYLOAD_TOO_LARGE");
    for i in [0, 3] {
        assert_eq!(results[i]["total_faces_detected"], 1);
        assert!(results[i].get("error").is_none());
    }
    assert_speaks_to_people(results);
    app().assert_unharmed().await;
}

fn head(path: &str, length: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n{length}\r\n\r\n"
    )
}

fn part_head() -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"huge.jpg\"\r\n\r\n")
}

/// Whatever the server still sends, as text.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes));
    // A reset connection is an answer too; what arrived before it counts.
    let _ = reading.await.expect("the server keeps the connection open");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn an_upload_of_2_gib_that_tells_its_size_is_refused_at_once() {
    let mut stream = TcpStream::connect(app().address(Role::Gateway)).await.unwrap();
    let head = head("/analyze/comprehensive", "Content-Length: 2147483648");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(part_head().as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("PAYLOAD_TOO_LARGE"), "{answer}");
    app().assert_unharmed().await;
}

#[tokio::test]
async fn clients_that_hang_up_half_way() {
    let bytes = photo("group.jpg");
    let tail = format!("\r\n--{BOUNDARY}--\r\n");
    let length = part_head().len() + bytes.len() + tail.len();
    let head = head("/analyze/comprehensive", &format!("Content-Length: {length}"));
    for sent in [0, bytes.len() / 2, bytes.len()] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(app().address(Role::Gateway)).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(part_head().as_bytes()).await.unwrap();
            stream.write_all(&bytes[..sent]).await.unwrap();
            if sent == bytes.len() {
                stream.write_all(tail.as_bytes()).await.unwrap();
            }
        }
    }
    // Sixty clients left. More wait in line than the pool's two cores, and this one is still served.
    let found = ok(post(app().service(Service::Mediapipe, "/detect"), form("portrait.jpg")).await).await;
    assert_eq!(found["total_faces"], 1);
    app().assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_is_no_form() {
    let send = |body: &'static str| {
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        Client::new()
            .post(app().gateway("/analyze/comprehensive"))
            .header("content-type", content_type)
            .body(body)
            .send()
    };
    for body in ["garbage", "", "--------------------------facesocial\r\nno header"] {
        let answer = send(body).await.unwrap();
        assert!((400..500).contains(&answer.status().as_u16()), "{body:?}: {}", answer.status());
    }
    app().assert_unharmed().await;
}
