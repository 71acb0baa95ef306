//! The networks that tell how old a face looks and which gender it seems to have.

use std::sync::Arc;

use facesocial_models::{FaceRes, GenderAgeNet, Result, faceres, genderage};
use facesocial_types::BBox;
use image::RgbImage;

/// A network for age and gender.
pub enum AgeGender {
    /// FaceRes, whose embedding is a member of the recognition ensemble too.
    FaceRes(Arc<FaceRes>),
    /// InsightFace's gender-age network.
    GenderAge(GenderAgeNet),
}

/// What an [`AgeGender`] network says of one face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AgeGenderEstimate {
    /// Years, 0 and more.
    pub age: f32,
    /// Years between which the network puts about 80 % of its probability, if it tells.
    pub age_range: Option<[u8; 2]>,
    /// Probability of the label male, 0..=1.
    pub male: f32,
}

/// Side of FaceRes' crop against the longer side of the face box; chosen on the UTKFace development images.
const FACERES_CROP: f32 = 1.2;

impl AgeGender {
    /// Side of the square input in pixels.
    pub const fn side(&self) -> u32 {
        match self {
            Self::FaceRes(_) => faceres::INPUT_SIZE,
            Self::GenderAge(_) => genderage::INPUT_SIZE,
        }
    }

    /// The upright square around `face` that the network looks at; it may reach over the photo's edge.
    pub fn area(&self, face: &BBox) -> BBox {
        match self {
            Self::FaceRes(_) => face.square(FACERES_CROP),
            Self::GenderAge(_) => face.square(genderage::CROP_SCALE),
        }
    }

    /// Age and gender for each crop, in order.
    ///
    /// # Errors
    /// A crop of another size, an output that is not finite, a failed tensor operation.
    pub fn estimate(&self, crops: &[RgbImage]) -> Result<Vec<AgeGenderEstimate>> {
        Ok(match self {
            Self::FaceRes(n) => {
                let of = |o: faceres::Output| AgeGenderEstimate {
                    age: o.age,
                    age_range: Some(o.age_range),
                    male: o.male_probability,
                };
                n.analyze(crops)?.into_iter().map(of).collect()
            }
            Self::GenderAge(n) => {
                let of =
                    |g: genderage::GenderAge| AgeGenderEstimate { age: g.age.max(0.0), age_range: None, male: g.male };
                n.estimate(crops)?.into_iter().map(of).collect()
            }
        })
    }
}
