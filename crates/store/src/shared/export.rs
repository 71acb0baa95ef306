//! Everything about one person.

use serde_json::{Value, json};
use sqlx::{Row, types::Json};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{Backend, DbRow, StoredVector, Time, faces, persons, rows};
use crate::{
    error::{Result, StoreError},
    types::{CollectionId, ExportedEmbedding, ExportedFace, FaceId, PersonExport, PersonId},
};

impl Backend {
    pub(super) async fn export(&self, collection: CollectionId, id: PersonId) -> Result<PersonExport> {
        let mut tx = self.begin_read().await?;
        let person = persons::read(&mut tx, collection, id).await?;
        let ids: Vec<Uuid> =
            sqlx::query_scalar("SELECT id FROM faces WHERE collection_id = $1 AND person_id = $2 ORDER BY id")
                .bind(collection.0)
                .bind(id.0)
                .fetch_all(tx.connection())
                .await?;
        let mut exported = Vec::with_capacity(ids.len());
        for face in ids {
            let stored = sqlx::query(
                "SELECT model, dimension, embedding FROM face_embeddings
                 WHERE collection_id = $1 AND face_id = $2 ORDER BY model",
            )
            .bind(collection.0)
            .bind(face)
            .fetch_all(tx.connection())
            .await?;
            let embeddings = stored.iter().map(|row| self.exported(FaceId(face), row)).collect::<Result<_>>()?;
            exported.push(ExportedFace { face: faces::read(&mut tx, collection, FaceId(face)).await?, embeddings });
        }
        let history = sqlx::query(
            "SELECT d.session_id, s.created_at, s.image_hash, d.face_index, d.bounding_box, r.matched_face_id,
                    r.similarity_score, r.recognition_method, r.is_verified_match
             FROM faces f
             JOIN face_recognitions r ON r.collection_id = f.collection_id AND r.matched_face_id = f.id
             JOIN face_detections d ON d.id = r.detection_id
             JOIN analysis_sessions s ON s.id = d.session_id
             WHERE f.collection_id = $1 AND f.person_id = $2 ORDER BY s.id, d.face_index",
        )
        .bind(collection.0)
        .bind(id.0)
        .fetch_all(tx.connection())
        .await?;
        let audit = sqlx::query(
            "SELECT created_at, action, subject, outcome, details FROM audit_log WHERE person_id = $1 ORDER BY id",
        )
        .bind(id.0)
        .fetch_all(tx.connection())
        .await?;
        let named = sqlx::query(
            "SELECT r.job_id, r.item, r.face_id FROM faces f
             JOIN job_result_faces r ON r.collection_id = f.collection_id AND r.face_id = f.id
             WHERE f.collection_id = $1 AND f.person_id = $2 ORDER BY r.job_id, r.item",
        )
        .bind(collection.0)
        .bind(id.0)
        .fetch_all(tx.connection())
        .await?;
        Ok(PersonExport {
            person,
            job_results: named.iter().map(job_result).collect::<Result<_>>()?,
            faces: exported,
            history: history.iter().map(recognition).collect::<Result<_>>()?,
            audit: audit.iter().map(entry).collect::<Result<_>>()?,
        })
    }

    fn exported(&self, face: FaceId, row: &DbRow) -> Result<ExportedEmbedding> {
        let (model, stored): (String, StoredVector) = (row.try_get("model")?, row.try_get("embedding")?);
        let dimension = row.try_get::<i32, _>("dimension")?;
        let vector = self.read_vector(face, &model, i64::from(dimension), stored)?;
        Ok(ExportedEmbedding { model: rows::model(&model)?, vector })
    }
}

fn recognition(row: &DbRow) -> Result<Value> {
    Ok(json!({
        "session_id": row.try_get::<Uuid, _>("session_id")?,
        "created_at": time(row)?,
        "image_hash": row.try_get::<String, _>("image_hash")?,
        "face_index": row.try_get::<i32, _>("face_index")?,
        "bbox": row.try_get::<Json<Value>, _>("bounding_box")?.0,
        "matched_face_id": row.try_get::<Uuid, _>("matched_face_id")?,
        "similarity_score": row.try_get::<f32, _>("similarity_score")?,
        "recognition_method": row.try_get::<String, _>("recognition_method")?,
        "is_verified_match": row.try_get::<bool, _>("is_verified_match")?,
    }))
}

/// Which line, not what it says: it may show other people, too.
fn job_result(row: &DbRow) -> Result<Value> {
    Ok(json!({
        "job_id": row.try_get::<Uuid, _>("job_id")?,
        "index": rows::number(row, "item")?,
        "matched_face_id": row.try_get::<Uuid, _>("face_id")?,
    }))
}

/// Without the actor: that is other people's data.
fn entry(row: &DbRow) -> Result<Value> {
    Ok(json!({
        "created_at": time(row)?,
        "action": row.try_get::<String, _>("action")?,
        "subject": row.try_get::<Option<String>, _>("subject")?,
        "outcome": row.try_get::<String, _>("outcome")?,
        "details": row.try_get::<Json<Value>, _>("details")?.0,
    }))
}

fn time(row: &DbRow) -> Result<String> {
    let time = row.try_get::<Time, _>("created_at")?.0;
    time.format(&Rfc3339).map_err(|_| StoreError::Damaged("a time out of range".to_owned()))
}
