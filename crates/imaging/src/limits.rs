//! What a photo may cost.

use crate::ImageError;

/// Bounds on a photo, checked on its bytes and its header before any pixel is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes of the encoded file.
    pub max_bytes: usize,
    /// Most pixels, width times height.
    pub max_pixels: u64,
    /// Longest side in pixels.
    pub max_side: u32,
    /// Shortest side in pixels.
    pub min_side: u32,
}

impl Default for Limits {
    /// 20 MiB, 50 megapixels, sides of 8 to 32 768 pixels.
    fn default() -> Self {
        Self { max_bytes: 20 << 20, max_pixels: 50_000_000, max_side: 32_768, min_side: 8 }
    }
}

impl Limits {
    /// The limits with `max_bytes` replaced.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// The limits with `max_pixels` replaced.
    #[must_use]
    pub fn with_max_pixels(self, max_pixels: u64) -> Self {
        Self { max_pixels, ..self }
    }

    pub(crate) fn check_bytes(&self, bytes: &[u8]) -> Result<(), ImageError> {
        match bytes.len() {
            0 => Err(ImageError::Empty),
            given if given > self.max_bytes => Err(ImageError::TooManyBytes { given, allowed: self.max_bytes }),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_size(&self, width: u32, height: u32) -> Result<(), ImageError> {
        if width.max(height) > self.max_side {
            return Err(ImageError::SideTooLong { width, height, allowed: self.max_side });
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(ImageError::TooManyPixels { width, height, allowed: self.max_pixels });
        }
        if width.min(height) < self.min_side {
            return Err(ImageError::TooSmall { width, height, required: self.min_side });
        }
        Ok(())
    }

    /// Memory a decoder may take: 16-bit RGBA of the largest photo allowed, and the same again for its own tables.
    pub(crate) fn max_alloc(&self) -> u64 {
        self.max_pixels.saturating_mul(16)
    }
}
