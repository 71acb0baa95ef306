//! The seven services, each on its own port and under its own scope of the gateway.

pub mod antispoof;
pub mod deepfake;
pub mod detection;
pub mod face;
pub mod gender_age;
pub mod health;
pub mod mediapipe;
pub mod mtcnn;
pub mod quality;
pub mod recognition;
pub mod yolo;

use actix_web::web::ServiceConfig;
use facesocial_types::Service;

/// Adds the paths of `service`.
pub fn configure(service: Service, cfg: &mut ServiceConfig) {
    match service {
        Service::Mediapipe => mediapipe::configure(cfg),
        Service::Yolo => yolo::configure(cfg),
        Service::Mtcnn => mtcnn::configure(cfg),
        Service::Recognition => recognition::configure(cfg),
        Service::Antispoof => antispoof::configure(cfg),
        Service::GenderAge => gender_age::configure(cfg),
        Service::Deepfake => deepfake::configure(cfg),
    }
}

/// Where `service` is found under the gateway.
pub fn scope(service: Service) -> &'static str {
    match service {
        Service::Mediapipe => "/mediapipe",
        Service::Yolo => "/yolo",
        Service::Mtcnn => "/mtcnn",
        Service::Recognition => "/face-recognition",
        Service::Antispoof => "/antispoof",
        Service::GenderAge => "/gender-age",
        Service::Deepfake => "/deepfake",
    }
}

/// The name under which the original's gateway knows `service`.
pub fn legacy_name(service: Service) -> &'static str {
    match service {
        Service::Recognition => "face_recognition",
        other => other.as_str(),
    }
}
