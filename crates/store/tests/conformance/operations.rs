//! Jobs, audit trail, usage, configuration, retention.

use std::{collections::BTreeSet, sync::Arc};

use facesocial_store::{
    Actor, ActorKind, CollectionId, Idempotency, Job, JobId, JobProgress, JobStatus, LoginId, NewApiUsage, NewAudit,
    NewCollection, NewHealthLog, NewJob, NewRefreshToken, NewServiceMetric, NewSession, NewUser, PageRequest,
    Retention, Role, Rotation, Store, StoreError, UserId, Write,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::backend::{Fixture, is_invalid, is_not_found};

conformance!(
    a_job_goes_from_waiting_to_done,
    the_oldest_job_comes_first,
    each_job_goes_to_one_worker,
    a_lost_workers_job_is_taken_over,
    a_job_that_ends_its_workers_is_given_up,
    a_cancelled_job_stops,
    jobs_are_listed_by_owner_and_gallery,
    the_first_answer_is_found_before_the_change_is_repeated,
    repetitions_at_once_make_one_job,
    the_audit_trail_comes_newest_first,
    settings_are_kept_and_secrets_not_listed,
    servers_that_start_at_once_agree_on_a_secret,
    figures_are_summed_up_by_the_hour,
    figures_are_kept_as_long_as_retention_says,
    a_sweep_takes_what_is_over_and_nothing_else,
    changes_pass_while_a_sweep_goes_on,
    a_mark_is_set_once_and_taken_once,
    the_store_tells_its_state_and_finds_itself_whole,
);

fn system() -> Write {
    Write::system()
}

async fn user(store: &dyn Store, name: &str) -> UserId {
    let new = NewUser {
        username: name.to_owned(),
        email: None,
        password_hash: "$x".to_owned(),
        first_name: String::new(),
        last_name: String::new(),
        role: Role::User,
        collections: Vec::new(),
    };
    store.create_user(&system(), new).await.unwrap().value.id
}

async fn collection(store: &dyn Store, name: &str) -> CollectionId {
    let new = NewCollection { name: name.to_owned(), description: String::new() };
    store.create_collection(&system(), new).await.unwrap().value.id
}

fn new_job(kind: &str) -> NewJob {
    NewJob {
        kind: kind.to_owned(),
        user_id: None,
        collection_id: None,
        total_items: 10,
        input: json!({ "folder": "a/b" }),
        ..NewJob::default()
    }
}

async fn job(store: &dyn Store, kind: &str) -> Job {
    store.create_job(&system(), new_job(kind)).await.unwrap().value
}

fn progress(done: u64) -> JobProgress {
    JobProgress { total_items: 20, processed_items: done, failed_items: 1, results: json!({ "last": done }) }
}

async fn a_job_goes_from_waiting_to_done(f: Fixture) {
    let store = &*f.store;
    let made = job(store, "import").await;
    assert_eq!(store.job(made.id).await.unwrap(), made);
    assert_eq!((made.status, made.total_items, made.processed_items), (JobStatus::Pending, 10, 0));
    assert_eq!(made.results, Value::Null);

    assert!(store.claim_job("w", &["other"], 60).await.unwrap().is_none());
    assert!(store.claim_job("w", &[], 60).await.unwrap().is_none());
    let claimed = store.claim_job("w", &["other", "import"], 60).await.unwrap().unwrap();
    assert_eq!((claimed.id, claimed.status, &claimed.input), (made.id, JobStatus::Processing, &made.input));
    assert!(claimed.started_at.is_some());
    assert!(store.claim_job("v", &["import"], 60).await.unwrap().is_none(), "it is another's");

    assert!(store.progress_job(made.id, "w", &progress(5)).await.unwrap());
    assert!(!store.progress_job(made.id, "v", &progress(9)).await.unwrap(), "it is another's");
    assert!(!store.progress_job(JobId::new(), "w", &progress(9)).await.unwrap());
    let half = store.job(made.id).await.unwrap();
    assert_eq!((half.total_items, half.processed_items, half.failed_items), (20, 5, 1));
    assert_eq!(half.results, json!({ "last": 5 }));

    assert!(!store.finish_job(made.id, "v", &progress(9), None).await.unwrap());
    assert!(store.finish_job(made.id, "w", &progress(20), None).await.unwrap());
    let done = store.job(made.id).await.unwrap();
    assert_eq!((done.status, done.processed_items, &done.error_message), (JobStatus::Completed, 20, &None));
    assert!(done.completed_at >= done.started_at);
    assert!(!store.finish_job(made.id, "w", &progress(20), None).await.unwrap(), "it has ended");
    assert!(!store.progress_job(made.id, "w", &progress(20)).await.unwrap());
    assert!(store.claim_job("w", &["import"], 0).await.unwrap().is_none());

    let failing = job(store, "import").await;
    store.claim_job("w", &["import"], 60).await.unwrap().unwrap();
    let reason = format!("no\0 folder {}", "x".repeat(10_000));
    assert!(store.finish_job(failing.id, "w", &progress(3), Some(&reason)).await.unwrap());
    let failed = store.job(failing.id).await.unwrap();
    assert_eq!(failed.status, JobStatus::Failed);
    assert!(failed.error_message.unwrap().starts_with("no  folder x"));

    is_not_found(store.job(JobId::new()).await, "job");
    is_invalid(store.create_job(&system(), new_job("")).await);
    is_invalid(store.create_job(&system(), NewJob { input: json!("\0"), ..new_job("import") }).await);
    let nowhere = NewJob { collection_id: Some(CollectionId::new()), ..new_job("import") };
    is_not_found(store.create_job(&system(), nowhere).await, "collection");
    is_not_found(store.create_job(&system(), NewJob { user_id: Some(UserId::new()), ..new_job("x") }).await, "user");
}

async fn the_oldest_job_comes_first(f: Fixture) {
    let store = &*f.store;
    let mut made = Vec::new();
    for kind in ["a", "b", "a", "b"] {
        made.push(job(store, kind).await.id);
    }
    let mut claimed = Vec::new();
    for _ in 0..4 {
        claimed.push(store.claim_job("w", &["a", "b"], 60).await.unwrap().unwrap().id);
    }
    assert_eq!(claimed, made);
}

async fn each_job_goes_to_one_worker(f: Fixture) {
    let mut made = BTreeSet::new();
    for _ in 0..20 {
        made.insert(job(&*f.store, "a").await.id);
    }
    let mut workers = Vec::new();
    for i in 0..5 {
        let store = Arc::clone(&f.store);
        workers.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            while let Some(job) = store.claim_job(&format!("w{i}"), &["a"], 60).await.unwrap() {
                mine.push(job.id);
            }
            mine
        }));
    }
    let mut claimed = Vec::new();
    for worker in workers {
        claimed.extend(worker.await.unwrap());
    }
    assert_eq!(claimed.len(), made.len(), "none twice");
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), made, "none left");
}

