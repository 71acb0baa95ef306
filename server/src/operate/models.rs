//! `/api/v1/models`: the networks, their memory and their batches.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use facesocial_pipeline::{BATCH_SIZES, EngineError, MB, NetworkReport};
use facesocial_types::{ParseNameError, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    auth::{Authorized, Operate},
    error::{ApiError, ApiResult},
    extract::read_json,
    state::{Loaded, State, milliseconds},
};

/// One network, as operators see it.
#[derive(Debug, Serialize)]
struct ModelForm {
    name: String,
    version: String,
    services: Vec<Service>,
    state: &'static str,
    pinned: bool,
    loads: u64,
    /// Milliseconds that the last load took.
    load_ms: Option<f64>,
    idle_seconds: Option<u64>,
    memory: MemoryForm,
    batches: Value,
}

#[derive(Debug, Serialize)]
struct MemoryForm {
    weights_mb: f64,
    /// What batches need beside the weights, by their size, as measured at start-up.
    batch_mb: Map<String, Value>,
    largest_batch: usize,
}

/// `GET /models`
pub async fn list(_: Authorized<Operate>, state: web::Data<State>) -> ApiResult<web::Json<Value>> {
    let engine = state.loaded()?.pipeline.engine();
    let budgets = engine.budgets();
    let of = |service: &Service| (service.as_str().to_owned(), json!(mb(budgets.of(*service))));
    Ok(web::Json(json!({
        "models": engine.networks().iter().map(form).collect::<Vec<_>>(),
        "budgets_mb": Service::ALL.iter().map(of).collect::<Map<_, _>>(),
        "budget_total_mb": mb(budgets.total()),
        "device_healthy": engine.healthy(),
    })))
}

/// `POST /models/{name}/load`
pub async fn load(
    _: Authorized<Operate>,
    state: web::Data<State>,
    name: web::Path<String>,
) -> ApiResult<web::Json<Value>> {
    change(&state, name.into_inner(), |loaded, name| loaded.pipeline.engine().load_network(name)).await
}

/// `POST /models/{name}/unload`
pub async fn unload(
    _: Authorized<Operate>,
    state: web::Data<State>,
    name: web::Path<String>,
) -> ApiResult<web::Json<Value>> {
    change(&state, name.into_inner(), |loaded, name| loaded.pipeline.engine().unload_network(name)).await
}

/// `POST /models/{name}/pin`
pub async fn pin(
    _: Authorized<Operate>,
    state: web::Data<State>,
    name: web::Path<String>,
) -> ApiResult<web::Json<Value>> {
    change(&state, name.into_inner(), |loaded, name| loaded.pipeline.engine().pin_network(name, true)).await
}

/// `POST /models/{name}/unpin`
pub async fn unpin(
    _: Authorized<Operate>,
    state: web::Data<State>,
    name: web::Path<String>,
) -> ApiResult<web::Json<Value>> {
    change(&state, name.into_inner(), |loaded, name| loaded.pipeline.engine().pin_network(name, false)).await
}

/// What a service's networks may hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetForm {
    limit_mb: usize,
}

/// `PUT /models/budgets/{service}`
pub async fn set_budget(
    _: Authorized<Operate>,
    state: web::Data<State>,
    service: web::Path<String>,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<web::Json<Value>> {
    let service: Service = service.parse().map_err(|e: ParseNameError| ApiError::invalid(e.to_string()))?;
    let BudgetForm { limit_mb } = read_json(&req, payload, &state, 0).await?;
    state.loaded()?.pipeline.engine().set_budget(service, limit_mb.saturating_mul(MB))?;
    Ok(web::Json(json!({ "service": service, "limit_mb": limit_mb })))
}

/// Changes a network away from the threads that answer, and tells how it is then.
async fn change(
    state: &State,
    name: String,
    change: impl FnOnce(&Loaded, &str) -> Result<(), EngineError> + Send + 'static,
) -> ApiResult<web::Json<Value>> {
    let loaded = Arc::clone(state.loaded()?);
    let work = move || {
        change(&loaded, &name)?;
        let report = loaded.pipeline.engine().networks().into_iter().find(|n| n.id.name() == name);
        report.ok_or(EngineError::Unknown { name })
    };
    let report = tokio::task::spawn_blocking(work).await.map_err(|e| ApiError::internal(&e))??;
    Ok(web::Json(json!(form(&report))))
}

fn form(report: &NetworkReport) -> ModelForm {
    let NetworkReport { id, services, loaded, pinned, loads, load_time, idle, footprint, batches } = report;
    let class = |(size, count): (String, &u64)| (size, json!(count));
    let sizes = BATCH_SIZES.iter().map(|size| format!("{size}")).chain(["more".to_owned()]);
    ModelForm {
        name: id.name().to_owned(),
        version: id.version().to_owned(),
        services: services.clone(),
        state: if *loaded { "loaded" } else { "unloaded" },
        pinned: *pinned,
        loads: *loads,
        load_ms: load_time.map(milliseconds),
        idle_seconds: idle.map(|idle| idle.as_secs()),
        memory: MemoryForm {
            weights_mb: mb(footprint.weights),
            batch_mb: footprint.batches.iter().map(|(size, bytes)| (size.to_string(), json!(mb(*bytes)))).collect(),
            largest_batch: batches.max_batch,
        },
        batches: json!({
            "run": batches.batches,
            "items": batches.items,
            "failed": batches.failed,
            "expired": batches.expired,
            "cancelled": batches.cancelled,
            "refused": batches.refused,
            "waiting": batches.waiting,
            "waited_ms": milliseconds(batches.waited),
            "ran_ms": milliseconds(batches.ran),
            "by_size": sizes.zip(&batches.by_size).map(class).collect::<Map<_, _>>(),
        }),
    }
}

/// Megabytes, with one digit after the point.
fn mb(bytes: usize) -> f64 {
    (bytes as f64 / MB as f64 * 10.0).round() / 10.0
}
