//! Verification and identification over HTTP.

use actix_web::web;
use facesocial_store::{FaceId, Match, MatchedPerson};
use facesocial_types::{QualityReason, Service};
use serde::Serialize;
use serde_json::Value;

use super::{
    ask::Ask,
    identify::{Identified, SearchOptions, identify, which},
    names::PersonKey,
    probe::{Level, Probe},
    similarity,
    verify::{Claim, Verified, face_id, verify},
};
use crate::{
    auth::Search,
    cached::Caching,
    error::{ApiError, ApiResult, Code, Problem},
    extract::{PhotoRequest, RequestInfo},
    gateway::timestamp,
    services::face::{BoxDto, score},
};

/// What an answer says about itself.
#[derive(Debug, Serialize)]
pub struct Metadata {
    request_id: String,
    processing_time: String,
    /// The network or ensemble, with its version.
    pub model_version: String,
    /// Whether the photo's faces had been computed before.
    pub cached: bool,
    timestamp: String,
}

impl Metadata {
    /// Of an answer given now.
    pub fn of(info: &RequestInfo, model_version: String, cached: bool) -> Self {
        let (request_id, processing_time) = (info.id.clone(), info.elapsed_ms());
        Self { request_id, processing_time, model_version, cached, timestamp: timestamp() }
    }
}

/// A face of the photo that was sent.
#[derive(Debug, Serialize)]
struct ProbeForm {
    /// Its index in the photo, the largest face being 0.
    index: usize,
    bbox: BoxDto,
    quality_score: f64,
    /// What lowers the quality, worst first.
    quality_reasons: Vec<QualityReason>,
}

impl ProbeForm {
    fn of(probe: Probe) -> Self {
        Self {
            index: probe.index,
            bbox: BoxDto::scored(&probe.bbox, probe.score),
            quality_score: score(probe.quality),
            quality_reasons: probe.reasons,
        }
    }
}

/// Answer of `POST …/verify`.
#[derive(Debug, Serialize)]
pub struct VerifiedForm {
    is_match: bool,
    /// Cosine similarity to the most similar face, -1..=1, in steps of 0.01.
    similarity: f64,
    threshold: f64,
    /// The rate of strangers that the threshold lets pass.
    false_accept_rate: f64,
    verification_level: Level,
    person: MatchedPerson,
    /// The most similar face of the person.
    face_id: FaceId,
    faces_compared: usize,
    /// Whether the photo answered a challenge.
    fresh: bool,
    probe: ProbeForm,
    metadata: Metadata,
}

/// `POST /api/v1/collections/{name}/verify`: `file` or `image`, `person`, and if wanted `face_id`, `verification_level`,
/// `target_face`, `challenge`.
pub async fn verify_photo(
    ask: Ask<Search>,
    collection: web::Path<String>,
    caching: Caching,
    payload: web::Payload,
) -> ApiResult<web::Json<VerifiedForm>> {
    ask.state.loaded()?.require(Service::Recognition)?;
    let request = PhotoRequest::read(&ask.req, payload, &ask.state).await?;
    let person = request.fields.get("person").ok_or_else(|| {
        let detail = "the field person is missing; it names whom the photo is said to show, by UUID or as external:…";
        ApiError::new(Code::MissingField, detail)
    })?;
    let claim = Claim { person: PersonKey::parse(person)?, face: face_id(&request)? };
    let collection = ask.collection(&collection).await?;
    let verified = verify(&ask, &collection, claim, request, caching).await?;
    let none = || ApiError::new(Code::FaceNotFound, "the person has no face in this collection; enrol one first");
    let verified = verified.ok_or_else(none)?;
    let is_match = verified.is_match();
    let Verified { person, model, probe, best: (face_id, similarity), compared, level, threshold, fresh, cached } =
        verified;
    Ok(web::Json(VerifiedForm {
        is_match,
        similarity: similarity::shown(similarity, threshold),
        threshold: score(threshold),
        false_accept_rate: score(level.far().rate()),
        verification_level: level,
        person: MatchedPerson { id: person.id, external_id: person.external_id, name: person.name },
        face_id,
        faces_compared: compared,
        fresh,
        probe: ProbeForm::of(probe),
        metadata: Metadata::of(&ask.info, model.to_string(), cached),
    }))
}

/// Answer of `POST …/identify`.
#[derive(Debug, Serialize)]
pub struct IdentifiedForm {
    faces: Vec<FaceForm>,
    /// Least similarity of a match.
    threshold: f64,
    /// The rate of strangers that the threshold lets pass; null of one that the client chose.
    false_accept_rate: Option<f64>,
    /// Embeddings of the running network in the collection.
    searched: u64,
    search_time_ms: f64,
    metadata: Metadata,
}

/// A face of the photo with those that it is like.
#[derive(Debug, Serialize)]
struct FaceForm {
    #[serde(flatten)]
    probe: ProbeForm,
    /// Most similar first; none for somebody unknown.
    matches: Vec<Value>,
    /// Why the face could not be looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// `POST /api/v1/collections/{name}/identify`: `file` or `image`, and if wanted `faces`, `top_k`, `verification_level` or
/// `min_similarity`, `face_groups`.
pub async fn identify_photo(
    ask: Ask<Search>,
    collection: web::Path<String>,
    caching: Caching,
    payload: web::Payload,
) -> ApiResult<web::Json<IdentifiedForm>> {
    ask.state.loaded()?.require(Service::Recognition)?;
    let request = PhotoRequest::read(&ask.req, payload, &ask.state).await?;
    let (options, target) = (SearchOptions::of(&request.fields)?, which(&request.fields)?);
    let collection = ask.collection(&collection).await?;
    let found = identify(&ask, &collection, &options, target, request, caching).await?;
    let Identified { faces, model, threshold, searched, search_time, cached } = found;
    let face = |(probe, matches): (Probe, ApiResult<Vec<Match>>)| {
        let (matches, error) = match matches {
            Ok(matches) => (matches.iter().map(|m| match_form(m, threshold)).collect(), None),
            Err(error) => (Vec::new(), Some(error.problem(None))),
        };
        FaceForm { probe: ProbeForm::of(probe), matches, error }
    };
    Ok(web::Json(IdentifiedForm {
        faces: faces.into_iter().map(face).collect(),
        threshold: score(threshold),
        false_accept_rate: options.min_similarity.is_none().then(|| score(options.level.far().rate())),
        searched,
        search_time_ms: (search_time.as_secs_f64() * 1e5).round() / 100.0,
        metadata: Metadata::of(&ask.info, model.to_string(), cached),
    }))
}

/// A match by `threshold`, with its similarity as it is shown.
pub fn match_form(found: &Match, threshold: f32) -> Value {
    let mut form = serde_json::to_value(found).unwrap_or_default();
    form["similarity"] = similarity::shown(found.similarity, threshold).into();
    form
}