async fn a_lost_workers_job_is_taken_over(f: Fixture) {
    let store = &*f.store;
    let made = job(store, "a").await;
    let first = store.claim_job("lost", &["a"], 60).await.unwrap().unwrap();
    assert!(store.progress_job(made.id, "lost", &progress(7)).await.unwrap());
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert!(store.claim_job("next", &["a"], 60).await.unwrap().is_none(), "its lease goes on");
    let taken = store.claim_job("next", &["a"], 0).await.unwrap().unwrap();
    assert_eq!((taken.id, taken.processed_items, taken.results), (made.id, 7, json!({ "last": 7 })));
    assert_eq!(taken.started_at, first.started_at);
    assert!(!store.progress_job(made.id, "lost", &progress(8)).await.unwrap(), "it is the other's now");
    assert!(!store.finish_job(made.id, "lost", &progress(8), None).await.unwrap());
    assert!(store.progress_job(made.id, "next", &progress(8)).await.unwrap());
}

async fn a_job_that_ends_its_workers_is_given_up(f: Fixture) {
    let store = &*f.store;
    let made = job(store, "a").await;
    let pause = || tokio::time::sleep(std::time::Duration::from_millis(5));
    for i in 0..5 {
        assert!(store.claim_job(&format!("w{i}"), &["a"], 0).await.unwrap().is_some(), "{i}");
        pause().await;
        // Progress begins the count anew, once.
        if i == 0 {
            assert!(store.progress_job(made.id, "w0", &progress(1)).await.unwrap());
            pause().await;
        }
    }
    assert!(store.claim_job("w5", &["a"], 0).await.unwrap().is_some());
    pause().await;
    assert!(store.claim_job("w6", &["a"], 0).await.unwrap().is_none());
    let given_up = store.job(made.id).await.unwrap();
    assert_eq!(given_up.status, JobStatus::Failed);
    assert!(given_up.error_message.unwrap().starts_with("given up"));
}

