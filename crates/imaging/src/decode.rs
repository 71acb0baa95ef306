//! Bytes of a photo to upright RGB pixels, within limits.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage, metadata::Orientation};

use crate::{Format, ImageError, Limits, format};

/// A decoded photo.
#[derive(Debug, Clone)]
pub struct Photo {
    /// The pixels, turned upright as the file's EXIF orientation asks.
    pub image: RgbImage,
    /// What the file was.
    pub format: Format,
    /// How many bytes the file had.
    pub source_bytes: usize,
}

/// Decodes a photo whose format is told from its first bytes.
///
/// Grey, palette, CMYK and 16-bit pictures become 8-bit RGB; transparent pixels are laid on white; the first frame of
/// an animation and the first page of a TIFF count. Embedded colour profiles are ignored.
///
/// # Errors
/// [`ImageError`]: the file is empty, of no known format, over `limits`, cut off or damaged. Size limits are checked on
/// the header, before pixels are decoded.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo, ImageError> {
    limits.check_bytes(bytes)?;
    let format =
        Format::of(bytes).ok_or_else(|| ImageError::UnsupportedFormat { looks_like: format::looks_like(bytes) })?;
    let corrupt = |source| ImageError::Corrupt { format, source };

    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.to_image());
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(limits.max_alloc());
    reader.limits(allowed);
    let mut decoder = reader.into_decoder().map_err(corrupt)?;
    let (width, height) = decoder.dimensions();
    limits.check_size(width, height)?;
    if is_cut_off(bytes, format) {
        return Err(ImageError::Truncated { format, given: bytes.len() });
    }
    // A damaged EXIF block says nothing about the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(corrupt)?;
    picture.apply_orientation(orientation);
    Ok(Photo { image: on_white(picture), format, source_bytes: bytes.len() })
}

/// Whether a JPEG ends within its pixels. The decoder would paint the rest grey and say nothing.
fn is_cut_off(bytes: &[u8], format: Format) -> bool {
    format == Format::Jpeg && !has_jpeg_end(bytes)
}

/// Walks a JPEG's segments (ITU-T T.81, annex B) to its end-of-image marker. A search for the marker alone would find
/// the one of a thumbnail.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // Compressed data and stray bytes: up to the next marker that is neither stuffing, filling nor a restart.
        let Some(marker) = bytes.get(at..).and_then(|rest| {
            rest.windows(2).position(|w| w[0] == 0xFF && !matches!(w[1], 0x00 | 0xD0..=0xD7 | 0xFF | 0x01))
        }) else {
            return false;
        };
        at += marker + 2;
        if bytes[at - 1] == 0xD9 {
            return true;
        }
        let Some(&[high, low]) = bytes.get(at..at + 2) else { return false };
        at += usize::from(u16::from_be_bytes([high, low]));
    }
}

fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let mut out = RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in out.pixels_mut().zip(rgba.pixels()) {
        let [r, g, b, alpha] = from.0.map(u32::from);
        to.0 = [r, g, b].map(|v| ((v * alpha + 255 * (255 - alpha) + 127) / 255) as u8);
    }
    out
}
