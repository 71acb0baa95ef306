//! Erasure: what is forgotten is gone from every table, in one transaction. The audit trail keeps identifiers and numbers.

use serde_json::json;
use sqlx::Row;
use uuid::Uuid;

use super::{
    Backend, Tx,
    collections::no_collection,
    counts::Counts,
    erase_history::{self, Whose},
    faces::{self, no_face},
    job_results,
    persons::no_person,
    write::Audit,
};
use crate::{
    error::Result,
    types::{CollectionId, Erased, FaceId, Outcome, PersonId, Write},
};

impl Backend {
    pub(super) async fn erase_person(
        &self,
        write: &Write,
        collection: CollectionId,
        id: PersonId,
    ) -> Result<Outcome<Erased>> {
        let (mut tx, replay) = self.begin(write).await?;
        if let Some(outcome) = replay {
            return Ok(outcome);
        }
        if !tx.hold_person(collection, id).await? {
            return Err(no_person(id));
        }
        let mut erased = erase_history::of_faces(&mut tx, collection, Whose::Person(id)).await?;
        let faces: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM faces WHERE collection_id = $1 AND person_id = $2")
            .bind(collection.0)
            .bind(id.0)
            .fetch_all(tx.connection())
            .await?;
        let mut counts = Counts { persons: -1, ..Counts::default() };
        for face in faces {
            // In the order of every other change: first the face, then what hangs on it.
            tx.hold_face(collection, FaceId(face)).await?;
            erase_face(&mut tx, collection, FaceId(face), &mut erased, &mut counts).await?;
        }
        sqlx::query("DELETE FROM persons WHERE collection_id = $1 AND id = $2")
            .bind(collection.0)
            .bind(id.0)
            .execute(tx.connection())
            .await?;
        erased.persons = 1;
        // Answers that were recorded for a repetition hold the person's name and metadata.
        sqlx::query("UPDATE idempotency_keys SET outcome = NULL WHERE collection_id = $1 AND person_id = $2")
            .bind(collection.0)
            .bind(id.0)
            .execute(tx.connection())
            .await?;
        counts.add(&mut tx, collection).await?;
        let audit = audit("person.delete", format!("person:{id}"), collection, Some(id), &erased);
        self.finish(tx, write, audit, erased).await
    }

    pub(super) async fn erase_face(
        &self,
        write: &Write,
        collection: CollectionId,
        id: FaceId,
    ) -> Result<Outcome<Erased>> {
        let (mut tx, replay) = self.begin(write).await?;
        if let Some(outcome) = replay {
            return Ok(outcome);
        }
        if !tx.hold_face(collection, id).await? {
            return Err(no_face(id));
        }
        let person = faces::read(&mut tx, collection, id).await?.person_id;
        let mut erased = erase_history::of_faces(&mut tx, collection, Whose::Face(id)).await?;
        let mut counts = Counts::default();
        erase_face(&mut tx, collection, id, &mut erased, &mut counts).await?;
        counts.add(&mut tx, collection).await?;
        let audit = audit("face.delete", format!("face:{id}"), collection, person, &erased);
        self.finish(tx, write, audit, erased).await
    }

    pub(super) async fn erase_collection(&self, write: &Write, id: CollectionId) -> Result<Outcome<Erased>> {
        let (mut tx, replay) = self.begin(write).await?;
        if let Some(outcome) = replay {
            return Ok(outcome);
        }
        if !tx.hold_collection(id).await? {
            return Err(no_collection(id));
        }
        let mut erased = erase_history::of_collection(&mut tx, id).await?;
        erased.embeddings = delete(&mut tx, "DELETE FROM face_embeddings WHERE collection_id = $1", id).await?;
        delete(&mut tx, "DELETE FROM face_crops WHERE collection_id = $1", id).await?;
        erased.faces = delete(&mut tx, "DELETE FROM faces WHERE collection_id = $1", id).await?;
        erased.persons = delete(&mut tx, "DELETE FROM persons WHERE collection_id = $1", id).await?;
        delete(&mut tx, "DELETE FROM collection_counts WHERE collection_id = $1", id).await?;
        delete(&mut tx, "DELETE FROM embedding_counts WHERE collection_id = $1", id).await?;
        delete(&mut tx, "DELETE FROM collections WHERE id = $1", id).await?;
        delete(&mut tx, "UPDATE idempotency_keys SET outcome = NULL WHERE collection_id = $1", id).await?;
        tx.index_drop(id);
        let audit = audit("collection.delete", format!("collection:{id}"), id, None, &erased);
        self.finish(tx, write, audit, erased).await
    }
}

/// Deletes one face with what hangs on it, except for history.
async fn erase_face(
    tx: &mut Tx,
    collection: CollectionId,
    id: FaceId,
    erased: &mut Erased,
    counts: &mut Counts,
) -> Result<()> {
    let embeddings =
        sqlx::query("DELETE FROM face_embeddings WHERE collection_id = $1 AND face_id = $2 RETURNING model, dimension")
            .bind(collection.0)
            .bind(id.0)
            .fetch_all(tx.connection())
            .await?;
    for row in &embeddings {
        let key = (row.try_get("model")?, i64::from(row.try_get::<i32, _>("dimension")?));
        *counts.embeddings.entry(key).or_default() -= 1;
    }
    erased.embeddings += embeddings.len() as u64;
    // The face is held, so that no job adds a line with it after this.
    job_results::forget_face(tx, collection, id).await?;
    for sql in [
        "DELETE FROM face_crops WHERE collection_id = $1 AND face_id = $2",
        "DELETE FROM faces WHERE collection_id = $1 AND id = $2",
    ] {
        sqlx::query(sql).bind(collection.0).bind(id.0).execute(tx.connection()).await?;
    }
    erased.faces += 1;
    counts.faces -= 1;
    sqlx::query("UPDATE idempotency_keys SET outcome = NULL WHERE collection_id = $1 AND subject = $2")
        .bind(collection.0)
        .bind(format!("face:{id}"))
        .execute(tx.connection())
        .await?;
    tx.index_remove(collection, id);
    Ok(())
}

async fn delete(tx: &mut Tx, sql: &'static str, collection: CollectionId) -> Result<u64> {
    Ok(sqlx::query(sql).bind(collection.0).execute(tx.connection()).await?.rows_affected())
}

fn audit(
    action: &'static str,
    subject: String,
    collection: CollectionId,
    person: Option<PersonId>,
    erased: &Erased,
) -> Audit {
    let details = json!({
        "persons": erased.persons,
        "faces": erased.faces,
        "embeddings": erased.embeddings,
        "detections": erased.detections,
        "sessions": erased.sessions,
    });
    Audit { action, subject: Some(subject), collection: Some(collection), person, details }
}
