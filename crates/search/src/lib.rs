//! Exact nearest neighbours by cosine in memory: a quantized scan with bounds.
//!
//! A [`Matrix`] holds one byte per component instead of four. From those bytes it cannot tell a cosine exactly, but it
//! can tell two numbers between which the cosine lies for certain. [`Matrix::candidates`] returns every row that may be
//! among the `k` nearest by those bounds; the caller scores them exactly ([`cosine`]) from the vectors that it keeps
//! elsewhere, and the best `k` of them are the exact answer.
//!
//! Each byte is kept as two halves in two planes. The scan reads the plane of the upper halves only, and the lower
//! halves of those rows that the upper ones cannot rule out: the time is that of reading memory, and this halves it.
//! What is kept is each row's difference from the gallery's mean, in steps of each component's spread, both learned as the
//! gallery grows: rows are told apart by what differs between them.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod best;
mod chunk;
mod error;
mod frame;
mod kernel;
mod line;
mod matrix;
mod quantize;
mod scan;

pub use error::SearchError;
pub use matrix::Matrix;
pub use quantize::{MAX_DIMENSION, cosine};
pub use scan::Candidate;
