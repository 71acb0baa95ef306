//! The networks that tell a photograph of a face from a generated or swapped one.

use facesocial_models::{EfficientNetLite, Result, ViT, efficientnet_lite};
use facesocial_types::BBox;
use image::RgbImage;

use crate::{
    detectors::{grey, is_square},
    network::Task,
};

/// A network that looks for deepfakes.
pub enum Authenticity {
    /// EfficientNet-Lite0's first five stages, trained by this project.
    EfficientNetLite(EfficientNetLite),
    /// ViT-B/16, class 0 deepfake, class 1 real.
    ViT(ViT),
}

/// Side of the ViT's input.
const VIT_SIDE: u32 = 224;
/// Side of the ViT's square crop against the longer side of the face box: its training pictures show whole heads.
const VIT_CROP: f32 = 1.3;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticityKind {
    /// [`Authenticity::EfficientNetLite`].
    EfficientNetLite,
    /// [`Authenticity::ViT`].
    ViT,
}

impl AuthenticityKind {
    /// Side of the square input in pixels.
    pub const fn side(self) -> u32 {
        match self {
            Self::EfficientNetLite => efficientnet_lite::INPUT_SIZE,
            Self::ViT => VIT_SIDE,
        }
    }

    /// The square around `face` that the network looks at, for a photo of `width` x `height`.
    pub fn area(self, face: &BBox, width: u32, height: u32) -> BBox {
        match self {
            Self::EfficientNetLite => inside(face, efficientnet_lite::ENLARGE, width, height),
            Self::ViT => face.square(VIT_CROP),
        }
    }
}

impl Authenticity {
    /// One raw score for each crop: of the EfficientNet a logit, of the ViT the probability of a fake.
    ///
    /// # Errors
    /// A crop of another size, an output that is not finite, a failed tensor operation.
    pub fn score(&self, crops: &[RgbImage]) -> Result<Vec<f32>> {
        match self {
            Self::EfficientNetLite(n) => n.score(crops),
            Self::ViT(n) => Ok(n.probabilities(crops)?.into_iter().filter_map(|p| p.first().copied()).collect()),
        }
    }
}

impl Task for Authenticity {
    type Item = RgbImage;
    type Output = f32;
    type Spec = AuthenticityKind;

    fn forward(&self, crops: &[RgbImage]) -> Result<Vec<f32>> {
        self.score(crops)
    }

    fn grey(spec: &AuthenticityKind) -> RgbImage {
        grey(spec.side(), spec.side())
    }

    fn fits(spec: &AuthenticityKind, crop: &RgbImage) -> bool {
        is_square(crop, spec.side())
    }
}

/// A square of whole pixels with the face's longer side times `factor`, moved into the photo, and no larger than it.
fn inside(face: &BBox, factor: f32, width: u32, height: u32) -> BBox {
    let (width, height) = (width as f32, height as f32);
    let side = (face.width.max(face.height) * factor).round().clamp(1.0, width.min(height));
    let center = face.center();
    let start = |middle: f32, limit: f32| (middle - side / 2.0).round().clamp(0.0, limit - side);
    BBox::new(start(center.x, width), start(center.y, height), side, side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_moved_into_the_photo() {
        let square = |x, y, w, h| inside(&BBox::new(x, y, w, h), 1.0, 200, 100);
        assert_eq!(square(50.0, 20.0, 30.0, 40.0), BBox::new(45.0, 20.0, 40.0, 40.0));
        assert_eq!(square(-10.0, 80.0, 30.0, 40.0), BBox::new(0.0, 60.0, 40.0, 40.0));
        // Larger than the photo: as large as it.
        assert_eq!(square(0.0, 0.0, 150.0, 150.0), BBox::new(25.0, 0.0, 100.0, 100.0));
    }
}
