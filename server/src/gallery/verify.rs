//! Verification: whether a photo shows the person it is said to show.

use facesocial_store::{Collection, FaceId, FaceRecord, PageRequest, Person, Store, StoreError};
use facesocial_types::{Embedding, ModelId};

use super::{
    ask::{self, Ask},
    challenge,
    names::{self, PersonKey},
    probe::{Level, Probe, Target, probes, running_model},
};
use crate::{
    auth::Permission,
    cached::Caching,
    error::{ApiError, ApiResult, Code},
    extract::PhotoRequest,
    metrics::Compared,
};

/// What a photo is compared with.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The person that it is said to show.
    pub person: PersonKey,
    /// One face of that person; all of them if `None`.
    pub face: Option<FaceId>,
}

/// What the comparison gave.
#[derive(Debug)]
pub struct Verified {
    /// The person.
    pub person: Person,
    /// The network or ensemble.
    pub model: ModelId,
    /// The face compared.
    pub probe: Probe,
    /// The most similar face of the person, and its cosine similarity.
    pub best: (FaceId, f32),
    /// How many faces of the person were compared.
    pub compared: usize,
    /// How sure the decision must be.
    pub level: Level,
    /// The similarity that decides.
    pub threshold: f32,
    /// Whether the photo answered a challenge.
    pub fresh: bool,
    /// Whether the photo's face had been computed before.
    pub cached: bool,
}

impl Verified {
    /// The decision.
    pub fn is_match(&self) -> bool {
        self.best.1 >= self.threshold
    }
}

/// Compares the photo's largest face, or the one chosen, with a person's faces. `None` if the person has none.
///
/// # Errors
/// No such person or face; faces by another network alone; no usable photo; no threshold for the network; a challenge that does
/// not hold, or a photo that answered one before.
pub async fn verify<P: Permission>(
    by: &Ask<P>,
    collection: &Collection,
    claim: Claim,
    request: PhotoRequest,
    caching: Caching,
) -> ApiResult<Option<Verified>> {
    let (state, store) = (&by.state, by.store()?);
    let model = running_model(state)?;
    let level = Level::of(&request.fields)?;
    let target = Target::of(&request.fields, Target::Largest)?;
    let threshold = level.threshold(state, &model)?;
    let fresh = challenge::take(by, collection, &request.fields).await?;
    let person = ask::person(store, collection, &claim.person).await?;
    let known = known(&**store, &person, claim.face, &model).await?;
    if known.is_empty() {
        return Ok(None);
    }
    let PhotoRequest { image, image_hash, .. } = request;
    let (probe, cached) = probes(state, image, &image_hash, target, false, caching).await?.first()?;
    let embedding = probe.embedding()?;
    let mut best: Option<(FaceId, f32)> = None;
    for (face, stored) in &known {
        let similarity = stored.cosine(embedding).map_err(|e| ApiError::internal(&e))?;
        if best.is_none_or(|(_, highest)| similarity > highest) {
            best = Some((*face, similarity));
        }
    }
    let Some(best) = best else { return Ok(None) };
    // Last, so that a photo that got no answer can be sent again with another challenge.
    if fresh {
        challenge::see_once(by, collection, &image_hash).await?;
    }
    state.metrics.decided(Compared::Verification, best.1 >= threshold);
    Ok(Some(Verified { person, model, best, compared: known.len(), level, threshold, fresh, cached, probe }))
}

/// Faces of the person by the network that runs; none if the person has no face at all.
async fn known(
    store: &dyn Store,
    person: &Person,
    face: Option<FaceId>,
    model: &ModelId,
) -> ApiResult<Vec<(FaceId, Embedding)>> {
    let collection = person.collection_id;
    if let Some(id) = face {
        let face = store.face(collection, id).await?;
        // Another person's face says nothing about this one.
        if face.person_id != Some(person.id) {
            return Err(StoreError::NotFound { kind: "face", id: id.to_string() }.into());
        }
    }
    let mut embeddings = store.embeddings_of(collection, person.id, model).await?;
    if let Some(id) = face {
        embeddings.retain(|(face, _)| *face == id);
    }
    if !embeddings.is_empty() {
        return Ok(embeddings);
    }
    let first = store.faces(collection, Some(Some(person.id)), PageRequest::first(1)).await?.items.into_iter().next();
    first.map_or(Ok(Vec::new()), |face| Err(other_model(&face, model)))
}

fn other_model(face: &FaceRecord, running: &ModelId) -> ApiError {
    let known: Vec<String> = face.models.iter().map(ModelId::to_string).collect();
    mismatch(&known.join(", "), running)
}

/// What is stored was made by another network than the one that runs.
pub fn mismatch(stored: &str, running: &ModelId) -> ApiError {
    let stored = if stored.is_empty() { "another network" } else { stored };
    let detail = format!(
        "the stored faces were embedded by {stored}, and {running} runs; different networks cannot be compared. Embed the \
         collection again with a re-embedding job, or enrol the photos again"
    );
    ApiError::new(Code::ModelMismatch, detail).with("running_model", running.to_string())
}

/// `face_id`, where a request names one face of the person.
///
/// # Errors
/// No UUID.
pub fn face_id(request: &PhotoRequest) -> ApiResult<Option<FaceId>> {
    request.fields.get("face_id").map(|text| names::uuid("face", text).map(FaceId)).transpose()
}