async fn a_cancelled_job_stops(f: Fixture) {
    let store = &*f.store;
    let waiting = job(store, "a").await;
    let cancelled = store.cancel_job(&system(), waiting.id).await.unwrap();
    assert_eq!(cancelled.value.status, JobStatus::Cancelled);
    assert!(cancelled.value.completed_at.is_some());
    assert_eq!(store.job(waiting.id).await.unwrap(), cancelled.value);
    assert!(store.claim_job("w", &["a"], 60).await.unwrap().is_none());
    let again = store.cancel_job(&system(), waiting.id).await.unwrap();
    assert!(again.replayed, "once more changes nothing");

    let running = job(store, "a").await;
    store.claim_job("w", &["a"], 60).await.unwrap().unwrap();
    store.cancel_job(&system(), running.id).await.unwrap();
    assert!(!store.progress_job(running.id, "w", &progress(1)).await.unwrap());
    assert!(!store.finish_job(running.id, "w", &progress(1), None).await.unwrap());
    assert_eq!(store.job(running.id).await.unwrap().status, JobStatus::Cancelled);

    let done = job(store, "a").await;
    store.claim_job("w", &["a"], 60).await.unwrap().unwrap();
    store.finish_job(done.id, "w", &progress(1), None).await.unwrap();
    is_invalid(store.cancel_job(&system(), done.id).await);
    is_not_found(store.cancel_job(&system(), JobId::new()).await, "job");
}

async fn jobs_are_listed_by_owner_and_gallery(f: Fixture) {
    let store = &*f.store;
    let (alice, bob) = (user(store, "alice").await, user(store, "bob").await);
    let (one, two) = (collection(store, "one").await, collection(store, "two").await);
    let make = async |user, collection| {
        let new = NewJob { user_id: user, collection_id: collection, ..new_job("a") };
        store.create_job(&system(), new).await.unwrap().value.id
    };
    let a1 = make(Some(alice), Some(one)).await;
    let b2 = make(Some(bob), Some(two)).await;
    let a0 = make(Some(alice), None).await;
    let list = async |user, collections: &[CollectionId]| -> Vec<JobId> {
        let page = store.jobs(user, collections, PageRequest::first(10)).await.unwrap();
        page.items.into_iter().map(|job| job.id).collect()
    };
    assert_eq!(list(None, &[]).await, [a1, b2, a0]);
    assert_eq!(list(Some(alice), &[]).await, [a1, a0]);
    assert_eq!(list(None, &[two]).await, [b2]);
    assert_eq!(list(Some(alice), &[two]).await, [a0]);
    let first = store.jobs(None, &[], PageRequest::first(2)).await.unwrap();
    assert_eq!(first.next, Some(b2.0));
    let rest = store.jobs(None, &[], PageRequest { after: first.next, limit: 2 }).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));

    store.delete_user(&system(), bob).await.unwrap();
    assert_eq!(store.job(b2).await.unwrap().user_id, None);
    store.delete_collection(&system(), two).await.unwrap();
    is_not_found(store.job(b2).await, "job");
}

