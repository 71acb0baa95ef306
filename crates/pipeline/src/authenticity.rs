//! Photograph or fake.

use facesocial_engine::{AuthenticityKind, Pending};
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{Deepfake, DeepfakeDecision, Face, Outcome};
use image::RgbImage;

use crate::{
    band::Band,
    batch::{Begun, Call, failed, whole},
};

/// How a network's raw score becomes a probability and a decision.
#[derive(Debug, Clone, Copy)]
struct Calibration {
    /// The probability is the logistic curve of `slope * raw + offset`; the raw score is one already if `None`.
    curve: Option<(f32, f32)>,
    /// Probabilities below are called photographs, from the upper end on fakes.
    band: Band,
    /// Lower faces, in pixels, are always uncertain.
    min_height: f32,
}

/// Fitted on validation faces of every source, generated faces as likely as photographs: see
/// `models-src/deepfake-efficientnet-lite/CARD.md`. Where fakes are rarer the probability is too high.
const EFFICIENTNET_LITE: Calibration =
    // 2 % of the validation photographs lie from 0.93 on, 5 % of the validation fakes below 0.18.
    Calibration { curve: Some((0.9649, -1.0111)), band: Band::shipped(0.18, 0.93), min_height: 64.0 };

/// The network's own softmax; what it is worth on the photos of a place must be measured there.
const VIT: Calibration = Calibration { curve: None, band: Band::shipped(0.3, 0.7), min_height: 0.0 };

/// Cuts the crops and hands them to the network.
pub(crate) fn begin(call: Call<'_>, image: &RgbImage, faces: &[Face]) -> Begun<Pending<f32>> {
    let network = &call.engine.authenticity;
    let kind = match network.spec() {
        Ok(kind) => *kind,
        Err(error) => return Begun::new(vec![Some(()); faces.len()], |_| Err(error)),
    };
    let sampling = match kind {
        AuthenticityKind::EfficientNetLite => Sampling::Box,
        AuthenticityKind::ViT => Sampling::Area,
    };
    let side = kind.side();
    let crop = |face: &Face| {
        let area = kind.area(&face.bbox, image.width(), image.height());
        imaging::crop_resize(image, &area, side, side, [0; 3], sampling)
    };
    Begun::new(whole(call, faces, crop), |crops| network.submit(call.caller, crops))
}

const fn shipped(kind: AuthenticityKind) -> Calibration {
    match kind {
        AuthenticityKind::EfficientNetLite => EFFICIENTNET_LITE,
        AuthenticityKind::ViT => VIT,
    }
}

/// The thresholds that decide: those `chosen` for the network, else those that ship.
pub(crate) fn band(chosen: Option<Band>, kind: AuthenticityKind) -> Band {
    chosen.unwrap_or(shipped(kind).band)
}

/// One answer per face, in order.
pub(crate) fn finish(
    call: Call<'_>,
    begun: Begun<Pending<f32>>,
    faces: &[Face],
    chosen: Option<Band>,
) -> Vec<Outcome<Deepfake>> {
    let network = &call.engine.authenticity;
    let (model, kind) = match (network.id(), network.spec()) {
        (Ok(model), Ok(kind)) => (model, kind),
        (Err(error), _) | (_, Err(error)) => return faces.iter().map(|_| failed(&error)).collect(),
    };
    let calibration = Calibration { band: band(chosen, *kind), ..shipped(*kind) };
    begun.finish(call.watch, Pending::wait, |index, raw| {
        let score = calibration.probability(raw);
        let decision = calibration.decide(score, faces[index].bbox.height);
        Outcome::Done(Deepfake { model: model.clone(), score, decision })
    })
}

impl Calibration {
    /// The probability of a fake, 0..=1.
    fn probability(&self, raw: f32) -> f32 {
        match self.curve {
            Some((slope, offset)) => 1.0 / (1.0 + (-(slope * raw + offset)).exp()),
            None => raw,
        }
    }

    fn decide(&self, score: f32, height: f32) -> DeepfakeDecision {
        if height < self.min_height {
            return DeepfakeDecision::Uncertain;
        }
        self.band.decide(score, DeepfakeDecision::Real, DeepfakeDecision::Uncertain, DeepfakeDecision::Fake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_follow_the_band_and_small_faces_have_none() {
        let c = EFFICIENTNET_LITE;
        assert_eq!(c.decide(c.band.high(), 100.0), DeepfakeDecision::Fake);
        assert_eq!(c.decide(c.band.low(), 100.0), DeepfakeDecision::Uncertain);
        assert_eq!(c.decide(0.0, 100.0), DeepfakeDecision::Real);
        assert_eq!(c.decide(1.0, 63.0), DeepfakeDecision::Uncertain);
        assert!(band(None, AuthenticityKind::ViT) == VIT.band && band(Some(c.band), AuthenticityKind::ViT) == c.band);
    }

    #[test]
    fn a_score_that_is_no_number_is_never_real() {
        for c in [EFFICIENTNET_LITE, VIT] {
            assert_eq!(c.decide(c.probability(f32::NAN), 100.0), DeepfakeDecision::Uncertain);
        }
    }

    #[test]
    fn the_probability_rises_with_the_raw_score() {
        let p = |raw| EFFICIENTNET_LITE.probability(raw);
        assert!(p(-50.0) < 0.01 && p(0.0) < p(1.0) && p(50.0) > 0.99);
    }
}
