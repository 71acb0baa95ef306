//! Face quality in the original's form.

use facesocial_types::{Analysis, Quality};
use serde::Serialize;
use serde_json::{Value, json};

use crate::services::face::{Answer, BoxDto, FaceEntry, mean, score};

/// Quality of every face of a photo.
#[derive(Debug, Serialize)]
pub struct Assessed {
    faces: Vec<FaceEntry<FaceQuality>>,
    total_faces: usize,
    average_quality: Option<f64>,
    model_info: &'static str,
}

/// Quality of one face.
#[derive(Debug, Clone, Serialize)]
pub struct FaceQuality {
    quality_metrics: Value,
    quality_category: &'static str,
    recommendations: Vec<&'static str>,
}

impl Assessed {
    /// From an analysis that quality was asked of.
    pub fn of(analysis: &Analysis) -> Self {
        let scores = analysis.faces.iter().filter_map(|f| f.quality.as_ref()?.done()).map(|q| score(q.score));
        let faces: Vec<_> = analysis.faces.iter().filter_map(entry).collect();
        Self {
            total_faces: faces.len(),
            average_quality: mean(scores),
            faces,
            model_info: "rules on sharpness, exposure, size, pose and occlusion",
        }
    }
}

/// Quality of one face, if it was asked for.
pub fn entry(face: &facesocial_types::FaceAnalysis) -> Option<FaceEntry<FaceQuality>> {
    let answer = Answer::of(face.quality.as_ref()?, |q| FaceQuality {
        quality_metrics: metrics(q),
        quality_category: category(q.score),
        recommendations: recommendations(q),
    });
    Some(FaceEntry { face_id: face.index, bbox: BoxDto::plain(&face.bbox), answer })
}

/// The measurements under the original's names; pose and occlusion are null without landmarks.
pub fn metrics(quality: &Quality) -> Value {
    let m = &quality.metrics;
    json!({
        "overall_score": score(quality.score),
        "sharpness": score(m.sharpness),
        "brightness": score(m.brightness),
        "contrast": score(m.contrast),
        "face_angle": m.pose.map(|p| json!({ "yaw": score(p.yaw), "pitch": score(p.pitch), "roll": score(p.roll) })),
        "occlusion": m.occlusion.map(|[left_eye, right_eye, nose, mouth]| json!({
            "left_eye": score(left_eye), "right_eye": score(right_eye), "nose": score(nose), "mouth": score(mouth),
        })),
        "blur_score": score(m.blur_score),
        "noise_level": score(m.noise_level),
        "illumination_quality": score(m.illumination_quality),
        "resolution_adequacy": score(m.resolution_adequacy),
    })
}

fn category(score: f32) -> &'static str {
    match score {
        s if s >= 0.8 => "excellent",
        s if s >= 0.6 => "good",
        s if s >= 0.4 => "fair",
        _ => "poor",
    }
}

fn recommendations(quality: &Quality) -> Vec<&'static str> {
    if quality.reasons.is_empty() {
        return vec!["Face quality is good for recognition"];
    }
    quality.reasons.iter().map(|r| r.advice()).collect()
}

#[cfg(test)]
mod tests {
    use facesocial_types::{QualityMetrics, QualityReason};

    use super::*;

    #[test]
    fn a_good_face_is_told_so_and_a_bad_one_what_to_do() {
        let quality = |reasons| Quality { score: 0.7, reasons, metrics: QualityMetrics::default() };
        assert_eq!(recommendations(&quality(vec![])), ["Face quality is good for recognition"]);
        let advice = recommendations(&quality(vec![QualityReason::Blurred]));
        assert_eq!(advice, [QualityReason::Blurred.advice()]);
        assert!(metrics(&quality(vec![]))["face_angle"].is_null());
    }

    #[test]
    fn categories_begin_at_the_originals_scores() {
        let names: Vec<_> = [0.8, 0.6, 0.4, 0.39, f32::NAN].into_iter().map(category).collect();
        assert_eq!(names, ["excellent", "good", "fair", "poor", "poor"]);
    }
}
