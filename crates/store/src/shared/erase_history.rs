//! Erasure in stored analyses. A face that was recognised as the person goes, with the image that shows it; a face that
//! was only most like the person's shows somebody else and stays, without the comparison.

use std::collections::BTreeSet;

use sqlx::Row;
use uuid::Uuid;

use super::{Tx, rows};
use crate::{
    error::Result,
    types::{CollectionId, Erased, FaceId, PersonId},
};

/// Whose traces are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    Person(PersonId),
    Face(FaceId),
}

/// Deletes where faces were the match. The faces themselves must still be there.
pub(super) async fn of_faces(tx: &mut Tx, collection: CollectionId, whose: Whose) -> Result<Erased> {
    let (select, id) = match whose {
        Whose::Person(id) => (
            "SELECT r.detection_id, d.session_id, s.image_hash FROM faces f
             JOIN face_recognitions r ON r.collection_id = f.collection_id AND r.matched_face_id = f.id
             JOIN face_detections d ON d.id = r.detection_id
             JOIN analysis_sessions s ON s.id = d.session_id
             WHERE f.collection_id = $1 AND f.person_id = $2 AND r.is_verified_match",
            id.0,
        ),
        Whose::Face(id) => (
            "SELECT r.detection_id, d.session_id, s.image_hash FROM face_recognitions r
             JOIN face_detections d ON d.id = r.detection_id
             JOIN analysis_sessions s ON s.id = d.session_id
             WHERE r.collection_id = $1 AND r.matched_face_id = $2 AND r.is_verified_match",
            id.0,
        ),
    };
    let found = sqlx::query(select).bind(collection.0).bind(id).fetch_all(tx.connection()).await?;
    let (mut sessions, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    let mut erased = Erased::default();
    for row in &found {
        sessions.insert(row.try_get::<Uuid, _>("session_id")?);
        hashes.insert(row.try_get::<String, _>("image_hash")?);
        // The results of the face go with it.
        erased.detections +=
            execute(tx, "DELETE FROM face_detections WHERE id = $1", row.try_get("detection_id")?).await?;
    }
    // What is left are comparisons with others.
    let compared = match whose {
        Whose::Person(_) => {
            "DELETE FROM face_recognitions WHERE collection_id = $1 AND matched_face_id IN (
                 SELECT f.id FROM faces f WHERE f.collection_id = $1 AND f.person_id = $2)"
        }
        Whose::Face(_) => "DELETE FROM face_recognitions WHERE collection_id = $1 AND matched_face_id = $2",
    };
    sqlx::query(compared).bind(collection.0).bind(id).execute(tx.connection()).await?;
    for session in sessions {
        execute(tx, "DELETE FROM session_images WHERE session_id = $1", session).await?;
        let gone = execute(
            tx,
            "DELETE FROM analysis_sessions WHERE id = $1
             AND NOT EXISTS (SELECT 1 FROM face_detections d WHERE d.session_id = $1)",
            session,
        )
        .await?;
        erased.sessions += gone;
        if gone > 0 {
            // The answer that a repetition would get names the image.
            sqlx::query("UPDATE idempotency_keys SET outcome = NULL WHERE collection_id = $1 AND subject = $2")
                .bind(collection.0)
                .bind(format!("session:{session}"))
                .execute(tx.connection())
                .await?;
        }
    }
    erased.image_hashes = hashes.into_iter().collect();
    Ok(erased)
}

/// Deletes all analyses of a collection.
pub(super) async fn of_collection(tx: &mut Tx, collection: CollectionId) -> Result<Erased> {
    let image_hashes = sqlx::query_scalar(
        "SELECT DISTINCT image_hash FROM analysis_sessions WHERE collection_id = $1 ORDER BY image_hash",
    )
    .bind(collection.0)
    .fetch_all(tx.connection())
    .await?;
    let detections = sqlx::query(
        "SELECT count(*) AS detections FROM face_detections d JOIN analysis_sessions s ON s.id = d.session_id
         WHERE s.collection_id = $1",
    )
    .bind(collection.0)
    .fetch_one(tx.connection())
    .await?;
    let detections = rows::number(&detections, "detections")?;
    // Faces, results and images go with the session.
    let sessions = execute(tx, "DELETE FROM analysis_sessions WHERE collection_id = $1", collection.0).await?;
    execute(tx, "DELETE FROM batch_jobs WHERE collection_id = $1", collection.0).await?;
    Ok(Erased { detections, sessions, image_hashes, ..Erased::default() })
}

async fn execute(tx: &mut Tx, sql: &'static str, id: Uuid) -> Result<u64> {
    Ok(sqlx::query(sql).bind(id).execute(tx.connection()).await?.rows_affected())
}
