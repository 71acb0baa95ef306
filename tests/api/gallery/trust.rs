//! What keeps a gallery and its decisions honest: whose a face is when it is enrolled, a photo that is used once, and how much a
//! similarity tells.

use reqwest::multipart::Form;
use serde_json::json;

use super::{
    answered,
    backend::{Backend, Gallery, on_every_backend},
};
use crate::helpers::{app, form, get, number, ok, part, photo, post, problem};

on_every_backend! {
    a_face_that_is_somebody_elses_is_told_or_refused,
    a_challenge_is_good_for_one_verification_and_one_photo,
    similarities_come_in_steps,
}

async fn a_face_that_is_somebody_elses_is_told_or_refused(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let enrol = |photo: &str, external_id: &str, check: &'static str| {
        let form = form(photo).text("external_id", external_id.to_owned()).text("identity_check", check);
        post(gallery.url("/faces"), form)
    };
    let first = answered(enrol("portrait.jpg", "eileen", "flag").await, 201).await;
    assert_eq!(first["identity"], json!({ "matches_person": null, "possible_duplicates": [] }));
    // The same person under another name.
    let refused = problem(enrol("grey.jpg", "ann", "refuse").await, 409, "IDENTITY_CONFLICT").await;
    assert!(refused.contains("like another person's"), "{refused}");
    let persons = ok(get(gallery.url("/persons")).await).await;
    assert_eq!(persons["items"].as_array().unwrap().len(), 1, "nobody was made for a refused face");
    let told = answered(enrol("grey.jpg", "ann", "flag").await, 201).await;
    let duplicates = told["identity"]["possible_duplicates"].as_array().unwrap();
    assert_eq!((duplicates.len(), &duplicates[0]["person"]["external_id"]), (1, &json!("eileen")), "{told}");
    assert!(told["identity"]["matches_person"].is_null());
    // Another's face under her name.
    let refused = problem(enrol("portrait_2.jpg", "eileen", "refuse").await, 409, "IDENTITY_CONFLICT").await;
    assert!(refused.contains("not like those that the person has"), "{refused}");
    let told = answered(enrol("portrait_2.jpg", "eileen", "flag").await, 201).await;
    assert_eq!(told["identity"], json!({ "matches_person": false, "possible_duplicates": [] }));
    let silent = answered(enrol("rotated_exif_6.jpg", "eileen", "off").await, 201).await;
    assert!(silent.get("identity").is_none());
}

async fn a_challenge_is_good_for_one_verification_and_one_photo(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "eileen" })).await;
    gallery.enrol("eileen", "portrait.jpg").await;
    let challenge = |of: &Gallery<'_>| {
        let url = of.url("/challenges");
        async move {
            let given = answered(post(url, Form::new()).await, 201).await;
            given["challenge"].as_str().unwrap().to_owned()
        }
    };
    let verify = |photo: &str, challenge: &str| {
        let claim = form(photo).text("person", "external:eileen").text("challenge", challenge.to_owned());
        post(gallery.url("/verify"), claim)
    };
    let plain = ok(post(gallery.url("/verify"), form("grey.jpg").text("person", "external:eileen")).await).await;
    assert_eq!(plain["fresh"], false);

    let first = challenge(&gallery).await;
    let answer = ok(verify("grey.jpg", &first).await).await;
    assert_eq!((&answer["is_match"], &answer["fresh"]), (&json!(true), &json!(true)));
    problem(verify("rotated_exif_6.jpg", &first).await, 422, "CHALLENGE_INVALID").await;
    let second = challenge(&gallery).await;
    problem(verify("grey.jpg", &second).await, 409, "PHOTO_REPLAYED").await;
    problem(verify("rotated_exif_6.jpg", &second).await, 422, "CHALLENGE_INVALID").await;
    problem(verify("rotated_exif_6.jpg", "made up").await, 422, "CHALLENGE_INVALID").await;
    // One that was given for another gallery.
    let other = Gallery::new(backend).await;
    let foreign = challenge(&other).await;
    problem(verify("rotated_exif_6.jpg", &foreign).await, 422, "CHALLENGE_INVALID").await;
    // A photo without a face got no answer, so that the next one is taken; of two at once one is.
    let third = challenge(&gallery).await;
    problem(verify("no_face.jpg", &third).await, 422, "NO_FACE").await;
    let fourth = challenge(&gallery).await;
    let (a, b) = tokio::join!(verify("rotated_exif_6.jpg", &fourth), verify("rotated_exif_6.jpg", &fourth));
    let mut statuses = [a.status().as_u16(), b.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 422]);
}

async fn similarities_come_in_steps(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "eileen" })).await;
    gallery.enrol("eileen", "portrait.jpg").await;
    let in_steps = |value: f64| (value * 100.0 - (value * 100.0).round()).abs() < 1e-9;
    let all = form("portrait_2.jpg").text("min_similarity", "-1");
    let answer = ok(post(gallery.url("/identify"), all).await).await;
    let shown = number(&answer["faces"][0]["matches"][0]["similarity"]);
    assert!(in_steps(shown), "{answer}");
    // What two photos of the client's own have in common is told in full.
    let file = |name: &str| part(name, photo(name));
    let own = Form::new().part("file1", file("portrait.jpg")).part("file2", file("portrait_2.jpg"));
    let compared = ok(post(app().service(facesocial_types::Service::Recognition, "/compare"), own).await).await;
    let full = number(&compared["similarity"]);
    assert!(!in_steps(full) && (shown..shown + 0.01).contains(&full), "{full} is shown as {shown}");
    // A finer question is answered no finer.
    for asked in [shown + 0.0001, full, shown + 0.01] {
        let finer = form("portrait_2.jpg").text("min_similarity", asked.to_string());
        let answer = ok(post(gallery.url("/identify"), finer).await).await;
        assert_eq!(answer["faces"][0]["matches"], json!([]), "{asked}");
    }
    let exact = form("portrait_2.jpg").text("min_similarity", shown.to_string());
    let answer = ok(post(gallery.url("/identify"), exact).await).await;
    assert_eq!(answer["faces"][0]["matches"].as_array().unwrap().len(), 1);
    let wrong = form("portrait_2.jpg").text("person", "external:eileen");
    let answer = ok(post(gallery.url("/verify"), wrong).await).await;
    assert!(in_steps(number(&answer["similarity"])), "{answer}");
}
