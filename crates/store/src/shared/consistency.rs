//! Whether rows and schema are whole.

use sqlx::{AssertSqlSafe, Row as _};

use super::Backend;
use crate::{error::Result, types::CheckResult};

/// Migrations that were applied, oldest first.
pub(super) async fn applied(store: &Backend) -> Result<Vec<i64>> {
    let rows = sqlx::query("SELECT version FROM schema_migrations ORDER BY version").fetch_all(store.pool()).await?;
    rows.iter().map(|row| Ok(row.try_get("version")?)).collect()
}

/// Every table that refers to another, and that other.
const REFERENCES: &[(&str, &str, &str)] = &[
    ("persons", "collections", "p.id = c.collection_id"),
    ("faces", "collections", "p.id = c.collection_id"),
    ("faces", "persons", "c.person_id IS NULL OR (p.collection_id = c.collection_id AND p.id = c.person_id)"),
    ("face_embeddings", "faces", "p.collection_id = c.collection_id AND p.id = c.face_id"),
    ("face_crops", "faces", "p.collection_id = c.collection_id AND p.id = c.face_id"),
    ("api_keys", "users", "p.id = c.user_id"),
    ("logins", "users", "p.id = c.user_id"),
    ("refresh_tokens", "logins", "p.id = c.login_id"),
    ("session_images", "analysis_sessions", "p.id = c.session_id"),
    ("face_detections", "analysis_sessions", "p.id = c.session_id"),
    ("face_recognitions", "face_detections", "p.id = c.detection_id"),
    (
        "face_recognitions",
        "faces",
        "c.matched_face_id IS NULL OR (p.collection_id = c.collection_id AND p.id = c.matched_face_id)",
    ),
    ("antispoof_results", "face_detections", "p.id = c.detection_id"),
    ("gender_age_results", "face_detections", "p.id = c.detection_id"),
    ("deepfake_results", "face_detections", "p.id = c.detection_id"),
];

/// Rows whose other half is gone. The databases keep this from happening; what breaks it is a damaged disk, or a hand.
pub(super) async fn references(store: &Backend) -> Result<CheckResult> {
    let mut lost = Vec::new();
    for (child, parent, same) in REFERENCES {
        let sql = format!(
            "SELECT count(*) AS orphans FROM {child} c WHERE NOT EXISTS (SELECT 1 FROM {parent} p WHERE {same})"
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

/// Whether the schema is the one that this program knows.
pub(super) async fn migrations(store: &Backend) -> Result<CheckResult> {
    let (applied, pending) = crate::migrations::split(&applied(store).await?);
    let detail = match pending.first() {
        None => format!("{} applied, none pending", applied.len()),
        Some((_, name)) => format!("{} applied, {} pending, the first of them {name}", applied.len(), pending.len()),
    };
    Ok(CheckResult { check: "migrations", ok: pending.is_empty(), detail })
}
