//! Collections over HTTP.

use actix_web::{HttpResponse, http::StatusCode, web};
use facesocial_store::{Collection, DEFAULT_COLLECTION, Erased, NewCollection};
use serde::{Deserialize, Serialize};

use super::{ask::Ask, names};
use crate::{
    auth::{CollectionsWrite, GalleryRead, Operate},
    cached,
    error::{ApiError, ApiResult},
    extract::{Listed, changed},
    gallery::probe::running_model,
};

/// Body of `POST /api/v1/collections`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBody {
    name: String,
    #[serde(default)]
    description: String,
}

/// What deleting took away, for the client.
#[derive(Debug, Serialize)]
pub struct Deleted {
    persons: u64,
    faces: u64,
    embeddings: u64,
    detections: u64,
    sessions: u64,
}

impl From<Erased> for Deleted {
    fn from(erased: Erased) -> Self {
        let Erased { persons, faces, embeddings, detections, sessions, .. } = erased;
        Self { persons, faces, embeddings, detections, sessions }
    }
}

/// `GET /api/v1/collections`: those that the caller may see.
pub async fn list(ask: Ask<GalleryRead>) -> ApiResult<web::Json<Listed<Collection>>> {
    let page = ask.store()?.collections(ask.principal().collections(), ask.page()?).await?;
    Ok(web::Json(Listed::of(page, |collection| collection)))
}

/// `POST /api/v1/collections`.
pub async fn create(ask: Ask<CollectionsWrite>, payload: web::Payload) -> ApiResult<HttpResponse> {
    let (NewBody { name, description }, write) = ask.body(payload).await?;
    names::collection(&name)?;
    names::description(&description)?;
    let outcome = ask.store()?.create_collection(&write, NewCollection { name, description }).await?;
    Ok(changed(StatusCode::CREATED, outcome, |collection| collection))
}

/// `GET /api/v1/collections/{name}`.
pub async fn get(ask: Ask<GalleryRead>, name: web::Path<String>) -> ApiResult<web::Json<Collection>> {
    Ok(web::Json(ask.collection(&name).await?))
}

/// `DELETE /api/v1/collections/{name}`, with everything in it.
pub async fn delete(ask: Ask<CollectionsWrite>, name: web::Path<String>) -> ApiResult<HttpResponse> {
    if *name == DEFAULT_COLLECTION {
        return Err(ApiError::invalid(format!(
            "the collection {DEFAULT_COLLECTION} is there for good; delete its persons instead"
        )));
    }
    let write = ask.bare_write();
    let outcome = match ask.replayed(&write).await? {
        Some(first) => first,
        None => {
            let id = ask.collection(&name).await?.id;
            ask.store()?.delete_collection(&write, id).await?
        }
    };
    cached::forget(&ask.state, &outcome.value.image_hashes).await;
    Ok(changed(StatusCode::OK, outcome, Deleted::from))
}

/// Answer of `GET /api/v1/stats`.
#[derive(Debug, Serialize)]
pub struct Stats {
    collections: u64,
    persons: u64,
    faces: u64,
    /// Embeddings by the network that made them.
    embeddings: std::collections::BTreeMap<String, u64>,
    /// The network that runs; only its embeddings are searched.
    model: Option<String>,
}

/// `GET /api/v1/stats`.
pub async fn stats(ask: Ask<Operate>) -> ApiResult<web::Json<Stats>> {
    let stats = ask.store()?.gallery_stats().await?;
    Ok(web::Json(Stats {
        collections: stats.collections,
        persons: stats.persons,
        faces: stats.faces,
        embeddings: stats.embeddings.into_iter().collect(),
        model: running_model(&ask.state).ok().map(|model| model.to_string()),
    }))
}
