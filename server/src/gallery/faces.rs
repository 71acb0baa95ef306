//! Faces over HTTP.

use actix_web::{HttpResponse, http::StatusCode, web};
use facesocial_store::{Collection, Enrolled, Erased, FaceChange, FaceId, FaceRecord, Page, Write};
use facesocial_types::Service;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ask::Ask,
    collections::Deleted,
    enrol::{Enrolment, Owner, enrol},
    identity::Identity,
    names,
};
use crate::{
    auth::{GalleryRead, GalleryWrite},
    cached::{self, Caching},
    error::{ApiError, ApiResult, Code},
    extract::{Fields, Listed, PhotoRequest, builder, changed},
};

/// Answer to an enrolment.
#[derive(Debug, Serialize)]
struct EnrolledFace {
    #[serde(flatten)]
    enrolled: Enrolled,
    /// Whose face the gallery takes it for.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
    /// Whether the face had been computed before.
    cached: bool,
}

/// Body of `PATCH …/faces/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    /// Whose it is: a UUID, or `external:` and the client's own name.
    person: Option<String>,
    face_group: Option<String>,
    searchable: Option<bool>,
    metadata: Option<Value>,
}

/// `GET …/persons/{id}/faces`.
pub async fn list_of_person(
    ask: Ask<GalleryRead>,
    path: web::Path<(String, String)>,
) -> ApiResult<web::Json<Listed<FaceRecord>>> {
    let (collection, person) = path.into_inner();
    let page = ask.page()?;
    let collection = ask.collection(&collection).await?;
    let person = ask.person(&collection, &person).await?;
    Ok(listed(ask.store()?.faces(collection.id, Some(Some(person.id)), page).await?))
}

/// `GET …/faces`: all of a collection; with `person=none` those of nobody known, with `person=…` those of one.
pub async fn list(ask: Ask<GalleryRead>, collection: web::Path<String>) -> ApiResult<web::Json<Listed<FaceRecord>>> {
    let (page, query) = (ask.page()?, Fields::of_query(&ask.req)?);
    let collection = ask.collection(&collection).await?;
    let person = match query.get("person") {
        None => None,
        Some("none") => Some(None),
        Some(key) => Some(Some(ask.person(&collection, key).await?.id)),
    };
    Ok(listed(ask.store()?.faces(collection.id, person, page).await?))
}

fn listed(page: Page<FaceRecord>) -> web::Json<Listed<FaceRecord>> {
    web::Json(Listed::of(page, |face| face))
}

/// `POST …/persons/{id}/faces`: enrols a face of a person that exists.
pub async fn enrol_of_person(
    ask: Ask<GalleryWrite>,
    path: web::Path<(String, String)>,
    caching: Caching,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let (collection, person) = path.into_inner();
    enrol_photo(ask, &collection, Owner::Person(person), caching, payload).await
}

/// `POST …/faces`: enrols a face of the person that `external_id` names, or of nobody known.
pub async fn enrol_of_anybody(
    ask: Ask<GalleryWrite>,
    collection: web::Path<String>,
    caching: Caching,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    enrol_photo(ask, &collection, Owner::OfFields, caching, payload).await
}

async fn enrol_photo(
    ask: Ask<GalleryWrite>,
    collection: &str,
    owner: Owner,
    caching: Caching,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    ask.state.loaded()?.require(Service::Recognition)?;
    let request = PhotoRequest::read(&ask.req, payload, &ask.state).await?;
    let Enrolment { outcome, identity, cached } = enrol(&ask, collection, owner, request, caching).await?;
    Ok(changed(StatusCode::CREATED, outcome, |enrolled| EnrolledFace { enrolled, identity, cached }))
}

/// `GET …/faces/{id}`.
pub async fn get(ask: Ask<GalleryRead>, path: web::Path<(String, String)>) -> ApiResult<web::Json<FaceRecord>> {
    let (collection, face) = path.into_inner();
    let collection = ask.collection(&collection).await?;
    let face = names::uuid("face", &face)?;
    Ok(web::Json(ask.store()?.face(collection.id, FaceId(face)).await?))
}

/// `GET …/faces/{id}/crop`: the face with its surroundings as JPEG, where crops are kept.
pub async fn crop(ask: Ask<GalleryRead>, path: web::Path<(String, String)>) -> ApiResult<HttpResponse> {
    let (collection, face) = path.into_inner();
    let collection = ask.collection(&collection).await?;
    let face = FaceId(names::uuid("face", &face)?);
    let crop = ask.store()?.face_crop(collection.id, face).await?.ok_or_else(|| {
        let detail = "the picture of this face is not kept; the server keeps pictures only with --store-images";
        ApiError::new(Code::ResourceNotFound, detail)
    })?;
    Ok(HttpResponse::Ok().content_type("image/jpeg").body(crop))
}

/// `PATCH …/faces/{id}`.
pub async fn update(
    ask: Ask<GalleryWrite>,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let (collection, face) = path.into_inner();
    let (body, write) = ask.body::<ChangeBody>(payload).await?;
    let id = FaceId(names::uuid("face", &face)?);
    let ChangeBody { person, face_group, searchable, metadata } = body;
    if person.is_none() && face_group.is_none() && searchable.is_none() && metadata.is_none() {
        return Err(ApiError::invalid("nothing is to be changed; send person, face_group, searchable or metadata"));
    }
    face_group.as_deref().map(names::face_group).transpose()?;
    let metadata = metadata.map(|m| names::metadata(Some(m))).transpose()?;
    let outcome = match ask.replayed(&write).await? {
        Some(first) => first,
        None => {
            let collection = ask.collection(&collection).await?;
            let person = match &person {
                Some(key) => Some(ask.person(&collection, key).await?.id),
                None => None,
            };
            let change = FaceChange { person, face_group, searchable, metadata };
            ask.store()?.update_face(&write, collection.id, id, change).await?
        }
    };
    Ok(changed(StatusCode::OK, outcome, |face: FaceRecord| face))
}

/// `DELETE …/faces/{id}`.
pub async fn delete(ask: Ask<GalleryWrite>, path: web::Path<(String, String)>) -> ApiResult<HttpResponse> {
    let (collection, face) = path.into_inner();
    let id = FaceId(names::uuid("face", &face)?);
    let write = ask.bare_write();
    if let Some(first) = ask.replayed::<Erased>(&write).await? {
        return Ok(changed(StatusCode::OK, first, Deleted::from));
    }
    let collection = ask.collection(&collection).await?;
    delete_face(&ask, &collection, id, &write).await
}

/// Deletes a face, in the store and in the cache.
///
/// # Errors
/// No such face; the store does not answer.
pub async fn delete_face(
    ask: &Ask<GalleryWrite>,
    collection: &Collection,
    id: FaceId,
    write: &Write,
) -> ApiResult<HttpResponse> {
    let store = ask.store()?;
    let mut hashes = vec![store.face(collection.id, id).await?.face_hash];
    let outcome = store.delete_face(write, collection.id, id).await?;
    hashes.extend(outcome.value.image_hashes.iter().cloned());
    cached::forget(&ask.state, &hashes).await;
    Ok(builder(StatusCode::OK, outcome.replayed).json(Deleted::from(outcome.value)))
}
