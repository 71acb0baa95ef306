//! The audit trail.

use serde_json::Value;
use sqlx::{Row as _, types::Json};
use uuid::Uuid;

use super::{
    Backend, DbRow, Time,
    rows::to_page,
    write::{AuditRow, insert_audit},
};
use crate::{
    error::Result,
    text::{check_json, check_key, check_text},
    types::*,
};

/// Most characters of a subject: what a refused request asked for may be anything.
const MAX_SUBJECT: usize = 1000;

pub(super) async fn add(store: &Backend, entry: NewAudit) -> Result<()> {
    check_key("the action", &entry.action)?;
    check_key("the outcome", &entry.outcome)?;
    check_text("the request's identifier", &entry.request_id, MAX_SUBJECT)?;
    check_text("the subject", entry.subject.as_deref().unwrap_or_default(), MAX_SUBJECT)?;
    check_text("the address", entry.actor.address.as_deref().unwrap_or_default(), MAX_SUBJECT)?;
    check_json("the details", &entry.details)?;
    let mut tx = store.begin_write().await?;
    let row = AuditRow {
        actor: &entry.actor,
        request_id: &entry.request_id,
        action: &entry.action,
        subject: entry.subject.as_deref(),
        collection: entry.collection_id,
        person: None,
        outcome: &entry.outcome,
        details: &entry.details,
    };
    insert_audit(&mut tx, &row).await?;
    store.commit(tx).await?;
    row.tell();
    Ok(())
}

/// Newest first.
pub(super) async fn trail(store: &Backend, page: PageRequest) -> Result<Page<AuditEntry>> {
    let rows = sqlx::query(
        "SELECT id, actor_kind, actor_id, address, request_id, action, subject, collection_id, outcome, details, \
         created_at FROM audit_log WHERE id < $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(page.after.unwrap_or(Uuid::max()))
    .bind(i64::from(page.limit) + 1)
    .fetch_all(store.pool())
    .await?;
    to_page(rows.iter().map(read), page, |entry: &AuditEntry| entry.id)
}

fn read(row: &DbRow) -> Result<AuditEntry> {
    Ok(AuditEntry {
        id: row.try_get("id")?,
        actor_kind: row.try_get("actor_kind")?,
        actor_id: row.try_get("actor_id")?,
        address: row.try_get("address")?,
        request_id: row.try_get("request_id")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        collection_id: row.try_get::<Option<Uuid>, _>("collection_id")?.map(CollectionId),
        outcome: row.try_get("outcome")?,
        details: row.try_get::<Json<Value>, _>("details")?.0,
        created_at: row.try_get::<Time, _>("created_at")?.0,
    })
}
