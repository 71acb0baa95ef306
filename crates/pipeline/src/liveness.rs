//! Passive liveness.

use facesocial_engine::{Engine, Liveness, LivenessCrop};
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{AntiSpoof, Face, LivenessDecision, Outcome};
use image::RgbImage;

use crate::batch::failed;

/// The tree's raw score at which live and attack are equally likely on the development crops.
const MIDPOINT: f32 = 0.70;
/// Steepness of the logistic curve that maps the tree's raw scores to probabilities, fitted on the development crops.
const STEEPNESS: f32 = 14.0;
/// Scores from here on are called live.
const LIVE: f32 = 0.7;
/// Scores below are called attacks; between the two the answer is uncertain.
const SPOOF: f32 = 0.3;
/// Lower faces, in pixels, are always uncertain: enlarged to the network's input they have no texture left to judge.
const MIN_HEIGHT: f32 = 64.0;

/// One answer per face, in order.
pub(crate) fn assess(engine: &Engine, image: &RgbImage, faces: &[Face]) -> Vec<Outcome<AntiSpoof>> {
    let (network, model) = match engine.liveness.get() {
        Ok(found) => found,
        Err(e) => return faces.iter().map(|_| failed(&e)).collect(),
    };
    if faces.is_empty() {
        return Vec::new();
    }
    let cut = |spec: LivenessCrop| {
        let sampling = if spec.smooth { Sampling::Area } else { Sampling::Bilinear };
        let crop = |face: &Face| {
            let area = spec.area(&face.bbox, image.width(), image.height());
            imaging::crop_resize(image, &area, spec.side, spec.side, [0; 3], sampling)
        };
        faces.iter().map(crop).collect::<Vec<_>>()
    };
    let crops: Vec<Vec<RgbImage>> = network.crops().into_iter().map(cut).collect();
    let raw = match engine.liveness.run(|n| n.score(&crops)) {
        Ok(raw) => raw,
        Err(e) => return faces.iter().map(|_| failed(&e)).collect(),
    };
    let answer = |(face, raw): (&Face, f32)| {
        let score = match network {
            Liveness::FaceAntiSpoofing(_) => probability_live(raw),
            // These are trained to give a probability; what it is worth on the photos of a place must be measured there.
            Liveness::MiniFasNet(_) | Liveness::Mn3(_) => raw,
        };
        Outcome::Done(AntiSpoof { model: model.clone(), score, decision: decide(score, face.bbox.height) })
    };
    faces.iter().zip(raw).map(answer).collect()
}

/// The tree's raw spoof score (higher is likelier an attack) to the probability of a live face.
fn probability_live(raw: f32) -> f32 {
    1.0 / (1.0 + (STEEPNESS * (raw - MIDPOINT)).exp())
}

fn decide(score: f32, height: f32) -> LivenessDecision {
    if height < MIN_HEIGHT {
        LivenessDecision::Uncertain
    } else if score >= LIVE {
        LivenessDecision::Live
    } else if score < SPOOF {
        LivenessDecision::Spoof
    } else {
        LivenessDecision::Uncertain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_falls_as_the_raw_spoof_score_rises() {
        assert!(probability_live(0.0) > probability_live(0.3));
        assert!((probability_live(MIDPOINT) - 0.5).abs() < 1e-6);
        assert_eq!(decide(probability_live(MIDPOINT), 100.0), LivenessDecision::Uncertain);
    }

    #[test]
    fn a_score_that_is_no_number_is_never_live() {
        assert_ne!(decide(f32::NAN, 100.0), LivenessDecision::Live);
    }

    #[test]
    fn a_face_of_few_pixels_is_never_decided() {
        assert_eq!(decide(1.0, 63.0), LivenessDecision::Uncertain);
        assert_eq!(decide(0.0, 63.0), LivenessDecision::Uncertain);
        assert_eq!(decide(1.0, 64.0), LivenessDecision::Live);
        assert_eq!(decide(0.0, 64.0), LivenessDecision::Spoof);
    }
}
