//! Jobs of analyses over HTTP: archives, folders, addresses; their results, their webhooks, and what is refused.

pub mod elsewhere;
mod refused;
mod webhooks;

use std::{fs, path::PathBuf, sync::LazyLock, time::Duration};

use facesocial::config::JobArgs;
use reqwest::{Client, Response, multipart::Form};
use serde_json::{Value, json};

use self::elsewhere::Elsewhere;
use crate::helpers::{TestApp, config, get, number, ok, part, photo, post, problem, spawn_app};
use crate::jobs::{accepted, again, archive, ended};

/// A server that takes photos from a folder and from another server, and tells that one.
struct Here {
    app: TestApp,
    /// The folder; beside it lies one that is not listed.
    folder: PathBuf,
    elsewhere: Elsewhere,
    _kept: tempfile::TempDir,
}

static HERE: LazyLock<Here> = LazyLock::new(|| {
    let kept = tempfile::tempdir().unwrap();
    let folder = fs::canonicalize(kept.path()).unwrap().join("photos");
    for (path, name) in [
        ("photos/b/2.jpg", "portrait_2.jpg"),
        ("photos/a.jpg", "portrait.jpg"),
        ("photos/c.jpg", "no_face.jpg"),
        ("private/secret.jpg", "portrait.jpg"),
    ] {
        let path = kept.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, photo(name)).unwrap();
    }
    fs::write(folder.join("broken.jpg"), &photo("portrait.jpg")[..4000]).unwrap();
    fs::write(folder.join("notes.txt"), "not a photo").unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(kept.path().join("private/secret.jpg"), folder.join("d.jpg")).unwrap();
        std::os::unix::fs::symlink(kept.path().join("private"), folder.join("link")).unwrap();
    }
    let elsewhere = Elsewhere::start();
    let port = elsewhere.port;
    let there = || format!("http://127.0.0.1:{port}=private").parse().unwrap();
    let mut config = config();
    config.jobs = JobArgs {
        job_folders: vec![kept.path().join("photos")],
        // Under this name, only public addresses are asked; it has none.
        job_url_hosts: vec![there(), format!("http://localhost:{port}").parse().unwrap()],
        webhook_hosts: vec![there()],
    }
    .into();
    let app = spawn_app(config);
    std::thread::scope(|scope| {
        scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(app.ready())).join().unwrap();
    });
    Here { app, folder, elsewhere, _kept: kept }
});

impl Here {
    async fn start(&self, body: &Value) -> Response {
        Client::new().post(self.app.gateway("/api/v1/jobs")).json(body).send().await.unwrap()
    }

