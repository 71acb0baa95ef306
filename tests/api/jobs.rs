//! Jobs over HTTP: imports and their reports, grouping, duplicates, cancelling; export and audit trail.

use std::{io::Write, sync::Arc, time::Duration};

use facesocial_store::{
    DEFAULT_COLLECTION, FaceId, NewFace, NewPerson, PersonRef, Store, StoreError, StoreOptions, Write as Change,
};
use facesocial_types::{BBox, Embedding, ModelId};
use reqwest::{Client, Response, multipart::Form};
use serde_json::{Value, json};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::helpers::{TestApp, app, config, form, get, number, ok, part, photo, post, problem, spawn_app};

/// A ZIP archive of these entries.
pub fn archive(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The same photo as another file.
pub fn again(name: &str, copy: usize) -> Vec<u8> {
    let mut bytes = photo(name);
    bytes.extend_from_slice(format!("copy {copy}").as_bytes());
    bytes
}

async fn post_json(url: String, body: &Value) -> Response {
    Client::new().post(url).json(body).send().await.unwrap()
}

async fn collection(app: &TestApp, name: &str) -> String {
    let made = post_json(app.gateway("/api/v1/collections"), &json!({ "name": name })).await;
    assert_eq!(made.status(), 201);
    app.gateway(&format!("/api/v1/collections/{name}"))
}

async fn import(collection: &str, bytes: Vec<u8>) -> Response {
    post(format!("{collection}/imports"), Form::new().part("file", part("photos.zip", bytes))).await
}

async fn job(collection: &str, body: Value) -> Response {
    post_json(format!("{collection}/jobs"), &body).await
}

/// The job that a response tells of.
pub async fn accepted(app: &TestApp, response: Response) -> String {
    let location = response.headers().get("location").map(|l| l.to_str().unwrap().to_owned());
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 202, "{body}");
    let location = location.unwrap();
    assert_eq!(location, format!("/api/v1/jobs/{}", body["id"].as_str().unwrap()));
    app.gateway(&location)
}

