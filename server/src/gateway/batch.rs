//! Comprehensive analysis of a batch, in the form of the original's first version.

use std::time::Instant;

use actix_web::web;
use serde::Serialize;
use serde_json::Value;

use super::{
    analyze::analyze,
    plan::{BatchConfig, Plan},
    timestamp,
};
use crate::{
    error::ApiResult,
    extract::{Batch, Fields, RequestInfo},
    services::face::BatchEntry,
    state::{Item, State},
};

/// Photos of one batch analysed at the same time, unless the client says otherwise.
pub const DEFAULT_CONCURRENT: usize = 3;

#[derive(Debug, Serialize)]
struct Analyzed {
    success: bool,
    results: Vec<BatchEntry<Value>>,
    total_processing_time: f64,
    total_images: usize,
    completed_images: usize,
    failed_images: usize,
    total_faces: usize,
    success_rate: f64,
    metadata: Metadata,
}

#[derive(Debug, Serialize)]
struct Metadata {
    request_id: String,
    processing_time: String,
    timestamp: String,
}

/// `POST /analyze/batch`.
pub async fn analyze_batch(
    state: web::Data<State>,
    info: RequestInfo,
    form: Batch<0>,
) -> ApiResult<web::Json<impl Serialize>> {
    let config: BatchConfig = form.fields.json("config")?.unwrap_or_default();
    let concurrent = max_concurrent(&form.fields)?.or(config.max_concurrent).unwrap_or(DEFAULT_CONCURRENT);
    let plan = Plan::of(&form.fields, config.analysis_config)?;
    state.loaded()?.require(plan.method.service())?;
    let each = move |loaded: &_, photo: &_| {
        let started = Instant::now();
        let answer = analyze(loaded, photo, &plan)?;
        let faces = answer.total_faces();
        Ok((answer.into_v1((started.elapsed().as_secs_f64() * 1e4).round() / 1e4), faces))
    };
    let items = state.photos(form.files, concurrent, each).await?;
    Ok(web::Json(Analyzed::of(items, info)))
}

/// `max_concurrent`: photos of one batch worked on at the same time. Never more than there are cores.
///
/// # Errors
/// No whole number from 1 to 64.
pub fn max_concurrent(fields: &Fields) -> ApiResult<Option<usize>> {
    fields.number("max_concurrent", 1..=64)
}

impl Analyzed {
    /// Results in the order of the upload; succeeded if any photo did.
    fn of(items: Vec<Item<(Value, usize)>>, info: RequestInfo) -> Self {
        let faces: Vec<usize> = items.iter().filter_map(|i| i.answer.as_ref().ok().map(|(_, n)| *n)).collect();
        let (total, completed) = (items.len(), faces.len());
        let entry = |i: Item<(Value, usize)>| {
            BatchEntry::of(Item { index: i.index, filename: i.filename, answer: i.answer.map(|(v, _)| v) })
        };
        Self {
            success: completed > 0,
            results: items.into_iter().map(entry).collect(),
            total_processing_time: info.seconds(),
            total_images: total,
            completed_images: completed,
            failed_images: total - completed,
            total_faces: faces.iter().sum(),
            success_rate: completed as f64 / total.max(1) as f64,
            metadata: Metadata { processing_time: info.elapsed_ms(), request_id: info.id, timestamp: timestamp() },
        }
    }
}
