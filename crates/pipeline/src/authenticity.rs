//! Photograph or fake.

use facesocial_engine::Engine;
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{Deepfake, DeepfakeDecision, Face, Outcome};
use image::RgbImage;

use crate::batch::{failed, over_faces};

/// Scores from here on are called fakes.
const FAKE: f32 = 0.7;
/// Scores below are called photographs; between the two the answer is uncertain.
const REAL: f32 = 0.3;

/// One answer per face, in order.
pub(crate) fn assess(engine: &Engine, image: &RgbImage, faces: &[Face]) -> Vec<Outcome<Deepfake>> {
    let (network, model) = match engine.authenticity.get() {
        Ok(found) => found,
        Err(e) => return faces.iter().map(|_| failed(&e)).collect(),
    };
    let (side, factor) = (network.side(), network.crop_factor());
    over_faces(
        faces,
        |face| Some(imaging::crop_resize(image, &face.bbox.square(factor), side, side, [0; 3], Sampling::Area)),
        |crops| engine.authenticity.run(|n| n.fake(crops)),
        |_, score| Outcome::Done(Deepfake { model: model.clone(), score, decision: decide(score) }),
    )
}

fn decide(score: f32) -> DeepfakeDecision {
    match score {
        s if s >= FAKE => DeepfakeDecision::Fake,
        s if s < REAL => DeepfakeDecision::Real,
        _ => DeepfakeDecision::Uncertain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_is_no_number_is_never_real() {
        assert_eq!(decide(f32::NAN), DeepfakeDecision::Uncertain);
        assert_eq!(decide(0.29), DeepfakeDecision::Real);
        assert_eq!(decide(0.7), DeepfakeDecision::Fake);
    }
}
