//! Whom jobs tell how they go. What is to be told follows from the job's row, so that nothing can end a job without it
//! being told, and a server that ends in the middle of telling leaves it to be told again.

use sqlx::{AssertSqlSafe, Row as _};
use time::Duration;
use uuid::Uuid;

use super::{
    Backend, Time, Tx,
    dialect::{SKIP_LOCKED, database_time},
    jobs,
    rows::number,
};
use crate::{
    error::{Result, StoreError},
    numbers::to_db,
    text::check_text,
    types::*,
};

/// Most characters of an address and of a secret.
const MAX_TEXT: usize = 2048;
/// When a job has something to tell: its end, or that another `every_items` images are done.
const SOMETHING: &str = "EXISTS (SELECT 1 FROM batch_jobs j WHERE j.id = w.job_id AND (\
     j.status IN ('completed', 'failed', 'cancelled') \
     OR (w.every_items > 0 AND j.processed_items >= w.told_items + w.every_items)))";

pub(super) async fn add(store: &Backend, tx: &mut Tx, job: JobId, webhook: &NewWebhook) -> Result<()> {
    check_text("the address of a webhook", &webhook.url, MAX_TEXT)?;
    check_text("the secret of a webhook", webhook.secret.as_deref().unwrap_or_default(), MAX_TEXT)?;
    let secret = webhook.secret.as_ref().map(|secret| store.write_image(&place(job), secret.as_bytes())).transpose()?;
    let now = database_time(tx).await?;
    sqlx::query("INSERT INTO job_webhooks (job_id, url, secret, every_items, due_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(job.0)
        .bind(&webhook.url)
        .bind(secret)
        .bind(to_db(webhook.every_items))
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn claim(store: &Backend, lease_seconds: u32, limit: u32) -> Result<Vec<Webhook>> {
    // Most looks find nothing; those need no transaction that others wait for.
    let some = format!("SELECT 1 FROM job_webhooks w WHERE {SOMETHING} LIMIT 1");
    if sqlx::query(AssertSqlSafe(some)).fetch_optional(store.pool()).await?.is_none() {
        return Ok(Vec::new());
    }
    let mut tx = store.begin_write().await?;
    let now = database_time(&mut tx).await?;
    let sql = format!(
        "UPDATE job_webhooks SET due_at = $2 WHERE job_id IN (\
             SELECT w.job_id FROM job_webhooks w WHERE w.due_at <= $1 AND {SOMETHING} \
             ORDER BY w.due_at LIMIT $3{SKIP_LOCKED}) \
         RETURNING job_id, url, secret, every_items, attempts"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(now)
        .bind(Time(now.0 + Duration::seconds(i64::from(lease_seconds))))
        .bind(i64::from(limit))
        .fetch_all(tx.connection())
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: Uuid = row.try_get("job_id")?;
        let sql = format!("SELECT {} FROM batch_jobs j WHERE j.id = $1", jobs::COLUMNS);
        let job = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_one(tx.connection()).await?;
        let secret: Option<Vec<u8>> = row.try_get("secret")?;
        let secret = secret.map(|stored| store.read_image(&place(JobId(id)), stored)).transpose()?;
        let secret = secret
            .map(String::from_utf8)
            .transpose()
            .map_err(|_| StoreError::Damaged("the secret of a webhook is no text".to_owned()))?;
        found.push(Webhook {
            job: jobs::read(&job)?,
            url: row.try_get("url")?,
            secret,
            every_items: number(row, "every_items")?,
            attempts: u32::try_from(row.try_get::<i32, _>("attempts")?).unwrap_or_default(),
        });
    }
    store.commit(tx).await?;
    Ok(found)
}

pub(super) async fn told(store: &Backend, job: JobId, told_items: u64) -> Result<()> {
    let mut tx = store.begin_write().await?;
    let now = database_time(&mut tx).await?;
    sqlx::query("UPDATE job_webhooks SET told_items = $2, attempts = 0, due_at = $3 WHERE job_id = $1")
        .bind(job.0)
        .bind(to_db(told_items))
        .bind(now)
        .execute(tx.connection())
        .await?;
    store.commit(tx).await
}

pub(super) async fn failed(store: &Backend, job: JobId, pause_seconds: u32) -> Result<()> {
    let mut tx = store.begin_write().await?;
    let now = database_time(&mut tx).await?;
    sqlx::query("UPDATE job_webhooks SET attempts = attempts + 1, due_at = $2 WHERE job_id = $1")
        .bind(job.0)
        .bind(Time(now.0 + Duration::seconds(i64::from(pause_seconds))))
        .execute(tx.connection())
        .await?;
    store.commit(tx).await
}

pub(super) async fn forget(store: &Backend, job: JobId) -> Result<()> {
    let mut tx = store.begin_write().await?;
    let gone = sqlx::query("DELETE FROM job_webhooks WHERE job_id = $1").bind(job.0).execute(tx.connection()).await?;
    if gone.rows_affected() > 0 {
        // With it went a secret.
        tx.leave_no_trace();
    }
    store.commit(tx).await
}

/// Where a sealed secret belongs.
fn place(job: JobId) -> String {
    format!("webhook\0{job}")
}
