//! Registering, verifying, identifying, and what is kept of analyses: the same on every database, with and without Redis.

mod backend;
mod bad_input;
mod history;
mod legacy;
mod repeated;
mod trust;

use reqwest::{Client, Method, Response, multipart::Form};
use serde_json::{Value, json};

use self::backend::{Backend, Gallery, on_every_backend};
use crate::helpers::{form, get, number, ok, post, problem};

on_every_backend! {
    people_are_enrolled_verified_and_identified,
    lists_come_in_pages,
    what_is_known_is_not_computed_again,
    faces_are_changed_and_hidden,
    deleting_forgets,
}

/// Sends JSON.
async fn send(method: Method, url: String, body: Value) -> Response {
    Client::new().request(method, url).json(&body).send().await.unwrap()
}

async fn delete(url: String) -> Response {
    Client::new().delete(url).send().await.unwrap()
}

/// The JSON of an answer of this status.
async fn answered(response: Response, status: u16) -> Value {
    let found = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    assert_eq!(found, status, "{body}");
    body
}

fn items(list: &Value) -> &Vec<Value> {
    list["items"].as_array().unwrap_or_else(|| panic!("{list} is no list"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

async fn people_are_enrolled_verified_and_identified(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let eileen = gallery.person(json!({ "external_id": "eileen", "name": "Eileen Collins" })).await;
    let face = gallery.enrol("eileen", "portrait.jpg").await;
    assert_eq!(face["person"]["id"], eileen["id"]);
    assert_eq!((&face["person_created"], &face["person"]["faces"]), (&json!(false), &json!(1)));
    assert!(number(&face["face"]["quality_score"]) >= 0.4);
    assert!(face["face"]["has_crop"] == false, "no picture is kept unless that was configured");
    // Of a person that the photo brings along.
    let brings = form("portrait_2.jpg").text("external_id", "grace").text("name", "Grace Hopper");
    let grace = answered(post(gallery.url("/faces"), brings).await, 201).await;
    assert_eq!((&grace["person_created"], &grace["person"]["name"]), (&json!(true), &json!("Grace Hopper")));

    // Turned, smaller, and without colour: still the same person.
    for photo in ["rotated_exif_6.jpg", "grey.jpg"] {
        for level in ["basic", "standard", "strict"] {
            let claim = form(photo).text("person", "external:eileen").text("verification_level", level);
            let answer = ok(post(gallery.url("/verify"), claim).await).await;
            assert_eq!((&answer["is_match"], &answer["face_id"]), (&json!(true), &face["face"]["id"]), "{answer}");
            assert!(number(&answer["similarity"]) >= number(&answer["threshold"]));
            assert_eq!(answer["verification_level"], level);
        }
    }
    let wrong = form("portrait_2.jpg").text("person", text(&eileen["id"]).to_owned());
    let answer = ok(post(gallery.url("/verify"), wrong).await).await;
    assert_eq!((&answer["is_match"], &answer["false_accept_rate"]), (&json!(false), &json!(0.001)), "{answer}");

    let answer = ok(post(gallery.url("/identify"), form("grey.jpg")).await).await;
    let matches = answer["faces"][0]["matches"].as_array().unwrap();
    assert_eq!((matches.len(), &answer["searched"]), (1, &json!(2)), "{answer}");
    assert_eq!((&matches[0]["person"]["external_id"], &matches[0]["face_id"]), (&json!("eileen"), &face["face"]["id"]));
    // Everybody, most similar first.
    let everybody = form("grey.jpg").text("min_similarity", "-1").text("top_k", "10");
    let answer = ok(post(gallery.url("/identify"), everybody).await).await;
    let matches = answer["faces"][0]["matches"].as_array().unwrap();
    assert_eq!(matches.len(), 2);
    assert!(number(&matches[0]["similarity"]) > number(&matches[1]["similarity"]));
    assert!(answer["false_accept_rate"].is_null(), "a similarity of the client's choice has no measured rate");
    // Strangers, all five.
    let answer = ok(post(gallery.url("/identify"), form("group.jpg").text("faces", "all")).await).await;
    let faces = answer["faces"].as_array().unwrap();
    assert_eq!(faces.len(), 5);
    for (i, face) in faces.iter().enumerate() {
        assert_eq!((&face["index"], &face["matches"]), (&json!(i), &json!([])), "{face}");
    }
    // By JSON, and on the recognition service's own port.
    let url = backend.app.service(facesocial_types::Service::Recognition, &gallery.path("/identify"));
    let answer =
        ok(send(Method::POST, url, json!({ "image": backend::base64("portrait_2.jpg"), "top_k": 1 })).await).await;
    assert_eq!(answer["faces"][0]["matches"][0]["person"]["external_id"], "grace");

    let stats = ok(get(backend.app.gateway("/api/v1/stats")).await).await;
    assert!(stats["faces"].as_u64().unwrap() >= 2 && stats["embeddings"][text(&stats["model"])].as_u64().unwrap() >= 2);
}

async fn lists_come_in_pages(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(gallery.person(json!({ "external_id": format!("p/{n} ä"), "metadata": { "n": n } })).await);
    }
    let (mut seen, mut url) = (Vec::new(), gallery.url("/persons?limit=2"));
    loop {
        let page = ok(get(url).await).await;
        assert!(items(&page).len() <= 2);
        seen.extend(items(&page).clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        url = gallery.url(&format!("/persons?limit=2&cursor={cursor}"));
    }
    let ids = |list: &[Value]| list.iter().map(|p| p["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&seen), ids(&made));
    let one = ok(get(gallery.url("/persons/external:p%2F3%20%C3%A4")).await).await;
    assert_eq!((&one["id"], &one["metadata"]), (&made[3]["id"], &json!({ "n": 3 })));
    let one = ok(get(gallery.url(&format!("/persons/{}", text(&made[4]["id"])))).await).await;
    assert_eq!(one["external_id"], "p/4 ä");
    for query in ["cursor=x", "cursor=%00", "limit=0", "limit=101", "limit=many", "cursor=AAAA"] {
        problem(get(gallery.url(&format!("/persons?{query}"))).await, 400, "INVALID_INPUT").await;
    }
    let all = ok(get(backend.app.gateway("/api/v1/collections?limit=100")).await).await;
    let this = items(&all).iter().find(|c| c["name"] == gallery.name.as_str()).unwrap();
    assert_eq!((&this["persons"], &this["faces"]), (&json!(5), &json!(0)));
    assert_eq!(ok(get(gallery.url("")).await).await["name"], gallery.name.as_str());
}

async fn what_is_known_is_not_computed_again(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    let bytes = backend::own("portrait.jpg", &gallery);
    let photo = || Form::new().part("file", crate::helpers::part("x.jpg", bytes.clone()));
    let cached = |answer: Value| answer["metadata"]["cached"].as_bool().unwrap();
    let identify = || async { cached(ok(post(gallery.url("/identify"), photo()).await).await) };
    assert_eq!((identify().await, identify().await), (false, true));
    // The same faces serve another use, and not another choice of faces.
    let all = photo().text("faces", "all");
    assert!(!cached(ok(post(gallery.url("/identify"), all).await).await));
    let asked = |directive: &'static str| {
        let request =
            Client::new().post(gallery.url("/identify")).header("cache-control", directive).multipart(photo());
        async { cached(ok(request.send().await.unwrap()).await) }
    };
    assert!(!asked("no-cache").await && asked("max-age=0").await);

    let analyze = || backend.app.gateway("/analyze/comprehensive");
    let first = ok(post(analyze(), photo()).await).await;
    let second = ok(post(analyze(), photo()).await).await;
    assert_eq!((cached(first.clone()), cached(second.clone())), (false, true));
    assert_eq!(first["data"]["faces"], second["data"]["faces"]);
    assert!(second["data"]["faces"][0]["recognition"]["embedding"].is_null());
    let with_vectors = ok(post(analyze(), photo().text("return_embeddings", "true")).await).await;
    assert!(!cached(with_vectors.clone()), "other options, another answer");
    assert!(with_vectors["data"]["faces"][0]["recognition"]["embedding"].is_array());
}

async fn faces_are_changed_and_hidden(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    gallery.person(json!({ "external_id": "a" })).await;
    let b = gallery.person(json!({ "external_id": "b" })).await;
    let face = gallery.enrol("a", "portrait.jpg").await["face"].clone();
    let url = || gallery.url(&format!("/faces/{}", text(&face["id"])));
    assert_eq!(ok(get(url()).await).await["id"], face["id"]);
    let found = || async {
        let answer = ok(post(gallery.url("/identify"), form("portrait.jpg")).await).await;
        answer["faces"][0]["matches"][0]["person"]["external_id"].clone()
    };
    assert_eq!(found().await, "a");
    let moved = json!({ "person": "external:b", "face_group": "alternate", "metadata": { "seen": [1, 2] } });
    let changed = ok(send(Method::PATCH, url(), moved).await).await;
    assert_eq!((&changed["person_id"], &changed["face_group"]), (&b["id"], &json!("alternate")));
    assert_eq!(found().await, "b");
    let within = |group: &str| form("portrait.jpg").text("face_groups", group.to_owned());
    let answer = ok(post(gallery.url("/identify"), within("primary")).await).await;
    assert_eq!(answer["faces"][0]["matches"], json!([]));
    let answer = ok(post(gallery.url("/identify"), within("alternate")).await).await;
    assert_eq!(answer["faces"][0]["matches"][0]["metadata"], json!({ "seen": [1, 2] }));
    ok(send(Method::PATCH, url(), json!({ "searchable": false })).await).await;
    assert_eq!(found().await, Value::Null);
    let renamed = json!({ "name": "Bea", "metadata": { "desk": 4 } });
    let person = ok(send(Method::PATCH, gallery.url("/persons/external:b"), renamed).await).await;
    assert_eq!((&person["name"], &person["metadata"]["desk"]), (&json!("Bea"), &json!(4)));
    // Of one person, of nobody, of all.
    for (query, count) in [("", 1), ("?person=external:b", 1), ("?person=external:a", 0), ("?person=none", 0)] {
        let list = ok(get(gallery.url(&format!("/faces{query}"))).await).await;
        assert_eq!(items(&list).len(), count, "{query}");
    }
    assert_eq!(items(&ok(get(gallery.url("/persons/external:b/faces")).await).await).len(), 1);
}

async fn deleting_forgets(backend: &Backend) {
    let gallery = Gallery::new(backend).await;
    for person in ["a", "b"] {
        gallery.person(json!({ "external_id": person })).await;
    }
    let first = gallery.enrol("a", "portrait.jpg").await;
    gallery.enrol("b", "portrait_2.jpg").await;
    let identify = |photo: &'static str| {
        let url = gallery.url("/identify");
        async move { ok(post(url, form(photo)).await).await }
    };
    assert_eq!(identify("portrait.jpg").await["faces"][0]["matches"].as_array().unwrap().len(), 1);
    let erased = ok(delete(gallery.url(&format!("/faces/{}", text(&first["face"]["id"])))).await).await;
    assert_eq!((&erased["faces"], &erased["embeddings"]), (&json!(1), &json!(1)));
    assert_eq!(identify("portrait.jpg").await["faces"][0]["matches"], json!([]));
    problem(delete(gallery.url(&format!("/faces/{}", text(&first["face"]["id"])))).await, 404, "FACE_NOT_FOUND").await;

    assert_eq!(identify("portrait_2.jpg").await["faces"][0]["matches"].as_array().unwrap().len(), 1);
    let erased = ok(delete(gallery.url("/persons/external:b")).await).await;
    assert_eq!((&erased["persons"], &erased["faces"], &erased["embeddings"]), (&json!(1), &json!(1), &json!(1)));
    assert!(erased.get("image_hashes").is_none());
    let after = identify("portrait_2.jpg").await;
    assert_eq!((&after["faces"][0]["matches"], &after["searched"]), (&json!([]), &json!(0)));
    problem(get(gallery.url("/persons/external:b")).await, 404, "PERSON_NOT_FOUND").await;

    let erased = ok(delete(gallery.url("")).await).await;
    assert_eq!(erased["persons"], 1);
    problem(get(gallery.url("/persons")).await, 404, "COLLECTION_NOT_FOUND").await;
    problem(delete(backend.app.gateway("/api/v1/collections/default")).await, 400, "INVALID_INPUT").await;
}
