//! The original's `/register`, `/verify`, `/identify` and `/stats`, and what its documents promise beside them, in its own
//! names.

use actix_web::{HttpResponse, http::StatusCode, web};
use facesocial_pipeline::FarTarget;
use facesocial_store::{DEFAULT_COLLECTION, Enrolled, Erased, FaceChange, FaceId, FaceRecord, Match};
use facesocial_types::Service;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    ask::Ask,
    collections::Deleted,
    enrol::{Enrolment, Owner, enrol},
    faces::delete_face,
    identify::{Identified, SearchOptions, identify},
    names::{self, PersonKey},
    probe::{Level, Probe, Target, running_model},
    search::Metadata,
    similarity,
    verify::{Claim, Verified, face_id, verify},
};
use crate::{
    auth::{GalleryRead, GalleryWrite, Operate, Permission, Search},
    cached::Caching,
    error::{ApiError, ApiResult, Code},
    extract::{Fields, Listed, Object, PhotoRequest, builder, changed},
    routing::{get, post, resource},
    services::{
        face::{pixels, score},
        health::memory_usage,
    },
};

/// The original's paths, relative to the service's.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(post("/register", register))
        .service(post("/verify", verify_user))
        .service(post("/identify", identify_users))
        .service(get("/stats", stats));
}

/// The paths of its documents, under `/api/v1`.
pub fn configure_documented(cfg: &mut web::ServiceConfig) {
    cfg.service(post("/face-recognition/register", register_documented))
        .service(post("/face-recognition/verify", verify_user))
        .service(post("/face-recognition/identify", identify_documented))
        .service(get("/face-recognition/users/{user_id}/faces", faces_of_user))
        .service(resource(
            "/face-recognition/faces/{face_id}",
            "PUT and DELETE",
            [web::put().to(update_face), web::delete().to(delete_face_by_id)],
        ));
}

#[derive(Debug, Serialize)]
struct Envelope {
    success: bool,
    data: Value,
    metadata: Metadata,
}

fn envelope<P: Permission>(ask: &Ask<P>, data: Value, model: String, cached: bool) -> Envelope {
    Envelope { success: true, data, metadata: Metadata::of(&ask.info, model, cached) }
}

/// A photo, its `user_id`, and the collection: the original has one alone.
async fn read<P: Permission>(ask: &Ask<P>, payload: web::Payload) -> ApiResult<(PhotoRequest, String)> {
    ask.state.loaded()?.require(Service::Recognition)?;
    let request = PhotoRequest::read(&ask.req, payload, &ask.state).await?;
    let collection = collection_name(&request.fields);
    Ok((request, collection))
}

fn collection_name(fields: &Fields) -> String {
    fields.get("collection").unwrap_or(DEFAULT_COLLECTION).to_owned()
}

fn user_id(request: &PhotoRequest) -> ApiResult<String> {
    let missing = || ApiError::new(Code::MissingField, "the field user_id is missing; it names the person");
    request.fields.get("user_id").map(str::to_owned).ok_or_else(missing)
}

/// `POST /register`, which the original answers with 200.
async fn register(ask: Ask<GalleryWrite>, caching: Caching, payload: web::Payload) -> ApiResult<HttpResponse> {
    enrolled(ask, caching, payload, StatusCode::OK).await
}

/// `POST /api/v1/face-recognition/register`, which its document answers with 201.
async fn register_documented(
    ask: Ask<GalleryWrite>,
    caching: Caching,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    enrolled(ask, caching, payload, StatusCode::CREATED).await
}

