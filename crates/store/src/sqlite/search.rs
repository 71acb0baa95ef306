//! Exact search: candidates from memory, their similarities from the stored vectors.

use std::sync::Arc;

use facesocial_search::{Candidate, SearchError};
use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    SqliteStore, Tx,
    index::{Attributes, Change, Key},
    rows,
};
use crate::{
    error::{Result, StoreError},
    types::{CheckResult, CollectionId, FaceId, Match, SearchQuery, SearchResult},
};

/// Rows read in one statement.
const STEP: usize = 64;

/// Similarities are compared as f32, bounds as f64: what rounds up to the threshold must not be ruled out.
const ROUNDING: f64 = 1e-6;

const COLUMNS: &str = "SELECT e.face_id, e.dimension, e.embedding, f.searchable, f.face_group, f.metadata, f.person_id, \
     p.external_id, p.name \
     FROM face_embeddings e \
     JOIN faces f ON f.collection_id = e.collection_id AND f.id = e.face_id \
     LEFT JOIN persons p ON p.collection_id = f.collection_id AND p.id = f.person_id \
     WHERE e.collection_id = ";

/// What a look and the database say about the same faces.
enum Scored {
    Agreeing(Vec<(f64, Match)>),
    /// A change was committed that the index took over only after the look.
    Parted(Vec<(f64, Match)>),
}

impl SqliteStore {
    pub(crate) async fn search_faces(&self, query: &SearchQuery) -> Result<SearchResult> {
        let model = query.probe.model().to_string();
        let key: Key = (query.collection, model, query.probe.as_slice().len());
        if query.person.is_some() {
            return self.search_person(query, &key).await;
        }
        let (mut scored, mut searched) = self.look(query, &key).await?;
        if matches!(scored, Scored::Parted(_)) {
            // Between two changes, index and database agree.
            let _turn = self.turn.lock().await;
            (scored, searched) = self.look(query, &key).await?;
            if matches!(scored, Scored::Parted(_)) {
                tracing::error!("the search's memory and the database do not agree; restart the server");
            }
        }
        let (Scored::Agreeing(scored) | Scored::Parted(scored)) = scored;
        Ok(SearchResult { matches: rows::best(scored, query.limit, query.min_similarity), searched })
    }

    async fn look(&self, query: &SearchQuery, key: &Key) -> Result<(Scored, u64)> {
        let (index, own_key, probe) = (Arc::clone(&self.index), key.clone(), query.probe.clone());
        let (limit, groups) = (query.limit, query.groups.clone());
        let at_least = f64::from(query.min_similarity) - ROUNDING;
        let look =
            tokio::task::spawn_blocking(move || index.look(&own_key, probe.as_slice(), limit, at_least, &groups))
                .await
                .map_err(|_| StoreError::Unavailable { reason: "the search was cut off".to_owned(), source: None })?
                .map_err(refused)?;
        let scored = self.score(query, key, &look.candidates).await?;
        Ok((scored, look.searched as u64))
    }

    async fn score(&self, query: &SearchQuery, key: &Key, candidates: &[Candidate]) -> Result<Scored> {
        let mut scored: Vec<(f64, Match)> = Vec::new();
        let mut parted = false;
        if candidates.is_empty() {
            return Ok(Scored::Agreeing(scored));
        }
        let mut tx = self.begin_read().await?;
        for step in candidates.chunks(STEP) {
            if enough(&mut scored, query.limit, step[0].high) {
                break;
            }
            let mut found = 0;
            for row in read(&mut tx, key, step).await? {
                let face = FaceId(row.try_get("face_id")?);
                let similarity = self.similarity(query, key, face, &row)?;
                let bounds = step.iter().find(|candidate| candidate.key == face.0.as_u128());
                let within = bounds.is_some_and(|b| (b.low - ROUNDING..=b.high + ROUNDING).contains(&similarity));
                if within && wanted(query, &row)? {
                    found += 1;
                    scored.push((similarity, rows::matched(&row, similarity)?));
                }
            }
            parted |= found < step.len();
        }
        Ok(if parted { Scored::Parted(scored) } else { Scored::Agreeing(scored) })
    }

    /// One person has few faces: they are read without a look into the memory.
    async fn search_person(&self, query: &SearchQuery, key: &Key) -> Result<SearchResult> {
        let mut tx = self.begin_read().await?;
        let mut select = QueryBuilder::<Sqlite>::new(COLUMNS);
        select.push_bind(key.0.0).push(" AND e.model = ").push_bind(&key.1);
        select.push(" AND f.person_id = ").push_bind(query.person.map(|id| id.0));
        let mut scored = Vec::new();
        for row in select.build().fetch_all(tx.connection()).await? {
            let fits = row.try_get::<i64, _>("dimension")? == key.2 as i64;
            if fits && wanted(query, &row)? {
                let similarity = self.similarity(query, key, FaceId(row.try_get("face_id")?), &row)?;
                scored.push((similarity, rows::matched(&row, similarity)?));
            }
        }
        let searched = self.index.size_of(key);
        Ok(SearchResult { matches: rows::best(scored, query.limit, query.min_similarity), searched })
    }

