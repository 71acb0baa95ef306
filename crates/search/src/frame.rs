//! Where the vectors of a gallery lie: rows are quantized as differences from there.
//!
//! Embeddings are seldom spread evenly around zero. Many networks have a mean that all faces share, and a concatenation
//! of networks has components of very different size. A row `u` is quantized as `w`, with `u = mean + spread w` in each
//! component, so that bytes are spent on what tells faces apart. Any frame gives true bounds; a good one, narrow ones.

use crate::chunk::Chunk;
use crate::line::{COMPONENTS, LANES};

/// The least spread of a component, as a part of the largest, so that what is small in the sample may be large elsewhere.
const LEAST: f64 = 0.05;

/// Centre and spread of each component.
pub(crate) struct Frame {
    pub mean: Vec<f64>,
    pub spread: Vec<f64>,
}

impl Frame {
    /// The frame of vectors about which nothing is known.
    pub(crate) fn unknown(dimension: usize) -> Self {
        Self { mean: vec![0.0; dimension], spread: vec![1.0; dimension] }
    }

    /// The frame of a chunk's rows, as far as their bytes tell them. `self` is the frame that they are quantized in.
    pub(crate) fn of(&self, chunk: &Chunk) -> Self {
        let dimension = self.mean.len();
        let (mut sum, mut least, mut most) =
            (vec![0.0; dimension], vec![f64::INFINITY; dimension], vec![f64::NEG_INFINITY; dimension]);
        for row in 0..chunk.len() {
            for (i, integer) in chunk.integers(row).take(dimension).enumerate() {
                let x = self.mean[i] + self.spread[i] * f64::from(chunk.scale[row]) * f64::from(integer);
                sum[i] += x;
                least[i] = x.min(least[i]);
                most[i] = x.max(most[i]);
            }
        }
        let mean: Vec<f64> = sum.iter().map(|sum| sum / chunk.len().max(1) as f64).collect();
        let mut spread: Vec<f64> = mean
            .iter()
            .zip(least.iter().zip(&most))
            .map(|(mean, (least, most))| (most - mean).max(mean - least))
            .collect();
        // Rows that are all equal have no spread; any will do for them.
        let floor = LEAST * spread.iter().fold(1e-6, |a: f64, b| a.max(*b));
        spread.iter_mut().for_each(|spread| *spread = spread.max(floor));
        Self { mean, spread }
    }
}

impl Chunk {
    /// A row's integers, -127..=127, in the order of components; beyond the dimension they mean nothing.
    fn integers(&self, row: usize) -> impl Iterator<Item = i32> {
        let lines = self.upper.len() / self.len();
        let planes = self.upper[row * lines..].iter().zip(&self.lower[row * lines..]).take(lines);
        planes.flat_map(|(upper, lower)| {
            (0..COMPONENTS).map(move |i| {
                let (lane, shift) = (i % LANES, 4 * (i / LANES));
                let half = |byte: u8| i32::from(byte >> shift & 15);
                16 * half(upper.0[lane]) + half(lower.0[lane]) - 128
            })
        })
    }
}