async fn the_first_answer_is_found_before_the_change_is_repeated(f: Fixture) {
    let store = &*f.store;
    let idempotency = Idempotency { key: "k".to_owned(), fingerprint: "f".to_owned() };
    let write = Write { idempotency: Some(idempotency.clone()), ..system() };
    assert_eq!(store.replay(&write.actor, &idempotency).await.unwrap(), None);
    let first = store.create_job(&write, new_job("a")).await.unwrap().value;
    let found = store.replay(&write.actor, &idempotency).await.unwrap().unwrap();
    assert_eq!(serde_json::from_value::<Job>(found).unwrap(), first);
    let other = Idempotency { fingerprint: "g".to_owned(), ..idempotency.clone() };
    assert!(matches!(store.replay(&write.actor, &other).await, Err(StoreError::KeyReused)));
    // Another's key is another key.
    let somebody = Actor { kind: ActorKind::User, id: Some(UserId::new().0), address: None };
    assert_eq!(store.replay(&somebody, &idempotency).await.unwrap(), None);
    is_invalid(store.replay(&somebody, &Idempotency { key: "\0".to_owned(), ..idempotency }).await);
}

async fn repetitions_at_once_make_one_job(f: Fixture) {
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let store = Arc::clone(&f.store);
        tasks.push(tokio::spawn(async move {
            let idempotency = Some(Idempotency { key: "k".to_owned(), fingerprint: "f".to_owned() });
            store.create_job(&Write { idempotency, ..Write::system() }, new_job("a")).await
        }));
    }
    let mut answers = BTreeSet::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(outcome) => {
                answers.insert(outcome.value.id);
            }
            Err(error) => assert!(matches!(error, StoreError::KeyInUse), "{error:?}"),
        }
    }
    assert_eq!(answers.len(), 1);
    assert_eq!(f.store.jobs(None, &[], PageRequest::first(10)).await.unwrap().items.len(), 1);
}

fn entry(action: &str) -> NewAudit {
    NewAudit {
        actor: Actor { kind: ActorKind::Anonymous, id: None, address: Some("192.0.2.1".to_owned()) },
        request_id: "r".to_owned(),
        action: action.to_owned(),
        subject: Some("user:x".to_owned()),
        collection_id: None,
        outcome: "denied".to_owned(),
        details: json!({ "tries": 3 }),
    }
}

async fn the_audit_trail_comes_newest_first(f: Fixture) {
    let store = &*f.store;
    for i in 0..5 {
        store.audit(entry(&format!("auth.login{i}"))).await.unwrap();
    }
    let first = store.audit_trail(PageRequest::first(2)).await.unwrap();
    let actions = |items: &[facesocial_store::AuditEntry]| -> Vec<String> {
        items.iter().map(|entry| entry.action.clone()).collect()
    };
    assert_eq!(actions(&first.items), ["auth.login4", "auth.login3"]);
    let second = store.audit_trail(PageRequest { after: first.next, limit: 3 }).await.unwrap();
    assert_eq!(actions(&second.items), ["auth.login2", "auth.login1", "auth.login0"]);
    assert_eq!(second.next, None);
    let newest = &first.items[0];
    assert_eq!((newest.actor_kind.as_str(), newest.actor_id), ("anonymous", None));
    assert_eq!(newest.address.as_deref(), Some("192.0.2.1"));
    assert_eq!((newest.request_id.as_str(), newest.subject.as_deref()), ("r", Some("user:x")));
    assert_eq!((newest.outcome.as_str(), &newest.details), ("denied", &json!({ "tries": 3 })));
    for bad in [
        entry(""),
        entry("a\0"),
        NewAudit { details: json!({ "x": "\0" }), ..entry("a") },
        NewAudit { subject: Some("x".repeat(10_000)), ..entry("a") },
    ] {
        is_invalid(store.audit(bad).await);
    }
}

