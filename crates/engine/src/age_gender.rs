//! The networks that tell how old a face looks and which gender it seems to have.

use facesocial_models::{FaceRes, GenderAgeNet, Result, faceres, genderage};
use facesocial_types::{BBox, ModelId};
use image::RgbImage;

use crate::{
    batch::Pending,
    caller::Caller,
    detectors::{grey, is_square},
    error::{self, EngineError},
    network::{Network, Task},
    wire::{Cursor, Wire, WireError},
};

/// A network for age and gender.
#[derive(Clone)]
pub enum AgeGender {
    /// FaceRes, whose embedding is a member of the recognition ensemble too.
    FaceRes(Network<FaceRes>),
    /// InsightFace's gender-age network.
    GenderAge(Network<GenderAgeNet>),
}

/// Estimates that are on their way.
#[derive(Debug)]
#[must_use = "answers that nobody waits for are not computed"]
pub enum PendingEstimates {
    /// Of FaceRes.
    FaceRes(Pending<faceres::Output>),
    /// Of InsightFace's network.
    GenderAge(Pending<genderage::GenderAge>),
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

    /// The network's id.
    ///
    /// # Errors
    /// [`EngineError::Absent`] with the sentence that says how to bring the weights.
    pub fn id(&self) -> error::Result<&ModelId> {
        match self {
            Self::FaceRes(network) => network.id(),
            Self::GenderAge(network) => network.id(),
        }
    }

    /// Puts crops into the network's line.
    ///
    /// # Errors
    /// As [`Network::submit`].
    pub fn submit(&self, caller: &Caller, crops: Vec<RgbImage>) -> error::Result<PendingEstimates> {
        Ok(match self {
            Self::FaceRes(network) => PendingEstimates::FaceRes(network.submit(caller, crops)?),
            Self::GenderAge(network) => PendingEstimates::GenderAge(network.submit(caller, crops)?),
        })
    }
}

impl PendingEstimates {
    /// Waits for age and gender of each crop, in order.
    pub fn wait(self) -> Vec<Result<AgeGenderEstimate, EngineError>> {
        match self {
            Self::FaceRes(pending) => pending.wait().into_iter().map(|o| o.map(AgeGenderEstimate::from)).collect(),
            Self::GenderAge(pending) => pending.wait().into_iter().map(|g| g.map(AgeGenderEstimate::from)).collect(),
        }
    }
}

impl From<faceres::Output> for AgeGenderEstimate {
    fn from(o: faceres::Output) -> Self {
        Self { age: o.age, age_range: Some(o.age_range), male: o.male_probability }
    }
}

impl From<genderage::GenderAge> for AgeGenderEstimate {
    fn from(g: genderage::GenderAge) -> Self {
        Self { age: g.age.max(0.0), age_range: None, male: g.male }
    }
}

impl Task for GenderAgeNet {
    type Item = RgbImage;
    type Output = genderage::GenderAge;
    type Spec = ();

    fn forward(&self, crops: &[RgbImage]) -> Result<Vec<genderage::GenderAge>> {
        self.estimate(crops)
    }

    fn grey((): &()) -> RgbImage {
        grey(genderage::INPUT_SIZE, genderage::INPUT_SIZE)
    }

    fn fits((): &(), crop: &RgbImage) -> bool {
        is_square(crop, genderage::INPUT_SIZE)
    }
}

impl Wire for genderage::GenderAge {
    const LEAST: usize = 3 * f32::LEAST;

    fn write(&self, to: &mut Vec<u8>) {
        [self.female, self.male, self.age].iter().for_each(|number| number.write(to));
    }

    fn read(from: &mut Cursor<'_>) -> std::result::Result<Self, WireError> {
        Ok(Self { female: f32::read(from)?, male: f32::read(from)?, age: f32::read(from)? })
    }
}
