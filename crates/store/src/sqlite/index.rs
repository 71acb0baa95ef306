//! The search's memory: one matrix for each collection, model and dimension, rebuilt at the start and kept in step by
//! the transactions.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use facesocial_search::{Candidate, Matrix, SearchError};
use futures_util::TryStreamExt;
use sqlx::{Row, SqlitePool};

use super::vectors;
use crate::{
    encryption::Cipher,
    error::{Result, StoreError},
    types::{CollectionId, FaceId},
};

/// Which vectors may be compared.
pub(super) type Key = (CollectionId, String, usize);

/// What a transaction changes in the index once it is committed.
#[derive(Debug)]
pub(super) enum Change {
    /// A face has this vector by the model now.
    Put { key: Key, face: FaceId, vector: Vec<f32> },
    /// Who may find a face.
    Attributes { collection: CollectionId, face: FaceId, attributes: Attributes },
    /// A face is gone.
    Remove { collection: CollectionId, face: FaceId },
    /// A collection is gone.
    Drop { collection: CollectionId },
}

/// What a search filters by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) searchable: bool,
    pub(super) group: String,
}

/// Most faces have these: only the others' attributes are kept.
const USUAL_GROUP: &str = "primary";

impl Attributes {
    fn usual(&self) -> bool {
        self.searchable && self.group == USUAL_GROUP
    }
}

/// All matrices. A lock is held for one look or one change, never while the database is waited for.
#[derive(Default)]
pub(super) struct Index {
    galleries: RwLock<HashMap<CollectionId, Arc<RwLock<Gallery>>>>,
}

/// The vectors of one collection.
#[derive(Default)]
struct Gallery {
    matrices: HashMap<(String, usize), Matrix>,
    unusual: HashMap<u128, Attributes>,
}

/// What a look into the memory gave.
pub(super) struct Look {
    /// Highest bound first.
    pub(super) candidates: Vec<Candidate>,
    /// Vectors of the probe's model, those included that the filters leave out.
    pub(super) searched: usize,
}

impl Index {
    /// Rows that may be among the `limit` most similar ones. Blocks for milliseconds.
    pub(super) fn look(
        &self,
        key: &Key,
        probe: &[f32],
        limit: usize,
        at_least: f64,
        groups: &[String],
    ) -> Result<Look, SearchError> {
        let (collection, model, dimension) = key;
        let Some(gallery) = self.gallery(*collection) else { return Ok(Look { candidates: Vec::new(), searched: 0 }) };
        let gallery = gallery.read().unwrap_or_else(PoisonError::into_inner);
        let Some(matrix) = gallery.matrices.get(&(model.clone(), *dimension)) else {
            return Ok(Look { candidates: Vec::new(), searched: 0 });
        };
        let usual_wanted = groups.is_empty() || groups.iter().any(|group| group == USUAL_GROUP);
        let wanted = |face: u128| match gallery.unusual.get(&face) {
            Some(attributes) => attributes.searchable && (groups.is_empty() || groups.contains(&attributes.group)),
            None => usual_wanted,
        };
        let limit = limit.min(matrix.len());
        let all = gallery.unusual.is_empty() && usual_wanted;
        let candidates = matrix.candidates_above(probe, limit, at_least, if all { None } else { Some(&wanted) })?;
        Ok(Look { candidates, searched: matrix.len() })
    }

    /// Takes over what a transaction changed. Blocks while searches run.
    pub(super) fn apply(&self, changes: Vec<Change>) -> Result<()> {
        for change in changes {
            match change {
                Change::Put { key: (collection, model, dimension), face, vector } => {
                    let gallery = self.gallery_or_new(collection);
                    let mut gallery = gallery.write().unwrap_or_else(PoisonError::into_inner);
                    gallery.put(model, dimension, face, &vector).map_err(|e| {
                        StoreError::Damaged(format!("face {face} is stored but cannot be searched for: {e}"))
                    })?;
                }
                Change::Attributes { collection, face, attributes } => {
                    let gallery = self.gallery_or_new(collection);
                    gallery.write().unwrap_or_else(PoisonError::into_inner).set(face, attributes);
                }
                Change::Remove { collection, face } => {
                    let Some(gallery) = self.gallery(collection) else { continue };
                    let mut gallery = gallery.write().unwrap_or_else(PoisonError::into_inner);
                    gallery.unusual.remove(&face.0.as_u128());
                    for matrix in gallery.matrices.values_mut() {
                        matrix.remove(face.0.as_u128());
                    }
                    gallery.matrices.retain(|_, matrix| !matrix.is_empty());
                }
                Change::Drop { collection } => {
                    self.galleries.write().unwrap_or_else(PoisonError::into_inner).remove(&collection);
                }
            }
        }
        Ok(())
    }

