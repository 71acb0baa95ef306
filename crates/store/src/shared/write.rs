//! The frame of every change: the idempotency key first, then the change, then its audit entry and the record of its
//! answer, all in one transaction.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{Row, types::Json};
use uuid::Uuid;

use super::{Backend, Time, Tx};
use crate::{
    error::{Result, StoreError},
    error_map::is_taken,
    text,
    types::{Actor, CollectionId, Idempotency, Outcome, PersonId, Write},
};

/// What the audit trail says of a change. No names and no biometric data: identifiers and numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audit {
    /// Such as `person.delete`.
    pub(crate) action: &'static str,
    /// What was changed, such as `person:0198…`.
    pub(crate) subject: Option<String>,
    /// The gallery concerned.
    pub(crate) collection: Option<CollectionId>,
    /// Whom the change is about: erasing the person clears the recorded answer, and an export lists the entry.
    pub(crate) person: Option<PersonId>,
    /// Numbers and identifiers.
    pub(crate) details: Value,
}

/// One row of the audit trail.
pub(crate) struct AuditRow<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) request_id: &'a str,
    pub(crate) action: &'a str,
    pub(crate) subject: Option<&'a str>,
    pub(crate) collection: Option<CollectionId>,
    pub(crate) person: Option<PersonId>,
    pub(crate) outcome: &'a str,
    pub(crate) details: &'a Value,
}

/// Target of the log lines that tell of new entries.
const TARGET: &str = "facesocial::audit";

impl AuditRow<'_> {
    /// Tells of the entry in the log, once it is stored. Who it was, and about whom, is in the trail alone; the request's
    /// identifier leads there.
    pub(crate) fn tell(&self) {
        let Self { actor, request_id, action, outcome, .. } = self;
        tracing::info!(target: TARGET, action, outcome, actor = actor.kind.as_str(), request_id, "audit");
    }
}

impl Backend {
    /// Starts a change. If the same change was made before, gives its answer too; the change is not to be made again.
    pub(crate) async fn begin<T: DeserializeOwned>(&self, write: &Write) -> Result<(Tx, Option<Outcome<T>>)> {
        let mut tx = self.begin_write().await?;
        let Some(idempotency) = &write.idempotency else { return Ok((tx, None)) };
        check(idempotency)?;
        let principal = write.actor.principal();
        // A second request with the key waits here until the first has ended, and then finds its answer.
        tx.lock_key(&principal, &idempotency.key).await?;
        let Some(answer) = first_answer(&mut tx, &principal, idempotency).await? else { return Ok((tx, None)) };
        let value = serde_json::from_value(answer)
            .map_err(|e| StoreError::Incompatible(format!("the recorded answer is of another version: {e}")))?;
        Ok((tx, Some(Outcome { value, replayed: true })))
    }

    /// Ends a change: adds the audit entry and the record of the answer, and commits.
    pub(crate) async fn finish<T: Serialize>(
        &self,
        mut tx: Tx,
        write: &Write,
        audit: Audit,
        value: T,
    ) -> Result<Outcome<T>> {
        let row = AuditRow {
            actor: &write.actor,
            request_id: &write.request_id,
            action: audit.action,
            subject: audit.subject.as_deref(),
            collection: audit.collection,
            person: audit.person,
            outcome: "ok",
            details: &audit.details,
        };
        insert_audit(&mut tx, &row).await?;
        if let Some(idempotency) = &write.idempotency {
            let answer = serde_json::to_value(&value)
                .map_err(|e| StoreError::Invalid(format!("the answer cannot be recorded: {e}")))?;
            let inserted = sqlx::query(
                "INSERT INTO idempotency_keys
                     (principal, key, fingerprint, collection_id, person_id, subject, outcome, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(write.actor.principal())
            .bind(&idempotency.key)
            .bind(&idempotency.fingerprint)
            .bind(audit.collection.map(|id| id.0))
            .bind(audit.person.map(|id| id.0))
            .bind(&audit.subject)
            .bind(Json(answer))
            .bind(Time::now())
            .execute(tx.connection())
            .await;
            match inserted {
                Err(e) if is_taken(&e) => return Err(StoreError::KeyInUse),
                other => other?,
            };
        }
        self.commit(tx).await?;
        row.tell();
        Ok(Outcome { value, replayed: false })
    }

    /// The first answer to a change with this key, if there was one.
    pub(crate) async fn recorded_answer(&self, actor: &Actor, idempotency: &Idempotency) -> Result<Option<Value>> {
        check(idempotency)?;
        let mut tx = self.begin_read().await?;
        first_answer(&mut tx, &actor.principal(), idempotency).await
    }
}

fn check(idempotency: &Idempotency) -> Result<()> {
    text::check_key("an Idempotency-Key", &idempotency.key)?;
    text::check_key("a fingerprint", &idempotency.fingerprint)
}

async fn first_answer(tx: &mut Tx, principal: &str, idempotency: &Idempotency) -> Result<Option<Value>> {
    let row =
        sqlx::query("SELECT fingerprint, outcome, subject FROM idempotency_keys WHERE principal = $1 AND key = $2")
            .bind(principal)
            .bind(&idempotency.key)
            .fetch_optional(tx.connection())
            .await?;
    let Some(row) = row else { return Ok(None) };
    if row.try_get::<String, _>("fingerprint")? != idempotency.fingerprint {
        return Err(StoreError::KeyReused);
    }
    match row.try_get::<Option<Json<Value>>, _>("outcome")? {
        Some(Json(answer)) => Ok(Some(answer)),
        // What the answer told of was erased since. Making the change again would bring it back.
        None => {
            let subject: Option<String> = row.try_get("subject")?;
            let id = subject.as_deref().and_then(|s| s.split_once(':')).map_or("", |(_, id)| id);
            let kind = match subject.as_deref().and_then(|s| s.split_once(':')).map(|(kind, _)| kind) {
                Some("collection") => "collection",
                Some("face") => "face",
                Some("session") => "session",
                Some("user") => "user",
                _ => "person",
            };
            Err(StoreError::NotFound { kind, id: id.to_owned() })
        }
    }
}

/// Adds a row to the audit trail.
pub(crate) async fn insert_audit(tx: &mut Tx, row: &AuditRow<'_>) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit_log (id, actor_kind, actor_id, address, request_id, action, subject, collection_id, person_id,
                                outcome, details, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(Uuid::now_v7())
    .bind(row.actor.kind.as_str())
    .bind(row.actor.id)
    .bind(&row.actor.address)
    .bind(row.request_id)
    .bind(row.action)
    .bind(row.subject)
    .bind(row.collection.map(|id| id.0))
    .bind(row.person.map(|id| id.0))
    .bind(row.outcome)
    .bind(Json(row.details))
    .bind(Time::now())
    .execute(tx.connection())
    .await?;
    Ok(())
}
