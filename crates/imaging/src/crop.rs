//! Whole images and boxes of them in another size.

use facesocial_types::BBox;
use image::{GrayImage, RgbImage, imageops};

use crate::{Sampling, resample::resample};

/// Boxes larger or further away than this are not sampled; no photo within any sensible limit has them.
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
/// outside the box do not leak in. A box that is empty, not finite, or larger or further away than 2^20
/// pixels gives nothing but `fill`.
pub fn crop_resize(
    image: &RgbImage,
    bbox: &BBox,
    width: u32,
    height: u32,
    fill: [u8; 3],
    sampling: Sampling,
) -> RgbImage {
    let sane = |from: f32, extent: f32| from.abs() <= MAX_EXTENT && extent > 0.0 && extent <= MAX_EXTENT;
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

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    const FILL: [u8; 3] = [7, 8, 9];

    /// Red grows to the right, green downwards; both by two a pixel.
    fn ramp() -> RgbImage {
        RgbImage::from_fn(100, 80, |x, y| Rgb([2 * x as u8, 2 * y as u8, 50]))
    }

    #[test]
    fn a_box_in_its_own_size_is_a_plain_crop() {
        for sampling in [Sampling::Bilinear, Sampling::Area] {
            let got = crop_resize(&ramp(), &BBox::new(20.0, 10.0, 30.0, 40.0), 30, 40, FILL, sampling);
            for (x, y, p) in got.enumerate_pixels() {
                assert_eq!(p.0, [2 * (x + 20) as u8, 2 * (y + 10) as u8, 50]);
            }
        }
    }

    #[test]
    fn what_lies_outside_is_filled() {
        let got = crop_resize(&ramp(), &BBox::new(-20.0, 60.0, 40.0, 40.0), 40, 40, FILL, Sampling::Area);
        assert_eq!(got.get_pixel(0, 0).0, FILL);
        assert_eq!(got.get_pixel(19, 19).0, FILL);
        assert_eq!(got.get_pixel(20, 0).0, [0, 120, 50]);
        assert_eq!(got.get_pixel(39, 19).0, [38, 158, 50]);
        assert_eq!(got.get_pixel(39, 20).0, FILL);
        let outside = crop_resize(&ramp(), &BBox::new(300.0, -90.0, 40.0, 40.0), 10, 10, FILL, Sampling::Bilinear);
        assert!(outside.pixels().all(|p| p.0 == FILL));
    }

    #[test]
    fn fractions_of_a_pixel_count() {
        // Half a pixel to the right: halfway between two steps of the ramp.
        let got = crop_resize(&ramp(), &BBox::new(20.5, 10.0, 30.0, 40.0), 30, 40, FILL, Sampling::Bilinear);
        assert_eq!(got.get_pixel(5, 5).0, [51, 30, 50]);
        let sliver = crop_resize(&ramp(), &BBox::new(20.6, 10.7, 0.1, 0.1), 4, 4, FILL, Sampling::Bilinear);
        assert_eq!(sliver.get_pixel(2, 2).0, [40, 20, 50]);
        let thinner = crop_resize(&ramp(), &BBox::new(20.0, 10.0, 1e-30, 1e-30), 2, 2, FILL, Sampling::Area);
        assert_eq!(thinner.get_pixel(1, 1).0, [40, 20, 50]);
    }

    #[test]
    fn boxes_without_sense_give_the_fill() {
        for bbox in [
            BBox::new(0.0, 0.0, 0.0, 10.0),
            BBox::new(f32::NAN, 0.0, 10.0, 10.0),
            BBox::new(0.0, f32::INFINITY, 10.0, 10.0),
            BBox::new(0.0, 0.0, f32::INFINITY, 10.0),
            BBox::new(0.0, 0.0, 10.0, -5.0),
            BBox::new(1e30, 0.0, 10.0, 10.0),
            BBox::new(0.0, 0.0, 1e9, 10.0),
        ] {
            let got = crop_resize(&ramp(), &bbox, 5, 6, FILL, Sampling::Area);
            assert!(got.dimensions() == (5, 6) && got.pixels().all(|p| p.0 == FILL), "{bbox:?}");
        }
        assert_eq!(resize(&ramp(), 0, 5, Sampling::Area).dimensions(), (0, 5));
    }

    #[test]
    fn only_area_sampling_averages() {
        let stripes = RgbImage::from_fn(128, 128, |x, _| Rgb([if x % 2 == 0 { 0 } else { 254 }; 3]));
        let area = resize(&stripes, 16, 16, Sampling::Area);
        assert!(area.pixels().all(|p| p.0[0].abs_diff(127) < 12), "{:?}", area.get_pixel(3, 3));
        // The two pixels around each centre are averaged, the other six do not count.
        let four = RgbImage::from_fn(128, 128, |x, _| Rgb([if x % 8 == 3 || x % 8 == 4 { 0 } else { 254 }; 3]));
        assert!(resize(&four, 16, 16, Sampling::Bilinear).pixels().all(|p| p.0[0] == 0));
    }

    #[test]
    fn a_flat_picture_stays_flat_in_any_size() {
        let flat = RgbImage::from_pixel(37, 53, Rgb([0, 255, 131]));
        for (w, h) in [(1, 1), (5, 200), (37, 53), (64, 9), (301, 299)] {
            for sampling in [Sampling::Bilinear, Sampling::Area] {
                assert!(resize(&flat, w, h, sampling).pixels().all(|p| p.0 == [0, 255, 131]), "{w}x{h} {sampling:?}");
            }
        }
    }

    #[test]
    fn gray_weighs_the_channels() {
        let image = RgbImage::from_fn(8, 8, |x, _| if x < 4 { Rgb([0, 255, 0]) } else { Rgb([0, 0, 255]) });
        let gray = gray(&image);
        assert!(gray.get_pixel(0, 0).0[0] > 3 * gray.get_pixel(7, 0).0[0]);
    }
}
