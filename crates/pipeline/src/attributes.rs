//! Age and gender by FaceRes.

use facesocial_engine::Engine;
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{Face, Gender, GenderAge, Outcome};
use image::RgbImage;

use crate::batch::{failed, over_faces};

/// Side of the crop against the longer side of the face box; chosen on the UTKFace development images.
const CROP_FACTOR: f32 = 1.2;
/// Side of the network's input.
const SIDE: u32 = 224;

/// The part of the photo that FaceRes looks at: an upright square around the face.
fn crop(image: &RgbImage, face: &Face) -> RgbImage {
    imaging::crop_resize(image, &face.bbox.square(CROP_FACTOR), SIDE, SIDE, [0; 3], Sampling::Area)
}

/// One answer per face, in order.
pub(crate) fn estimate(engine: &Engine, image: &RgbImage, faces: &[Face]) -> Vec<Outcome<GenderAge>> {
    let model = match engine.age_gender.id() {
        Ok(id) => id,
        Err(e) => return faces.iter().map(|_| failed(&e)).collect(),
    };
    over_faces(
        faces,
        |face| Some(crop(image, face)),
        |crops| engine.age_gender.run(|n| n.analyze(crops)),
        |_, output| {
            let male = output.male_probability;
            let (gender, gender_score) = if male >= 0.5 { (Gender::Male, male) } else { (Gender::Female, 1.0 - male) };
            Outcome::Done(GenderAge {
                model: model.clone(),
                age: output.age,
                age_range: output.age_range,
                gender,
                gender_score,
            })
        },
    )
}
