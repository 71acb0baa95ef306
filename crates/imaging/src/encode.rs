//! Pixels to bytes.

use image::{
    ExtendedColorType, ImageEncoder, RgbImage,
    codecs::{jpeg::JpegEncoder, png::PngEncoder},
};

/// A baseline JPEG; `quality` 1..=100, values outside are clamped.
///
/// # Panics
/// If a side is zero or longer than 65 535 pixels, which no decoded photo is.
#[expect(clippy::expect_used, reason = "a vector takes whatever an image of these sides becomes")]
pub fn encode_jpeg(image: &RgbImage, quality: u8) -> Vec<u8> {
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, quality.clamp(1, 100))
        .encode(image, image.width(), image.height(), ExtendedColorType::Rgb8)
        .expect("a non-empty image of JPEG's size range always encodes into memory");
    out
}

/// A PNG, 8-bit RGB.
///
/// # Panics
/// If a side is zero.
#[expect(clippy::expect_used, reason = "a vector takes whatever an image of these sides becomes")]
pub fn encode_png(image: &RgbImage) -> Vec<u8> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out)
        .write_image(image, image.width(), image.height(), ExtendedColorType::Rgb8)
        .expect("a non-empty image always encodes into memory");
    out
}