async fn settings_are_kept_and_secrets_not_listed(f: Fixture) {
    let store = &*f.store;
    assert_eq!(store.config("colour").await.unwrap(), None);
    store.set_config(&system(), "colour", "red").await.unwrap();
    store.set_config(&system(), "colour", "blue").await.unwrap();
    store.set_config(&system(), "animal", "").await.unwrap();
    assert_eq!(store.config("colour").await.unwrap().as_deref(), Some("blue"));
    assert_eq!(store.config_or_insert("jwt_secret", "one").await.unwrap(), "one");
    assert_eq!(store.config_or_insert("jwt_secret", "two").await.unwrap(), "one");
    assert_eq!(store.config("jwt_secret").await.unwrap().as_deref(), Some("one"));
    assert_eq!(store.config_or_insert("colour", "green").await.unwrap(), "blue");
    let all = store.configs().await.unwrap();
    let owned = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(all, [owned("animal", ""), owned("colour", "blue")]);

    store.set_config(&system(), "jwt_secret", "three").await.unwrap();
    assert_eq!(store.config("jwt_secret").await.unwrap().as_deref(), Some("three"));
    assert_eq!(store.configs().await.unwrap().len(), 2, "it stays a secret");
    let trail = store.audit_trail(PageRequest::first(10)).await.unwrap().items;
    assert_eq!(trail[0].subject.as_deref(), Some("config:jwt_secret"));
    assert!(!serde_json::to_string(&trail).unwrap().contains("three"));
    assert_eq!(trail[1].details, json!({ "value": "" }));

    for (key, value) in [("", "x"), ("a\0", "x"), ("a", "\0")] {
        is_invalid(store.set_config(&system(), key, value).await);
    }
    is_invalid(store.config("\0").await);
}

async fn servers_that_start_at_once_agree_on_a_secret(f: Fixture) {
    let mut tasks = Vec::new();
    for i in 0..6 {
        let store = Arc::clone(&f.store);
        tasks.push(tokio::spawn(async move { store.config_or_insert("secret", &format!("of {i}")).await.unwrap() }));
    }
    let mut values = BTreeSet::new();
    for task in tasks {
        values.insert(task.await.unwrap());
    }
    assert_eq!(values.len(), 1, "{values:?}");
}

fn metric(service: &str) -> NewServiceMetric {
    NewServiceMetric {
        service_name: service.to_owned(),
        endpoint: "/detect".to_owned(),
        request_count: 10,
        avg_response_time_ms: 12.5,
        min_response_time_ms: 1.0,
        max_response_time_ms: f64::NAN,
        error_count: u64::MAX,
    }
}

fn health(service: &str) -> NewHealthLog {
    NewHealthLog {
        service_name: service.to_owned(),
        status: "error".to_owned(),
        response_time_ms: None,
        error_message: Some(format!("no\0answer{}", "x".repeat(10_000))),
    }
}

fn usage(actor: Actor) -> NewApiUsage {
    NewApiUsage {
        endpoint: "/api/v1/x".to_owned(),
        method: "POST".to_owned(),
        actor,
        request_size_bytes: 3 << 30,
        response_size_bytes: 5,
        response_status: 503,
        processing_time_ms: 7,
    }
}

const ALL: Retention =
    Retention { sessions: Some(1), metrics: Some(1), api_usage: Some(1), jobs: Some(1), audit: Some(1) };

async fn sweep(store: &dyn Store, retention: &Retention, days: i64) -> Vec<(&'static str, u64)> {
    let swept = store.sweep(retention, OffsetDateTime::now_utc() + Duration::days(days)).await.unwrap();
    swept.into_iter().filter(|(_, rows)| *rows > 0).collect()
}

async fn figures_are_summed_up_by_the_hour(f: Fixture) {
    let of = |requests, mean, errors| NewServiceMetric {
        request_count: requests,
        avg_response_time_ms: mean,
        max_response_time_ms: mean + 1.0,
        error_count: errors,
        ..metric("a")
    };
    f.store.add_service_metrics(&[of(30, 10.0, 0), of(10, 50.0, 4), metric("b")]).await.unwrap();
    // Spread over an hour's end they are two lines, so sums are compared.
    let sum = |column: &str| {
        format!("SELECT CAST(SUM({column}) AS BIGINT) FROM service_performance_summary WHERE service_name = 'a'")
    };
    assert_eq!(f.number(&sum("request_count")).await, 40);
    assert_eq!(f.number(&sum("error_count")).await, 4);
    assert_eq!(f.number(&sum("avg_response_time_ms * request_count")).await, 800, "the mean is that of the requests");
    assert_eq!(f.number(&sum("error_percent * request_count")).await, 400);
    assert_eq!(f.number("SELECT CAST(MAX(max_response_time_ms) AS BIGINT) FROM service_performance_summary").await, 51);
}

