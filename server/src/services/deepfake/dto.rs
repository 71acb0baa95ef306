//! The service's answers as clients of the original know them.

use facesocial_types::{Analysis, Deepfake, DeepfakeDecision, FaceAnalysis};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    services::face::{Answer, BatchEntry, BoxDto, FaceEntry, mean, score},
    state::Item,
};

/// Authenticity of every face of a photo.
#[derive(Debug, Serialize)]
pub struct Assessed {
    /// One entry per face, by the photo's index.
    pub detections: Vec<FaceEntry<Authenticity>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processing_time: Option<f64>,
    total_faces: usize,
    /// Mean of 1 - `deepfake_score`; null without faces.
    overall_authenticity_score: Option<f64>,
    model_info: Option<String>,
}

/// Authenticity of one face.
#[derive(Debug, Clone, Serialize)]
pub struct Authenticity {
    /// Whether the face is a photograph; an uncertain one is not called real.
    pub is_real: bool,
    confidence: f64,
    deepfake_score: f64,
    decision: DeepfakeDecision,
    quality_metrics: Option<Value>,
    model: String,
}

/// Authenticity of one face, if it was asked for.
pub fn entry(face: &FaceAnalysis) -> Option<FaceEntry<Authenticity>> {
    let quality = face.quality.as_ref().and_then(|q| q.done()).map(|q| {
        json!({
            "sharpness": score(q.metrics.sharpness),
            "contrast": score(q.metrics.contrast),
            "brightness_uniformity": score(q.metrics.illumination_quality),
        })
    });
    let authenticity = |d: &Deepfake| Authenticity {
        is_real: d.decision == DeepfakeDecision::Real,
        confidence: score(d.score.max(1.0 - d.score)),
        deepfake_score: score(d.score),
        decision: d.decision,
        quality_metrics: quality,
        model: d.model.to_string(),
    };
    let answer = Answer::of(face.deepfake.as_ref()?, authenticity);
    Some(FaceEntry { face_id: face.index, bbox: BoxDto::plain(&face.bbox), answer })
}

impl Assessed {
    /// From an analysis that authenticity was asked of.
    pub fn of(analysis: &Analysis) -> Self {
        let detections: Vec<_> = analysis.faces.iter().filter_map(entry).collect();
        let answers = || detections.iter().filter_map(|d| d.answer.done());
        let model_info = answers().next().map(|a| a.model.clone());
        let overall = mean(answers().map(|a| 1.0 - a.deepfake_score));
        let total_faces = detections.len();
        Self { detections, processing_time: None, total_faces, overall_authenticity_score: overall, model_info }
    }

    /// With the time it took in seconds.
    #[must_use]
    pub fn within(self, seconds: f64) -> Self {
        Self { processing_time: Some(seconds), ..self }
    }

    /// How many faces are photographs, and how many are not.
    pub fn counts(&self) -> (usize, usize) {
        let answers = || self.detections.iter().filter_map(|d| d.answer.done());
        let real = answers().filter(|a| a.is_real).count();
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
    total_fake_faces: usize,
    authenticity_distribution: Distribution,
}

/// Images by their overall score.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Distribution {
    high: usize,
    medium: usize,
    low: usize,
}

impl Distribution {
    fn of(scores: impl Iterator<Item = f64>) -> Self {
        scores.fold(Self::default(), |mut counts, score| {
            match score {
                s if s > 0.7 => counts.high += 1,
                s if s > 0.4 => counts.medium += 1,
                _ => counts.low += 1,
            }
            counts
        })
    }
}

impl Batch {
    /// The answer for a batch that took `seconds`.
    pub fn of(items: Vec<Item<Assessed>>, seconds: f64) -> Self {
        let done = || items.iter().filter_map(|i| i.answer.as_ref().ok());
        let (real, fake) = done().map(Assessed::counts).fold((0, 0), |(r, f), (real, fake)| (r + real, f + fake));
        Self {
            total_faces_processed: done().map(|a| a.total_faces).sum(),
            total_real_faces: real,
            total_fake_faces: fake,
            authenticity_distribution: Distribution::of(done().filter_map(|a| a.overall_authenticity_score)),
            total_processing_time: seconds,
            results: items.into_iter().map(BatchEntry::of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_counted_by_their_score() {
        let expected = Distribution { high: 1, medium: 2, low: 1 };
        assert_eq!(Distribution::of([0.71, 0.7, 0.41, 0.4].into_iter()), expected);
    }
}
