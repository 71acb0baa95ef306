//! The original's own paths and names.

use facesocial_types::Service;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    answered,
    backend::{Backend, Gallery, base64, on_every_backend},
    items, send, text,
};
use crate::helpers::{form, get, number, ok, post, problem};

on_every_backend! { the_originals_clients_are_served, the_documented_paths_are_served }

async fn the_originals_clients_are_served(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let collection = gallery.name.as_str();
    let call = |path: &'static str, mut body: Value| {
        body["collection"] = collection.into();
        let url = backend.app.service(Service::Recognition, path);
        async move { send(Method::POST, url, body).await }
    };
    let body = json!({ "user_id": "eileen", "image": base64("portrait.jpg"), "metadata": { "badge": 7 } });
    let registered = ok(call("/register", body.clone()).await).await;
    let data = &registered["data"];
    assert_eq!((&registered["success"], &data["user_id"]), (&json!(true), &json!("eileen")), "{registered}");
    assert_eq!(
        (&data["registration_status"], &registered["metadata"]["model_version"]),
        (&json!("success"), &data["embedding_version"])
    );
    assert_eq!(data["face_attributes"]["face_size"].as_array().unwrap().len(), 2);
    assert_eq!(call("/register", body).await.status(), 409, "the same photo twice");

    let claim =
        |user: &str, image: &str| json!({ "user_id": user, "image": base64(image), "verification_level": "standard" });
    let verified = ok(call("/verify", claim("eileen", "grey.jpg")).await).await["data"].clone();
    assert_eq!((&verified["verification_result"], &verified["is_match"]), (&json!("success"), &json!(true)));
    assert_eq!(
        (&verified["matched_face_id"], &verified["risk_assessment"]["risk_level"]),
        (&data["face_id"], &json!("low"))
    );
    assert_eq!(verified["similarity_score"], verified["confidence_score"]);
    let other = ok(call("/verify", claim("eileen", "portrait_2.jpg")).await).await["data"].clone();
    assert_eq!((&other["verification_result"], &other["matched_face_id"]), (&json!("no_match"), &Value::Null));
    problem(call("/verify", claim("nobody", "grey.jpg")).await, 404, "PERSON_NOT_FOUND").await;
    problem(call("/verify", json!({ "image": base64("grey.jpg") })).await, 400, "MISSING_FIELD").await;
    gallery.person(json!({ "external_id": "faceless" })).await;
    let none = ok(call("/verify", claim("faceless", "grey.jpg")).await).await["data"].clone();
    assert_eq!((&none["is_match"], &none["message"]), (&json!(false), &json!("No registered faces found for user")));

    let found =
        ok(call("/identify", json!({ "image": base64("grey.jpg"), "max_results": 3 })).await).await["data"].clone();
    assert_eq!((&found["identification_result"], &found["matches_found"]), (&json!("success"), &json!(1)), "{found}");
    assert_eq!(
        (&found["matches"][0]["user_id"], &found["matches"][0]["metadata"]),
        (&json!("eileen"), &json!({ "badge": 7 }))
    );
    let unknown = ok(call("/identify", json!({ "image": base64("portrait_2.jpg") })).await).await["data"].clone();
    assert_eq!((&unknown["identification_result"], &unknown["matches"]), (&json!("no_match"), &json!([])));
    problem(call("/identify", json!({ "image": base64("no_face.jpg") })).await, 422, "NO_FACE").await;

    // Under the gateway, as a form.
    let register = form("portrait_2.jpg").text("user_id", "grace").text("collection", gallery.name.clone());
    ok(post(backend.app.gateway("/face-recognition/register"), register).await).await;
    let stats = ok(get(backend.app.gateway("/face-recognition/stats")).await).await;
    assert!(stats["total_faces_registered"].as_u64().unwrap() >= 2);
    assert_eq!(stats["models_loaded"].as_array().unwrap().len(), stats["model_weights"].as_object().unwrap().len());
    assert!((0.5..1.0).contains(&number(&stats["similarity_threshold"])));
}

async fn the_documented_paths_are_served(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let url = |path: &str| backend.app.gateway(&format!("/api/v1/face-recognition{path}?collection={}", gallery.name));
    let collection = gallery.name.as_str();
    let body = json!({ "user_id": "eileen", "image": base64("portrait.jpg"), "collection": collection });
    let registered = answered(send(Method::POST, url("/register"), body).await, 201).await["data"].clone();
    let faces = ok(get(url("/users/eileen/faces")).await).await;
    assert_eq!(items(&faces)[0]["id"], registered["face_id"]);
    let scope = json!({ "max_candidates": 2, "user_groups": ["primary"] });
    let search = json!({ "image": base64("grey.jpg"), "collection": collection, "search_scope": scope });
    let found = ok(send(Method::POST, url("/identify"), search.clone()).await).await["data"].clone();
    assert_eq!((&found["identification_result"], &found["total_candidates"]), (&json!("found"), &json!(1)), "{found}");
    assert_eq!(
        (&found["candidates"][0]["user_id"], &found["search_stats"]["faces_searched"]),
        (&json!("eileen"), &json!(1))
    );
    let face = || url(&format!("/faces/{}", text(&registered["face_id"])));
    let hidden = json!({ "privacy_settings": { "searchable": false } });
    assert_eq!(ok(send(Method::PUT, face(), hidden).await).await["searchable"], false);
    let found = ok(send(Method::POST, url("/identify"), search).await).await["data"].clone();
    assert_eq!(found["identification_result"], "no_match");
    assert_eq!(ok(super::delete(face()).await).await["faces"], 1);
    assert_eq!(items(&ok(get(url("/users/eileen/faces")).await).await).len(), 0);
}
