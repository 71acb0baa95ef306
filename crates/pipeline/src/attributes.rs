//! Age and gender.

use facesocial_engine::Engine;
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{Face, Gender, GenderAge, Outcome};
use image::RgbImage;

use crate::batch::{failed, over_faces};

/// One answer per face, in order.
pub(crate) fn estimate(engine: &Engine, image: &RgbImage, faces: &[Face]) -> Vec<Outcome<GenderAge>> {
    let (network, model) = match engine.age_gender.get() {
        Ok(found) => found,
        Err(e) => return faces.iter().map(|_| failed(&e)).collect(),
    };
    let side = network.side();
    over_faces(
        faces,
        |face| Some(imaging::crop_resize(image, &network.area(&face.bbox), side, side, [0; 3], Sampling::Area)),
        |crops| engine.age_gender.run(|n| n.estimate(crops)),
        |_, estimate| {
            let male = estimate.male;
            let (gender, gender_score) = if male >= 0.5 { (Gender::Male, male) } else { (Gender::Female, 1.0 - male) };
            Outcome::Done(GenderAge {
                model: model.clone(),
                age: estimate.age,
                age_range: estimate.age_range,
                gender,
                gender_score,
            })
        },
    )
}
