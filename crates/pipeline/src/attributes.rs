//! Age and gender.

use facesocial_engine::{AgeGenderEstimate, PendingEstimates};
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{Face, Gender, GenderAge, ModelId, Outcome};
use image::RgbImage;

use crate::batch::{Begun, Call, failed, whole};

/// Cuts the crops and hands them to the network.
pub(crate) fn begin(call: Call<'_>, image: &RgbImage, faces: &[Face]) -> Begun<PendingEstimates> {
    let network = &call.engine.age_gender;
    let side = network.side();
    let crop = |face: &Face| imaging::crop_resize(image, &network.area(&face.bbox), side, side, [0; 3], Sampling::Area);
    Begun::new(whole(call, faces, crop), |crops| network.submit(call.caller, crops))
}

/// One answer per face, in order.
pub(crate) fn finish(call: Call<'_>, begun: Begun<PendingEstimates>, faces: &[Face]) -> Vec<Outcome<GenderAge>> {
    match call.engine.age_gender.id() {
        Ok(model) => {
            begun.finish(call.watch, PendingEstimates::wait, |_, estimate| Outcome::Done(answer(model, &estimate)))
        }
        Err(error) => faces.iter().map(|_| failed(&error)).collect(),
    }
}

fn answer(model: &ModelId, estimate: &AgeGenderEstimate) -> GenderAge {
    let male = estimate.male;
    let (gender, gender_score) = if male >= 0.5 { (Gender::Male, male) } else { (Gender::Female, 1.0 - male) };
    GenderAge { model: model.clone(), age: estimate.age, age_range: estimate.age_range, gender, gender_score }
}
