//! Bytes to pixels and back: limited decoding, resizing, cropping, face alignment, drawing.
//!
//! Every image is an upright [`RgbImage`], 8 bits per channel. Coordinates are pixels, x to the right, y down, the
//! origin at the top left *corner* of the top left pixel, so pixel `(i, j)` has its centre at `(i + 0.5, j + 0.5)`.
//! [`warp`] and the aligned faces made with it are the exception, and say so.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod align;
mod crop;
mod decode;
mod draw;
mod encode;
mod error;
mod format;
mod letterbox;
mod limits;
mod resample;
mod text;

pub use align::{Similarity, arcface_112, dlib_chip_150, warp};
pub use crop::{crop_resize, gray, resize};
pub use decode::{Photo, decode};
pub use draw::{Color, draw_box, draw_caption, draw_points, line_width};
pub use encode::{encode_jpeg, encode_png};
pub use error::ImageError;
pub use format::Format;
pub use image::RgbImage;
pub use letterbox::{Letterboxed, letterbox};
pub use limits::Limits;
pub use resample::Sampling;