async fn enrolled(
    ask: Ask<GalleryWrite>,
    caching: Caching,
    payload: web::Payload,
    status: StatusCode,
) -> ApiResult<HttpResponse> {
    let (request, collection) = read(&ask, payload).await?;
    let owner = Owner::User(user_id(&request)?);
    let Enrolment { outcome, identity, cached } = enrol(&ask, &collection, owner, request, caching).await?;
    let Enrolled { face, person, .. } = outcome.value;
    let models: Vec<String> = face.models.iter().map(ToString::to_string).collect();
    let version = models.first().cloned().unwrap_or_default();
    let mut data = json!({
        "face_id": face.id,
        "user_id": person.map(|p| p.external_id),
        "registration_status": "success",
        "face_quality_score": score(face.quality_score),
        "embedding_version": version,
        "face_attributes": attributes(&face.bbox, Some(models)),
    });
    if let Some(identity) = identity {
        data["identity"] = json!(identity);
    }
    Ok(builder(status, outcome.replayed).json(envelope(&ask, data, version, cached)))
}

fn attributes(bbox: &facesocial_types::BBox, models: Option<Vec<String>>) -> Value {
    let mut attributes = json!({
        "face_size": [pixels(bbox.width), pixels(bbox.height)],
        "face_position": [pixels(bbox.x), pixels(bbox.y)],
    });
    if let Some(models) = models {
        attributes["models_used"] = models.into();
    }
    attributes
}

/// `POST /verify`. A person without any face is no match, as in the original; an unknown person is an error.
async fn verify_user(ask: Ask<Search>, caching: Caching, payload: web::Payload) -> ApiResult<web::Json<Value>> {
    let (request, collection) = read(&ask, payload).await?;
    let user = user_id(&request)?;
    names::external_id(&user)?;
    let level = Level::of(&request.fields)?;
    let claim = Claim { person: PersonKey::External(user), face: face_id(&request)? };
    let collection = ask.collection(&collection).await?;
    let Some(verified) = verify(&ask, &collection, claim, request, caching).await? else {
        let data = json!({
            "verification_result": "no_match",
            "is_match": false,
            "confidence_score": 0.0,
            "similarity_score": 0.0,
            "matched_face_id": null,
            "verification_level": level,
            "message": "No registered faces found for user",
        });
        let model = running_model(&ask.state)?.to_string();
        return Ok(web::Json(json!(envelope(&ask, data, model, false))));
    };
    let is_match = verified.is_match();
    let Verified { model, probe, best: (face, similarity), threshold, fresh, cached, .. } = verified;
    let factors: Vec<&str> = probe.reasons.iter().map(|reason| reason.advice()).collect();
    let data = json!({
        "verification_result": if is_match { "success" } else { "no_match" },
        "is_match": is_match,
        "confidence_score": similarity::shown(similarity, threshold),
        "similarity_score": similarity::shown(similarity, threshold),
        "matched_face_id": is_match.then_some(face),
        "verification_level": level,
        "threshold": score(threshold),
        "fresh": fresh,
        "false_accept_rate": score(level.far().rate()),
        "risk_assessment": { "risk_level": if is_match { "low" } else { "medium" }, "factors": factors },
    });
    Ok(web::Json(json!(envelope(&ask, data, model.to_string(), cached))))
}

/// `search_scope` of the documented `/identify`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SearchScope {
    user_groups: Vec<String>,
    max_candidates: Option<usize>,
    min_confidence: Option<f32>,
}

/// The original's names for how many and how similar. Its own limit of 0.7 belongs to other networks: unless the client
/// sends one, the similarity measured for those that run decides.
fn options(fields: &Fields) -> ApiResult<SearchOptions> {
    let mut options = SearchOptions::of(fields)?;
    let Object(scope): Object<SearchScope> = fields.json("search_scope")?.unwrap_or_default();
    scope.user_groups.iter().try_for_each(|group| names::face_group(group))?;
    let in_range = |n: &usize| (1..=100).contains(n);
    if scope.max_candidates.is_some_and(|n| !in_range(&n)) {
        return Err(ApiError::invalid("max_candidates is not a number from 1 to 100"));
    }
    if scope.min_confidence.is_some_and(|c| !(-1.0..=1.0).contains(&c)) {
        return Err(ApiError::invalid("min_confidence is not a number from -1 to 1"));
    }
    if let Some(most) = fields.number("max_results", 1..=100)?.or(scope.max_candidates) {
        options.top_k = most;
    }
    if let Some(least) = fields.number("min_confidence", -1.0..=1.0)?.or(scope.min_confidence) {
        options.min_similarity = Some(least);
    }
    options.groups.extend(scope.user_groups);
    Ok(options)
}

