//! The loops that time is spent in, once for each set of instructions.
//!
//! One algorithm serves all sets: it is generic over [`simd::Simd`], a handful of operations on vectors, and over the
//! number of sums that the registers hold.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bytes;
mod depthwise;
mod epilogue;
mod gemm;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pooling;
mod portable;
mod rows;
mod simd;
mod split;
mod sum;
mod winograd;

pub(crate) use depthwise::Depthwise;
pub(crate) use epilogue::{Epilogue, Residual};
pub(crate) use gemm::{Gemm, Windows};
pub(crate) use matrix::MatrixMut;
pub(crate) use pooling::Pooling;
pub(crate) use rows::Norm;
pub(crate) use split::{BLOCK, Layout, Padded, Source, SplitProduct, SplitWeights};
pub(crate) use sum::{Part, Sum};
pub(crate) use winograd::{Planes, Products, Tiles, kernel_transform};

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

use crate::Instructions;

/// [`winograd::input`]: tiles, where their values go, room for one.
pub(crate) type TilesIn = fn(&Tiles<'_>, Planes, &mut [f32], &mut [f32]);
/// [`winograd::output`]: products, and the rows of the result that they are part of.
pub(crate) type TilesOut = fn(&Products<'_>, MatrixMut<'_>);

/// The functions for one set of instructions.
pub(crate) struct Kernel {
    /// Lanes of a vector; weights and biases are padded to whole vectors.
    pub width: usize,
    /// Vectors of columns that are computed together, at most.
    pub vectors: usize,
    pub gemm: fn(&Gemm<'_>, MatrixMut<'_>),
    pub depthwise: fn(&Depthwise<'_>, MatrixMut<'_>),
    /// Tiles of 4 x 4.
    pub tiles4: (TilesIn, TilesOut),
    /// Tiles of 6 x 6.
    pub tiles6: (TilesIn, TilesOut),
    /// An epilogue without its bias, in place.
    pub finish: fn(&Epilogue<'_>, MatrixMut<'_>),
    /// The greatest value of each channel under each window of a row, a pixel for each window.
    pub max_pool: fn(&Pooling<'_>, &mut [f32]),
    /// As [`Self::max_pool`], of the mean.
    pub avg_pool: fn(&Pooling<'_>, &mut [f32]),
    /// [`sum::sum`]
    pub sum: fn(&Sum<'_>, &mut [f32]),
    /// [`sum::copy`]
    pub copy: fn(&Part<'_>, &mut [f32], usize),
    /// [`bytes::add_weighted`]
    pub add_weighted_bytes: fn(&mut [f32], f32, &[u8]),
    /// Of each row, in place.
    pub softmax: fn(MatrixMut<'_>),
    pub layer_norm: fn(&Norm<'_>, MatrixMut<'_>),
    /// Products on tiles of bfloat16, where the processor has them: for layers, instead of [`Self::gemm`].
    pub split: Option<fn(&SplitProduct<'_>, MatrixMut<'_>)>,
}

/// Compiles the algorithms for one set of instructions.
macro_rules! compile {
    ($kernel:ident, $proof:ty $(, #[$features:meta])?) => {
        mod $kernel {
            #![expect(unsafe_code, reason = "calls functions with instructions that only some processors have")]

            use super::*;

            /// This version, where the processor has the instructions.
            pub(super) fn kernel() -> Option<&'static Kernel> {
                static KERNEL: Kernel = FUNCTIONS;
                <$proof>::detect().map(|_| &KERNEL)
            }

            const WIDTH: usize = <$proof as simd::Simd>::WIDTH;
            /// Only for a processor that has the instructions.
            pub(super) const FUNCTIONS: Kernel = Kernel {
                width: WIDTH,
                vectors: <$proof as simd::Simd>::VECTORS,
                gemm,
                depthwise,
                tiles4: (tiles_in::<4>, tiles_out::<4>),
                tiles6: (tiles_in::<6>, tiles_out::<6>),
                finish,
                max_pool: pool::<false>,
                avg_pool: pool::<true>,
                sum,
                copy,
                add_weighted_bytes,
                softmax,
                layer_norm,
                split: None,
            };

            /// As after `kernel` has found the instructions.
            fn proof() -> $proof {
                let Some(proof) = <$proof>::detect() else { unreachable!("kernels without their instructions") };
                proof
            }

            $(#[$features])?
            fn gemm_with(s: $proof, job: &Gemm<'_>, out: MatrixMut<'_>) {
                gemm::gemm(s, job, out);
            }

            fn gemm(job: &Gemm<'_>, out: MatrixMut<'_>) {
                let s = proof();
                // SAFETY: `s` is proof that the processor has the instructions.
                #[allow(unused_unsafe, reason = "without instructions of its own the function is safe")]
                unsafe { gemm_with(s, job, out) }
            }

            $(#[$features])?
            fn depthwise_with(s: $proof, job: &Depthwise<'_>, out: MatrixMut<'_>) {
                depthwise::depthwise(s, job, out);
            }

            fn depthwise(job: &Depthwise<'_>, out: MatrixMut<'_>) {
                let s = proof();
                // SAFETY: as in `gemm`.
                #[allow(unused_unsafe, reason = "as in `gemm`")]
                unsafe { depthwise_with(s, job, out) }
            }

            $(#[$features])?
            fn tiles_in_with<const N: usize>(
                s: $proof, job: &Tiles<'_>, place: Planes, patch: &mut [f32], out: &mut [f32],
            ) {
                winograd::input::<_, N>(s, job, place, patch, out);
            }

            fn tiles_in<const N: usize>(job: &Tiles<'_>, place: Planes, patch: &mut [f32], out: &mut [f32]) {
                let s = proof();
                // SAFETY: as in `gemm`.
                #[allow(unused_unsafe, reason = "as in `gemm`")]
                unsafe { tiles_in_with::<N>(s, job, place, patch, out) }
            }

            $(#[$features])?
            fn tiles_out_with<const N: usize>(s: $proof, job: &Products<'_>, out: MatrixMut<'_>) {
                winograd::output::<_, N>(s, job, out);
            }

            fn tiles_out<const N: usize>(job: &Products<'_>, out: MatrixMut<'_>) {
                let s = proof();
                // SAFETY: as in `gemm`.
                #[allow(unused_unsafe, reason = "as in `gemm`")]
                unsafe { tiles_out_with::<N>(s, job, out) }
            }

            $(#[$features])?
            fn pool_with<const MEAN: bool>(s: $proof, job: &Pooling<'_>, out: &mut [f32]) {
                pooling::pool::<_, MEAN>(s, job, out);
            }

            fn pool<const MEAN: bool>(job: &Pooling<'_>, out: &mut [f32]) {
                let s = proof();
                // SAFETY: as in `gemm`.
                #[allow(unused_unsafe, reason = "as in `gemm`")]
                unsafe { pool_with::<MEAN>(s, job, out) }
            }

            $(#[$features])?
            fn sum_with(s: $proof, job: &Sum<'_>, out: &mut [f32]) {
                sum::sum(s, job, out);
            }

            fn sum(job: &Sum<'_>, out: &mut [f32]) {
                let s = proof();
                // SAFETY: as in `gemm`.
                #[allow(unused_unsafe, reason = "as in `gemm`")]
                unsafe { sum_with(s, job, out) }
            }

            $(#[$features])?
            fn copy_with(s: $proof, job: &Part<'_>, out: &mut [f32], step: usize) {
                sum::copy(s, job, out, step);
            }

            fn copy(job: &Part<'_>, out: &mut [f32], step: usize) {
                let s = proof();
                // SAFETY: as in `gemm`.
                #[allow(unused_unsafe, reason = "as in `gemm`")]
                unsafe { copy_with(s, job, out, step) }
            }

            $(#[$features])?
            fn add_weighted_bytes_with(sums: &mut [f32], weight: f32, bytes: &[u8]) {
                bytes::add_weighted(sums, weight, bytes);
            }

            fn add_weighted_bytes(sums: &mut [f32], weight: f32, bytes: &[u8]) {
                proof();
                // SAFETY: there is proof that the processor has the instructions.
                #[allow(unused_unsafe, reason = "as in `gemm`")]
                unsafe { add_weighted_bytes_with(sums, weight, bytes) }
            }

            $(#[$features])?
            fn softmax_with(s: $proof, out: MatrixMut<'_>) {
                rows::softmax(s, out);
            }

            fn softmax(out: MatrixMut<'_>) {
                let s = proof();
                // SAFETY: as in `gemm`.
                #[allow(unused_unsafe, reason = "as in `gemm`")]
                unsafe { softmax_with(s, out) }
            }

            $(#[$features])?
            fn layer_norm_with(s: $proof, job: &Norm<'_>, out: MatrixMut<'_>) {
                rows::layer_norm(s, job, out);
            }

            fn layer_norm(job: &Norm<'_>, out: MatrixMut<'_>) {
                let s = proof();
                // SAFETY: as in `gemm`.
                #[allow(unused_unsafe, reason = "as in `gemm`")]
                unsafe { layer_norm_with(s, job, out) }
            }

            fn finish(epilogue: &Epilogue<'_>, out: MatrixMut<'_>) {
                simd::Simd::finish(proof(), epilogue, out);
            }
        }
    };
}

compile!(portable_kernel, portable::Portable);
#[cfg(target_arch = "x86_64")]
compile!(avx2_kernel, avx2::Avx2, #[target_feature(enable = "avx2,fma")]);
#[cfg(target_arch = "x86_64")]
compile!(avx512_kernel, avx512::Avx512, #[target_feature(enable = "avx512f")]);
#[cfg(target_arch = "aarch64")]
compile!(neon_kernel, neon::Neon, #[target_feature(enable = "neon")]);

/// The kernels of AVX-512 with products on tiles.
#[cfg(target_arch = "x86_64")]
fn amx_kernel() -> Option<&'static Kernel> {
    static KERNEL: OnceLock<Option<Kernel>> = OnceLock::new();
    let kernel = || amx::function().map(|split| Kernel { split: Some(split), ..avx512_kernel::FUNCTIONS });
    KERNEL.get_or_init(kernel).as_ref()
}

/// The kernels for a set of instructions, where this processor has it.
pub(crate) fn of(instructions: Instructions) -> Option<&'static Kernel> {
    match instructions {
        Instructions::Portable => portable_kernel::kernel(),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => avx2_kernel::kernel(),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => avx512_kernel::kernel(),
        #[cfg(target_arch = "x86_64")]
        Instructions::Amx => amx_kernel(),
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => neon_kernel::kernel(),
        #[cfg(not(all(target_arch = "x86_64", target_arch = "aarch64")))]
        _ => None,
    }
}

impl Kernel {
    /// Columns of a panel, of a result of so many: what is computed together, and where threads may share columns.
    pub fn panel(&self, cols: usize) -> usize {
        // What a panel of one, two, .. vectors takes, in tenths: narrow ones load more for each product.
        const TAKES: [usize; 4] = [16, 22, 31, 40];
        // An odd number of panels is not shared evenly.
        const ODD: usize = 5;
        let vectors = cols.div_ceil(self.width).max(1);
        let takes = |panel: usize| {
            let (whole, rest) = (vectors / panel, vectors % panel);
            let panels = whole + usize::from(rest > 0);
            let last = if rest > 0 { TAKES[rest - 1] } else { 0 };
            whole * TAKES[panel - 1] + last + if panels > 1 && panels % 2 == 1 { ODD } else { 0 }
        };
        let widest = self.vectors.min(vectors);
        let narrower = if widest > 2 { widest - 1 } else { widest };
        self.width * if takes(narrower) < takes(widest) { narrower } else { widest }
    }

    /// Weights in the order in which [`Self::gemm`] reads them: panels of columns, in each the depth, in each the columns,
    /// zeros behind the last.
    pub fn pack(&self, depth: usize, cols: usize, weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let mut packed = Vec::with_capacity(depth * cols.next_multiple_of(self.width));
        let panel = self.panel(cols);
        for first in (0..cols).step_by(panel) {
            let columns = (cols - first).next_multiple_of(self.width).min(panel);
            for k in 0..depth {
                let column = |col: usize| if col < cols { weight(k, col) } else { 0.0 };
                packed.extend((first..first + columns).map(column));
            }
        }
        packed
    }

    /// As [`Self::pack`], of weights that lie in `depth` rows of `cols` values, each `stride` after the one before.
    pub fn pack_rows(&self, from: &[f32], stride: usize, (depth, cols): (usize, usize), packed: &mut [f32]) {
        let width = self.panel(cols);
        let mut rest = packed;
        for first in (0..cols).step_by(width) {
            let count = (cols - first).min(width);
            let columns = count.next_multiple_of(self.width);
            let (panel, others) = rest.split_at_mut(depth * columns);
            for (k, to) in panel.chunks_exact_mut(columns).enumerate() {
                to[..count].copy_from_slice(&from[k * stride + first..][..count]);
                to[count..].fill(0.0);
            }
            rest = others;
        }
    }

    /// As [`Self::pack_rows`], of weights that lie in `cols` rows of `depth` values.
    pub fn pack_rows_as_columns(&self, from: &[f32], stride: usize, (depth, cols): (usize, usize), packed: &mut [f32]) {
        let width = self.panel(cols);
        let mut rest = packed;
        for first in (0..cols).step_by(width) {
            let count = (cols - first).min(width);
            let columns = count.next_multiple_of(self.width);
            let (panel, others) = rest.split_at_mut(depth * columns);
            if count < columns {
                panel.fill(0.0);
            }
            for col in 0..count {
                let row = &from[(first + col) * stride..][..depth];
                for (to, value) in panel[col..].iter_mut().step_by(columns).zip(row) {
                    *to = *value;
                }
            }
            rest = others;
        }
    }

    /// Values with zeros behind them for a vector that reaches over the end.
    pub fn pad(&self, values: &[f32]) -> Vec<f32> {
        let mut padded = values.to_vec();
        padded.resize(values.len() + self.width, 0.0);
        padded
    }
}
