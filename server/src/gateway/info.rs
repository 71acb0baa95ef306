//! What the gateway says about itself and the services.

use actix_web::web;
use facesocial_types::Service;
use serde_json::{Map, Value, json};

use super::timestamp;
use crate::{
    gpu,
    services::{
        self,
        health::{Health, VERSION, memory_usage},
    },
    state::State,
};

/// `GET /health`: always 200, the state of each service inside; `healthy` only if all that run here are.
pub async fn health(state: web::Data<State>) -> web::Json<Value> {
    let reports: Vec<(Service, Health)> = state.services.iter().map(|s| (*s, Health::of(&state, *s))).collect();
    let healthy = reports.iter().filter(|(_, h)| h.is_healthy()).count();
    let entry = |(service, health): &(Service, Health)| {
        let mut entry = json!({
            "service_name": services::legacy_name(*service),
            "service": health.service,
            "status": health.status,
            "available": health.is_healthy(),
            "model": health.model,
            "reason": health.reason,
        });
        if let Some(replicas) = &health.replicas {
            entry["replicas"] = json!(replicas);
        }
        entry
    };
    web::Json(json!({
        "status": if healthy == reports.len() { "healthy" } else { "degraded" },
        "version": VERSION,
        "total_services": reports.len(),
        "healthy_services": healthy,
        "unhealthy_services": reports.len() - healthy,
        "services": reports.iter().map(entry).collect::<Vec<_>>(),
        "memory_usage": memory_usage(),
        "gpu": gpu::report(),
        "uptime": state.started.elapsed().as_secs_f64().round(),
        "timestamp": timestamp(),
    }))
}

/// `GET /services`: what runs here, where, and whether it can answer.
pub async fn services(state: web::Data<State>) -> web::Json<Value> {
    let mut list = Map::new();
    for service in &state.services {
        let health = Health::of(&state, *service);
        let (kind, verb, capabilities, description) = describe(*service);
        let name = match kind {
            "face_detection" => format!("face_detection_{service}"),
            _ => services::legacy_name(*service).to_owned(),
        };
        let mut entry = json!({
            "type": kind,
            "method": "POST",
            "endpoint": format!("{}{verb}", services::scope(*service)),
            "capabilities": capabilities,
            "description": description,
            "available": health.is_healthy(),
            "reason": health.reason,
        });
        if let Some(replicas) = &health.replicas {
            entry["replicas"] = json!(replicas);
        }
        list.insert(name, entry);
    }
    web::Json(json!({
        "success": true,
        "data": { "total_services": list.len(), "services": list, "api_version": VERSION },
        "metadata": { "timestamp": timestamp() },
    }))
}

fn describe(service: Service) -> (&'static str, &'static str, &'static [&'static str], &'static str) {
    match service {
        Service::Mediapipe => {
            ("face_detection", "/detect", &["detection", "landmarks", "batch", "real_time"], "BlazeFace pre-detection")
        }
        Service::Yolo => ("face_detection", "/detect", &["detection", "batch"], "YOLOv10n detection"),
        Service::Mtcnn => {
            ("face_detection", "/detect", &["detection", "landmarks", "batch"], "MTCNN detection with landmarks")
        }
        Service::Recognition => {
            let capabilities = &["register", "verify", "identify", "compare"];
            ("face_recognition", "/identify", capabilities, "people by an ensemble of embeddings")
        }
        Service::Antispoof => ("antispoof", "/detect", &["liveness", "batch"], "passive liveness"),
        Service::GenderAge => ("gender_age", "/predict", &["age", "gender", "batch"], "age and gender"),
        Service::Deepfake => ("deepfake", "/detect", &["deepfake", "batch"], "generated and swapped faces"),
    }
}

/// `GET /`.
pub async fn root(state: web::Data<State>) -> web::Json<Value> {
    let ready = state.ready().is_ok();
    web::Json(json!({
        "message": "FaceSocial AI Services Gateway",
        "version": VERSION,
        "status": if ready { "running" } else { "starting" },
        "features": {
            "unified_face_detection": true,
            "quality_assessment": true,
            "batch_processing": true,
            "comprehensive_analysis": true,
            "legacy_compatibility": true,
        },
        "endpoints": [
            "/analyze/comprehensive", "/analyze/batch", "/detect/faces", "/api/v1/face-detection/detect",
            "/api/v1/face-detection/batch-detect", "/api/v1/face-detection/methods", "/api/v1/collections",
            "/api/v1/sessions", "/services", "/health", "/metrics", "/healthz", "/readyz",
        ],
        "health_check": "/health",
    }))
}
