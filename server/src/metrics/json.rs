//! The figures as the original's gateway tells them.

use facesocial_types::Service;
use serde_json::{Map, Value, json};

use super::process::machine_memory;
use crate::{
    services::{
        self,
        health::{VERSION, memory_usage},
    },
    state::State,
};

/// What the quality of faces is called among the services.
const QUALITY: &str = "face_quality";

/// The report.
pub fn report(state: &State) -> Value {
    let (requests, detections) = state.metrics.totals();
    let services = Service::ALL.iter().map(|service| (services::legacy_name(*service), Some(*service)));
    let (mut calls, mut errors, mut rates) = (Map::new(), Map::new(), Map::new());
    for (name, service) in services.chain([(QUALITY, None)]) {
        let (called, failed) = state.metrics.calls(service);
        calls.insert(name.to_owned(), called.into());
        errors.insert(name.to_owned(), failed.into());
        let rate = failed as f64 / called.max(1) as f64 * 100.0;
        rates.insert(name.to_owned(), ((rate * 100.0).round() / 100.0).into());
    }
    let mut memory = memory_usage();
    if let Some((all, left)) = machine_memory() {
        let used = all.saturating_sub(left) as f64 / all.max(1) as f64 * 100.0;
        memory["ram_percent"] = ((used * 10.0).round() / 10.0).into();
        memory["ram_available_gb"] = ((left as f64 / f64::from(1 << 30) * 100.0).round() / 100.0).into();
    }
    json!({
        "uptime": state.started.elapsed().as_secs_f64().round(),
        "total_requests": requests,
        "face_detection_requests": detections,
        "service_calls": calls,
        "service_errors": errors,
        "error_rates": rates,
        "memory_usage": memory,
        "api_version": VERSION,
        "features": {
            "unified_face_detection": true,
            "quality_assessment": true,
            "batch_processing": true,
            "comprehensive_analysis": true,
            "legacy_compatibility": true,
        },
    })
}
