//! What jobs find, image by image, and whom they tell.

use facesocial_store::{
    JobId, JobProgress, JobResultStatus, JobStatus, NewJob, NewJobResult, NewWebhook, PageRequest, Retention, Store,
    Write,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::backend::{Fixture, face_of, is_invalid};

conformance!(
    images_and_results_come_in_their_order,
    a_result_is_kept_once_and_only_for_the_jobs_worker,
    results_go_with_the_people_they_show,
    results_go_with_their_job,
    progress_and_end_are_told_until_they_are_acknowledged,
);

fn system() -> Write {
    Write::system()
}

fn new_job(items: usize) -> NewJob {
    let items = (0..items).map(|i| format!("folder/{i}.jpg")).collect();
    NewJob { kind: "analyze".to_owned(), items, ..NewJob::default() }
}

/// A job that worker `w` has.
async fn claimed(store: &dyn Store, new: NewJob) -> JobId {
    let id = store.create_job(&system(), new).await.unwrap().value.id;
    assert_eq!(store.claim_job("w", &["analyze"], 60).await.unwrap().unwrap().id, id);
    id
}

fn progress(done: u64) -> JobProgress {
    JobProgress { total_items: 20, processed_items: done, failed_items: 0, results: json!({ "done": done }) }
}

fn result(item: u64, line: &str) -> NewJobResult {
    NewJobResult { item, status: JobResultStatus::Done, line: line.as_bytes().to_vec(), faces: Vec::new() }
}

async fn lines(store: &dyn Store, job: JobId) -> Vec<(u64, JobResultStatus, String)> {
    let found = store.job_results(job, 0, 1000).await.unwrap();
    found.into_iter().map(|r| (r.item, r.status, String::from_utf8(r.line).unwrap())).collect()
}

async fn images_and_results_come_in_their_order(f: Fixture) {
    let store = &*f.store;
    let job = claimed(store, new_job(1234)).await;
    let items = store.job_items(job, 0, 10_000).await.unwrap();
    assert_eq!(items.len(), 1234);
    assert_eq!((items[0].clone(), items[1233].clone()), ((0, "folder/0.jpg".into()), (1233, "folder/1233.jpg".into())));
    assert_eq!(store.job_items(job, 1230, 3).await.unwrap(), items[1230..1233]);
    assert_eq!(store.job_items(JobId::new(), 0, 3).await.unwrap(), []);
    is_invalid(store.create_job(&system(), NewJob { items: vec!["a\0b".into()], ..new_job(0) }).await);

    let failed = NewJobResult { status: JobResultStatus::Failed, ..result(1, "one") };
    assert!(store.add_job_results(job, "w", &progress(2), &[failed, result(0, "zero")]).await.unwrap());
    assert!(store.add_job_results(job, "w", &progress(3), &[result(2, "two")]).await.unwrap());
    let done = |item, line: &str| (item, JobResultStatus::Done, line.to_owned());
    let all = [done(0, "zero"), (1, JobResultStatus::Failed, "one".into()), done(2, "two")];
    assert_eq!(lines(store, job).await, all);
    let page = store.job_results(job, 1, 1).await.unwrap();
    assert_eq!((page.len(), page[0].item, &page[0].line[..]), (1, 1, &b"one"[..]));
    let noted = store.job(job).await.unwrap();
    assert_eq!((noted.processed_items, noted.results), (3, json!({ "done": 3 })));
}

async fn a_result_is_kept_once_and_only_for_the_jobs_worker(f: Fixture) {
    let store = &*f.store;
    let job = claimed(store, new_job(3)).await;
    assert!(store.add_job_results(job, "w", &progress(1), &[result(0, "first")]).await.unwrap());
    // A worker that goes on from an older note does some again.
    assert!(store.add_job_results(job, "w", &progress(2), &[result(0, "again"), result(1, "x")]).await.unwrap());
    assert_eq!(lines(store, job).await[0].2, "first");
    assert!(!store.add_job_results(job, "v", &progress(3), &[result(2, "theirs")]).await.unwrap());
    assert!(!store.add_job_results(JobId::new(), "w", &progress(3), &[result(2, "x")]).await.unwrap());
    store.cancel_job(&system(), job).await.unwrap();
    assert!(!store.add_job_results(job, "w", &progress(3), &[result(2, "late")]).await.unwrap());
    assert_eq!(lines(store, job).await.len(), 2);
    assert_eq!(store.job(job).await.unwrap().processed_items, 2);
}

async fn results_go_with_the_people_they_show(f: Fixture) {
    let store = &*f.store;
    let c = f.collection().await;
    let (anna, bert) = (f.enroll(c, face_of("anna", 1)).await, f.enroll(c, face_of("bert", 2)).await);
    let carl = f.enroll(c, face_of("carl", 3)).await;
    let job = claimed(store, new_job(5)).await;
    let of = |item, line, faces: &[&facesocial_store::Enrolled]| NewJobResult {
        faces: faces.iter().map(|enrolled| (c, enrolled.face.id)).collect(),
        ..result(item, line)
    };
    let found =
        [of(0, "anna", &[&anna]), of(1, "both", &[&anna, &bert]), of(2, "bert", &[&bert]), of(3, "nobody", &[])];
    assert!(store.add_job_results(job, "w", &progress(4), &found).await.unwrap());

    let person = anna.person.unwrap().id;
    let exported = store.export_person(c, person).await.unwrap();
    let named: Vec<_> = exported.job_results.iter().map(|r| (r["job_id"].clone(), r["index"].clone())).collect();
    assert_eq!(named, [(json!(job), json!(0)), (json!(job), json!(1))]);
    store.delete_person(&system(), c, person).await.unwrap();
    let statuses = || async { lines(store, job).await.into_iter().map(|(_, s, line)| (s, line)).collect::<Vec<_>>() };
    let erased = || (JobResultStatus::Erased, String::new());
    let done = |line: &str| (JobResultStatus::Done, line.to_owned());
    assert_eq!(statuses().await, [erased(), erased(), done("bert"), done("nobody")]);
    store.delete_face(&system(), c, bert.face.id).await.unwrap();
    assert_eq!(statuses().await, [erased(), erased(), erased(), done("nobody")]);
    // What was found before the erasure and comes after it.
    let late = [of(4, "carl and bert", &[&carl, &bert])];
    assert!(store.add_job_results(job, "w", &progress(5), &late).await.unwrap());
    assert_eq!(statuses().await[4], erased());
    assert_eq!(f.rows("job_result_faces").await, 0);
    f.assert_sound().await;
}

async fn results_go_with_their_job(f: Fixture) {
    let store = &*f.store;
    let c = f.collection().await;
    let face = f.enroll(c, face_of("anna", 1)).await.face.id;
    let webhook = Some(NewWebhook { url: "https://a.example/".into(), secret: None, every_items: 0 });
    let job = claimed(store, NewJob { webhook, ..new_job(3) }).await;
    let found = [NewJobResult { faces: vec![(c, face)], ..result(0, "x") }, result(1, "y")];
    assert!(store.add_job_results(job, "w", &progress(2), &found).await.unwrap());
    let kept = claimed(store, new_job(2)).await;
    assert!(store.add_job_results(kept, "w", &progress(1), &[result(0, "z")]).await.unwrap());
    assert!(store.finish_job(job, "w", &progress(3), None).await.unwrap());

    let retention = Retention { jobs: Some(1), ..Retention::default() };
    let swept = store.sweep(&retention, OffsetDateTime::now_utc() + Duration::days(2)).await.unwrap();
    let rows = |table| swept.iter().find(|(name, _)| *name == table).unwrap().1;
    assert_eq!((rows("job_results"), rows("job_items"), rows("batch_jobs")), (2, 3, 1));
    assert_eq!((f.rows("job_results").await, f.rows("job_items").await), (1, 2));
    assert_eq!((f.rows("job_result_faces").await, f.rows("job_webhooks").await), (0, 0));
    assert_eq!(store.jobs(None, &[], PageRequest::first(10)).await.unwrap().items.len(), 1);
    f.assert_sound().await;
}

async fn progress_and_end_are_told_until_they_are_acknowledged(f: Fixture) {
    let store = &*f.store;
    let webhook = NewWebhook { url: "https://a.example/hook".into(), secret: Some("s3cret".into()), every_items: 10 };
    let job = claimed(store, NewJob { webhook: Some(webhook), ..new_job(0) }).await;
    claimed(store, new_job(0)).await;
    let due = || async { store.claim_webhooks(60, 8).await.unwrap() };
    assert!(due().await.is_empty(), "nothing has happened");
    assert!(store.progress_job(job, "w", &progress(12)).await.unwrap());
    let found = due().await;
    assert_eq!((found.len(), found[0].job_id(), found[0].job.processed_items), (1, job, 12));
    assert_eq!((found[0].url.as_str(), found[0].secret.as_deref()), ("https://a.example/hook", Some("s3cret")));
    assert_eq!((found[0].every_items, found[0].attempts), (10, 0));
    assert!(!format!("{found:?}").contains("s3cret") && !format!("{found:?}").contains("a.example"));
    assert!(due().await.is_empty(), "it is being told");
    store.webhook_failed(job, 0).await.unwrap();
    assert_eq!(due().await[0].attempts, 1);
    store.webhook_told(job, 10).await.unwrap();
    assert!(due().await.is_empty(), "it was told");

    assert!(store.finish_job(job, "w", &progress(19), None).await.unwrap());
    let end = due().await;
    assert_eq!((end[0].job.status, end[0].attempts), (JobStatus::Completed, 0));
    store.webhook_failed(job, 3600).await.unwrap();
    assert!(due().await.is_empty(), "it is not due yet");
    store.forget_webhook(job).await.unwrap();
    assert_eq!(f.rows("job_webhooks").await, 0);
    f.assert_sound().await;
}