/// The largest face of the photo with its matches.
struct Found {
    probe: Probe,
    matches: Vec<Match>,
    threshold: f32,
    model: String,
    searched: u64,
    search_time_ms: f64,
    cached: bool,
}

async fn find(ask: &Ask<Search>, caching: Caching, payload: web::Payload) -> ApiResult<Found> {
    let (request, collection) = read(ask, payload).await?;
    let options = options(&request.fields)?;
    let collection = ask.collection(&collection).await?;
    let found = identify(ask, &collection, &options, Target::Largest, request, caching).await?;
    let Identified { faces, model, threshold, searched, search_time, cached } = found;
    let first = faces.into_iter().next();
    let (probe, matches) = first.ok_or_else(|| ApiError::new(Code::NoFace, "no face was found"))?;
    let search_time_ms = (search_time.as_secs_f64() * 1e5).round() / 100.0;
    Ok(Found { probe, matches: matches?, threshold, model: model.to_string(), searched, search_time_ms, cached })
}

fn user_of(found: &Match) -> Option<&str> {
    found.person.as_ref().map(|person| person.external_id.as_str())
}

/// `POST /identify`.
async fn identify_users(ask: Ask<Search>, caching: Caching, payload: web::Payload) -> ApiResult<web::Json<Value>> {
    let found = find(&ask, caching, payload).await?;
    let entry = |m: &Match| {
        json!({
            "face_id": m.face_id,
            "user_id": user_of(m),
            "similarity_score": similarity::shown(m.similarity, found.threshold),
            "confidence_score": similarity::shown(m.similarity, found.threshold),
            "metadata": m.metadata,
        })
    };
    let data = json!({
        "identification_result": if found.matches.is_empty() { "no_match" } else { "success" },
        "matches_found": found.matches.len(),
        "matches": found.matches.iter().map(entry).collect::<Vec<_>>(),
        "face_attributes": attributes(&found.probe.bbox, None),
    });
    Ok(web::Json(json!(envelope(&ask, data, found.model, found.cached))))
}

/// `POST /api/v1/face-recognition/identify`.
async fn identify_documented(ask: Ask<Search>, caching: Caching, payload: web::Payload) -> ApiResult<web::Json<Value>> {
    let found = find(&ask, caching, payload).await?;
    let entry = |m: &Match| {
        json!({
            "user_id": user_of(m),
            "face_id": m.face_id,
            "confidence_score": similarity::shown(m.similarity, found.threshold),
            "similarity_score": similarity::shown(m.similarity, found.threshold),
            "user_info": m.person.as_ref().map(|p| json!({ "id": p.id, "name": p.name })),
        })
    };
    let data = json!({
        "identification_result": if found.matches.is_empty() { "no_match" } else { "found" },
        "candidates": found.matches.iter().map(entry).collect::<Vec<_>>(),
        "total_candidates": found.matches.len(),
        "search_stats": { "faces_searched": found.searched, "search_time_ms": found.search_time_ms },
    });
    Ok(web::Json(json!(envelope(&ask, data, found.model, found.cached))))
}

/// `GET /stats`.
async fn stats(ask: Ask<Operate>) -> ApiResult<web::Json<Value>> {
    let gallery = ask.store()?.gallery_stats().await?;
    let loaded = ask.state.loaded()?;
    let members = loaded.pipeline.members().unwrap_or_default();
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let weights: Map<String, Value> =
        members.iter().map(|(name, weight)| (name.clone(), score(*weight).into())).collect();
    Ok(web::Json(json!({
        "total_faces_registered": gallery.faces,
        "total_users_registered": gallery.persons,
        "models_loaded": names,
        "models_available": names,
        "model_weights": weights,
        "similarity_threshold": loaded.pipeline.threshold(FarTarget::default()).map(score),
        "system_info": memory_usage(),
    })))
}

