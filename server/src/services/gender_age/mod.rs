//! Age and gender, port 8006.

mod dto;

use actix_web::{HttpResponse, web};
use facesocial_imaging::Photo;
use facesocial_types::{Analyzer, AnalyzerSet, BBox, Service};
use serde_json::Value;

pub use self::dto::{AgeRange, Assessed, Attributes, entry};
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

const MAX_BATCH: usize = 8;

/// Adds the service's paths.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(post("/predict", predict))
        .service(post("/predict/batch", predict_batch))
        .service(get("/health", health))
        .service(get("/", root));
}

fn assess(loaded: &Loaded, photo: &Photo, boxes: Option<&[BBox]>) -> ApiResult<Assessed> {
    let wanted = AnalyzerSet::NONE.with(Analyzer::GenderAge);
    Ok(Assessed::of(&face::analyze(loaded, photo, boxes, wanted)?))
}

async fn predict(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    form: Single,
) -> ApiResult<web::Json<Assessed>> {
    state.loaded()?.require(Service::GenderAge)?;
    let boxes = form.fields.face_boxes()?;
    let assessed = state.photo(form.file, move |loaded, photo| assess(loaded, photo, boxes.as_deref())).await?;
    Ok(web::Json(assessed.within(info.seconds())))
}

async fn predict_batch(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    form: Batch<MAX_BATCH>,
) -> ApiResult<web::Json<dto::Batch>> {
    state.loaded()?.require(Service::GenderAge)?;
    let items = state.photos(form.files, usize::MAX, |loaded, photo| assess(loaded, photo, None)).await?;
    Ok(web::Json(dto::Batch::of(items, info.seconds())))
}

async fn health(state: web::Data<State>) -> HttpResponse {
    Health::of(&state, Service::GenderAge).response()
}

async fn root(state: web::Data<State>) -> web::Json<Value> {
    health::root(&state, Service::GenderAge, &["/predict", "/predict/batch", "/health"])
}
