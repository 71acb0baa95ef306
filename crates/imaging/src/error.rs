//! Why a photo was refused.

use crate::Format;

/// Why bytes did not become a photo. Every variant is the sender's to mend, none is a fault of the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No bytes at all.
    #[error("the image is empty (0 bytes)")]
    Empty,
    /// The bytes begin like none of the formats that can be decoded.
    #[error("unsupported image format: the bytes look like {looks_like}; send JPEG, PNG, WebP, BMP, GIF or TIFF")]
    UnsupportedFormat {
        /// What the bytes look like, for a person.
        looks_like: &'static str,
    },
    /// The file is larger than allowed.
    #[error("the image has {given} bytes, {allowed} are allowed; send a smaller or more compressed one")]
    TooManyBytes {
        /// Bytes received.
        given: usize,
        /// [`Limits::max_bytes`](crate::Limits::max_bytes).
        allowed: usize,
    },
    /// The picture has more pixels than allowed.
    #[error("the image has {width}x{height} pixels, {allowed} in all are allowed; scale it down")]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// [`Limits::max_pixels`](crate::Limits::max_pixels).
        allowed: u64,
    },
    /// One side is longer than allowed.
    #[error("the image has {width}x{height} pixels, no side may be longer than {allowed}; scale or crop it")]
    SideTooLong {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// [`Limits::max_side`](crate::Limits::max_side).
        allowed: u32,
    },
    /// One side is too short to show anything.
    #[error("the image has {width}x{height} pixels, each side needs at least {required}")]
    TooSmall {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// [`Limits::min_side`](crate::Limits::min_side).
        required: u32,
    },
    /// The file ends before its picture does.
    #[error("the {format} image is cut off after {given} bytes; send the whole file")]
    Truncated {
        /// The file's format.
        format: Format,
        /// Bytes received.
        given: usize,
    },
    /// The file is damaged, or uses a part of its format that is not decoded.
    #[error("the {format} image cannot be decoded: {source}")]
    Corrupt {
        /// The file's format.
        format: Format,
        /// The decoder's words.
        source: image::ImageError,
    },
}