    async fn upload(&self, zip: Vec<u8>, fields: &[(&'static str, Value)]) -> Response {
        let form = Form::new().text("kind", "analyze").part("file", part("photos.zip", zip));
        let form = fields.iter().fold(form, |form, (name, value)| form.text(*name, value.to_string()));
        post(self.app.gateway("/api/v1/jobs"), form).await
    }

    async fn accepted(&self, response: Response) -> String {
        accepted(&self.app, response).await
    }
}

/// The cheapest analysis that there is.
fn cheap() -> Value {
    json!({ "assess_quality": true })
}

async fn text(url: String) -> String {
    let response = get(url).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get("content-type").unwrap(), "application/x-ndjson");
    response.text().await.unwrap()
}

async fn lines(job: &str, query: &str) -> Vec<Value> {
    let text = text(format!("{job}/results{query}")).await;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Index, source, status, and the code of a failure.
fn brief(lines: &[Value]) -> Vec<(u64, &str, &str, &str)> {
    fn text(value: &Value) -> &str {
        value.as_str().unwrap_or_default()
    }
    fn one(line: &Value) -> (u64, &str, &str, &str) {
        let code = line.get("problem").map_or("", |problem| text(&problem["code"]));
        (line["index"].as_u64().unwrap(), line.get("source").map_or("", text), text(&line["status"]), code)
    }
    lines.iter().map(one).collect()
}

#[tokio::test]
async fn an_archive_has_a_line_for_every_image_in_its_order() {
    let here = &*HERE;
    let zip = archive(&[
        ("trip/portrait.jpg", photo("portrait.jpg")),
        ("coffee.jpg", photo("no_face.jpg")),
        ("__MACOSX/._coffee.jpg", b"x".to_vec()),
        ("trip/broken.jpg", photo("portrait.jpg")[..4000].to_vec()),
        ("trip/deeper/notes.txt", b"not a photo".to_vec()),
        ("../../etc/cron.d/evil.jpg", photo("portrait.jpg")),
        ("trip/deeper/group.jpg", photo("group.jpg")),
    ]);
    let send = || {
        let form = Form::new()
            .text("kind", "analyze")
            .text("options", cheap().to_string())
            .part("file", part("photos.zip", zip.clone()));
        Client::new()
            .post(here.app.gateway("/api/v1/jobs"))
            .header("Idempotency-Key", "analyze-1")
            .multipart(form)
            .send()
    };
    let job = here.accepted(send().await.unwrap()).await;
    let repeated = send().await.unwrap();
    assert_eq!(repeated.headers().get("idempotency-replayed").unwrap(), "true");
    assert_eq!(here.accepted(repeated).await, job);

    let done = ended(&job).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(
        (&done["kind"], &done["total_items"], &done["processed_items"]),
        (&json!("analyze"), &json!(6), &json!(6))
    );
    assert_eq!(done["failed_items"], 3);
    let results = &done["results"];
    assert_eq!((&results["analysed"], &results["failed"]), (&json!(3), &json!(3)));
    assert!(number(&results["images_per_second"]) > 0.0 && results["estimated_end"].is_null(), "{results}");
    assert!(results.get("position").is_none());
    let options = json!({ "source": { "kind": "zip" }, "analysis": cheap(), "webhook": false });
    assert_eq!(done["options"], options);

    let all = lines(&job, "").await;
    let expected = [
        (0, "trip/portrait.jpg", "done", ""),
        (1, "coffee.jpg", "done", ""),
        (2, "trip/broken.jpg", "failed", "CORRUPT_IMAGE"),
        (3, "trip/deeper/notes.txt", "failed", "UNSUPPORTED_FORMAT"),
        (4, "../../etc/cron.d/evil.jpg", "failed", "INVALID_INPUT"),
        (5, "trip/deeper/group.jpg", "done", ""),
    ];
    assert_eq!(brief(&all), expected);
    let face = &all[0]["data"]["faces"][0];
    assert!(face["quality"].is_object(), "{face}");
    assert!(face.get("gender_age").is_none(), "nobody asked for it: {face}");
    assert_eq!(all[1]["data"]["total_faces_detected"], 0);
    assert!(all[5]["data"]["total_faces_detected"].as_u64().unwrap() >= 4);
    assert_eq!(brief(&lines(&job, "?from=2&limit=2").await), expected[2..4]);
    assert_eq!(brief(&lines(&job, "?from=5").await), expected[5..]);
    assert_eq!(text(format!("{job}/results?from=6")).await, "");
    problem(get(format!("{job}/results?from=-1")).await, 400, "INVALID_INPUT").await;
}

#[tokio::test]
async fn a_folder_is_analysed_without_what_its_links_lead_to() {
    let here = &*HERE;
    let body = json!({ "kind": "analyze", "source": { "folder": here.folder }, "options": cheap() });
    let job = here.accepted(here.start(&body).await).await;
    let done = ended(&job).await;
    assert_eq!((&done["status"], &done["total_items"]), (&json!("completed"), &json!(4)), "{done}");
    assert_eq!(done["options"]["source"], json!({ "kind": "folder", "folder": here.folder }));
    let expected = [
        (0, "a.jpg", "done", ""),
        (1, "b/2.jpg", "done", ""),
        (2, "broken.jpg", "failed", "CORRUPT_IMAGE"),
        (3, "c.jpg", "done", ""),
    ];
    assert_eq!(brief(&lines(&job, "").await), expected);
    let below = json!({ "kind": "analyze", "source": { "folder": here.folder.join("b") }, "options": cheap() });
    let done = ended(&here.accepted(here.start(&below).await).await).await;
    assert_eq!(done["results"]["analysed"], 1, "{done}");
}

#[tokio::test]
async fn addresses_are_asked_within_the_list_and_nowhere_else() {
    let here = &*HERE;
    let at = |path: &str| here.elsewhere.url(path);
    let urls = [
        at("/photo/portrait.jpg?signature=secret"),
        at("/missing.jpg"),
        at("/moved/no_face.jpg"),
        at("/away"),
        at("/metadata"),
        format!("http://localhost:{}/photo/portrait.jpg", here.elsewhere.port),
        at("/large"),
    ];
    let body = json!({ "kind": "analyze", "source": { "urls": urls }, "options": cheap() });
    let job = here.accepted(here.start(&body).await).await;
    let done = ended(&job).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["options"]["source"], json!({ "kind": "urls" }));
    let all = lines(&job, "").await;
    let told: Vec<_> = brief(&all).into_iter().map(|(_, _, status, code)| (status, code)).collect();
    let failed = |code| ("failed", code);
    let expected = [
        ("done", ""),
        failed("SOURCE_UNAVAILABLE"),
        ("done", ""),
        failed("SOURCE_UNAVAILABLE"),
        failed("SOURCE_UNAVAILABLE"),
        failed("FORBIDDEN"),
        failed("PAYLOAD_TOO_LARGE"),
    ];
    assert_eq!(told, expected, "{all:?}");
    assert_eq!(all[0]["source"], at("/photo/portrait.jpg"), "no signature is shown");
    assert!(all[3]["problem"]["detail"].as_str().unwrap().contains("redirects"), "{}", all[3]);
    assert!(all[5]["problem"]["detail"].as_str().unwrap().contains("not a public one"), "{}", all[5]);
    assert!(!here.elsewhere.asked("/never"), "a redirect led astray");
}

#[tokio::test]
async fn what_is_known_of_a_person_goes_with_the_person() {
    let here = &*HERE;
    let made = Client::new().post(here.app.gateway("/api/v1/collections")).json(&json!({ "name": "seen" }));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let seen = here.app.gateway("/api/v1/collections/seen");
    let form = Form::new().part("file", part("p.jpg", photo("portrait.jpg"))).text("external_id", "ann");
    let enrolled: Value = post(format!("{seen}/faces"), form).await.json().await.unwrap();
    let person = enrolled["person"]["id"].as_str().unwrap();
    let zip = archive(&[
        ("1.jpg", again("portrait.jpg", 1)),
        ("2.jpg", photo("no_face.jpg")),
        ("3.jpg", again("portrait.jpg", 3)),
    ]);
    let options = json!({ "assess_quality": true, "collection": "seen", "store": true, "face_service": "mtcnn" });
    let job = here.accepted(here.upload(zip, &[("options", options)]).await).await;
    let done = ended(&job).await;
    assert_eq!(done["status"], "completed", "{done}");
    let all = lines(&job, "").await;
    assert_eq!(all[0]["data"]["faces"][0]["recognition"]["matches"][0]["person"]["external_id"], "ann", "{}", all[0]);
    let session = all[0]["data"]["session_id"].as_str().unwrap();
    assert_eq!(get(here.app.gateway(&format!("/api/v1/sessions/{session}"))).await.status(), 200);
    let export = ok(get(format!("{seen}/persons/{person}/export")).await).await;
    let named: Vec<_> = export["job_results"].as_array().unwrap().iter().map(|r| &r["index"]).collect();
    assert_eq!(named, [&json!(0), &json!(2)]);

    assert_eq!(Client::new().delete(format!("{seen}/persons/{person}")).send().await.unwrap().status(), 200);
    let all = lines(&job, "").await;
    let left: Vec<_> = all.iter().map(|line| line["status"].as_str().unwrap()).collect();
    assert_eq!(left, ["erased", "done", "erased"]);
    assert_eq!(all[0], json!({ "index": 0, "status": "erased" }));
    // With the collection goes the job.
    assert_eq!(Client::new().delete(seen).send().await.unwrap().status(), 200);
    problem(get(format!("{job}/results")).await, 404, "RESOURCE_NOT_FOUND").await;
}

#[tokio::test]
async fn a_cancelled_job_keeps_what_it_found_and_finds_no_more() {
    let here = &*HERE;
    let names: Vec<String> = (0..200).map(|i| format!("{i}.jpg")).collect();
    let entries: Vec<(&str, Vec<u8>)> =
        names.iter().enumerate().map(|(i, name)| (name.as_str(), again("group.jpg", i))).collect();
    let everything = json!({ "face_service": "mtcnn", "recognize_faces": true, "predict_gender_age": true });
    let job = here.accepted(here.upload(archive(&entries), &[("options", everything)]).await).await;
    // Lines are there while the job goes on.
    let mut found = Vec::new();
    for _ in 0..1200 {
        found = lines(&job, "").await;
        if !found.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!found.is_empty(), "no line comes");
    let cancelled = ok(Client::new().post(format!("{job}/cancel")).send().await.unwrap()).await;
    assert_eq!(cancelled["status"], "cancelled");
    tokio::time::sleep(Duration::from_secs(7)).await;
    let now = ok(get(job.clone()).await).await;
    assert_eq!(now["status"], "cancelled");
    let kept = lines(&job, "").await;
    assert!(kept.len() < 200 && kept.len() >= found.len(), "{}", kept.len());
    assert_eq!(now["processed_items"], kept.len(), "{now}");
    let indices: Vec<_> = kept.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..kept.len() as u64).collect::<Vec<_>>());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lines(&job, "").await.len(), kept.len(), "it goes on");
}
