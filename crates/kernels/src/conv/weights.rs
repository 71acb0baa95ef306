//! Packed weights, for whichever way the processor multiplies.

use crate::aligned::Aligned;
use crate::kernel::{Epilogue, Gemm, Kernel, Layout, MatrixMut, Source, SplitProduct, SplitWeights, Windows};

/// Weights of windows, one column for each channel of the result.
#[derive(Debug, Clone)]
pub(super) enum Weights {
    /// For vectors of single precision.
    Vectors(Aligned),
    /// For tiles of bfloat16.
    Tiles(SplitWeights),
}

impl Weights {
    /// Packs those of windows of `runs` times `run` values, `stride` pixels apart; `of` gives that of a place in the window
    /// and of a column.
    pub fn pack(
        kernel: &Kernel,
        (runs, run): (usize, usize),
        stride: usize,
        cols: usize,
        of: impl Fn(usize, usize) -> f32,
    ) -> Self {
        if kernel.split.is_some() && Layout::pays(runs, run, cols) {
            Self::Tiles(SplitWeights::pack(Layout::of(runs, run, stride), cols, of))
        } else {
            Self::Vectors(Aligned::from(kernel.pack(runs * run, cols, of).as_slice()))
        }
    }

    /// Values, with those that fill vectors and tiles.
    pub fn len(&self) -> usize {
        match self {
            Self::Vectors(weights) => weights.len(),
            Self::Tiles(weights) => weights.len(),
        }
    }

    /// Whether they are multiplied on tiles.
    pub const fn on_tiles(&self) -> bool {
        matches!(self, Self::Tiles(_))
    }

    /// The product of windows with the columns from `col` on, which is at a whole panel.
    pub fn product(
        &self,
        kernel: &Kernel,
        input: Source<'_>,
        windows: Windows,
        col: usize,
        epilogue: Epilogue<'_>,
        out: MatrixMut<'_>,
    ) {
        match (self, kernel.split) {
            (Self::Vectors(weights), _) => {
                let Source::Plain(input) = input else { unreachable!("vectors read what is in memory") };
                // Every panel before the column is full.
                let weights = &weights[windows.runs * windows.run * col..];
                (kernel.gemm)(&Gemm { input, windows, weights, next: &[], epilogue }, out);
            }
            (Self::Tiles(weights), Some(product)) => {
                product(&SplitProduct { input, windows, weights, col, epilogue }, out);
            }
            (Self::Tiles(_), None) => unreachable!("weights are packed for the kernel that multiplies them"),
        }
    }
}