async fn figures_are_kept_as_long_as_retention_says(f: Fixture) {
    let store = &*f.store;
    store.add_service_metrics(&[]).await.unwrap();
    store.add_service_metrics(&[metric("a"), metric("b")]).await.unwrap();
    store.add_health_logs(&[]).await.unwrap();
    store.add_health_logs(&[health("a")]).await.unwrap();
    store.add_api_usage(&[]).await.unwrap();
    let somebody = Actor { kind: ActorKind::User, id: Some(UserId::new().0), address: Some("x\0".to_owned()) };
    store.add_api_usage(&[usage(Actor::system()), usage(somebody)]).await.unwrap();
    assert_eq!(sweep(store, &ALL, 0).await, []);
    let forever = Retention { sessions: None, metrics: None, api_usage: None, jobs: None, audit: None };
    assert_eq!(sweep(store, &forever, 10_000).await, []);
    let kept_trail = Retention { audit: None, ..ALL };
    assert_eq!(sweep(store, &kept_trail, 2).await, [("service_metrics", 2), ("health_logs", 1), ("api_usage", 2)]);
    assert_eq!(sweep(store, &kept_trail, 2).await, []);
    // What the sweep took is in the trail; an empty one adds nothing.
    let trail = store.audit_trail(PageRequest::first(10)).await.unwrap().items;
    assert_eq!(trail.len(), 1);
    assert_eq!(trail[0].action, "retention.sweep");
    assert_eq!(trail[0].details, json!({ "service_metrics": 2, "health_logs": 1, "api_usage": 2 }));
}

async fn a_sweep_takes_what_is_over_and_nothing_else(f: Fixture) {
    let store = &*f.store;
    let alice = user(store, "alice").await;
    let now = OffsetDateTime::now_utc();
    let session = NewSession {
        user_id: None,
        collection_id: None,
        image_hash: "h".to_owned(),
        image_size: 1,
        mime_type: "image/png".to_owned(),
        image: Some(vec![1; 100]),
        processing_time_ms: 1,
        detections: Vec::new(),
    };
    for _ in 0..3 {
        store.save_session(&system(), session.clone()).await.unwrap();
    }
    let idempotency = Idempotency { key: "k".to_owned(), fingerprint: "f".to_owned() };
    let write = Write { idempotency: Some(idempotency.clone()), ..system() };
    let done = store.create_job(&write, new_job("a")).await.unwrap().value;
    store.claim_job("w", &["a"], 60).await.unwrap().unwrap();
    store.finish_job(done.id, "w", &progress(1), None).await.unwrap();
    let waiting = job(store, "a").await;
    let token = |login, hash: &str, days| NewRefreshToken {
        login_id: login,
        user_id: alice,
        token_hash: hash.to_owned(),
        expires_at: now + Duration::days(days),
    };
    let (short, long) = (LoginId::new(), LoginId::new());
    store.start_login(&system(), token(short, "s", 1)).await.unwrap();
    store.start_login(&system(), token(long, "l", 1)).await.unwrap();
    let next = token(long, "l2", 30);
    assert!(matches!(store.rotate_refresh_token(&system(), "l", next, now).await.unwrap(), Rotation::Rotated(_)));

    let swept: std::collections::BTreeMap<_, _> = sweep(store, &ALL, 3).await.into_iter().collect();
    assert_eq!(swept["analysis_sessions"], 3);
    assert_eq!(swept["batch_jobs"], 1);
    assert_eq!(swept["idempotency_keys"], 1);
    assert_eq!((swept["logins"], swept["refresh_tokens"]), (1, 1), "the short one, and the used token of the long one");
    assert!(swept["audit_log"] > 5);
    assert!(store.sessions(None, &[], PageRequest::first(1)).await.unwrap().items.is_empty());
    is_not_found(store.job(done.id).await, "job");
    assert_eq!(store.job(waiting.id).await.unwrap(), waiting, "what waits is not over");
    assert_eq!(store.replay(&write.actor, &idempotency).await.unwrap(), None);
    assert!(!store.login_active(short).await.unwrap());
    assert!(store.login_active(long).await.unwrap());
    let rotated = store.rotate_refresh_token(&system(), "l2", token(long, "l3", 30), now).await.unwrap();
    assert!(matches!(rotated, Rotation::Rotated(_)));
}

