//! Analyses that are stored, and whose faces are looked for.

use reqwest::{Client, Method, multipart::Form};
use serde_json::{Value, json};

use super::{
    backend::{Backend, Gallery, on_every_backend, own},
    delete, items, text,
};
use crate::helpers::{form, get, ok, part, post, problem};

on_every_backend! {
    an_analysis_names_whom_it_shows,
    an_analysis_is_stored_when_asked,
    a_batch_is_stored_photo_by_photo,
}

async fn an_analysis_names_whom_it_shows(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "eileen" })).await;
    gallery.enrol("eileen", "portrait.jpg").await;
    let url = || backend.app.gateway("/analyze/comprehensive");
    let search = |photo: &str| {
        form(photo)
            .text("detect_spoofing", "true")
            .text("face_service", "ensemble")
            .text("collection", gallery.name.clone())
    };
    let found = ok(post(url(), search("grey.jpg")).await).await["data"].clone();
    let matches = &found["faces"][0]["recognition"]["matches"];
    assert_eq!(matches[0]["person"]["external_id"], "eileen", "{found}");
    assert_eq!(&found["recognition"]["faces"][0]["matches"], matches);
    assert_eq!(found["summary"]["known_faces"], 1);
    assert!(found["faces"][0]["recognition"].get("embedding").is_none(), "the vector was not asked for");
    let found = ok(post(url(), search("portrait_2.jpg")).await).await["data"].clone();
    assert_eq!(
        (&found["faces"][0]["recognition"]["matches"], &found["summary"]["known_faces"]),
        (&json!([]), &json!(0))
    );
    let nowhere = form("grey.jpg").text("collection", "nowhere");
    problem(post(url(), nowhere).await, 404, "COLLECTION_NOT_FOUND").await;
}

async fn an_analysis_is_stored_when_asked(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "eileen" })).await;
    let face = gallery.enrol("eileen", "portrait.jpg").await;
    let url = || backend.app.gateway("/analyze/comprehensive");
    let plain = ok(post(url(), form("grey.jpg")).await).await;
    assert_eq!(plain["metadata"]["session_id"], Value::Null, "nothing is stored unless asked");
    let stored = || {
        let form = form("grey.jpg").text("store", "true").text("collection", gallery.name.clone());
        let key = format!("store-{}", gallery.name);
        async move { Client::new().post(url()).header("idempotency-key", key).multipart(form).send().await.unwrap() }
    };
    let (first, second) = (ok(stored().await).await, ok(stored().await).await);
    let id = text(&first["metadata"]["session_id"]).to_owned();
    assert_eq!(second["metadata"]["session_id"], id.as_str(), "a repetition stores nothing more");
    let session = |rest: &str| backend.app.gateway(&format!("/api/v1/sessions/{id}{rest}"));
    let detail = ok(get(session("")).await).await;
    assert_eq!((&detail["total_faces_detected"], &detail["has_image"]), (&json!(1), &json!(false)), "{detail}");
    assert_eq!(detail["mime_type"], "image/jpeg");
    let kept = &detail["faces"][0];
    assert_eq!(kept["recognition"]["matched_face_id"], face["face"]["id"], "{kept}");
    assert!(kept["gender_age"].is_object() && kept["antispoof"].is_object() && kept["deepfake"].is_object());
    assert_eq!(kept["bbox"]["x"], first["data"]["faces"][0]["detection"]["bbox"]["x"]);
    problem(get(session("/image")).await, 404, "RESOURCE_NOT_FOUND").await;
    let list = ok(get(backend.app.gateway("/api/v1/sessions?limit=100")).await).await;
    assert_eq!(items(&list).iter().filter(|s| s["id"] == id.as_str()).count(), 1);
    assert_eq!(delete(session("")).await.status(), 204);
    problem(get(session("")).await, 404, "RESOURCE_NOT_FOUND").await;
    problem(get(backend.app.gateway("/api/v1/sessions/7")).await, 400, "INVALID_INPUT").await;
}

async fn a_batch_is_stored_photo_by_photo(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let config = json!({ "analysis_config": { "store": true, "collection": gallery.name } }).to_string();
    let photos = || -> Form {
        ["no_face.jpg", "grey.jpg"]
            .into_iter()
            .fold(Form::new(), |form, name| form.part("files", part(name, own(name, &gallery))))
            .part("files", part("notes.jpg", b"no photo".to_vec()))
            .text("config", config.clone())
    };
    let key = format!("batch-{}", gallery.name);
    let send = || {
        let url = backend.app.gateway("/analyze/batch");
        Client::new().request(Method::POST, url).header("idempotency-key", key.clone()).multipart(photos()).send()
    };
    let (first, second) = (ok(send().await.unwrap()).await, ok(send().await.unwrap()).await);
    assert_eq!((&first["completed_images"], &first["failed_images"]), (&json!(2), &json!(1)), "{first}");
    let ids = |answer: &Value| [0, 1].map(|i| text(&answer["results"][i]["session_id"]).to_owned());
    assert_eq!(ids(&first), ids(&second));
    assert_ne!(ids(&first)[0], ids(&first)[1]);
    assert_eq!((&second["results"][0]["cached"], &second["results"][1]["cached"]), (&json!(true), &json!(true)));
    assert_eq!(second["results"][2]["error"]["code"], "UNSUPPORTED_FORMAT");
    for (id, faces) in ids(&first).into_iter().zip([0, 1]) {
        let detail = ok(get(backend.app.gateway(&format!("/api/v1/sessions/{id}"))).await).await;
        assert_eq!(detail["faces"].as_array().unwrap().len(), faces);
    }
}
