//! Packed weights, for whichever way the processor multiplies.

use crate::aligned::Aligned;
use crate::kernel::{BLOCK, Epilogue, Gemm, Kernel, Layout, MatrixMut, Source, SplitProduct, SplitWeights, Windows};

/// Weights of windows, one column for each channel of the result.
#[derive(Debug, Clone)]
pub(super) enum Weights {
    /// For vectors of single precision, and the columns of a panel.
    Vectors(Aligned, usize),
    /// For tiles of bfloat16, and what multiplies them.
    Tiles(SplitWeights, fn(&SplitProduct<'_>, MatrixMut<'_>)),
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
        match kernel.split.filter(|_| Layout::pays(runs, run, cols)) {
            Some(product) => Self::Tiles(SplitWeights::pack(Layout::of(runs, run, stride), cols, of), product),
            None => {
                let packed = kernel.pack(runs * run, cols, of);
                Self::Vectors(Aligned::from(packed.as_slice()), kernel.panel(cols))
            }
        }
    }

    /// Values, with those that fill vectors and tiles.
    pub fn len(&self) -> usize {
        match self {
            Self::Vectors(weights, _) => weights.len(),
            Self::Tiles(weights, _) => weights.len(),
        }
    }

    /// Columns of a panel: threads share columns at multiples of it.
    pub const fn panel(&self) -> usize {
        match self {
            Self::Vectors(_, panel) => *panel,
            Self::Tiles(..) => BLOCK,
        }
    }

    /// Whether they are multiplied on tiles.
    pub const fn on_tiles(&self) -> bool {
        matches!(self, Self::Tiles(..))
    }

    /// The product of windows with the columns from `col` on, which is at a whole panel; vectors take values as they lie, and
    /// nothing else.
    pub fn product(
        &self,
        kernel: &Kernel,
        input: Source<'_>,
        windows: Windows,
        col: usize,
        epilogue: Epilogue<'_>,
        out: MatrixMut<'_>,
    ) {
        match self {
            Self::Vectors(weights, panel) => {
                // Every panel before the column is full.
                let weights = &weights[windows.runs * windows.run * col..];
                let input = input.plain();
                let job = Gemm { input, windows, weights, panel: *panel, next: &[], epilogue: Some(epilogue) };
                (kernel.gemm)(&job, out);
            }
            Self::Tiles(weights, product) => product(&SplitProduct { input, windows, weights, col, epilogue }, out),
        }
    }
}
