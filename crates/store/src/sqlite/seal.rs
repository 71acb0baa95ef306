//! Which key the store is sealed with, agreed on at the start.

use sqlx::{Row, SqlitePool};

use super::{SqliteStore, Time, vectors};
use crate::{
    encryption::{Cipher, EncryptionKey},
    error::{Result, StoreError},
    types::FaceId,
};

/// What is sealed to prove a key.
const CHECK: &[u8] = b"facesocial";
const PLACE: &[u8] = b"check\0";

/// The cipher for this store, or why store and key do not fit together. A new store takes the key it is first opened
/// with.
pub(super) async fn agree(writer: &SqlitePool, key: Option<&EncryptionKey>) -> Result<Option<Cipher>> {
    let stored = sqlx::query("SELECT key_id, sealed_check FROM encryption").fetch_optional(writer).await?;
    match (stored, key.map(Cipher::new)) {
        (None, None) => Ok(None),
        (None, Some(cipher)) => {
            if holds_biometrics(writer).await? {
                return Err(StoreError::Incompatible(
                    "the store holds embeddings or images that are not encrypted, so it cannot be opened with an \
                     encryption key; open it without the key, or enrol into a new folder with the key"
                        .to_owned(),
                ));
            }
            sqlx::query("INSERT INTO encryption (id, key_id, sealed_check, created_at) VALUES (1, $1, $2, $3)")
                .bind(cipher.key_id())
                .bind(cipher.seal(CHECK, PLACE)?)
                .bind(Time::now())
                .execute(writer)
                .await?;
            Ok(Some(cipher))
        }
        (Some(row), None) => Err(StoreError::Incompatible(format!(
            "the store is encrypted with the key {}; give that encryption key",
            row.try_get::<String, _>("key_id")?
        ))),
        (Some(row), Some(cipher)) => {
            let sealed: Vec<u8> = row.try_get("sealed_check")?;
            if cipher.open(&sealed, PLACE).is_ok_and(|check| check == CHECK) {
                return Ok(Some(cipher));
            }
            Err(StoreError::Incompatible(format!(
                "the store is encrypted with the key {}, and the key given is {}; give the former",
                row.try_get::<String, _>("key_id")?,
                cipher.key_id()
            )))
        }
    }
}

async fn holds_biometrics(pool: &SqlitePool) -> Result<bool> {
    // Lines of jobs may hold embeddings, and are sealed as those are.
    let tables = ["face_embeddings", "face_crops", "session_images", "job_results", "job_webhooks"];
    for table in tables {
        let there = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1").bind(table);
        if there.fetch_optional(pool).await?.is_none() {
            continue;
        }
        let sql = sqlx::AssertSqlSafe(format!("SELECT 1 FROM {table} LIMIT 1"));
        if sqlx::query(sql).fetch_optional(pool).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Vectors and images on their way into the database and out of it.
impl SqliteStore {
    /// As it is stored.
    pub(crate) fn write_vector(&self, face: FaceId, model: &str, vector: &[f32]) -> Result<Vec<u8>> {
        vectors::write(self.cipher.as_ref(), face, model, vector)
    }

    /// As it was before.
    pub(crate) fn read_vector(&self, face: FaceId, model: &str, dimension: i64, stored: Vec<u8>) -> Result<Vec<f32>> {
        vectors::read(self.cipher.as_ref(), face, model, dimension, stored)
    }

    /// Seals an image where the store has a key. `place` names its row, such as `crop` and the face's identifier.
    pub(crate) fn write_image(&self, place: &str, image: &[u8]) -> Result<Vec<u8>> {
        match &self.cipher {
            Some(cipher) => cipher.seal(image, format!("image\0{place}").as_bytes()),
            None => Ok(image.to_vec()),
        }
    }

    /// The image that [`write_image`](Self::write_image) was given.
    pub(crate) fn read_image(&self, place: &str, stored: Vec<u8>) -> Result<Vec<u8>> {
        match &self.cipher {
            Some(cipher) => cipher.open(&stored, format!("image\0{place}").as_bytes()),
            None => Ok(stored),
        }
    }
}
