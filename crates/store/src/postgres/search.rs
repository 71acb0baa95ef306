//! Approximate search by the HNSW index, the matches scored exactly; exact search where the index finds too few.

use facesocial_types::Embedding;
use pgvector::Vector;
use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{PostgresStore, Tx, rows};
use crate::{
    error::{Result, StoreError},
    types::{CollectionId, FaceId, Match, SearchQuery, SearchResult},
};

/// Fetched beyond the limit: the index orders by rounded distances.
const MARGIN: usize = 8;

impl PostgresStore {
    pub(crate) async fn search_faces(&self, query: &SearchQuery) -> Result<SearchResult> {
        let fetched = query.limit.saturating_add(MARGIN);
        let mut tx = self.begin_read().await?;
        let searched = searched(&mut tx, query).await?;
        if searched == 0 {
            return Ok(SearchResult { matches: Vec::new(), searched });
        }
        // One person has few faces, which the primary keys find.
        let mut found = match query.person {
            Some(_) => nearest(&mut tx, query, fetched, false).await?,
            None => {
                self.tune(&mut tx, fetched).await?;
                nearest(&mut tx, query, fetched, true).await?
            }
        };
        let few = found.len() < query.limit && (found.len() as u64) < searched;
        if query.person.is_none() && few {
            // The index gives up after so many rows that the filters leave out.
            found = nearest(&mut tx, query, fetched, false).await?;
        }
        let mut scored = Vec::with_capacity(found.len());
        for row in found {
            scored.push(score(query, &row)?);
        }
        Ok(SearchResult { matches: rows::best(scored, query.limit, query.min_similarity), searched })
    }

    /// Settings of this transaction.
    async fn tune(&self, tx: &mut Tx, fetched: usize) -> Result<()> {
        let ef_search = fetched.clamp(self.ef_search as usize, 1000).to_string();
        // A plan made for all models could not use the index of one.
        sqlx::query(
            "SELECT set_config('hnsw.ef_search', $1, true), set_config('hnsw.iterative_scan', 'strict_order', true),
                    set_config('plan_cache_mode', 'force_custom_plan', true)",
        )
        .bind(ef_search)
        .execute(tx.connection())
        .await?;
        Ok(())
    }

    /// As it is stored.
    pub(crate) fn write_vector(&self, _face: FaceId, _model: &str, vector: &[f32]) -> Result<Vector> {
        Ok(Vector::from(vector.to_vec()))
    }

    /// As it was before.
    pub(crate) fn read_vector(&self, face: FaceId, model: &str, dimension: i64, stored: Vector) -> Result<Vec<f32>> {
        let vector = stored.to_vec();
        if i64::try_from(vector.len()) != Ok(dimension) {
            let length = vector.len();
            return Err(StoreError::Damaged(format!("the vector of face {face} by {model} has {length} numbers")));
        }
        Ok(vector)
    }

    /// Images are stored as they are: a server with an encryption key does not open a Postgres.
    pub(crate) fn write_image(&self, _place: &str, image: &[u8]) -> Result<Vec<u8>> {
        Ok(image.to_vec())
    }

    /// The image that [`write_image`](Self::write_image) was given.
    pub(crate) fn read_image(&self, _place: &str, stored: Vec<u8>) -> Result<Vec<u8>> {
        Ok(stored)
    }
}

/// The database keeps its index in step by itself.
impl Tx {
    pub(crate) fn index_vector(&mut self, _collection: CollectionId, _face: FaceId, _model: &str, _vector: &[f32]) {}

    pub(crate) fn index_attributes(
        &mut self,
        _collection: CollectionId,
        _face: FaceId,
        _searchable: bool,
        _group: &str,
    ) {
    }

    pub(crate) fn index_remove(&mut self, _collection: CollectionId, _face: FaceId) {}

    pub(crate) fn index_drop(&mut self, _collection: CollectionId) {}
}

/// How many vectors there are by the probe's model.
async fn searched(tx: &mut Tx, query: &SearchQuery) -> Result<u64> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(embeddings), 0) AS BIGINT) AS searched FROM embedding_counts
         WHERE collection_id = $1 AND model = $2 AND dimension = $3",
    )
    .bind(query.collection.0)
    .bind(query.probe.model().to_string())
    .bind(dimension(&query.probe)?)
    .fetch_one(tx.connection())
    .await?;
    rows::number(&row, "searched")
}

/// The nearest rows. The cast makes the index usable; without it the distance of every row is computed.
async fn nearest(tx: &mut Tx, query: &SearchQuery, limit: usize, by_index: bool) -> Result<Vec<PgRow>> {
    let dimension = dimension(&query.probe)?;
    let mut select = QueryBuilder::<Postgres>::new(
        "SELECT e.face_id, e.embedding, f.face_group, f.metadata, f.person_id, p.external_id, p.name
         FROM face_embeddings e
         JOIN faces f ON f.collection_id = e.collection_id AND f.id = e.face_id
         LEFT JOIN persons p ON p.collection_id = f.collection_id AND p.id = f.person_id
         WHERE f.searchable AND e.collection_id = ",
    );
    select.push_bind(query.collection.0).push(" AND e.model = ").push_bind(query.probe.model().to_string());
    select.push(format_args!(" AND e.dimension = {dimension}"));
    if !query.groups.is_empty() {
        select.push(" AND f.face_group = ANY(").push_bind(&query.groups).push(")");
    }
    if let Some(person) = query.person {
        select.push(" AND f.person_id = ").push_bind(person.0);
    }
    let cast = if by_index { format!("::halfvec({dimension})") } else { String::new() };
    select
        .push(format_args!(" ORDER BY (e.embedding{cast}) <=> "))
        .push_bind(Vector::from(query.probe.as_slice().to_vec()));
    select.push(format_args!("{cast} LIMIT ")).push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    Ok(select.build().fetch_all(tx.connection()).await?)
}

fn score(query: &SearchQuery, row: &PgRow) -> Result<(f64, Match)> {
    let stored: Vector = row.try_get("embedding")?;
    let similarity = rows::similarity(FaceId(row.try_get("face_id")?), stored.as_slice(), query.probe.as_slice())?;
    Ok((similarity, rows::matched(row, similarity)?))
}

fn dimension(probe: &Embedding) -> Result<i32> {
    i32::try_from(probe.as_slice().len()).map_err(|_| StoreError::Invalid("the probe has too many numbers".to_owned()))
}