async fn a_mark_is_set_once_and_taken_once(f: Fixture) {
    let (store, now) = (&*f.store, OffsetDateTime::now_utc());
    let soon = now + Duration::minutes(1);
    assert!(!store.take_mark("a", now).await.unwrap(), "there is none");
    assert!(store.set_mark("a", soon, now).await.unwrap());
    assert!(!store.set_mark("a", soon, now).await.unwrap(), "it is marked already");
    assert!(store.set_mark("b", soon, now).await.unwrap(), "another one");
    let taking = (0..8).map(|_| {
        let store = Arc::clone(&f.store);
        tokio::spawn(async move { store.take_mark("a", now).await.unwrap() })
    });
    let taken: Vec<bool> = futures_util::future::join_all(taking).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "of many at once, one has it");
    assert!(!store.take_mark("b", soon).await.unwrap(), "it has run out");
    assert!(
        store.set_mark("b", soon + Duration::minutes(1), soon).await.unwrap(),
        "one that ran out is as good as none"
    );
    is_invalid(store.set_mark("", soon, now).await);
    let swept: std::collections::BTreeMap<_, _> = store.sweep(&ALL, soon).await.unwrap().into_iter().collect();
    assert_eq!(swept["marks"], 0);
    let swept: std::collections::BTreeMap<_, _> = sweep(store, &ALL, 1).await.into_iter().collect();
    assert_eq!(swept["marks"], 1);
}

async fn changes_pass_while_a_sweep_goes_on(f: Fixture) {
    let metrics: Vec<_> = (0..3000).map(|_| metric("a")).collect();
    f.store.add_service_metrics(&metrics).await.unwrap();
    let store = Arc::clone(&f.store);
    let sweeping = tokio::spawn(async move { sweep(&*store, &ALL, 2).await });
    for _ in 0..20 {
        f.store.audit(entry("between")).await.unwrap();
    }
    let swept = sweeping.await.unwrap();
    assert_eq!(swept.iter().find(|(table, _)| *table == "service_metrics"), Some(&("service_metrics", 3000)));
}

async fn the_store_tells_its_state_and_finds_itself_whole(f: Fixture) {
    let store = &*f.store;
    store.ping().await.unwrap();
    let status = store.status().await.unwrap();
    assert_eq!(status.backend, if f.options.url.is_some() { "postgres" } else { "sqlite" });
    assert!(status.version.chars().any(|c| c.is_ascii_digit()), "{}", status.version);
    assert!(status.pending.is_empty());
    assert_eq!(status.applied[1], (2, "0002_accounts".to_owned()));
    assert!(status.bytes > 10_000);
    assert!(status.connections >= status.idle);
    let checks = store.check().await.unwrap();
    for check in &checks {
        assert!(check.ok, "{check:?}");
    }
    for expected in ["migrations", "references", "vectors", "counts", "search"] {
        assert!(checks.iter().any(|check| check.check == expected), "{expected}");
    }
    store.close().await;
    let closed = store.ping().await;
    assert!(matches!(closed, Err(StoreError::Unavailable { .. })), "{closed:?}");
    let closed = store.create_job(&system(), new_job("a")).await;
    assert!(matches!(closed, Err(StoreError::Unavailable { .. })), "{closed:?}");
}