    fn similarity(&self, query: &SearchQuery, key: &Key, face: FaceId, row: &SqliteRow) -> Result<f64> {
        let stored = self.read_vector(face, &key.1, row.try_get("dimension")?, row.try_get("embedding")?)?;
        // A vector of another dimension has replaced the one that the look saw: out of every bound.
        if stored.len() != query.probe.as_slice().len() {
            return Ok(f64::INFINITY);
        }
        rows::similarity(face, &stored, query.probe.as_slice())
    }

    /// Whether memory and database hold the same.
    pub(crate) async fn check_search(&self) -> Result<CheckResult> {
        // No change in between.
        let _turn = self.turn.lock().await;
        let mut held = self.index.sizes();
        let mut differences = Vec::new();
        let stored = sqlx::query(
            "SELECT collection_id, model, dimension, count(*) AS n FROM face_embeddings
             GROUP BY collection_id, model, dimension",
        )
        .fetch_all(&self.readers)
        .await?;
        for row in stored {
            let (model, dimension): (String, i64) = (row.try_get("model")?, row.try_get("dimension")?);
            let collection = CollectionId(row.try_get("collection_id")?);
            let key = (collection, model, usize::try_from(dimension).unwrap_or_default());
            let stored = rows::number(&row, "n")?;
            let held = held.remove(&key).unwrap_or(0);
            if stored != held {
                differences.push(format!("collection {collection}, {}: {stored} stored, {held} searched", key.1));
            }
        }
        for ((collection, model, _), n) in held {
            differences.push(format!("collection {collection}, {model}: none stored, {n} searched"));
        }
        let ok = differences.is_empty();
        let detail = if ok { "memory and rows agree".to_owned() } else { differences.join("; ") };
        Ok(CheckResult { check: "search", ok, detail })
    }

    /// Nothing to prepare: the index is made as faces come.
    pub(crate) async fn prepare_search(&self, _model: &str, _dimension: usize) -> Result<()> {
        Ok(())
    }
}

/// What the index has to follow.
impl Tx {
    pub(crate) fn index_vector(&mut self, collection: CollectionId, face: FaceId, model: &str, vector: &[f32]) {
        let key = (collection, model.to_owned(), vector.len());
        self.changes.push(Change::Put { key, face, vector: vector.to_vec() });
    }

    pub(crate) fn index_attributes(&mut self, collection: CollectionId, face: FaceId, searchable: bool, group: &str) {
        let attributes = Attributes { searchable, group: group.to_owned() };
        self.changes.push(Change::Attributes { collection, face, attributes });
    }

    pub(crate) fn index_remove(&mut self, collection: CollectionId, face: FaceId) {
        self.erased = true;
        self.changes.push(Change::Remove { collection, face });
    }

    pub(crate) fn index_drop(&mut self, collection: CollectionId) {
        self.erased = true;
        self.changes.push(Change::Drop { collection });
    }
}

async fn read(tx: &mut Tx, key: &Key, step: &[Candidate]) -> Result<Vec<SqliteRow>> {
    let mut select = QueryBuilder::<Sqlite>::new(COLUMNS);
    select.push_bind(key.0.0).push(" AND e.model = ").push_bind(&key.1).push(" AND e.face_id IN (");
    let mut list = select.separated(", ");
    // Always as many places, so that the statement is the same and is kept.
    for i in 0..STEP {
        list.push_bind(Uuid::from_u128(step[i.min(step.len() - 1)].key));
    }
    select.push(")");
    Ok(select.build().fetch_all(tx.connection()).await?)
}

fn wanted(query: &SearchQuery, row: &SqliteRow) -> Result<bool> {
    let group: &str = row.try_get("face_group")?;
    Ok(row.try_get::<bool, _>("searchable")? && (query.groups.is_empty() || query.groups.iter().any(|g| g == group)))
}

/// Whether `limit` faces are scored that no face of a similarity up to `high` can push out.
fn enough(scored: &mut [(f64, Match)], limit: usize, high: f64) -> bool {
    if scored.len() < limit || limit == 0 {
        return limit == 0;
    }
    let (_, (least, _), _) = scored.select_nth_unstable_by(limit - 1, |a, b| b.0.total_cmp(&a.0));
    *least > high
}

fn refused(error: SearchError) -> StoreError {
    StoreError::Invalid(error.to_string())
}
