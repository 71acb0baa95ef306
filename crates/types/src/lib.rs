//! Plain data shared by every crate: boxes, landmarks, faces, embeddings, answers.
//!
//! No I/O, no tensors, no HTTP. Coordinates are pixels of the upright image, x to the right, y down,
//! the origin at the top left corner of the top left pixel.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod analysis;
mod embedding;
mod geometry;
mod model_id;
mod service;

pub use analysis::{
    Analysis, AntiSpoof, Comparison, Deepfake, DeepfakeDecision, Detection, FaceAnalysis, Failure, Gender, GenderAge,
    HeadPose, LivenessDecision, Outcome, Quality, QualityMetrics, QualityReason, Recognition,
};
pub use embedding::{Embedding, EmbeddingError};
pub use geometry::{BBox, Face, Landmark, LandmarkName, Landmarks, Point};
pub use model_id::ModelId;
pub use service::{Analyzer, AnalyzerSet, Detector, ParseNameError, Service};
