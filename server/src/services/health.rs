//! Health of one service, and what its root path says.

use std::{fs, time::SystemTime};

use actix_web::{HttpResponse, http::StatusCode, web};
use facesocial_pipeline::MB;
use facesocial_types::Service;
use facesocial_upstream::ReplicaReport;
use serde::Serialize;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{config::Role, gpu, metrics::networks::memory_of, state::State};

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Health of one service.
#[derive(Debug, Serialize)]
pub struct Health {
    /// `healthy`, `starting` or `unavailable`.
    pub status: &'static str,
    /// The service's name in the original.
    pub service: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// Whether its networks are loaded.
    pub model_loaded: bool,
    /// The networks and their versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why it cannot answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether this build can use a graphics card and one answers.
    pub gpu_available: bool,
    /// Memory of graphics cards that the whole process takes, MiB: 0 where the networks run on the processor. Null where they
    /// run on a card and its driver does not tell.
    pub gpu_memory_used_mb: Option<u64>,
    /// Memory that the service's networks may be given, MB, on whichever device they run.
    pub gpu_memory_limit_mb: Option<u64>,
    /// Memory that the service's loaded networks may take now, MB: their weights and a batch of the largest size.
    pub network_memory_mb: Option<u64>,
    /// Percent of one core that the whole process took since health was asked for last, or since the start; above 100 where
    /// several cores compute.
    pub cpu_usage_percent: Option<f64>,
    /// Memory of the whole process.
    pub memory_usage: Value,
    /// Seconds since the server started.
    pub uptime: f64,
    /// The same under the name in the original's README.
    pub uptime_seconds: f64,
    /// POST requests on the service's own port.
    pub requests_processed: u64,
    /// Their mean time.
    pub average_response_time_ms: f64,
    /// The servers that run it, where others than this one do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Vec<Replica>>,
}

/// A server that runs a service.
#[derive(Debug, Serialize)]
pub struct Replica {
    address: String,
    /// `healthy`, `ejected` or `unknown`: not heard of yet.
    state: &'static str,
    /// Questions under way.
    outstanding: usize,
    answered: u64,
    failed: u64,
    /// Until when it is left alone.
    ejected_until: Option<String>,
    /// Why it is left alone.
    reason: Option<String>,
}

impl From<ReplicaReport> for Replica {
    fn from(report: ReplicaReport) -> Self {
        let written = |at: SystemTime| OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default();
        Self {
            address: report.address,
            state: report.state.as_str(),
            outstanding: report.outstanding,
            answered: report.answered,
            failed: report.failed,
            ejected_until: report.ejected_until.map(written),
            reason: report.reason,
        }
    }
}

impl Health {
    /// Health of `service` now.
    pub fn of(state: &State, service: Service) -> Self {
        let found = state.ready().map(|loaded| (loaded.model(service), loaded.outage(service)));
        let (status, model, reason) = match found {
            Ok((Ok(_), Some(outage))) => ("unavailable", None, Some(outage.reason)),
            Ok((Ok(model), None)) => ("healthy", Some(model.to_owned()), None),
            Ok((Err(reason), _)) => ("unavailable", None, Some(reason.to_owned())),
            Err(error) => ("starting", None, Some(error.detail.into_owned())),
        };
        let engine = state.loaded().ok().map(|loaded| loaded.pipeline.engine());
        let mb = |bytes: usize| (bytes / MB) as u64;
        let on_card = engine.is_some_and(|engine| !engine.runs_on_cpu());
        let (requests, mean_ms) = state.counters(Role::Service(service)).map(|c| c.read()).unwrap_or_default();
        let uptime = state.started.elapsed().as_secs_f64().round();
        Self {
            status,
            service: full_name(service),
            version: VERSION,
            model_loaded: model.is_some(),
            model,
            reason,
            gpu_available: gpu::usable(),
            gpu_memory_used_mb: gpu::process_memory_used_mb().or((!on_card).then_some(0)),
            gpu_memory_limit_mb: engine.map(|engine| mb(engine.budgets().of(service))),
            network_memory_mb: engine.map(|engine| mb(memory_of(&engine.networks(), service))),
            cpu_usage_percent: state.cpu.percent(),
            memory_usage: memory_usage(),
            uptime,
            uptime_seconds: uptime,
            requests_processed: requests,
            average_response_time_ms: mean_ms,
            replicas: state.replicas(service).map(|all| all.into_iter().map(Replica::from).collect()),
        }
    }

    /// Whether requests can be answered.
    pub fn is_healthy(&self) -> bool {
        self.status == "healthy"
    }

    /// 200 or, so that `curl -f` sees it, 503.
    pub fn response(&self) -> HttpResponse {
        let status = if self.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        HttpResponse::build(status).json(self)
    }
}

/// Memory of the process in MiB, where the system tells.
pub fn memory_usage() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    json!({ "rss_mb": kib.map(|kib| kib / 1024) })
}

/// The service's name in the original's health reports.
pub fn full_name(service: Service) -> &'static str {
    match service {
        Service::Mediapipe => "mediapipe-face-detection",
        Service::Yolo => "yolo-face-detection",
        Service::Mtcnn => "mtcnn-face-detection",
        Service::Recognition => "face-recognition",
        Service::Antispoof => "antispoof",
        Service::GenderAge => "gender-age",
        Service::Deepfake => "deepfake-detection",
    }
}

/// What a service's root path says.
pub fn root(state: &State, service: Service, paths: &[&str]) -> web::Json<Value> {
    let health = Health::of(state, service);
    web::Json(json!({
        "message": format!("FaceSocial {} service", full_name(service)),
        "service": full_name(service),
        "version": VERSION,
        "status": if health.is_healthy() { "running" } else { health.status },
        "capabilities": paths,
        "health_check": "/health",
    }))
}
