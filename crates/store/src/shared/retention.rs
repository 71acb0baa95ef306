//! Deleting by age.

use serde_json::json;
use sqlx::AssertSqlSafe;
use time::{Duration, OffsetDateTime};

use super::{
    Backend, Time,
    write::{AuditRow, insert_audit},
};
use crate::{error::Result, types::*};

/// Rows of one transaction: enough to get on, few enough that a change waits for some milliseconds only.
const BATCH: i64 = 500;
/// How long the first answer to a change is kept.
const REPLAY: Duration = Duration::DAY;

/// Which rows of a table are over.
struct Rule {
    table: &'static str,
    /// What a row is named by.
    key: &'static str,
    /// When `$1` is the last moment that is over.
    over: &'static str,
    before: Option<OffsetDateTime>,
}

pub(super) async fn sweep(store: &Backend, retention: &Retention, now: OffsetDateTime) -> Result<Swept> {
    let days = |days: Option<u32>| days.and_then(|days| now.checked_sub(Duration::days(i64::from(days))));
    let created = |table, before| Rule { table, key: "id", over: "created_at < $1", before };
    let of_jobs = |table, before| Rule {
        table,
        key: "job_id, item",
        over: "job_id IN (SELECT id FROM batch_jobs WHERE completed_at < $1)",
        before,
    };
    let rules = [
        created("analysis_sessions", days(retention.sessions)),
        created("service_metrics", days(retention.metrics)),
        created("health_logs", days(retention.metrics)),
        created("api_usage", days(retention.api_usage)),
        // Where images lay is of no use once their job has ended, and addresses may hold signatures.
        of_jobs("job_items", Some(now)),
        // First what jobs have many of, so that no transaction takes all of a job.
        of_jobs("job_results", days(retention.jobs)),
        // Only ended ones have a time of completion.
        Rule { table: "batch_jobs", key: "id", over: "completed_at < $1", before: days(retention.jobs) },
        created("audit_log", days(retention.audit)),
        Rule {
            table: "idempotency_keys",
            key: "principal, key",
            over: "created_at < $1",
            before: now.checked_sub(REPLAY),
        },
        Rule { table: "marks", key: "digest", over: "expires_at < $1", before: Some(now) },
        // Tokens that nobody can use any more; a day later, so that clocks need not agree.
        Rule { table: "logins", key: "id", over: "expires_at < $1", before: now.checked_sub(Duration::DAY) },
        Rule { table: "refresh_tokens", key: "id", over: "expires_at < $1", before: now.checked_sub(Duration::DAY) },
    ];
    let mut swept = Swept::new();
    for rule in rules {
        let Some(before) = rule.before else { continue };
        swept.push((rule.table, delete(store, &rule, before).await?));
    }
    note(store, &swept).await?;
    Ok(swept)
}

/// Each batch is a transaction of its own, and others get their turn in between.
async fn delete(store: &Backend, rule: &Rule, before: OffsetDateTime) -> Result<u64> {
    let Rule { table, key, over, .. } = rule;
    let sql = format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {over} LIMIT {BATCH})");
    let mut total = 0;
    loop {
        let mut tx = store.begin_write().await?;
        let done = sqlx::query(AssertSqlSafe(sql.clone())).bind(Time::from(before)).execute(tx.connection()).await?;
        let deleted = done.rows_affected();
        if deleted > 0 && matches!(*table, "analysis_sessions" | "job_results") {
            tx.leave_no_trace();
        }
        store.commit(tx).await?;
        total += deleted;
        if deleted < BATCH as u64 {
            return Ok(total);
        }
        tokio::task::yield_now().await;
    }
}

async fn note(store: &Backend, swept: &Swept) -> Result<()> {
    let found: serde_json::Map<_, _> =
        swept.iter().filter(|(_, rows)| *rows > 0).map(|(table, rows)| ((*table).to_owned(), json!(rows))).collect();
    if found.is_empty() {
        return Ok(());
    }
    let mut tx = store.begin_write().await?;
    let row = AuditRow {
        actor: &Actor::system(),
        request_id: "",
        action: "retention.sweep",
        subject: None,
        collection: None,
        person: None,
        outcome: "ok",
        details: &found.into(),
    };
    insert_audit(&mut tx, &row).await?;
    store.commit(tx).await?;
    row.tell();
    Ok(())
}
