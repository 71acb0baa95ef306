//! The service's answers as clients of the original know them.

use facesocial_types::{Analysis, AntiSpoof, FaceAnalysis, LivenessDecision};
use serde::Serialize;

use crate::{
    services::{
        detection::quality_score,
        face::{Answer, BatchEntry, BoxDto, FaceEntry, score},
    },
    state::Item,
};

/// Liveness of every face of a photo.
#[derive(Debug, Serialize)]
pub struct Assessed {
    /// One entry per face, by the photo's index.
    pub detections: Vec<FaceEntry<Liveness>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processing_time: Option<f64>,
    total_faces: usize,
    model_info: Option<String>,
}

/// Liveness of one face.
#[derive(Debug, Clone, Serialize)]
pub struct Liveness {
    /// Whether the face is a live person's; an uncertain one counts as an attack.
    pub is_real: bool,
    confidence: f64,
    spoof_score: f64,
    decision: LivenessDecision,
    quality_score: Option<f64>,
    model: String,
}

/// Liveness of one face, if it was asked for.
pub fn entry(face: &FaceAnalysis) -> Option<FaceEntry<Liveness>> {
    let liveness = |a: &AntiSpoof| Liveness {
        is_real: a.decision == LivenessDecision::Live,
        confidence: score(a.score.max(1.0 - a.score)),
        spoof_score: score(1.0 - a.score),
        decision: a.decision,
        quality_score: quality_score(face),
        model: a.model.to_string(),
    };
    let answer = Answer::of(face.antispoof.as_ref()?, liveness);
    Some(FaceEntry { face_id: face.index, bbox: BoxDto::plain(&face.bbox), answer })
}

impl Assessed {
    /// From an analysis that liveness was asked of.
    pub fn of(analysis: &Analysis) -> Self {
        let detections: Vec<_> = analysis.faces.iter().filter_map(entry).collect();
        let model_info = detections.iter().find_map(|d| d.answer.done()).map(|l| l.model.clone());
        Self { total_faces: detections.len(), detections, processing_time: None, model_info }
    }

    /// With the time it took in seconds.
    #[must_use]
    pub fn within(self, seconds: f64) -> Self {
        Self { processing_time: Some(seconds), ..self }
    }

    /// How many faces are live, and how many are not.
    pub fn counts(&self) -> (usize, usize) {
        let answers = || self.detections.iter().filter_map(|d| d.answer.done());
        let real = answers().filter(|l| l.is_real).count();
        (real, answers().count() - real)
    }
}

/// Answer for a batch.
#[derive(Debug, Serialize)]
pub struct Batch {
    results: Vec<BatchEntry<Assessed>>,
    total_processing_time: f64,
    total_faces_processed: usize,
    total_real_faces: usize,
    total_spoofed_faces: usize,
}

impl Batch {
    /// The answer for a batch that took `seconds`.
    pub fn of(items: Vec<Item<Assessed>>, seconds: f64) -> Self {
        let done = || items.iter().filter_map(|i| i.answer.as_ref().ok());
        let (real, spoofed) = done().map(Assessed::counts).fold((0, 0), |(r, s), (real, spoof)| (r + real, s + spoof));
        Self {
            total_faces_processed: done().map(|a| a.total_faces).sum(),
            total_real_faces: real,
            total_spoofed_faces: spoofed,
            total_processing_time: seconds,
            results: items.into_iter().map(BatchEntry::of).collect(),
        }
    }
}
