//! The gateway, port 8000: one upload, every answer.

mod analyze;
mod batch;
mod detect;
mod face_detection;
mod info;
mod plan;
mod work;

use actix_web::web::{self, ServiceConfig};
use facesocial_types::Service;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub(crate) use self::{
    analyze::{Comprehensive, analyze},
    plan::Plan,
    work::{Sent, Work},
};

use crate::{
    routing::{get, post},
    services,
};

/// Adds the gateway's paths, and under their scopes those of `enabled` services.
pub fn configure(enabled: &[Service], cfg: &mut ServiceConfig) {
    cfg.service(post("/analyze/comprehensive", analyze::comprehensive))
        .service(post("/analyze/batch", batch::analyze_batch))
        .service(post("/detect/faces", detect::detect_faces))
        .service(post("/api/v1/face-detection/detect", face_detection::detect))
        .service(post("/api/v1/face-detection/batch-detect", face_detection::batch_detect))
        .service(get("/api/v1/face-detection/methods", face_detection::methods))
        .service(get("/health", info::health))
        .service(get("/services", info::services))
        .service(get("/", info::root));
    for service in enabled {
        cfg.service(web::scope(services::scope(*service)).configure(|cfg| services::configure(*service, cfg)));
    }
}

/// The envelope of the gateway's answers.
#[derive(Debug, Serialize)]
struct Envelope<D, M> {
    success: bool,
    data: D,
    metadata: M,
}

/// Now, in UTC, as RFC 3339.
pub(crate) fn timestamp() -> String {
    // A year beyond 9999 is the only way to fail.
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_in_utc() {
        let now = timestamp();
        assert!(now.ends_with('Z') && now.as_bytes()[10] == b'T', "{now}");
    }
}
