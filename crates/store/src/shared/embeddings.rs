//! Embeddings of faces.

use facesocial_types::{Embedding, ModelId};
use sqlx::Row;
use uuid::Uuid;

use super::{
    Backend, DbRow, StoredVector, Time, Tx,
    counts::Counts,
    faces::{check_embedding, no_face},
    rows,
};
use crate::{
    error::{Result, StoreError},
    error_map::is_missing_reference,
    types::{CollectionId, FaceId, PersonId},
};

impl Backend {
    pub(super) async fn person_embeddings(
        &self,
        collection: CollectionId,
        person: PersonId,
        model: &ModelId,
    ) -> Result<Vec<(FaceId, Embedding)>> {
        self.person_with(collection, person).await?;
        let found = sqlx::query(
            "SELECT e.face_id, e.model, e.dimension, e.embedding FROM faces f
             JOIN face_embeddings e ON e.collection_id = f.collection_id AND e.face_id = f.id
             WHERE f.collection_id = $1 AND f.person_id = $2 AND e.model = $3 ORDER BY e.face_id",
        )
        .bind(collection.0)
        .bind(person.0)
        .bind(model.to_string())
        .fetch_all(self.pool())
        .await?;
        found.iter().map(|row| self.embedding(row)).collect()
    }

    pub(super) async fn next_embeddings(
        &self,
        collection: CollectionId,
        model: &ModelId,
        after: Option<FaceId>,
        limit: u32,
    ) -> Result<Vec<(FaceId, Option<PersonId>, Embedding)>> {
        self.demand_collection(collection).await?;
        let found = sqlx::query(
            "SELECT e.face_id, e.model, e.dimension, e.embedding, f.person_id FROM face_embeddings e
             JOIN faces f ON f.collection_id = e.collection_id AND f.id = e.face_id
             WHERE e.collection_id = $1 AND e.face_id > $2 AND e.model = $3 ORDER BY e.face_id LIMIT $4",
        )
        .bind(collection.0)
        .bind(after.map_or(Uuid::nil(), |id| id.0))
        .bind(model.to_string())
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await?;
        let with_person = |row: &DbRow| {
            let (face, embedding) = self.embedding(row)?;
            Ok((face, row.try_get::<Option<Uuid>, _>("person_id")?.map(PersonId), embedding))
        };
        found.iter().map(with_person).collect()
    }

    pub(super) async fn next_faces_without(
        &self,
        collection: CollectionId,
        model: &ModelId,
        after: Option<FaceId>,
        limit: u32,
    ) -> Result<Vec<(FaceId, Option<Vec<u8>>)>> {
        self.demand_collection(collection).await?;
        let found = sqlx::query(
            "SELECT f.id, c.image FROM faces f
             LEFT JOIN face_crops c ON c.collection_id = f.collection_id AND c.face_id = f.id
             WHERE f.collection_id = $1 AND f.id > $2 AND NOT EXISTS (
                 SELECT 1 FROM face_embeddings e
                 WHERE e.collection_id = f.collection_id AND e.face_id = f.id AND e.model = $3)
             ORDER BY f.id LIMIT $4",
        )
        .bind(collection.0)
        .bind(after.map_or(Uuid::nil(), |id| id.0))
        .bind(model.to_string())
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await?;
        let with_crop = |row: &DbRow| {
            let face = FaceId(row.try_get("id")?);
            let crop = row.try_get::<Option<Vec<u8>>, _>("image")?;
            Ok((face, crop.map(|crop| self.read_image(&crop_place(face), crop)).transpose()?))
        };
        found.iter().map(with_crop).collect()
    }

    pub(super) async fn crop_of(&self, collection: CollectionId, face: FaceId) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query(
            "SELECT c.image FROM faces f
             LEFT JOIN face_crops c ON c.collection_id = f.collection_id AND c.face_id = f.id
             WHERE f.collection_id = $1 AND f.id = $2",
        )
        .bind(collection.0)
        .bind(face.0)
        .fetch_optional(self.pool())
        .await?;
        let image = row.ok_or_else(|| no_face(face))?.try_get::<Option<Vec<u8>>, _>("image")?;
        image.map(|image| self.read_image(&crop_place(face), image)).transpose()
    }

    pub(super) async fn replace_embedding(
        &self,
        collection: CollectionId,
        face: FaceId,
        embedding: &Embedding,
    ) -> Result<()> {
        check_embedding(embedding)?;
        self.prepare_search(&embedding.model().to_string(), embedding.as_slice().len()).await?;
        let mut tx = self.begin_write().await?;
        if !tx.hold_face(collection, face).await? {
            return Err(no_face(face));
        }
        let mut counts = Counts::default();
        let replaced = sqlx::query(
            "DELETE FROM face_embeddings WHERE collection_id = $1 AND face_id = $2 AND model = $3 RETURNING dimension",
        )
        .bind(collection.0)
        .bind(face.0)
        .bind(embedding.model().to_string())
        .fetch_optional(tx.connection())
        .await?;
        if let Some(row) = replaced {
            let dimension = row.try_get::<i32, _>("dimension")?;
            *counts.embeddings.entry((embedding.model().to_string(), i64::from(dimension))).or_default() -= 1;
        }
        self.insert_embedding(&mut tx, collection, face, embedding).await?;
        *counts.embeddings.entry(key(embedding)).or_default() += 1;
        counts.embeddings.retain(|_, n| *n != 0);
        counts.add(&mut tx, collection).await?;
        self.commit(tx).await
    }

    /// Adds the row of an embedding, and tells the search of it.
    pub(super) async fn insert_embedding(
        &self,
        tx: &mut Tx,
        collection: CollectionId,
        face: FaceId,
        embedding: &Embedding,
    ) -> Result<()> {
        let model = embedding.model().to_string();
        let inserted = sqlx::query(
            "INSERT INTO face_embeddings (collection_id, face_id, model, dimension, embedding, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(collection.0)
        .bind(face.0)
        .bind(&model)
        .bind(embedding.as_slice().len() as i32)
        .bind(self.write_vector(face, &model, embedding.as_slice())?)
        .bind(Time::now())
        .execute(tx.connection())
        .await;
        match inserted {
            Err(e) if is_missing_reference(&e) => return Err(no_face(face)),
            other => other?,
        };
        tx.index_vector(collection, face, &model, embedding.as_slice());
        Ok(())
    }

    /// A row's face and its vector.
    pub(super) fn embedding(&self, row: &DbRow) -> Result<(FaceId, Embedding)> {
        let (face, model): (_, String) = (FaceId(row.try_get("face_id")?), row.try_get("model")?);
        let stored: StoredVector = row.try_get("embedding")?;
        let dimension = row.try_get::<i32, _>("dimension")?;
        let vector = self.read_vector(face, &model, i64::from(dimension), stored)?;
        let embedding = Embedding::new(rows::model(&model)?, vector)
            .map_err(|e| StoreError::Damaged(format!("the vector of face {face}: {e}")))?;
        Ok((face, embedding))
    }
}

/// What embeddings are counted by.
pub(super) fn key(embedding: &Embedding) -> (String, i64) {
    (embedding.model().to_string(), embedding.as_slice().len() as i64)
}

/// Names the row of a face's crop.
pub(super) fn crop_place(face: FaceId) -> String {
    format!("crop {face}")
}
