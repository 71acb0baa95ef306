//! A whole photo in a network's fixed input size, aspect ratio kept.

use facesocial_types::{BBox, Point};
use image::RgbImage;

use crate::{Sampling, resample::resample};

/// A letterboxed photo, and the way back to it.
///
/// `letterboxed = source * scale + pad`, exactly: the bars may begin within a pixel, so that one scale holds for both
/// axes.
#[derive(Debug, Clone)]
pub struct Letterboxed {
    /// The photo, centred, with bars.
    pub image: RgbImage,
    /// Pixels of [`Self::image`] per pixel of the photo.
    pub scale: f32,
    /// Width of the bar on the left in pixels; the one on the right is as wide.
    pub pad_x: f32,
    /// Height of the bar on top in pixels; the one at the bottom is as high.
    pub pad_y: f32,
}

impl Letterboxed {
    /// Where a point of the letterboxed image lies in the photo.
    pub fn to_source(&self, p: Point) -> Point {
        Point::new((p.x - self.pad_x) / self.scale, (p.y - self.pad_y) / self.scale)
    }

    /// Where a box of the letterboxed image lies in the photo.
    pub fn bbox_to_source(&self, b: &BBox) -> BBox {
        let corner = self.to_source(Point::new(b.x, b.y));
        BBox::new(corner.x, corner.y, b.width / self.scale, b.height / self.scale)
    }
}

/// `image` as large as it fits into `width` x `height` pixels, centred, the bars in colour `fill`.
///
/// # Panics
/// If a side of `image`, `width` or `height` is zero.
pub fn letterbox(image: &RgbImage, width: u32, height: u32, fill: [u8; 3], sampling: Sampling) -> Letterboxed {
    let (w, h) = (f64::from(image.width()), f64::from(image.height()));
    assert!(w * h > 0.0 && width * height > 0, "an empty image cannot be letterboxed");
    let scale = (f64::from(width) / w).min(f64::from(height) / h);
    let (pad_x, pad_y) = ((f64::from(width) - w * scale) / 2.0, (f64::from(height) - h * scale) / 2.0);
    let source = [-pad_x / scale, -pad_y / scale, f64::from(width) / scale, f64::from(height) / scale];
    let boxed = resample(image, source, (width, height), fill, sampling);
    Letterboxed { image: boxed, scale: scale as f32, pad_x: pad_x as f32, pad_y: pad_y as f32 }
}