/// `GET /api/v1/face-recognition/users/{user_id}/faces`.
async fn faces_of_user(ask: Ask<GalleryRead>, user: web::Path<String>) -> ApiResult<web::Json<Listed<FaceRecord>>> {
    names::external_id(&user)?;
    let (page, query) = (ask.page()?, Fields::of_query(&ask.req)?);
    let collection = ask.collection(&collection_name(&query)).await?;
    let store = ask.store()?;
    let person = store.person_by_external_id(collection.id, &user).await?;
    let faces = store.faces(collection.id, Some(Some(person.id)), page).await?;
    Ok(web::Json(Listed::of(faces, |face| face)))
}

/// Body of `PUT /api/v1/face-recognition/faces/{face_id}`.
#[derive(Debug, Deserialize)]
struct FaceBody {
    face_group: Option<String>,
    metadata: Option<Value>,
    #[serde(default)]
    privacy_settings: Object<PrivacySettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PrivacySettings {
    searchable: Option<bool>,
}

async fn update_face(
    ask: Ask<GalleryWrite>,
    face: web::Path<String>,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let (FaceBody { face_group, metadata, privacy_settings }, write) = ask.body(payload).await?;
    let id = FaceId(names::uuid("face", &face)?);
    face_group.as_deref().map(names::face_group).transpose()?;
    let metadata = metadata.map(|m| names::metadata(Some(m))).transpose()?;
    let change = FaceChange { person: None, face_group, searchable: privacy_settings.0.searchable, metadata };
    let outcome = match ask.replayed(&write).await? {
        Some(first) => first,
        None => {
            let collection = ask.collection(&collection_name(&Fields::of_query(&ask.req)?)).await?;
            ask.store()?.update_face(&write, collection.id, id, change).await?
        }
    };
    Ok(changed(StatusCode::OK, outcome, |face: FaceRecord| face))
}

async fn delete_face_by_id(ask: Ask<GalleryWrite>, face: web::Path<String>) -> ApiResult<HttpResponse> {
    let id = FaceId(names::uuid("face", &face)?);
    let write = ask.bare_write();
    if let Some(first) = ask.replayed::<Erased>(&write).await? {
        return Ok(changed(StatusCode::OK, first, Deleted::from));
    }
    let collection = ask.collection(&collection_name(&Fields::of_query(&ask.req)?)).await?;
    delete_face(&ask, &collection, id, &write).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push((*name).to_owned(), (*value).to_owned());
        }
        fields
    }

    #[test]
    fn both_forms_of_a_search_are_understood() {
        let plain = options(&fields(&[("max_results", "3"), ("min_confidence", "0.8")])).unwrap();
        assert_eq!((plain.top_k, plain.min_similarity), (3, Some(0.8)));
        let scope = r#"{"user_groups":["staff"],"max_candidates":7,"min_confidence":0.9}"#;
        let scoped = options(&fields(&[("search_scope", scope)])).unwrap();
        assert_eq!((scoped.top_k, scoped.min_similarity), (7, Some(0.9)));
        assert_eq!(scoped.groups, ["staff"]);
        assert_eq!(options(&fields(&[])).unwrap().min_similarity, None);
    }

    #[test]
    fn impossible_searches_are_refused() {
        for scope in [r#"{"max_candidates":0}"#, r#"{"min_confidence":2}"#, r#"{"user_groups":["a b"]}"#, "7", "{"] {
            assert!(options(&fields(&[("search_scope", scope)])).is_err(), "{scope}");
        }
        assert!(options(&fields(&[("max_results", "1000")])).is_err());
    }
}
