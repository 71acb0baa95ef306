//! Embeddings, comparison, and the original's paths to the gallery, port 8004.

mod dto;

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, http::header, web};
use facesocial_pipeline::FarTarget;
use facesocial_types::Service;
use serde::Deserialize;
use serde_json::Value;

use self::dto::Compared;
pub use self::dto::{Assessed, Embedded, entry};
use crate::{
    auth::{Analyze, Authorized},
    error::ApiResult,
    extract::{Base64Image, Pair, RequestInfo, Upload, read_json},
    gallery,
    routing::{get, post},
    services::health::{self, Health},
    state::State,
};

/// Adds the service's paths.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(post("/compare", compare)).service(get("/health", health)).service(get("/", root));
    gallery::configure_legacy(cfg);
}

/// Body of `/compare` as JSON.
#[derive(Debug, Deserialize)]
struct CompareBody {
    image1: Base64Image,
    image2: Base64Image,
}

/// Whether the largest faces of two photos are the same person's.
async fn compare(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<web::Json<Compared>> {
    let uploads = two_photos(&req, payload, &state).await?;
    state.loaded()?.require(Service::Recognition)?;
    let compare = |loaded: &crate::state::Loaded, [a, b]: [facesocial_imaging::Photo; 2]| {
        Ok(loaded.pipeline.compare(&a.image, &b.image, FarTarget::default())?)
    };
    Ok(web::Json(Compared::of(&state.pair(uploads, compare).await?, info.seconds())))
}

/// Two photos: a form with `file1` and `file2`, or JSON with `image1` and `image2` in base64.
async fn two_photos(req: &HttpRequest, payload: web::Payload, state: &State) -> ApiResult<[Upload; 2]> {
    let media_type = req.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if media_type.starts_with("multipart/") {
        let mut payload: Payload = payload.into_inner();
        return Ok(Pair::from_request(req, &mut payload).await?.0);
    }
    let body: CompareBody = read_json(req, payload, state, 2).await?;
    Ok([body.image1.into_upload("image1", state)?, body.image2.into_upload("image2", state)?])
}

async fn health(state: web::Data<State>) -> HttpResponse {
    Health::of(&state, Service::Recognition).response()
}

async fn root(state: web::Data<State>) -> web::Json<Value> {
    health::root(&state, Service::Recognition, &["/register", "/verify", "/identify", "/compare", "/stats", "/health"])
}
