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

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn wide_and_tall_photos_are_centred_and_come_back() {
        for (w, h, pad) in
            [(200, 100, (0.0, 32.0)), (100, 200, (32.0, 0.0)), (64, 64, (0.0, 0.0)), (333, 1000, (42.688, 0.0))]
        {
            let photo = RgbImage::from_pixel(w, h, Rgb([200, 100, 50]));
            let boxed = letterbox(&photo, 128, 128, [1, 2, 3], Sampling::Bilinear);
            assert_eq!(boxed.image.dimensions(), (128, 128));
            assert!(
                (boxed.pad_x - pad.0).abs() < 1e-3 && (boxed.pad_y - pad.1).abs() < 1e-3,
                "{w}x{h}: {:?}",
                (boxed.pad_x, boxed.pad_y)
            );
            assert_eq!(boxed.image.get_pixel(64, 64).0, [200, 100, 50]);
            if pad.0 + pad.1 > 1.0 {
                assert_eq!(boxed.image.get_pixel(0, 0).0, [1, 2, 3]);
                assert_eq!(boxed.image.get_pixel(127, 127).0, [1, 2, 3]);
            }
            let corner = boxed.to_source(Point::new(128.0 - boxed.pad_x, 128.0 - boxed.pad_y));
            assert!(corner.distance(Point::new(w as f32, h as f32)) < 0.01, "{corner:?}");
            let whole = BBox::new(boxed.pad_x, boxed.pad_y, 128.0 - 2.0 * boxed.pad_x, 128.0 - 2.0 * boxed.pad_y);
            let back = boxed.bbox_to_source(&whole);
            assert!(
                (back.width - w as f32).abs() < 0.01 && (back.height - h as f32).abs() < 0.01 && back.x.abs() < 0.01
            );
        }
    }

    #[test]
    fn a_mark_is_found_where_the_way_back_says() {
        // A white square with its centre at (305, 145).
        let photo = RgbImage::from_fn(400, 300, |x, y| {
            let white = (295..315).contains(&x) && (135..155).contains(&y);
            Rgb([if white { 255 } else { 0 }; 3])
        });
        for sampling in [Sampling::Bilinear, Sampling::Area] {
            let boxed = letterbox(&photo, 128, 128, [0; 3], sampling);
            let (mut sum, mut x, mut y) = (0.0, 0.0, 0.0);
            for (i, j, p) in boxed.image.enumerate_pixels() {
                let v = f32::from(p.0[0]);
                (sum, x, y) = (sum + v, x + v * (i as f32 + 0.5), y + v * (j as f32 + 0.5));
            }
            let centre = boxed.to_source(Point::new(x / sum, y / sum));
            assert!(centre.distance(Point::new(305.0, 145.0)) < 0.7, "{sampling:?}: {centre:?}");
        }
    }
}
