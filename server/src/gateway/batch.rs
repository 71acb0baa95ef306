//! Comprehensive analysis of a batch, in the form of the original's first version.

use std::time::Instant;

use actix_web::{HttpRequest, web};
use facesocial_store::{Idempotency, Write};
use serde::Serialize;
use serde_json::Value;

use super::{
    analyze::{Comprehensive, analyze},
    plan::{BatchConfig, Plan},
    timestamp,
    work::{Sent, Work},
};
use crate::{
    auth::{Analyze, Authorized},
    cached::Caching,
    error::{ApiError, ApiResult},
    extract::{Batch, Fields, Fingerprint, IdempotencyKey, Object, RequestInfo, Upload, write},
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
    auth: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    key: IdempotencyKey,
    caching: Caching,
    req: HttpRequest,
    form: Batch<0>,
) -> ApiResult<web::Json<impl Serialize>> {
    let Object(config): Object<BatchConfig> = form.fields.json("config")?.unwrap_or_default();
    let concurrent = max_concurrent(&form.fields)?.or(config.max_concurrent).unwrap_or(DEFAULT_CONCURRENT);
    let plan = Plan::of(&form.fields, config.analysis_config.map(|config| config.0))?;
    state.loaded()?.require_detector(plan.method.detector())?;
    let work = Work::begin(&state, &auth.principal, &plan, caching).await?;
    let fields = form.fields.sorted().into_iter().fold(Fingerprint::of(&req), |p, (name, text)| p.part(name, text));
    let (photos, items) = look(&work, &state, &plan, form.files, concurrent).await?;
    let mut answers = Vec::with_capacity(items.len());
    for (photo, item) in photos.into_iter().zip(items) {
        let Item { index, filename, answer } = item;
        let print = photo.sent.as_ref().map_or_else(String::new, |sent| sent.hash.clone());
        let write = write(&auth.principal, &info, &key, fields.clone().part("image", print).finish());
        let finished = async {
            let (mut answer, seconds) = answer?;
            let faces = answer.total_faces();
            let session = match photo.sent {
                Some(sent) => work.finish(sent, &mut answer, photo.begun, &of_photo(write, index)).await?,
                None => None,
            };
            Ok::<_, ApiError>((answer.into_v1(seconds, photo.cached, session), faces))
        };
        answers.push(Item { index, filename, answer: finished.await });
    }
    Ok(web::Json(Analyzed::of(answers, info)))
}

/// A photo of the batch, before it is analysed.
struct Pending {
    /// What is kept of it beside the analysis; `None` of a file that was refused while it was read.
    sent: Option<Sent>,
    begun: Instant,
    cached: bool,
}

/// An analysis with the seconds that it took.
type Timed = (Comprehensive, f64);

/// Analyses of all photos in their order; only those that are not known are computed.
async fn look(
    work: &Work<'_>,
    state: &State,
    plan: &Plan,
    files: Vec<Upload>,
    concurrent: usize,
) -> ApiResult<(Vec<Pending>, Vec<Item<Timed>>)> {
    let (mut pending, mut items, mut unknown, mut places) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, file) in files.into_iter().enumerate() {
        let (begun, filename) = (Instant::now(), file.filename().map(str::to_owned));
        let (sent, answer) = match work.take(file).await {
            Ok((upload, sent)) => match work.known(&sent).await {
                Some(known) => (Some(sent), Some(Ok((known, seconds(begun))))),
                None => {
                    unknown.push(upload);
                    places.push(index);
                    (Some(sent), None)
                }
            },
            Err(error) => (None, Some(Err(error))),
        };
        pending.push(Pending { sent, begun, cached: matches!(answer, Some(Ok(_))) });
        items.push((filename, answer));
    }
    let plan = plan.clone();
    let each = move |loaded: &_, photo: &_| {
        let started = Instant::now();
        let answer = analyze(loaded, photo, &plan)?;
        Ok((answer, seconds(started)))
    };
    let computed = if unknown.is_empty() { Vec::new() } else { state.photos(unknown, concurrent, each).await? };
    for (place, item) in places.into_iter().zip(computed) {
        if let (Some(sent), Ok((answer, _))) = (&pending[place].sent, &item.answer) {
            work.remember(sent, answer).await;
        }
        items[place].1 = Some(item.answer);
    }
    // Every place has been filled: by what was known, by an error, or by what was computed.
    let items = items
        .into_iter()
        .enumerate()
        .filter_map(|(index, (filename, answer))| answer.map(|answer| Item { index, filename, answer }));
    Ok((pending, items.collect()))
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e4).round() / 1e4
}

/// Each photo of a batch is stored by itself, under a key of its own that follows from the client's.
fn of_photo(write: Write, index: usize) -> Write {
    let own = |Idempotency { key, fingerprint }| {
        let key = Fingerprint::default().part("key", key).part("index", index.to_string()).finish();
        Idempotency { key, fingerprint }
    };
    Write { idempotency: write.idempotency.map(own), ..write }
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
