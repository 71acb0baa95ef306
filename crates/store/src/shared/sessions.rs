//! Stored analyses.

use std::collections::HashSet;

use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{
    Backend, Db, DbRow, Time, Tx, detections,
    dialect::FOR_KEY_SHARE,
    filter::Filter,
    rows::{number, to_page},
    write::Audit,
};
use crate::{
    error::{Result, StoreError},
    numbers::to_db,
    text::check_key,
    types::*,
};

/// Most faces of one analysis; more than any detector of this system answers.
const MAX_FACES: usize = 10_000;

const COLUMNS: &str = "s.id, s.user_id, s.collection_id, s.image_hash, s.image_size, s.mime_type, \
     s.total_faces_detected, s.processing_time_ms, s.created_at, \
     EXISTS (SELECT 1 FROM session_images i WHERE i.session_id = s.id) AS has_image";

pub(super) async fn save(store: &Backend, write: &Write, new: NewSession) -> Result<Outcome<Session>> {
    check(&new)?;
    let (mut tx, first) = store.begin(write).await?;
    if let Some(first) = first {
        return Ok(first);
    }
    let session = Session {
        id: SessionId::new(),
        user_id: new.user_id,
        collection_id: new.collection_id,
        image_hash: new.image_hash,
        image_size: new.image_size,
        mime_type: new.mime_type,
        has_image: new.image.is_some(),
        total_faces_detected: new.detections.len() as u32,
        processing_time_ms: new.processing_time_ms,
        created_at: Time::now().0,
    };
    demand_owners(&mut tx, session.user_id, session.collection_id).await?;
    sqlx::query(
        "INSERT INTO analysis_sessions (id, user_id, collection_id, image_hash, image_size, mime_type, \
         total_faces_detected, processing_time_ms, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(session.id.0)
    .bind(session.user_id.map(|id| id.0))
    .bind(session.collection_id.map(|id| id.0))
    .bind(&session.image_hash)
    .bind(to_db(session.image_size))
    .bind(&session.mime_type)
    .bind(i64::from(session.total_faces_detected))
    .bind(to_db(session.processing_time_ms))
    .bind(Time::from(session.created_at))
    .execute(tx.connection())
    .await?;
    if let Some(image) = new.image {
        sqlx::query("INSERT INTO session_images (session_id, image) VALUES ($1, $2)")
            .bind(session.id.0)
            .bind(store.write_image(&place(session.id), &image)?)
            .execute(tx.connection())
            .await?;
    }
    for detection in &new.detections {
        detections::insert(&mut tx, &session, detection).await?;
    }
    let audit = Audit {
        action: "session.create",
        subject: Some(format!("session:{}", session.id)),
        collection: session.collection_id,
        details: json!({ "faces": session.total_faces_detected, "image_kept": session.has_image }),
        ..Audit::default()
    };
    store.finish(tx, write, audit, session).await
}

/// So that an account or a gallery that went meanwhile is named, not a foreign key.
async fn demand_owners(tx: &mut Tx, user: Option<UserId>, collection: Option<CollectionId>) -> Result<()> {
    if let Some(id) = user {
        let sql = format!("SELECT 1 FROM users WHERE id = $1{FOR_KEY_SHARE}");
        let there = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(tx.connection()).await?;
        there.ok_or_else(|| StoreError::NotFound { kind: "user", id: id.to_string() })?;
    }
    if let Some(id) = collection {
        let sql = format!("SELECT 1 FROM collections WHERE id = $1{FOR_KEY_SHARE}");
        let there = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(tx.connection()).await?;
        there.ok_or_else(|| StoreError::NotFound { kind: "collection", id: id.to_string() })?;
    }
    Ok(())
}

pub(super) async fn get(store: &Backend, id: SessionId) -> Result<SessionDetail> {
    let mut tx = store.begin_read().await?;
    let sql = format!("SELECT {COLUMNS} FROM analysis_sessions s WHERE s.id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(tx.connection()).await?;
    let session = read(&row.ok_or_else(|| missing(id))?)?;
    let faces = detections::of_session(&mut tx, id).await?;
    Ok(SessionDetail { session, faces })
}

pub(super) async fn image(store: &Backend, id: SessionId) -> Result<Option<(String, Vec<u8>)>> {
    let row = sqlx::query(
        "SELECT s.mime_type, i.image FROM analysis_sessions s LEFT JOIN session_images i ON i.session_id = s.id \
         WHERE s.id = $1",
    )
    .bind(id.0)
    .fetch_optional(store.pool())
    .await?;
    let row = row.ok_or_else(|| missing(id))?;
    let Some(image) = row.try_get::<Option<Vec<u8>>, _>("image")? else { return Ok(None) };
    Ok(Some((row.try_get("mime_type")?, store.read_image(&place(id), image)?)))
}

pub(super) async fn list(
    store: &Backend,
    user: Option<UserId>,
    collections: &[CollectionId],
    page: PageRequest,
) -> Result<Page<Session>> {
    let filter = Filter { table: "s", user, collections };
    let sql =
        format!("SELECT {COLUMNS} FROM analysis_sessions s WHERE s.id > $1 {} ORDER BY s.id LIMIT $2", filter.sql(3));
    let query =
        sqlx::query::<Db>(AssertSqlSafe(sql)).bind(page.after.unwrap_or(Uuid::nil())).bind(i64::from(page.limit) + 1);
    let rows = filter.bind(query).fetch_all(store.pool()).await?;
    to_page(rows.iter().map(read), page, |session: &Session| session.id.0)
}

pub(super) async fn delete(store: &Backend, write: &Write, id: SessionId) -> Result<Outcome<()>> {
    let (mut tx, first) = store.begin(write).await?;
    if let Some(first) = first {
        return Ok(first);
    }
    let row = sqlx::query("DELETE FROM analysis_sessions WHERE id = $1 RETURNING collection_id")
        .bind(id.0)
        .fetch_optional(tx.connection())
        .await?;
    let collection = row.ok_or_else(|| missing(id))?.try_get::<Option<Uuid>, _>("collection_id")?.map(CollectionId);
    let subject = format!("session:{id}");
    // The recorded answer of its making tells of it, too.
    sqlx::query(
        "UPDATE idempotency_keys SET outcome = NULL WHERE subject = $1 AND collection_id IS NOT DISTINCT FROM $2",
    )
    .bind(&subject)
    .bind(collection.map(|id| id.0))
    .execute(tx.connection())
    .await?;
    tx.leave_no_trace();
    let audit =
        Audit { action: "session.delete", subject: Some(subject), collection, details: json!({}), ..Audit::default() };
    store.finish(tx, write, audit, ()).await
}

fn read(row: &DbRow) -> Result<Session> {
    Ok(Session {
        id: SessionId(row.try_get("id")?),
        user_id: row.try_get::<Option<Uuid>, _>("user_id")?.map(UserId),
        collection_id: row.try_get::<Option<Uuid>, _>("collection_id")?.map(CollectionId),
        image_hash: row.try_get("image_hash")?,
        image_size: number(row, "image_size")?,
        mime_type: row.try_get("mime_type")?,
        has_image: row.try_get("has_image")?,
        total_faces_detected: row.try_get::<i32, _>("total_faces_detected")?.max(0) as u32,
        processing_time_ms: number(row, "processing_time_ms")?,
        created_at: row.try_get::<Time, _>("created_at")?.0,
    })
}

/// Where a sealed image belongs.
fn place(id: SessionId) -> String {
    format!("session {id}")
}

fn missing(id: SessionId) -> StoreError {
    StoreError::NotFound { kind: "session", id: id.to_string() }
}

fn check(new: &NewSession) -> Result<()> {
    let invalid = |reason: &str| Err(StoreError::Invalid(reason.to_owned()));
    check_key("the image's hash", &new.image_hash)?;
    check_key("the image's type", &new.mime_type)?;
    if new.detections.len() > MAX_FACES {
        return Err(StoreError::Invalid(format!("an analysis has at most {MAX_FACES} faces")));
    }
    let mut indices = HashSet::new();
    for detection in &new.detections {
        if !indices.insert(detection.face_index) {
            return invalid("each face of an analysis has an index of its own");
        }
        if detection.recognition.as_ref().is_some_and(|r| r.matched_face_id.is_some()) && new.collection_id.is_none() {
            return invalid("a match belongs to the collection that was searched; name it");
        }
        detections::check(detection)?;
    }
    Ok(())
}
