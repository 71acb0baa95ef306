//! Whole images and boxes of them in another size.

use facesocial_types::BBox;
use image::{GrayImage, RgbImage, imageops};

use crate::{Sampling, resample::resample};

/// Boxes wider or higher than this are not sampled; no photo within any sensible limit has them.
const MAX_EXTENT: f32 = (1 << 20) as f32;

/// `image` as `width` x `height` pixels, its aspect ratio not kept.
pub fn resize(image: &RgbImage, width: u32, height: u32, sampling: Sampling) -> RgbImage {
    if (width, height) == image.dimensions() {
        return image.clone();
    }
    let whole = BBox::new(0.0, 0.0, image.width() as f32, image.height() as f32);
    crop_resize(image, &whole, width, height, [0; 3], sampling)
}

/// The part of `image` in `bbox` as `width` x `height` pixels.
///
/// Where the box leaves the image the result has the colour `fill`. The box's edges need not lie on pixel edges; pixels
/// outside the box do not leak in. A box that is empty, not finite or wider than 2^20 gives nothing but `fill`.
pub fn crop_resize(
    image: &RgbImage,
    bbox: &BBox,
    width: u32,
    height: u32,
    fill: [u8; 3],
    sampling: Sampling,
) -> RgbImage {
    let sane = |from: f32, extent: f32| from.is_finite() && extent > 0.0 && extent <= MAX_EXTENT;
    if !sane(bbox.x, bbox.width) || !sane(bbox.y, bbox.height) || width == 0 || height == 0 {
        return RgbImage::from_pixel(width, height, image::Rgb(fill));
    }
    let source = [bbox.x, bbox.y, bbox.width, bbox.height].map(f64::from);
    resample(image, source, (width, height), fill, sampling)
}

/// Luma of `image`, by the weights of Rec. 709 as the `image` crate has them.
pub fn gray(image: &RgbImage) -> GrayImage {
    imageops::grayscale(image)
}
