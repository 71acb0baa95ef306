//! Whether every row has what it refers to.

use sqlx::{AssertSqlSafe, Row};

use super::PostgresStore;
use crate::{error::Result, types::CheckResult};

/// Every table that refers to another, by which column, that other, and what the two have in common.
const REFERENCES: &[(&str, &str, &str, &str)] = &[
    ("persons", "collection_id", "collections", "p.id = c.collection_id"),
    ("faces", "collection_id", "collections", "p.id = c.collection_id"),
    ("faces", "person_id", "persons", "p.collection_id = c.collection_id AND p.id = c.person_id"),
    ("face_embeddings", "face_id", "faces", "p.collection_id = c.collection_id AND p.id = c.face_id"),
    ("face_crops", "face_id", "faces", "p.collection_id = c.collection_id AND p.id = c.face_id"),
    ("api_keys", "user_id", "users", "p.id = c.user_id"),
    ("logins", "user_id", "users", "p.id = c.user_id"),
    ("refresh_tokens", "login_id", "logins", "p.id = c.login_id"),
    ("analysis_sessions", "user_id", "users", "p.id = c.user_id"),
    ("analysis_sessions", "collection_id", "collections", "p.id = c.collection_id"),
    ("session_images", "session_id", "analysis_sessions", "p.id = c.session_id"),
    ("face_detections", "session_id", "analysis_sessions", "p.id = c.session_id"),
    ("face_recognitions", "detection_id", "face_detections", "p.id = c.detection_id"),
    ("face_recognitions", "matched_face_id", "faces", "p.collection_id = c.collection_id AND p.id = c.matched_face_id"),
    ("antispoof_results", "detection_id", "face_detections", "p.id = c.detection_id"),
    ("gender_age_results", "detection_id", "face_detections", "p.id = c.detection_id"),
    ("deepfake_results", "detection_id", "face_detections", "p.id = c.detection_id"),
    ("batch_jobs", "user_id", "users", "p.id = c.user_id"),
    ("batch_jobs", "collection_id", "collections", "p.id = c.collection_id"),
    ("job_items", "job_id", "batch_jobs", "p.id = c.job_id"),
    ("job_results", "job_id", "batch_jobs", "p.id = c.job_id"),
    ("job_result_faces", "item", "job_results", "p.job_id = c.job_id AND p.item = c.item"),
    ("job_webhooks", "job_id", "batch_jobs", "p.id = c.job_id"),
];

/// Rows whose other half is gone. The databases keep this from happening; what breaks it is a damaged disk, or a hand.
pub(super) async fn references(store: &PostgresStore) -> Result<CheckResult> {
    let mut lost = Vec::new();
    for (child, column, parent, same) in REFERENCES {
        let sql = format!(
            "SELECT count(*) AS orphans FROM {child} c \
             WHERE c.{column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE {same})"
        );
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(store.pool()).await?;
        match row.try_get::<i64, _>("orphans")? {
            0 => {}
            orphans => lost.push(format!("{orphans} of {child} without {parent}")),
        }
    }
    Ok(CheckResult {
        check: "references",
        ok: lost.is_empty(),
        detail: if lost.is_empty() { "every row has what it refers to".to_owned() } else { lost.join(", ") },
    })
}
