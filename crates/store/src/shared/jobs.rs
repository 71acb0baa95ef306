//! Jobs and the workers that take them.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _, types::Json};
use time::Duration;
use uuid::Uuid;

use super::{
    Backend, Db, DbRow, Time, Tx,
    dialect::{FOR_UPDATE, SKIP_LOCKED, database_time},
    filter::Filter,
    job_results,
    rows::{number, to_page},
    webhooks,
    write::Audit,
};
use crate::{
    error::{Result, StoreError},
    error_map::is_missing_reference,
    numbers::to_db,
    text::{check_json_within, check_key},
    types::*,
};

pub(super) const COLUMNS: &str = "j.id, j.job_type, j.user_id, j.collection_id, j.status, j.total_items, j.processed_items, \
     j.failed_items, j.input_data, j.results, j.error_message, j.created_at, j.started_at, j.completed_at";
/// Workers that may be lost one after the other, without progress, before the job is given up: one that ends its worker
/// each time must not end every server.
const MAX_ATTEMPTS: i32 = 5;
/// Most bytes of what a job works on, and of what it has found.
const MAX_DATA: usize = 16 << 20;
/// Most characters of the reason that a job failed for.
const MAX_ERROR: usize = 2000;

pub(super) async fn create(store: &Backend, write: &Write, new: NewJob) -> Result<Outcome<Job>> {
    check_key("the kind of job", &new.kind)?;
    check_json_within("the job's input", &new.input, MAX_DATA)?;
    let (mut tx, first) = store.begin(write).await?;
    if let Some(first) = first {
        return Ok(first);
    }
    let job = Job {
        id: JobId::new(),
        kind: new.kind,
        user_id: new.user_id,
        collection_id: new.collection_id,
        status: JobStatus::Pending,
        total_items: new.total_items,
        processed_items: 0,
        failed_items: 0,
        input: new.input,
        results: Value::Null,
        error_message: None,
        created_at: Time::now().0,
        started_at: None,
        completed_at: None,
    };
    sqlx::query(
        "INSERT INTO batch_jobs (id, job_type, user_id, collection_id, status, total_items, input_data, results, \
         created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(job.id.0)
    .bind(&job.kind)
    .bind(job.user_id.map(|id| id.0))
    .bind(job.collection_id.map(|id| id.0))
    .bind(job.status.as_str())
    .bind(to_db(job.total_items))
    .bind(Json(&job.input))
    .bind(Json(&job.results))
    .bind(Time::from(job.created_at))
    .execute(tx.connection())
    .await
    .map_err(|e| missing_owner(e, &job))?;
    job_results::add_items(&mut tx, job.id, &new.items).await?;
    if let Some(webhook) = &new.webhook {
        webhooks::add(store, &mut tx, job.id, webhook).await?;
    }
    let audit = Audit {
        action: "job.create",
        subject: Some(format!("job:{}", job.id)),
        collection: job.collection_id,
        details: json!({ "kind": job.kind, "items": job.total_items }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, job).await
}

/// The database's clock decides whether a lease has ended, because workers on several machines share it.
pub(super) async fn claim(store: &Backend, worker: &str, kinds: &[&str], lease_seconds: u32) -> Result<Option<Job>> {
    check_key("the worker's name", worker)?;
    if kinds.is_empty() {
        return Ok(None);
    }
    // Most looks find nothing; those need no transaction that others wait for.
    let open = sqlx::query("SELECT 1 FROM batch_jobs WHERE status IN ('pending', 'processing') LIMIT 1")
        .fetch_optional(store.pool())
        .await?;
    if open.is_none() {
        return Ok(None);
    }
    let mut tx = store.begin_write().await?;
    let now = database_time(&mut tx).await?;
    let lost = Time(now.0 - Duration::seconds(i64::from(lease_seconds)));
    give_up(&mut tx, now, lost).await?;
    let places: Vec<String> = (4..4 + kinds.len()).map(|i| format!("${i}")).collect();
    let sql = format!(
        "UPDATE batch_jobs AS j SET status = 'processing', worker = $1, heartbeat_at = $2, attempts = attempts + 1, \
                started_at = COALESCE(started_at, $2) \
         WHERE j.id = (SELECT id FROM batch_jobs \
                       WHERE status IN ('pending', 'processing') \
                         AND (status = 'pending' OR (status = 'processing' AND heartbeat_at < $3)) \
                         AND job_type IN ({}) \
                       ORDER BY id LIMIT 1{SKIP_LOCKED}) \
         RETURNING {}",
        places.join(", "),
        // SQLite knows no alias in RETURNING.
        COLUMNS.replace("j.", "")
    );
    let mut query = sqlx::query::<Db>(AssertSqlSafe(sql)).bind(worker).bind(now).bind(lost);
    for kind in kinds {
        query = query.bind(*kind);
    }
    let job = query.fetch_optional(tx.connection()).await?.as_ref().map(read).transpose()?;
    store.commit(tx).await?;
    Ok(job)
}

async fn give_up(tx: &mut Tx, now: Time, lost: Time) -> Result<()> {
    let sql = format!(
        "UPDATE batch_jobs SET status = 'failed', completed_at = $1, error_message = $2 \
         WHERE id IN (SELECT id FROM batch_jobs \
                      WHERE status = 'processing' AND heartbeat_at < $3 AND attempts >= $4{SKIP_LOCKED})"
    );
    let given_up = sqlx::query(AssertSqlSafe(sql))
        .bind(now)
        .bind(format!("given up: {MAX_ATTEMPTS} workers were lost in it without progress"))
        .bind(lost)
        .bind(MAX_ATTEMPTS)
        .execute(tx.connection())
        .await?;
    if given_up.rows_affected() > 0 {
        tracing::error!(
            jobs = given_up.rows_affected(),
            "jobs were given up because their workers were lost each time"
        );
    }
    Ok(())
}

pub(super) async fn progress(store: &Backend, id: JobId, worker: &str, progress: &JobProgress) -> Result<bool> {
    let mut tx = store.begin_write().await?;
    let noted = note(&mut tx, id, worker, progress).await?;
    store.commit(tx).await?;
    Ok(noted)
}

/// Notes progress as part of a change; false if the job was cancelled or is another worker's now.
pub(super) async fn note(tx: &mut Tx, id: JobId, worker: &str, progress: &JobProgress) -> Result<bool> {
    check_json_within("the job's results", &progress.results, MAX_DATA)?;
    let now = database_time(tx).await?;
    let done = sqlx::query(
        "UPDATE batch_jobs SET total_items = $3, processed_items = $4, failed_items = $5, results = $6, \
         heartbeat_at = $7, attempts = CASE WHEN $4 > processed_items THEN 0 ELSE attempts END \
         WHERE id = $1 AND worker = $2 AND status = 'processing'",
    )
    .bind(id.0)
    .bind(worker)
    .bind(to_db(progress.total_items))
    .bind(to_db(progress.processed_items))
    .bind(to_db(progress.failed_items))
    .bind(Json(&progress.results))
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn finish(
    store: &Backend,
    id: JobId,
    worker: &str,
    progress: &JobProgress,
    error: Option<&str>,
) -> Result<bool> {
    check_json_within("the job's results", &progress.results, MAX_DATA)?;
    // The reason may quote anything; it is made to fit, because a job must not fail to fail.
    let error = error.map(|reason| reason.replace('\0', " ").chars().take(MAX_ERROR).collect::<String>());
    let status = if error.is_some() { JobStatus::Failed } else { JobStatus::Completed };
    let mut tx = store.begin_write().await?;
    let now = database_time(&mut tx).await?;
    let done = sqlx::query(
        "UPDATE batch_jobs SET total_items = $3, processed_items = $4, failed_items = $5, results = $6, \
         heartbeat_at = $7, completed_at = $7, status = $8, error_message = $9 \
         WHERE id = $1 AND worker = $2 AND status = 'processing'",
    )
    .bind(id.0)
    .bind(worker)
    .bind(to_db(progress.total_items))
    .bind(to_db(progress.processed_items))
    .bind(to_db(progress.failed_items))
    .bind(Json(&progress.results))
    .bind(now)
    .bind(status.as_str())
    .bind(error)
    .execute(tx.connection())
    .await?;
    store.commit(tx).await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn cancel(store: &Backend, write: &Write, id: JobId) -> Result<Outcome<Job>> {
    let (mut tx, first) = store.begin(write).await?;
    if let Some(first) = first {
        return Ok(first);
    }
    let sql = format!("SELECT {COLUMNS} FROM batch_jobs j WHERE j.id = $1{FOR_UPDATE}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(tx.connection()).await?;
    let mut job = read(&row.ok_or_else(|| missing(id))?)?;
    match job.status {
        JobStatus::Pending | JobStatus::Processing => {}
        JobStatus::Cancelled => return Ok(Outcome { value: job, replayed: true }),
        JobStatus::Completed | JobStatus::Failed => {
            return Err(StoreError::Invalid(format!("the job has ended: it is {}", job.status.as_str())));
        }
    }
    job.status = JobStatus::Cancelled;
    job.completed_at = Some(database_time(&mut tx).await?.0);
    sqlx::query("UPDATE batch_jobs SET status = $2, completed_at = $3 WHERE id = $1")
        .bind(id.0)
        .bind(job.status.as_str())
        .bind(job.completed_at.map(Time::from))
        .execute(tx.connection())
        .await?;
    let audit = Audit {
        action: "job.cancel",
        subject: Some(format!("job:{id}")),
        collection: job.collection_id,
        details: json!({ "kind": job.kind, "processed": job.processed_items }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, job).await
}

pub(super) async fn get(store: &Backend, id: JobId) -> Result<Job> {
    let sql = format!("SELECT {COLUMNS} FROM batch_jobs j WHERE j.id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(store.pool()).await?;
    read(&row.ok_or_else(|| missing(id))?)
}

pub(super) async fn list(
    store: &Backend,
    user: Option<UserId>,
    collections: &[CollectionId],
    page: PageRequest,
) -> Result<Page<Job>> {
    let filter = Filter { table: "j", user, collections };
    let sql = format!("SELECT {COLUMNS} FROM batch_jobs j WHERE j.id > $1 {} ORDER BY j.id LIMIT $2", filter.sql(3));
    let query =
        sqlx::query::<Db>(AssertSqlSafe(sql)).bind(page.after.unwrap_or(Uuid::nil())).bind(i64::from(page.limit) + 1);
    let rows = filter.bind(query).fetch_all(store.pool()).await?;
    to_page(rows.iter().map(read), page, |job: &Job| job.id.0)
}

pub(super) fn read(row: &DbRow) -> Result<Job> {
    let status: String = row.try_get("status")?;
    let time = |column: &str| -> Result<_> { Ok(row.try_get::<Option<Time>, _>(column)?.map(|time| time.0)) };
    Ok(Job {
        id: JobId(row.try_get("id")?),
        kind: row.try_get("job_type")?,
        user_id: row.try_get::<Option<Uuid>, _>("user_id")?.map(UserId),
        collection_id: row.try_get::<Option<Uuid>, _>("collection_id")?.map(CollectionId),
        status: JobStatus::parse(&status)
            .ok_or_else(|| StoreError::Damaged("a job has an unknown status".to_owned()))?,
        total_items: number(row, "total_items")?,
        processed_items: number(row, "processed_items")?,
        failed_items: number(row, "failed_items")?,
        input: row.try_get::<Json<Value>, _>("input_data")?.0,
        results: row.try_get::<Json<Value>, _>("results")?.0,
        error_message: row.try_get("error_message")?,
        created_at: row.try_get::<Time, _>("created_at")?.0,
        started_at: time("started_at")?,
        completed_at: time("completed_at")?,
    })
}

fn missing(id: JobId) -> StoreError {
    StoreError::NotFound { kind: "job", id: id.to_string() }
}

/// The account or the gallery went meanwhile. The databases do not say the same about which.
fn missing_owner(error: sqlx::Error, job: &Job) -> StoreError {
    match job.collection_id {
        _ if !is_missing_reference(&error) => error.into(),
        Some(id) => StoreError::NotFound { kind: "collection", id: id.to_string() },
        None => StoreError::NotFound { kind: "user", id: job.user_id.unwrap_or_default().to_string() },
    }
}
