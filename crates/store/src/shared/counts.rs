//! How much the collections hold, kept in step by each change.

use std::collections::BTreeMap;

use sqlx::Row;

use super::{Backend, Tx, collections::no_collection, rows, slot};
use crate::{
    error::Result,
    error_map::is_missing_reference,
    types::{CheckResult, CollectionId, GalleryStats},
};

/// What a change adds to a collection, or takes away.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) persons: i64,
    pub(super) faces: i64,
    /// By model and dimension. In order, so that two transactions never wait for each other in a circle.
    pub(super) embeddings: BTreeMap<(String, i64), i64>,
}

impl Counts {
    /// The last step of a change before its end: it locks rows that other changes need.
    pub(super) async fn add(self, tx: &mut Tx, collection: CollectionId) -> Result<()> {
        let slot = slot();
        let added = sqlx::query(
            "INSERT INTO collection_counts (collection_id, slot, persons, faces) VALUES ($1, $2, $3, $4)
             ON CONFLICT (collection_id, slot) DO UPDATE
             SET persons = collection_counts.persons + excluded.persons, faces = collection_counts.faces + excluded.faces",
        )
        .bind(collection.0)
        .bind(slot)
        .bind(self.persons)
        .bind(self.faces)
        .execute(tx.connection())
        .await;
        match added {
            Err(e) if is_missing_reference(&e) => return Err(no_collection(collection)),
            other => other?,
        };
        for ((model, dimension), n) in self.embeddings {
            sqlx::query(
                "INSERT INTO embedding_counts (collection_id, model, dimension, slot, embeddings)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (collection_id, model, dimension, slot) DO UPDATE
                 SET embeddings = embedding_counts.embeddings + excluded.embeddings",
            )
            .bind(collection.0)
            .bind(model)
            .bind(dimension as i32)
            .bind(slot)
            .bind(n)
            .execute(tx.connection())
            .await?;
        }
        Ok(())
    }
}

impl Backend {
    pub(super) async fn stats(&self) -> Result<GalleryStats> {
        let mut tx = self.begin_read().await?;
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM collections) AS collections,
                    CAST(COALESCE(SUM(persons), 0) AS BIGINT) AS persons,
                    CAST(COALESCE(SUM(faces), 0) AS BIGINT) AS faces
             FROM collection_counts",
        )
        .fetch_one(tx.connection())
        .await?;
        let models = sqlx::query(
            "SELECT model, CAST(SUM(embeddings) AS BIGINT) AS embeddings FROM embedding_counts
             GROUP BY model HAVING SUM(embeddings) > 0 ORDER BY model",
        )
        .fetch_all(tx.connection())
        .await?;
        let models = models.iter().map(|row| Ok((row.try_get("model")?, rows::number(row, "embeddings")?)));
        Ok(GalleryStats {
            collections: rows::number(&row, "collections")?,
            persons: rows::number(&row, "persons")?,
            faces: rows::number(&row, "faces")?,
            embeddings: models.collect::<Result<_>>()?,
        })
    }

    /// Whether the counts are those of the rows. Reads all of them.
    pub(crate) async fn check_counts(&self) -> Result<CheckResult> {
        let mut tx = self.begin_read().await?;
        let wrong = sqlx::query(
            "SELECT count(*) AS wrong FROM (
                 SELECT c.id FROM collections c WHERE
                     (SELECT COALESCE(SUM(n.persons), 0) FROM collection_counts n WHERE n.collection_id = c.id)
                         <> (SELECT count(*) FROM persons p WHERE p.collection_id = c.id)
                     OR (SELECT COALESCE(SUM(n.faces), 0) FROM collection_counts n WHERE n.collection_id = c.id)
                         <> (SELECT count(*) FROM faces f WHERE f.collection_id = c.id)
                     OR (SELECT COALESCE(SUM(n.embeddings), 0) FROM embedding_counts n WHERE n.collection_id = c.id)
                         <> (SELECT count(*) FROM face_embeddings e WHERE e.collection_id = c.id)) AS differing",
        )
        .fetch_one(tx.connection())
        .await?;
        let wrong = rows::number(&wrong, "wrong")?;
        let detail = match wrong {
            0 => "the counts are those of the rows".to_owned(),
            n => format!("{n} collections have other counts than rows"),
        };
        Ok(CheckResult { check: "counts", ok: wrong == 0, detail })
    }
}
