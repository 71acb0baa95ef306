//! Persons over HTTP.

use actix_web::{HttpResponse, http::StatusCode, web};
use facesocial_store::{Erased, NewPerson, PageRequest, Person, PersonChange, PersonId};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{ask::Ask, collections::Deleted, names};
use crate::{
    auth::{GalleryRead, GalleryWrite, Permission},
    cached,
    error::{ApiError, ApiResult},
    extract::{Fields, Listed, changed},
};

/// Body of `POST …/persons`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBody {
    /// A new UUID unless given.
    external_id: Option<String>,
    #[serde(default)]
    name: String,
    metadata: Option<Value>,
}

/// Body of `PATCH …/persons/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    name: Option<String>,
    metadata: Option<Value>,
}

/// Faces that are looked up at a time for what the cache has to forget.
const FACES_AT_A_TIME: u32 = 500;

/// `GET …/persons`: all of a collection; with `name=…` those whose name or external identifier has that in it.
pub async fn list(ask: Ask<GalleryRead>, collection: web::Path<String>) -> ApiResult<web::Json<Listed<Person>>> {
    let (page, query) = (ask.page()?, Fields::of_query(&ask.req)?);
    let collection = ask.collection(&collection).await?;
    let store = ask.store()?;
    let page = match query.get("name") {
        None => store.persons(collection.id, page).await?,
        Some(part) => store.persons_like(collection.id, part, page).await?,
    };
    Ok(web::Json(Listed::of(page, |person| person)))
}

/// `POST …/persons`.
pub async fn create(
    ask: Ask<GalleryWrite>,
    collection: web::Path<String>,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let (NewBody { external_id, name, metadata }, write) = ask.body(payload).await?;
    let external_id = external_id.unwrap_or_else(|| Uuid::new_v4().to_string());
    names::external_id(&external_id)?;
    names::name(&name)?;
    let new = NewPerson { external_id, name, metadata: names::metadata(metadata)? };
    let outcome = match ask.replayed(&write).await? {
        Some(first) => first,
        None => {
            let collection = ask.collection(&collection).await?;
            ask.store()?.create_person(&write, collection.id, new).await?
        }
    };
    Ok(changed(StatusCode::CREATED, outcome, |person: Person| person))
}

/// `GET …/persons/{id}`.
pub async fn get(ask: Ask<GalleryRead>, path: web::Path<(String, String)>) -> ApiResult<web::Json<Person>> {
    let (collection, person) = path.into_inner();
    let collection = ask.collection(&collection).await?;
    Ok(web::Json(ask.person(&collection, &person).await?))
}

/// `PATCH …/persons/{id}`.
pub async fn update(
    ask: Ask<GalleryWrite>,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let (collection, person) = path.into_inner();
    let (ChangeBody { name, metadata }, write) = ask.body(payload).await?;
    if name.is_none() && metadata.is_none() {
        return Err(ApiError::invalid("nothing is to be changed; send name, metadata or both"));
    }
    name.as_deref().map(names::name).transpose()?;
    let change = PersonChange { name, metadata: metadata.map(|m| names::metadata(Some(m))).transpose()? };
    let outcome = match ask.replayed(&write).await? {
        Some(first) => first,
        None => {
            let collection = ask.collection(&collection).await?;
            let person = ask.person(&collection, &person).await?;
            ask.store()?.update_person(&write, collection.id, person.id, change).await?
        }
    };
    Ok(changed(StatusCode::OK, outcome, |person: Person| person))
}

/// `DELETE …/persons/{id}`: the person with faces, embeddings, crops, and where it was recognised.
pub async fn delete(ask: Ask<GalleryWrite>, path: web::Path<(String, String)>) -> ApiResult<HttpResponse> {
    let (collection, person) = path.into_inner();
    let write = ask.bare_write();
    if let Some(first) = ask.replayed::<Erased>(&write).await? {
        return Ok(changed(StatusCode::OK, first, Deleted::from));
    }
    let collection = ask.collection(&collection).await?;
    let person = ask.person(&collection, &person).await?;
    let mut hashes = hashes_of(&ask, &person).await?;
    let outcome = ask.store()?.delete_person(&write, collection.id, person.id).await?;
    hashes.extend(outcome.value.image_hashes.iter().cloned());
    cached::forget(&ask.state, &hashes).await;
    Ok(changed(StatusCode::OK, outcome, Deleted::from))
}

/// Hashes of a person's faces, which name what the cache holds of their images.
async fn hashes_of<P: Permission>(ask: &Ask<P>, person: &Person) -> ApiResult<Vec<String>> {
    let (store, collection, id): (_, _, PersonId) = (ask.store()?, person.collection_id, person.id);
    let (mut hashes, mut page) = (Vec::new(), PageRequest::first(FACES_AT_A_TIME));
    loop {
        let faces = store.faces(collection, Some(Some(id)), page).await?;
        hashes.extend(faces.items.into_iter().map(|face| face.face_hash));
        match faces.next {
            Some(last) => page.after = Some(last),
            None => return Ok(hashes),
        }
    }
}
