//! YOLOv10n detection, port 8002.

use actix_web::{HttpResponse, web};
use facesocial_types::Service;
use serde_json::Value;

use crate::{
    auth::{Analyze, Authorized},
    error::ApiResult,
    extract::{Batch, RequestInfo, Single},
    routing::{get, post},
    services::{
        detection::{self, Detected, DetectedBatch, Method, service_defaults},
        health::{self, Health},
    },
    state::State,
};

const METHOD: Method = Method::Yolo;
const MAX_BATCH: usize = 10;

/// Adds the service's paths.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(post("/detect", detect))
        .service(post("/detect/batch", detect_batch))
        .service(get("/health", health))
        .service(get("/", root));
}

async fn detect(_: Authorized<Analyze>, state: web::Data<State>, form: Single) -> ApiResult<web::Json<Detected>> {
    state.loaded()?.require(Service::Yolo)?;
    let options = detection::options(&form.fields, METHOD, service_defaults(METHOD))?;
    let found = state.photo(form.file, move |loaded, photo| detection::find(loaded, photo, METHOD, options)).await?;
    Ok(web::Json(Detected::of(&found)))
}

async fn detect_batch(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    form: Batch<MAX_BATCH>,
) -> ApiResult<web::Json<DetectedBatch>> {
    state.loaded()?.require(Service::Yolo)?;
    let options = detection::options(&form.fields, METHOD, service_defaults(METHOD))?;
    let find = move |loaded: &_, photo: &_| detection::find(loaded, photo, METHOD, options);
    let items = state.photos(form.files, usize::MAX, find).await?;
    Ok(web::Json(DetectedBatch::of(items, info.seconds())))
}

async fn health(state: web::Data<State>) -> HttpResponse {
    Health::of(&state, Service::Yolo).response()
}

async fn root(state: web::Data<State>) -> web::Json<Value> {
    health::root(&state, Service::Yolo, &["/detect", "/detect/batch", "/health"])
}
