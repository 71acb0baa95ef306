//! Passive liveness, port 8005.

mod dto;

use actix_web::{HttpResponse, web};
use facesocial_imaging::Photo;
use facesocial_types::{Analyzer, AnalyzerSet, BBox, Service};
use serde_json::Value;

pub use self::dto::{Assessed, Liveness, entry};
use crate::{
    auth::{Analyze, Authorized},
    error::ApiResult,
    extract::{Batch, RequestInfo, Single},
    routing::{get, post},
    services::{
        face,
        health::{self, Health},
    },
    state::{Loaded, State},
};

const MAX_BATCH: usize = 5;

/// Adds the service's paths.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(post("/detect", detect))
        .service(post("/detect/batch", detect_batch))
        .service(get("/health", health))
        .service(get("/", root));
}

fn assess(loaded: &Loaded, photo: &Photo, boxes: Option<&[BBox]>) -> ApiResult<Assessed> {
    let wanted = AnalyzerSet::NONE.with(Analyzer::Antispoof).with(Analyzer::Quality);
    Ok(Assessed::of(&face::analyze(loaded, photo, boxes, wanted)?))
}

async fn detect(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    form: Single,
) -> ApiResult<web::Json<Assessed>> {
    state.loaded()?.require(Service::Antispoof)?;
    let boxes = form.fields.face_boxes()?;
    let assessed = state.photo(form.file, move |loaded, photo| assess(loaded, photo, boxes.as_deref())).await?;
    Ok(web::Json(assessed.within(info.seconds())))
}

async fn detect_batch(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    form: Batch<MAX_BATCH>,
) -> ApiResult<web::Json<dto::Batch>> {
    state.loaded()?.require(Service::Antispoof)?;
    let items = state.photos(form.files, usize::MAX, |loaded, photo| assess(loaded, photo, None)).await?;
    Ok(web::Json(dto::Batch::of(items, info.seconds())))
}

async fn health(state: web::Data<State>) -> HttpResponse {
    Health::of(&state, Service::Antispoof).response()
}

async fn root(state: web::Data<State>) -> web::Json<Value> {
    health::root(&state, Service::Antispoof, &["/detect", "/detect/batch", "/health"])
}
