//! Groups faces of nobody known by similarity: whoever comes by often becomes a group that somebody can name.

use std::collections::HashMap;

use facesocial_store::{CollectionId, FaceId, Match, PageRequest};
use facesocial_types::{Embedding, ModelId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    cluster::{Group, Neighbours},
    look,
    run::{Run, patiently},
};
use crate::error::{ApiError, ApiResult};

/// Most faces that one job groups: with the neighbours of each this is some 50 MiB.
const MAX_FACES: usize = 50_000;
/// Most neighbours kept of one face, the most similar. Groups hang together all the same: neighbours count from both sides.
const MAX_NEIGHBOURS: usize = 64;
/// Faces read at a time.
const PAGE: u32 = 500;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Options {
    /// A face with this many like it, itself included, is the middle of a group.
    pub min_faces: usize,
    /// From which similarity two faces count as alike.
    pub min_similarity: f32,
    /// The model whose embeddings are compared.
    pub model: ModelId,
}

#[derive(Debug, Default, Serialize)]
struct Results {
    /// Faces of nobody known that a search may find.
    unknown_faces: u64,
    /// Of these, those without an embedding by the model; the job `reembed` brings it.
    without_embedding: u64,
    /// Faces that are in a group.
    grouped_faces: u64,
    groups: Vec<FaceGroup>,
}

#[derive(Debug, Serialize)]
struct FaceGroup {
    faces: Vec<FaceId>,
    mean_similarity: f32,
}

/// Only looks, so that a job that was cut off begins again.
pub(super) async fn perform(run: &Run) -> ApiResult<()> {
    let options: Options = run.input()?;
    let collection = run.collection()?;
    let faces = unknown_faces(run, collection).await?;
    let total = faces.len() as u64;
    let index: HashMap<FaceId, u32> = faces.iter().copied().zip(0u32..).collect();
    let mut results = Results { unknown_faces: total, ..Results::default() };
    let mut neighbours = Neighbours::new(faces.len());
    for (face, at) in faces.iter().zip(0u32..) {
        match embedding(run, collection, &options.model, *face).await? {
            Some(probe) => {
                let mine = |m: &Match| index.get(&m.face_id).copied().filter(|i| *i != at);
                let enough = |matches: &[Match]| matches.iter().filter_map(mine).count() >= MAX_NEIGHBOURS;
                let matches = look::alike(run, collection, &probe, options.min_similarity, enough).await?;
                for (other, similarity) in
                    matches.iter().filter_map(|m| Some((mine(m)?, m.similarity))).take(MAX_NEIGHBOURS)
                {
                    neighbours.add(at, other, similarity);
                }
            }
            None => results.without_embedding += 1,
        }
        run.note(total, u64::from(at) + 1, 0, &results);
    }
    let min_faces = options.min_faces;
    let groups = tokio::task::spawn_blocking(move || neighbours.groups(min_faces));
    let named = |group: Group| FaceGroup {
        faces: group.members.iter().filter_map(|i| faces.get(*i as usize).copied()).collect(),
        mean_similarity: group.mean_similarity,
    };
    results.groups = groups.await.map_err(|e| ApiError::internal(&e))?.into_iter().map(named).collect();
    results.grouped_faces = results.groups.iter().map(|g| g.faces.len() as u64).sum();
    run.note_now(total, total, 0, &results);
    Ok(())
}

/// The faces of nobody known that a search may find.
async fn unknown_faces(run: &Run, collection: CollectionId) -> ApiResult<Vec<FaceId>> {
    let store = run.state.store()?;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { after, limit: PAGE };
        let page = patiently(|| store.faces(collection, Some(None), page)).await?;
        found.extend(page.items.iter().filter(|face| face.searchable).map(|face| face.id));
        if found.len() > MAX_FACES {
            return Err(ApiError::invalid(format!(
                "the collection holds more than {MAX_FACES} faces of nobody known; one job groups at most that many"
            )));
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// One face's embedding by `model`: the first in the order of faces that comes after the identifier before its own.
async fn embedding(run: &Run, collection: CollectionId, model: &ModelId, face: FaceId) -> ApiResult<Option<Embedding>> {
    let store = run.state.store()?;
    let before = face.0.as_u128().checked_sub(1).map(|id| FaceId(Uuid::from_u128(id)));
    let found = patiently(|| store.embeddings_after(collection, model, before, 1)).await?;
    Ok(found.into_iter().next().filter(|(id, ..)| *id == face).map(|(.., embedding)| embedding))
}
