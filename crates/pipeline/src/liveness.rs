//! Passive liveness.

use facesocial_engine::{LivenessCrop, Pending};
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{AntiSpoof, Face, LivenessDecision, Outcome};
use image::RgbImage;

use crate::{
    band::Band,
    batch::{Begun, Call, cut, failed},
};

/// The tree's raw score at which live and attack are equally likely on the development crops.
const MIDPOINT: f32 = 0.70;
/// Steepness of the logistic curve that maps the tree's raw scores to probabilities, fitted on the development crops.
const STEEPNESS: f32 = 14.0;
/// Scores from 0.7 on are called live, below 0.3 attacks, unless other thresholds were measured for the network.
pub(crate) const SHIPPED: Band = Band::shipped(0.3, 0.7);
/// Lower faces, in pixels, are always uncertain: enlarged to the network's input they have no texture left to judge.
const MIN_HEIGHT: f32 = 64.0;

/// Cuts the crops and hands them to the network.
pub(crate) fn begin(call: Call<'_>, image: &RgbImage, faces: &[Face]) -> Begun<Pending<f32>> {
    let network = &call.engine.liveness;
    let spec = match network.spec() {
        Ok(spec) => spec,
        Err(error) => return Begun::new(vec![Some(()); faces.len()], |_| Err(error)),
    };
    let crop = |face: &Face, kind: &LivenessCrop| {
        let sampling = if kind.smooth { Sampling::Area } else { Sampling::Bilinear };
        let area = kind.area(&face.bbox, image.width(), image.height());
        imaging::crop_resize(image, &area, kind.side, kind.side, [0; 3], sampling)
    };
    let crops = cut(call, faces, |face| Some(spec.crops.iter().map(|kind| crop(face, kind)).collect::<Vec<_>>()));
    Begun::new(crops, |crops| network.submit(call.caller, crops))
}

/// One answer per face, in order.
pub(crate) fn finish(
    call: Call<'_>,
    begun: Begun<Pending<f32>>,
    faces: &[Face],
    band: Band,
) -> Vec<Outcome<AntiSpoof>> {
    let network = &call.engine.liveness;
    let (model, spec) = match (network.id(), network.spec()) {
        (Ok(model), Ok(spec)) => (model, spec),
        (Err(error), _) | (_, Err(error)) => return faces.iter().map(|_| failed(&error)).collect(),
    };
    begun.finish(call.watch, Pending::wait, |index, raw| {
        // Networks other than the tree are trained to give a probability; what it is worth on the photos of a place must be
        // measured there.
        let score = if spec.tree { probability_live(raw) } else { raw };
        let decision = decide(band, score, faces[index].bbox.height);
        Outcome::Done(AntiSpoof { model: model.clone(), score, decision })
    })
}

/// The tree's raw spoof score (higher is likelier an attack) to the probability of a live face.
fn probability_live(raw: f32) -> f32 {
    1.0 / (1.0 + (STEEPNESS * (raw - MIDPOINT)).exp())
}

fn decide(band: Band, score: f32, height: f32) -> LivenessDecision {
    if height < MIN_HEIGHT {
        return LivenessDecision::Uncertain;
    }
    band.decide(score, LivenessDecision::Spoof, LivenessDecision::Uncertain, LivenessDecision::Live)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_falls_as_the_raw_spoof_score_rises() {
        assert!(probability_live(0.0) > probability_live(0.3));
        assert!((probability_live(MIDPOINT) - 0.5).abs() < 1e-6);
        assert_eq!(decide(SHIPPED, probability_live(MIDPOINT), 100.0), LivenessDecision::Uncertain);
    }

    #[test]
    fn a_score_that_is_no_number_is_never_live() {
        assert_ne!(decide(SHIPPED, f32::NAN, 100.0), LivenessDecision::Live);
    }

    #[test]
    fn a_face_of_few_pixels_is_never_decided() {
        assert_eq!(decide(SHIPPED, 1.0, 63.0), LivenessDecision::Uncertain);
        assert_eq!(decide(SHIPPED, 0.0, 63.0), LivenessDecision::Uncertain);
        assert_eq!(decide(SHIPPED, 1.0, 64.0), LivenessDecision::Live);
        assert_eq!(decide(SHIPPED, 0.0, 64.0), LivenessDecision::Spoof);
    }
}
