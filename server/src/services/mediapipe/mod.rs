//! BlazeFace pre-detection, port 8001.

mod dto;

use actix_web::{HttpRequest, HttpResponse, web};
use facesocial_imaging::Format;
use facesocial_types::Service;
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::dto::Detected;
use crate::{
    auth::{Analyze, Authorized},
    error::ApiResult,
    extract::{Base64Image, Batch, RequestInfo, Single, read_json},
    routing::{get, post},
    services::{
        detection::{self, DetectedBatch, Method, service_defaults},
        health::{self, Health},
    },
    state::State,
};

const METHOD: Method = Method::Mediapipe;
const MAX_BATCH: usize = 10;

/// Adds the service's paths.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(post("/detect", detect))
        .service(post("/detect/batch", detect_batch))
        .service(post("/detect_base64", detect_base64))
        .service(get("/config", config))
        .service(get("/health", health))
        .service(get("/", root));
}

async fn detect(_: Authorized<Analyze>, state: web::Data<State>, form: Single) -> ApiResult<web::Json<Detected>> {
    state.loaded()?.require(Service::Mediapipe)?;
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
    state.loaded()?.require(Service::Mediapipe)?;
    let options = detection::options(&form.fields, METHOD, service_defaults(METHOD))?;
    let find = move |loaded: &_, photo: &_| detection::find(loaded, photo, METHOD, options);
    let items = state.photos(form.files, usize::MAX, find).await?;
    Ok(web::Json(DetectedBatch::of(items, info.seconds())))
}

/// Body of `/detect_base64`.
#[derive(Debug, Deserialize)]
struct Base64Body {
    image: Base64Image,
}

async fn detect_base64(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<web::Json<Detected>> {
    let body: Base64Body = read_json(&req, payload, &state, 1).await?;
    state.loaded()?.require(Service::Mediapipe)?;
    let upload = body.image.into_upload("image", &state)?;
    let options = service_defaults(METHOD);
    let found = state.photo(upload, move |loaded, photo| detection::find(loaded, photo, METHOD, options)).await?;
    Ok(web::Json(Detected::of(&found)))
}

async fn config(_: Authorized<Analyze>) -> web::Json<Value> {
    let formats: Vec<String> = Format::ALL.iter().map(|f| f.as_str().to_lowercase()).collect();
    web::Json(json!({
        "min_detection_confidence": f64::from(METHOD.default_confidence()),
        // MediaPipe's 0 is the short range; the full range runs beside it here.
        "model_selection": 0,
        "ranges": ["short", "full"],
        "capabilities": { "max_faces": detection::MAX_FACES, "supported_formats": formats },
    }))
}

async fn health(state: web::Data<State>) -> HttpResponse {
    Health::of(&state, Service::Mediapipe).response()
}

async fn root(state: web::Data<State>) -> web::Json<Value> {
    health::root(&state, Service::Mediapipe, &["/detect", "/detect/batch", "/detect_base64", "/config", "/health"])
}