/// Waits until a job has ended.
pub async fn ended(job: &str) -> Value {
    for _ in 0..1800 {
        let now = ok(get(job.to_owned()).await).await;
        if !matches!(now["status"].as_str(), Some("pending" | "processing")) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the job did not end");
}

#[tokio::test]
async fn an_archive_becomes_persons_and_a_report_of_every_file() {
    let app = app();
    let staff = collection(app, "import-staff").await;
    let zip = archive(&[
        ("ann/portrait.jpg", photo("portrait.jpg")),
        ("bob/1.jpg", photo("portrait_2.jpg")),
        ("bob/copy.jpg", photo("portrait_2.jpg")),
        ("cem/coffee.jpg", photo("no_face.jpg")),
        ("cem/broken.jpg", photo("portrait.jpg")[..4000].to_vec()),
        ("cem/notes.txt", b"not a photo".to_vec()),
        ("../../etc/cron.d/evil.jpg", photo("portrait.jpg")),
        ("stray.jpg", photo("portrait.jpg")),
        ("ann/group.jpg", photo("group.jpg")),
        ("__MACOSX/ann/._portrait.jpg", b"x".to_vec()),
    ]);
    let send = || {
        let form = Form::new().part("file", part("photos.zip", zip.clone()));
        Client::new().post(format!("{staff}/imports")).header("Idempotency-Key", "import-1").multipart(form).send()
    };
    let first = send().await.unwrap();
    let at = accepted(app, first).await;
    let repeated = send().await.unwrap();
    assert_eq!(repeated.headers().get("idempotency-replayed").unwrap(), "true");
    assert_eq!(accepted(app, repeated).await, at);

    let job = ended(&at).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!((&job["kind"], &job["total_items"], &job["processed_items"]), (&json!("import"), &json!(9), &json!(9)));
    assert_eq!(job["failed_items"], 6);
    let report = &job["results"];
    let told: Vec<(&str, &str, &str)> = report["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["path"].as_str().unwrap(), f["status"].as_str().unwrap(), f["code"].as_str().unwrap_or_default()))
        .collect();
    let expected = [
        ("ann/portrait.jpg", "enrolled", ""),
        ("bob/1.jpg", "enrolled", ""),
        ("bob/copy.jpg", "duplicate", "DUPLICATE_FACE"),
        ("cem/coffee.jpg", "rejected", "NO_FACE"),
        ("cem/broken.jpg", "rejected", "CORRUPT_IMAGE"),
        ("cem/notes.txt", "rejected", "UNSUPPORTED_FORMAT"),
        ("../../etc/cron.d/evil.jpg", "rejected", "INVALID_INPUT"),
        ("stray.jpg", "rejected", "INVALID_INPUT"),
        ("ann/group.jpg", "rejected", "MULTIPLE_FACES"),
    ];
    assert_eq!(told, expected);
    assert_eq!((&report["enrolled"], &report["persons_created"]), (&json!(2), &json!(2)));
    assert!(report.get("position").is_none() && report.get("attempts").is_none());

    let persons = ok(get(format!("{staff}/persons")).await).await;
    let names: Vec<_> = persons["items"].as_array().unwrap().iter().map(|p| (&p["external_id"], &p["faces"])).collect();
    assert_eq!(names, [(&json!("ann"), &json!(1)), (&json!("bob"), &json!(1))]);
    // The list tells the job without its report.
    let jobs = ok(get(app.gateway("/api/v1/jobs?limit=100")).await).await;
    let listed = jobs["items"].as_array().unwrap().iter().find(|j| j["id"] == job["id"]).unwrap();
    assert!(listed.get("results").is_none() && listed["status"] == "completed");
}

#[tokio::test]
async fn what_is_no_archive_of_photos_is_refused_at_once() {
    let app = app();
    let here = collection(app, "import-refused").await;
    let send = |bytes| import(&here, bytes);
    problem(send(b"hello".to_vec()).await, 415, "UNSUPPORTED_FORMAT").await;
    problem(send(Vec::new()).await, 400, "EMPTY_FILE").await;
    let zip = archive(&[("ann/1.jpg", photo("portrait.jpg"))]);
    problem(send(zip[..zip.len() / 2].to_vec()).await, 415, "UNSUPPORTED_FORMAT").await;
    let detail = problem(send(archive(&[("1.jpg", photo("portrait.jpg"))])).await, 400, "INVALID_INPUT").await;
    assert!(detail.contains("person/photo.jpg"), "{detail}");
    let bomb = archive(&[("ann/1.bmp", vec![0; 10 << 20])]);
    assert!(bomb.len() < 64 << 10);
    let detail = problem(send(bomb).await, 413, "PAYLOAD_TOO_LARGE").await;
    assert!(detail.contains("unpacks"), "{detail}");
    problem(post(format!("{here}/imports"), Form::new().text("x", "y")).await, 400, "MISSING_FIELD").await;
    let nowhere = app.gateway("/api/v1/collections/import-nowhere");
    problem(import(&nowhere, zip).await, 404, "COLLECTION_NOT_FOUND").await;
}

#[tokio::test]
async fn a_cancelled_job_stops_and_stays_so() {
    let app = app();
    let here = collection(app, "import-cancelled").await;
    let names: Vec<String> = (0..30).map(|i| format!("ann/{i}.jpg")).collect();
    let entries: Vec<(&str, Vec<u8>)> =
        names.iter().enumerate().map(|(i, name)| (name.as_str(), again("portrait.jpg", i))).collect();
    let long = accepted(app, import(&here, archive(&entries)).await).await;
    let waiting = accepted(app, job(&here, json!({ "kind": "group" })).await).await;
    for job in [&waiting, &long] {
        let cancelled = ok(Client::new().post(format!("{job}/cancel")).send().await.unwrap()).await;
        assert_eq!(cancelled["status"], "cancelled");
    }
    // A worker that was at it has noticed by then.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let faces = ok(get(here.clone()).await).await["faces"].clone();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ok(get(here.clone()).await).await["faces"], faces, "it goes on");
    for job in [&waiting, &long] {
        assert_eq!(ok(get(job.clone()).await).await["status"], "cancelled");
    }
    let unknown = app.gateway("/api/v1/jobs/01890000-0000-7000-8000-000000000000");
    problem(get(unknown.clone()).await, 404, "RESOURCE_NOT_FOUND").await;
    problem(Client::new().post(format!("{unknown}/cancel")).send().await.unwrap(), 404, "RESOURCE_NOT_FOUND").await;
    problem(get(app.gateway("/api/v1/jobs/' OR 1=1")).await, 404, "RESOURCE_NOT_FOUND").await;
}

#[tokio::test]
async fn faces_of_nobody_known_are_grouped() {
    let app = app();
    let here = collection(app, "grouping").await;
    let mut copies = Vec::new();
    for copy in 0..3 {
        let form = Form::new().part("file", part("x.jpg", again("portrait.jpg", copy)));
        let answer = post(format!("{here}/faces"), form).await;
        assert_eq!(answer.status(), 201);
        copies.push(answer.json::<Value>().await.unwrap()["face"]["id"].clone());
    }
    assert_eq!(post(format!("{here}/faces"), form("portrait_2.jpg")).await.status(), 201);
    // Somebody known looks the same and is in no group.
    let known = Form::new().part("file", part("x.jpg", again("portrait.jpg", 9))).text("external_id", "ann");
    assert_eq!(post(format!("{here}/faces"), known).await.status(), 201);

    let done = ended(&accepted(app, job(&here, json!({ "kind": "group" })).await).await).await;
    assert_eq!(done["status"], "completed", "{done}");
    let results = &done["results"];
    assert_eq!((&results["unknown_faces"], &results["grouped_faces"]), (&json!(4), &json!(3)));
    assert_eq!(results["groups"].as_array().unwrap().len(), 1, "{results}");
    assert_eq!(results["groups"][0]["faces"], json!(copies));
    assert!(number(&results["groups"][0]["mean_similarity"]) > 0.99);
    assert_eq!(done["options"]["min_faces"], 3);

    let strict = json!({ "kind": "group", "options": { "min_faces": 4, "min_similarity": 0.999 } });
    let none = ended(&accepted(app, job(&here, strict).await).await).await;
    assert_eq!(none["results"]["groups"], json!([]));
}

#[tokio::test]
async fn one_person_under_two_names_is_found() {
    let app = app();
    let here = collection(app, "duplicates").await;
    let zip = archive(&[
        ("ann/1.jpg", photo("portrait.jpg")),
        ("anna/1.jpg", again("portrait.jpg", 1)),
        ("bob/1.jpg", photo("portrait_2.jpg")),
    ]);
    let imported = ended(&accepted(app, import(&here, zip).await).await).await;
    assert_eq!(imported["results"]["enrolled"], 3, "{imported}");
    let done = ended(&accepted(app, job(&here, json!({ "kind": "duplicates" })).await).await).await;
    assert_eq!(done["status"], "completed", "{done}");
    let results = &done["results"];
    assert_eq!((&results["faces_compared"], &results["more"]), (&json!(3), &json!(false)));
    let pairs = results["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 1, "{results}");
    let persons = ok(get(format!("{here}/persons")).await).await;
    let id = |name: &str| {
        persons["items"].as_array().unwrap().iter().find(|p| p["external_id"] == name).unwrap()["id"].clone()
    };
    assert_eq!(pairs[0]["persons"], json!([id("ann"), id("anna")]));
    assert!(number(&pairs[0]["similarity"]) > 0.99);
}

#[tokio::test]
async fn wrong_jobs_are_refused_with_what_is_allowed() {
    let app = app();
    let here = collection(app, "wrong-jobs").await;
    for (body, told) in [
        (json!({ "kind": "import" }), "/imports"),
        (json!({ "kind": "mine bitcoin" }), "reembed"),
        (json!({}), "kind"),
        (json!({ "kind": "group", "options": { "min_faces": 1 } }), "2 to 64"),
        (json!({ "kind": "group", "options": { "min_similarity": 1.5 } }), "up to 1"),
        (json!({ "kind": "group", "options": { "verification_level": "high" } }), "standard"),
        (json!({ "kind": "duplicates", "options": { "min_faces": 3 } }), "group"),
        (json!({ "kind": "reembed", "options": { "min_similarity": 0.5 } }), "none"),
        (json!({ "kind": "group", "surprise": 1 }), "surprise"),
    ] {
        let detail = problem(job(&here, body.clone()).await, 400, "INVALID_INPUT").await;
        assert!(detail.contains(told), "{body}: {detail}");
    }
    let nowhere = app.gateway("/api/v1/collections/no-such-collection");
    problem(job(&nowhere, json!({ "kind": "group" })).await, 404, "COLLECTION_NOT_FOUND").await;
}

#[tokio::test]
async fn a_person_gets_everything_that_is_kept_and_the_trail_says_so() {
    let app = app();
    let here = collection(app, "export").await;
    let form = form("portrait.jpg").text("external_id", "ann").text("name", "Ann");
    let enrolled: Value = post(format!("{here}/faces"), form).await.json().await.unwrap();
    let person = enrolled["person"]["id"].as_str().unwrap().to_owned();
    let export = get(format!("{here}/persons/{person}/export")).await;
    let disposition = export.headers().get("content-disposition").unwrap().to_str().unwrap().to_owned();
    assert_eq!(disposition, format!("attachment; filename=\"person-{person}.json\""));
    let export = ok(export).await;
    assert_eq!((&export["person"]["name"], &export["crops"]), (&json!("Ann"), &json!([])));
    let embedding = &export["faces"][0]["embeddings"][0];
    assert!(embedding["model"].as_str().unwrap().contains('@'));
    let norm: f64 = embedding["vector"].as_array().unwrap().iter().map(|v| number(v).powi(2)).sum();
    assert!((norm - 1.0).abs() < 1e-3, "{norm}");
    assert!(export["history"].is_array() && export["audit"].is_array());

    let trail = ok(get(app.gateway("/api/v1/audit?limit=100")).await).await;
    let entries = trail["items"].as_array().unwrap();
    let mine = |e: &&Value| e["action"] == "person.export" && e["subject"] == format!("person:{person}");
    let entry = entries.iter().find(mine).unwrap_or_else(|| panic!("no entry in {trail}"));
    assert_eq!((&entry["outcome"], &entry["details"]["faces"]), (&json!("ok"), &json!(1)));
    let page = ok(get(app.gateway("/api/v1/audit?limit=1")).await).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = ok(get(app.gateway(&format!("/api/v1/audit?limit=1&cursor={cursor}"))).await).await;
    assert_ne!(page["items"][0]["id"], next["items"][0]["id"]);

    let deleted = Client::new().delete(format!("{here}/persons/{person}")).send().await.unwrap();
    assert_eq!(ok(deleted).await["faces"], 1);
    problem(get(format!("{here}/persons/{person}/export")).await, 404, "PERSON_NOT_FOUND").await;
}

/// Opens the store of a server that was told to stop.
async fn store_of_stopped(options: &StoreOptions) -> Arc<dyn Store> {
    for _ in 0..600 {
        match facesocial_store::open(options).await {
            Err(StoreError::Locked(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("the server did not stop");
}

/// A face as another model left it.
fn old_face(name: &str, crop: Option<Vec<u8>>) -> NewFace {
    let person = NewPerson { external_id: name.to_owned(), name: String::new(), metadata: json!({}) };
    NewFace {
        person: Some(PersonRef::GetOrCreate(person)),
        face_hash: format!("{:0>64}", name.bytes().map(|b| format!("{b:02x}")).collect::<String>()),
        bbox: BBox::new(1.0, 2.0, 3.0, 4.0),
        detection_score: 0.9,
        quality_score: 0.8,
        face_group: "primary".to_owned(),
        searchable: true,
        metadata: json!({}),
        embeddings: vec![Embedding::new(ModelId::new("former", "1"), vec![1.0, 2.0]).unwrap()],
        crop,
    }
}

#[tokio::test]
async fn a_gallery_is_embedded_again_from_kept_crops() {
    let mut config = config();
    config.keeping.images = true;
    let options = config.store.options();
    let first = spawn_app(config.clone());
    first.ready().await;
    let here = first.gateway("/api/v1/collections/default");
    let enrolled = post(format!("{here}/faces"), form("portrait.jpg")).await;
    assert_eq!(enrolled.status(), 201);
    let enrolled: Value = enrolled.json().await.unwrap();
    assert_eq!(enrolled["face"]["has_crop"], true, "{enrolled}");
    first.stopper.stop();

    let store = store_of_stopped(&options).await;
    let gallery = store.collection(DEFAULT_COLLECTION).await.unwrap().id;
    let kept = store.faces_without(gallery, &ModelId::new("none", "1"), None, 10).await.unwrap();
    let [(face, Some(crop))] = &kept[..] else { panic!("{} faces", kept.len()) };
    store.delete_face(&Change::system(), gallery, *face).await.unwrap();
    let with_crop = store.enroll(&Change::system(), gallery, old_face("ann", Some(crop.clone()))).await.unwrap();
    let bare = store.enroll(&Change::system(), gallery, old_face("bob", None)).await.unwrap();
    let odd = store.enroll(&Change::system(), gallery, old_face("cem", Some(photo("no_face.jpg")))).await.unwrap();
    let [with_crop, bare, odd]: [FaceId; 3] = [with_crop, bare, odd].map(|outcome| outcome.value.face.id);
    store.close().await;
    drop(store);

    let second = spawn_app(config);
    second.ready().await;
    let here = second.gateway("/api/v1/collections/default");
    let done = ended(&accepted(&second, job(&here, json!({ "kind": "reembed" })).await).await).await;
    assert_eq!(done["status"], "completed", "{done}");
    let results = &done["results"];
    let counts = ["embedded", "without_crop", "failed"].map(|name| results[name].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(1)], "{results}");
    assert_eq!(results["need_new_photo"], json!([bare, odd]));
    assert_eq!((&done["total_items"], &done["failed_items"]), (&json!(3), &json!(2)));
    // The crop gives nearly what the photo gave.
    let found = ok(post(format!("{here}/identify"), form("portrait.jpg")).await).await;
    let best = &found["faces"][0]["matches"][0];
    assert_eq!(best["face_id"], json!(with_crop), "{found}");
    assert!(number(&best["similarity"]) > 0.95, "{best}");
    // Nothing is left to do, and what cannot be done is told again.
    let again = ended(&accepted(&second, job(&here, json!({ "kind": "reembed" })).await).await).await;
    assert_eq!((&again["results"]["embedded"], &again["total_items"]), (&json!(0), &json!(2)));
    second.stopper.stop();
}
