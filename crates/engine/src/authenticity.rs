//! The networks that tell a photograph of a face from a generated or swapped one.

use facesocial_models::{Result, ViT};
use image::RgbImage;

/// A network that looks for deepfakes.
pub enum Authenticity {
    /// ViT-B/16, class 0 deepfake, class 1 real.
    ViT(ViT),
}

/// Side of the ViT's input.
const VIT_SIDE: u32 = 224;
/// Side of the ViT's square crop against the longer side of the face box: its training pictures show whole heads.
const VIT_CROP: f32 = 1.3;

impl Authenticity {
    /// Side of the square input in pixels.
    pub const fn side(&self) -> u32 {
        match self {
            Self::ViT(_) => VIT_SIDE,
        }
    }

    /// Side of the square crop against the longer side of the face box.
    pub const fn crop_factor(&self) -> f32 {
        match self {
            Self::ViT(_) => VIT_CROP,
        }
    }

    /// The probability of a fake for each crop.
    ///
    /// # Errors
    /// A crop of another size, an output that is not finite, a failed tensor operation.
    pub fn fake(&self, crops: &[RgbImage]) -> Result<Vec<f32>> {
        match self {
            Self::ViT(n) => Ok(n.probabilities(crops)?.into_iter().filter_map(|p| p.first().copied()).collect()),
        }
    }
}
