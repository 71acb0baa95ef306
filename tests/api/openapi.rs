//! The document of the API against the API: every route is in it with its permission, and what is answered has the form that
//! it says.

mod schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use facesocial_store::Role as Rank;
use facesocial_types::Service;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    accounts::{PASSWORD, secured},
    helpers::{app, batch, form, part, photo},
    jobs::archive,
};

const TABLE: &str = include_str!("authorization.tsv");

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../server/openapi.json")).unwrap());

/// The gateway's routes by the table: method and path, with the permission that each needs.
fn table() -> BTreeMap<(String, String), Option<String>> {
    let mut rows = BTreeMap::new();
    for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
        let [listener, method, path, permission, ..] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let path = match listener {
            // What other servers ask on services' own ports is no part of the API.
            "services" => continue,
            "gateway" | "all" => path.to_owned(),
            "api" => format!("/api/v1{path}"),
            service => format!("{}{path}", facesocial::services::scope(service.parse::<Service>().unwrap())),
        };
        // How much of an address a variable takes is no part of its name.
        let key = (method.to_lowercase(), path.replace("{path:.*}", "{path}"));
        rows.insert(key, (permission != "-").then(|| permission.to_owned()));
    }
    rows
}

fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

#[test]
fn the_document_names_every_route_with_its_permission_and_no_other() {
    let mut documented = BTreeMap::new();
    for (method, path, operation) in operations() {
        let security = operation["security"].as_array().unwrap();
        let permission = match &security[..] {
            [] => None,
            [token, key] => {
                assert_eq!(token["accessToken"], key["apiKey"], "{method} {path}");
                let scopes: Vec<&str> =
                    token["accessToken"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
                // Without a scope, whoever is known.
                Some(if scopes.is_empty() { "any".to_owned() } else { scopes.join("+") })
            }
            _ => panic!("{method} {path}: {security:?}"),
        };
        let responses = operation["responses"].as_object().unwrap();
        let scoped = permission.as_deref().is_some_and(|permission| permission != "any");
        assert!(permission.is_none() || responses.contains_key("401"), "{method} {path}");
        assert_eq!(scoped, responses.contains_key("403"), "{method} {path}");
        assert!(responses.contains_key("5XX") && responses.contains_key("429"), "{method} {path}");
        documented.insert((method.to_owned(), path.to_owned()), permission);
    }
    assert_eq!(documented, table());
}

#[test]
fn the_document_hangs_together() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    found.insert(reference);
                }
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    references(&DOCUMENT, &mut found);
    for reference in &found {
        assert!(DOCUMENT.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    for kind in ["schemas", "parameters", "responses"] {
        for name in DOCUMENT["components"][kind].as_object().unwrap().keys() {
            assert!(found.contains(format!("#/components/{kind}/{name}").as_str()), "{kind}/{name} is not used");
        }
    }
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations() {
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}: twice");
        let empty = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&empty).iter();
        let in_path: BTreeSet<&str> =
            parameters.filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap()).collect();
        let wanted: BTreeSet<&str> = path.split('{').skip(1).map(|part| part.split_once('}').unwrap().0).collect();
        assert_eq!(in_path, wanted, "{method} {path}");
        let tag = &operation["tags"][0];
        assert!(DOCUMENT["tags"].as_array().unwrap().iter().any(|known| known["name"] == *tag), "{method} {path}");
    }
    assert_eq!(DOCUMENT["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// What the document says of an answer: the schema for its media type.
fn schema_of(method: &Method, path: &str, status: u16, media_type: &str) -> &'static Value {
    let operation = &DOCUMENT["paths"][path][method.as_str().to_lowercase()];
    assert!(operation.is_object(), "{method} {path} is not documented");
    let responses = operation["responses"].as_object().unwrap();
    let range = format!("{}XX", status / 100);
    let found = responses.get(&status.to_string()).or_else(|| responses.get(&range));
    let mut response = found.unwrap_or_else(|| panic!("{method} {path}: {status} is not documented"));
    if let Some(reference) = response["$ref"].as_str() {
        response = DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap();
    }
    let schema = &response["content"][media_type]["schema"];
    assert!(schema.is_object(), "{method} {path}: {status} is not documented as {media_type}");
    schema
}

/// Sends a request and holds its answer against the document; `path` is as it stands there.
async fn held(method: Method, path: &str, request: RequestBuilder, expected: u16) -> Value {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let media_type = answer.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
    let text = answer.text().await.unwrap();
    assert_eq!(status, expected, "{method} {path}: {text}");
    if text.is_empty() {
        let responses = &DOCUMENT["paths"][path][method.as_str().to_lowercase()]["responses"];
        assert!(responses[status.to_string()].is_object(), "{method} {path}: {status} is not documented");
        return Value::Null;
    }
    let media_type = media_type.unwrap();
    let schema = schema_of(&method, path, status, &media_type);
    let mut last = Value::Null;
    let bodies: Vec<&str> = if media_type == "application/x-ndjson" { text.lines().collect() } else { vec![&text] };
    for body in bodies {
        last = serde_json::from_str(body).unwrap();
        let faults = schema::faults(&DOCUMENT, schema, &last);
        assert!(faults.is_empty(), "{method} {path}: {faults:#?}");
    }
    last
}

/// A request to the shared server; what stands in braces is filled from `names`.
fn to(method: Method, path: &str, names: &[(&str, &str)]) -> RequestBuilder {
    let filled = names.iter().fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
    Client::new().request(method, app().gateway(&filled))
}

async fn got(path: &str, names: &[(&str, &str)]) -> Value {
    held(Method::GET, path, to(Method::GET, path, names), 200).await
}

#[tokio::test]
async fn analyses_are_answered_as_documented() {
    let posted =
        async |path: &str, form| held(Method::POST, path, to(Method::POST, path, &[]).multipart(form), 200).await;
    for path in ["/", "/healthz", "/readyz", "/health", "/services", "/openapi.json", "/api/v1/stats"] {
        got(path, &[]).await;
    }
    for path in ["/api/v1/auth/status", "/api/v1/face-detection/methods", "/mediapipe/config", "/api/v1/models"] {
        got(path, &[]).await;
    }
    for service in Service::ALL {
        let scope = facesocial::services::scope(*service);
        got(&format!("{scope}/health"), &[]).await;
        got(&format!("{scope}/"), &[]).await;
    }
    let whole = posted("/analyze/comprehensive", form("portrait.jpg").text("return_embeddings", "1")).await;
    assert_eq!(whole["data"]["total_faces_detected"], 1);
    for method in ["mediapipe", "yolo", "mtcnn", "ensemble"] {
        let asked = form("portrait.jpg").text("face_service", method).text("predict_gender_age", "1");
        posted("/analyze/comprehensive", asked).await;
        posted("/detect/faces", form("portrait.jpg").text("service", method)).await;
    }
    posted("/analyze/comprehensive", form("no_face.jpg")).await;
    let files = || batch(&["portrait.jpg", "no_face.jpg"]).part("files", part("broken.jpg", b"no image".to_vec()));
    posted("/analyze/batch", files()).await;
    let unified = form("portrait.jpg").text("return_attributes", "true").text("detection_method", "mtcnn");
    posted("/api/v1/face-detection/detect", unified).await;
    posted("/api/v1/face-detection/detect", form("portrait.jpg").text("quality_assessment", "0")).await;
    posted("/api/v1/face-detection/batch-detect", files()).await;
    for path in ["/mediapipe/detect", "/yolo/detect", "/mtcnn/detect", "/antispoof/detect", "/deepfake/detect"] {
        posted(path, form("portrait.jpg")).await;
        posted(&format!("{path}/batch"), files()).await;
    }
    posted("/gender-age/predict", form("portrait.jpg")).await;
    posted("/gender-age/predict/batch", files()).await;
    let two = || reqwest::multipart::Form::new().part("file1", part("a.jpg", photo("portrait.jpg")));
    posted("/face-recognition/compare", two().part("file2", part("b.jpg", photo("grey.jpg")))).await;
    // Refusals too.
    let path = "/analyze/comprehensive";
    let refused =
        async |form, status| held(Method::POST, path, to(Method::POST, path, &[]).multipart(form), status).await;
    refused(form("portrait.jpg").text("face_service", "dlib"), 400).await;
    refused(reqwest::multipart::Form::new().part("file", part("x.jpg", b"no image".to_vec())), 415).await;
    refused(form("portrait.jpg").text("collection", "there-is-none"), 404).await;
}

#[tokio::test]
async fn the_gallery_and_its_jobs_are_answered_as_documented() {
    let all = "/api/v1/collections";
    let body = json!({ "name": "documented", "description": "for the document" });
    held(Method::POST, all, to(Method::POST, all, &[]).json(&body), 201).await;
    held(Method::POST, all, to(Method::POST, all, &[]).json(&body), 409).await;
    got(all, &[]).await;
    let c = ("name", "documented");
    got("/api/v1/collections/{name}", &[c]).await;
    let persons = "/api/v1/collections/{name}/persons";
    let new = json!({ "external_id": "eileen", "name": "Eileen Collins", "metadata": { "crew": 114 } });
    let person = held(Method::POST, persons, to(Method::POST, persons, &[c]).json(&new), 201).await;
    let p = ("id", person["id"].as_str().unwrap());
    let listed = held(Method::GET, persons, to(Method::GET, &format!("{persons}?name=EILEEN%20C"), &[c]), 200).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let none = held(Method::GET, persons, to(Method::GET, &format!("{persons}?name=nobody"), &[c]), 200).await;
    assert_eq!(none["items"], json!([]));
    let one = "/api/v1/collections/{name}/persons/{id}";
    got(one, &[c, p]).await;
    held(Method::PATCH, one, to(Method::PATCH, one, &[c, p]).json(&json!({ "name": "Eileen" })), 200).await;
    let faces = "/api/v1/collections/{name}/persons/{id}/faces";
    let enrolled =
        held(Method::POST, faces, to(Method::POST, faces, &[c, p]).multipart(form("portrait.jpg")), 201).await;
    held(Method::POST, faces, to(Method::POST, faces, &[c, p]).multipart(form("group.jpg")), 422).await;
    held(Method::POST, faces, to(Method::POST, faces, &[c, p]).multipart(form("portrait.jpg")), 409).await;
    let poor = form("group.jpg").text("target_face", "0");
    held(Method::POST, faces, to(Method::POST, faces, &[c, p]).multipart(poor), 422).await;
    got(faces, &[c, p]).await;
    let any = "/api/v1/collections/{name}/faces";
    held(Method::POST, any, to(Method::POST, any, &[c]).multipart(form("portrait_2.jpg")), 201).await;
    got(any, &[c]).await;
    let f = ("id", enrolled["face"]["id"].as_str().unwrap());
    let face = "/api/v1/collections/{name}/faces/{id}";
    got(face, &[c, f]).await;
    held(Method::PATCH, face, to(Method::PATCH, face, &[c, f]).json(&json!({ "face_group": "first" })), 200).await;
    let crop = "/api/v1/collections/{name}/faces/{id}/crop";
    let told = held(Method::GET, crop, to(Method::GET, crop, &[c, f]), 404).await;
    assert!(told["detail"].as_str().unwrap().contains("--store-images"));
    let verify = "/api/v1/collections/{name}/verify";
    let claim = form("grey.jpg").text("person", "external:eileen");
    held(Method::POST, verify, to(Method::POST, verify, &[c]).multipart(claim), 200).await;
    let identify = "/api/v1/collections/{name}/identify";
    held(
        Method::POST,
        identify,
        to(Method::POST, identify, &[c]).multipart(form("group.jpg").text("faces", "all")),
        200,
    )
    .await;
    held(Method::POST, identify, to(Method::POST, identify, &[c]).multipart(form("grey.jpg")), 200).await;
    // The original's paths, in this collection.
    for (base, created) in [("/face-recognition", 200), ("/api/v1/face-recognition", 201)] {
        let own = |name: &str| form(name).text("collection", "documented").text("user_id", format!("of{created}"));
        let photo = if created == 200 { "rotated_exif_3.jpg" } else { "rotated_exif_6.jpg" };
        let register = format!("{base}/register");
        let asked = own(photo).text("quality_gate", "false");
        held(Method::POST, &register, to(Method::POST, &register, &[]).multipart(asked), created).await;
        for verb in ["verify", "identify"] {
            let path = format!("{base}/{verb}");
            held(Method::POST, &path, to(Method::POST, &path, &[]).multipart(own("grey.jpg")), 200).await;
        }
    }
    got("/face-recognition/stats", &[]).await;
    let of_user = "/api/v1/face-recognition/users/{user_id}/faces";
    let asked = to(Method::GET, &format!("{of_user}?collection=documented"), &[("user_id", "of200")]);
    held(Method::GET, of_user, asked, 200).await;
    // A stored analysis that names the person, then all that is kept of it.
    let store = form("grey.jpg").text("collection", "documented").text("store", "true");
    let path = "/analyze/comprehensive";
    let stored = held(Method::POST, path, to(Method::POST, path, &[]).multipart(store), 200).await;
    got("/api/v1/sessions", &[]).await;
    let session = ("id", stored["metadata"]["session_id"].as_str().unwrap());
    got("/api/v1/sessions/{id}", &[session]).await;
    let image = "/api/v1/sessions/{id}/image";
    held(Method::GET, image, to(Method::GET, image, &[session]), 404).await;
    got("/api/v1/collections/{name}/persons/{id}/export", &[c, p]).await;
    got("/api/v1/audit", &[]).await;
    // Jobs.
    let jobs = "/api/v1/collections/{name}/jobs";
    let job = held(Method::POST, jobs, to(Method::POST, jobs, &[c]).json(&json!({ "kind": "group" })), 202).await;
    held(Method::POST, jobs, to(Method::POST, jobs, &[c]).json(&json!({ "kind": "dance" })), 400).await;
    let j = ("id", job["id"].as_str().unwrap());
    got("/api/v1/jobs", &[]).await;
    got("/api/v1/jobs/{id}", &[j]).await;
    let results = "/api/v1/jobs/{id}/results";
    held(Method::GET, results, to(Method::GET, results, &[j]), 400).await;
    let (start, zip) = ("/api/v1/jobs", archive(&[("a.jpg", photo("portrait.jpg")), ("b.jpg", b"x".to_vec())]));
    let asked = reqwest::multipart::Form::new().text("kind", "analyze").part("file", part("photos.zip", zip));
    let analyses = held(Method::POST, start, to(Method::POST, start, &[]).multipart(asked), 202).await;
    let a = ("id", analyses["id"].as_str().unwrap());
    let begun = std::time::Instant::now();
    while got("/api/v1/jobs/{id}", &[a]).await["status"] != "completed" {
        assert!(begun.elapsed().as_secs() < 180, "the job did not end");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let last = held(Method::GET, results, to(Method::GET, results, &[a]), 200).await;
    assert_eq!(last["status"], "failed", "the second of the two is no image");
    let cancel = "/api/v1/jobs/{id}/cancel";
    held(Method::POST, cancel, to(Method::POST, cancel, &[("id", "none")]), 404).await;
    // And what ends them.
    held(Method::DELETE, "/api/v1/sessions/{id}", to(Method::DELETE, "/api/v1/sessions/{id}", &[session]), 204).await;
    held(Method::DELETE, face, to(Method::DELETE, face, &[c, f]), 200).await;
    held(Method::DELETE, one, to(Method::DELETE, one, &[c, p]), 200).await;
    let gone = "/api/v1/collections/{name}";
    held(Method::DELETE, gone, to(Method::DELETE, gone, &[c]), 200).await;
    held(Method::GET, gone, to(Method::GET, gone, &[c]), 404).await;
}

#[tokio::test]
async fn accounts_are_answered_as_documented() {
    let server = secured(|access| access.login_attempts = 100).await;
    let anonymous = |method: Method, path: &str| server.anonymous(method, path.trim_start_matches("/api/v1"));
    let by_admin = |method: Method, path: &str| server.by(Rank::Admin, method, path.trim_start_matches("/api/v1"));
    let login = "/api/v1/auth/login";
    let credentials = json!({ "username": "user", "password": PASSWORD });
    let tokens = held(Method::POST, login, anonymous(Method::POST, login).json(&credentials), 200).await;
    let wrong = json!({ "username": "user", "password": "wrong" });
    held(Method::POST, login, anonymous(Method::POST, login).json(&wrong), 401).await;
    let refresh = "/api/v1/auth/refresh";
    let body = json!({ "refresh_token": tokens["refresh_token"] });
    let tokens = held(Method::POST, refresh, anonymous(Method::POST, refresh).json(&body), 200).await;
    let (account, access) = ("/api/v1/account", tokens["access_token"].as_str().unwrap());
    held(Method::GET, account, anonymous(Method::GET, account).bearer_auth(access), 200).await;
    held(Method::GET, account, anonymous(Method::GET, account), 401).await;
    let change = json!({ "first_name": "Una" });
    held(Method::PATCH, account, anonymous(Method::PATCH, account).bearer_auth(access).json(&change), 200).await;
    let (users, user) = ("/api/v1/users", "/api/v1/users/{id}");
    held(Method::GET, users, anonymous(Method::GET, users).bearer_auth(access), 403).await;
    let new = json!({ "username": "dora", "password": PASSWORD, "role": "user" });
    let made = held(Method::POST, users, by_admin(Method::POST, users).json(&new), 201).await;
    held(Method::POST, users, by_admin(Method::POST, users).json(&new), 409).await;
    held(Method::GET, users, by_admin(Method::GET, users), 200).await;
    let own = user.replace("{id}", made["id"].as_str().unwrap());
    held(Method::GET, user, by_admin(Method::GET, &own), 200).await;
    held(Method::PATCH, user, by_admin(Method::PATCH, &own).json(&json!({ "role": "operator" })), 200).await;
    held(Method::DELETE, user, by_admin(Method::DELETE, &own), 204).await;
    let (keys, key) = ("/api/v1/keys", "/api/v1/keys/{id}");
    let new = json!({ "name": "door", "scopes": ["analyze"], "expires_at": "2100-01-01T00:00:00Z" });
    let made = held(Method::POST, keys, by_admin(Method::POST, keys).json(&new), 201).await;
    held(Method::GET, keys, by_admin(Method::GET, keys), 200).await;
    let own = key.replace("{id}", made["id"].as_str().unwrap());
    held(Method::GET, key, by_admin(Method::GET, &own), 200).await;
    held(Method::DELETE, key, by_admin(Method::DELETE, &own), 200).await;
    let (setup, body) = ("/api/v1/auth/setup", json!({ "token": "x", "username": "x", "password": PASSWORD }));
    held(Method::POST, setup, anonymous(Method::POST, setup).json(&body), 409).await;
    let logout = "/api/v1/auth/logout";
    held(Method::POST, logout, anonymous(Method::POST, logout).bearer_auth(access), 204).await;
}