    /// How many vectors each matrix holds.
    pub(super) fn sizes(&self) -> HashMap<Key, u64> {
        let galleries = self.galleries.read().unwrap_or_else(PoisonError::into_inner);
        let mut sizes = HashMap::new();
        for (collection, gallery) in galleries.iter() {
            let gallery = gallery.read().unwrap_or_else(PoisonError::into_inner);
            for ((model, dimension), matrix) in &gallery.matrices {
                sizes.insert((*collection, model.clone(), *dimension), matrix.len() as u64);
            }
        }
        sizes
    }

    /// How many vectors one matrix holds.
    pub(super) fn size_of(&self, (collection, model, dimension): &Key) -> u64 {
        let Some(gallery) = self.gallery(*collection) else { return 0 };
        let gallery = gallery.read().unwrap_or_else(PoisonError::into_inner);
        gallery.matrices.get(&(model.clone(), *dimension)).map_or(0, |matrix| matrix.len() as u64)
    }

    fn gallery(&self, collection: CollectionId) -> Option<Arc<RwLock<Gallery>>> {
        self.galleries.read().unwrap_or_else(PoisonError::into_inner).get(&collection).cloned()
    }

    fn gallery_or_new(&self, collection: CollectionId) -> Arc<RwLock<Gallery>> {
        let mut galleries = self.galleries.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(galleries.entry(collection).or_default())
    }
}

impl Gallery {
    fn put(&mut self, model: String, dimension: usize, face: FaceId, vector: &[f32]) -> Result<(), SearchError> {
        let face = face.0.as_u128();
        // The vector before may have had another dimension.
        for ((other, length), matrix) in &mut self.matrices {
            if *other == model && *length != dimension {
                matrix.remove(face);
            }
        }
        self.matrices.retain(|_, matrix| !matrix.is_empty());
        self.matrices.entry((model, dimension)).or_insert_with(|| Matrix::new(dimension)).insert(face, vector)
    }

    fn set(&mut self, face: FaceId, attributes: Attributes) {
        if attributes.usual() {
            self.unusual.remove(&face.0.as_u128());
        } else {
            self.unusual.insert(face.0.as_u128(), attributes);
        }
    }
}

/// Reads all vectors. A damaged one is left out and reported: the others can be found, and the check names it.
pub(super) async fn load(pool: &SqlitePool, cipher: Option<&Cipher>) -> Result<Index> {
    let mut galleries: HashMap<CollectionId, Gallery> = HashMap::new();
    let mut unusual = sqlx::query(
        "SELECT collection_id, id, searchable, face_group FROM faces WHERE searchable = 0 OR face_group <> $1",
    )
    .bind(USUAL_GROUP)
    .fetch(pool);
    while let Some(row) = unusual.try_next().await? {
        let attributes = Attributes { searchable: row.try_get("searchable")?, group: row.try_get("face_group")? };
        galleries
            .entry(CollectionId(row.try_get("collection_id")?))
            .or_default()
            .set(FaceId(row.try_get("id")?), attributes);
    }
    drop(unusual);
    let mut damaged = 0_u64;
    // In the order of the file: a walk through an index would jump about in it.
    let mut rows =
        sqlx::query("SELECT collection_id, face_id, model, dimension, embedding FROM face_embeddings ORDER BY rowid")
            .fetch(pool);
    while let Some(row) = rows.try_next().await? {
        let (collection, face) = (CollectionId(row.try_get("collection_id")?), FaceId(row.try_get("face_id")?));
        let (model, dimension): (String, i64) = (row.try_get("model")?, row.try_get("dimension")?);
        let read = vectors::read(cipher, face, &model, dimension, row.try_get("embedding")?).and_then(|vector| {
            let gallery = galleries.entry(collection).or_default();
            gallery
                .put(model, vector.len(), face, &vector)
                .map_err(|e| StoreError::Damaged(format!("the vector of face {face}: {e}")))
        });
        if let Err(error) = read {
            damaged += 1;
            tracing::error!(%face, %error, "a stored vector cannot be read; searches do not find it");
        }
    }
    if damaged > 0 {
        tracing::error!(damaged, "some stored vectors cannot be read; `facesocial db check` names them");
    }
    let galleries = galleries.into_iter().map(|(id, gallery)| (id, Arc::new(RwLock::new(gallery)))).collect();
    Ok(Index { galleries: RwLock::new(galleries) })
}
