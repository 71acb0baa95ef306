//! One kernel a channel: a product of vectors along the channels.

#![expect(unsafe_code, reason = "the innermost loops work on addresses that were checked before them")]
#![expect(clippy::needless_range_loop, reason = "the indices are names of registers, each loop is unrolled")]

use super::epilogue::Epilogue;
use super::matrix::MatrixMut;
use super::simd::Simd;
use crate::Activation;

/// Some rows of one image's result to compute.
#[derive(Clone, Copy)]
pub(crate) struct Depthwise<'a> {
    /// The image: `height` rows of `width` pixels, a pixel `pixel` values after the one before.
    pub input: &'a [f32],
    pub height: usize,
    pub width: usize,
    pub pixel: usize,
    /// Rows and columns of the kernel.
    pub kernel: (usize, usize),
    pub stride: usize,
    /// Rows of zeros above the image, columns before it.
    pub pad: (usize, usize),
    /// Of the result: its first row, and the pixels in each.
    pub first_row: usize,
    pub out_width: usize,
    /// `taps` times the channels, padded to whole vectors.
    pub weights: &'a [f32],
    pub epilogue: Epilogue<'a>,
}

impl Depthwise<'_> {
    /// The taps of `kernel` that meet the image, for a window that starts at `start`, the padding being `pad`.
    fn taps(start: usize, pad: usize, kernel: usize, extent: usize) -> (usize, usize) {
        let first = pad.saturating_sub(start).min(kernel);
        (first, (extent + pad).saturating_sub(start).min(kernel).max(first))
    }
}

/// Pixels computed together.
const TOGETHER: usize = 4;

/// Computes all of `out`, whose columns are channels and whose rows are whole rows of pixels.
#[inline(always)]
pub(super) fn depthwise<S: Simd>(s: S, job: &Depthwise<'_>, mut out: MatrixMut<'_>) {
    let (rows, channels) = (out.rows(), out.cols());
    if rows == 0 || channels == 0 {
        return;
    }
    let padded = channels.next_multiple_of(S::WIDTH);
    let (kh, kw) = job.kernel;
    let pixels = job.height * job.width;
    assert!(pixels == 0 || (pixels - 1) * job.pixel + channels <= job.input.len(), "an image beyond the input");
    assert!(job.weights.len() >= kh * kw * padded, "too few weights");
    assert!(job.epilogue.fits(rows, channels, S::WIDTH), "an epilogue for another result");
    assert!(rows.is_multiple_of(job.out_width), "a row of pixels in parts");
    for line in 0..rows / job.out_width {
        let y = (job.first_row + line) * job.stride;
        let (top, bottom) = Depthwise::taps(y, job.pad.0, kh, job.height);
        let mut x = 0;
        while x < job.out_width {
            let (left, right) = Depthwise::taps(x * job.stride, job.pad.1, kw, job.width);
            // Where all taps of the last of them meet the image, so do those between.
            let whole = |count: usize| {
                let last = Depthwise::taps((x + count - 1) * job.stride, job.pad.1, kw, job.width);
                (left, right) == (0, kw) && last == (0, kw) && x + count <= job.out_width
            };
            let together = if whole(TOGETHER) {
                TOGETHER
            } else if whole(2) {
                2
            } else {
                1
            };
            let at =
                At { y: y + top, x: x * job.stride + left, top, bottom, left, right, row: line * job.out_width + x };
            // SAFETY: the taps meet the image, which is inside of the input; weights and epilogue suffice by the
            // assertions; the pixels are inside of `out`.
            unsafe {
                match (together, kw, job.stride) {
                    (TOGETHER, 3, 1) => pixels_at::<S, TOGETHER, 3, 1>(s, job, padded, at, &mut out),
                    (TOGETHER, 3, 2) => pixels_at::<S, TOGETHER, 3, 2>(s, job, padded, at, &mut out),
                    (TOGETHER, 5, 1) => pixels_at::<S, TOGETHER, 5, 1>(s, job, padded, at, &mut out),
                    (TOGETHER, 5, 2) => pixels_at::<S, TOGETHER, 5, 2>(s, job, padded, at, &mut out),
                    (TOGETHER, ..) => pixels_at::<S, TOGETHER, 0, 0>(s, job, padded, at, &mut out),
                    (2, ..) => pixels_at::<S, 2, 0, 0>(s, job, padded, at, &mut out),
                    _ => pixels_at::<S, 1, 0, 0>(s, job, padded, at, &mut out),
                }
            }
            x += together;
        }
        let done = job.epilogue.clamp().is_some() || job.epilogue.activation == Activation::PRelu;
        if done && job.epilogue.ends_with_activation() {
            continue;
        }
        let row = line * job.out_width;
        let activation = if done { Activation::None } else { job.epilogue.activation };
        let rest = Epilogue { activation, ..job.epilogue.at(row, 0) };
        s.finish(&rest, out.reborrow().split_rows(row).1.split_rows(job.out_width).0);
    }
}

/// A window, padding included in the position: its first tap that meets the image, which taps do, and the result's row.
#[derive(Clone, Copy)]
struct At {
    y: usize,
    x: usize,
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
    row: usize,
}

/// `K` taps a row at stride `STRIDE`, or any where `K` is 0.
///
/// # Safety
/// The taps of the `P` windows meet the image, which is inside of the input; there are weights for all channels, padded to
/// whole vectors; the rows are inside of `out`; the epilogue fits.
#[inline(always)]
unsafe fn pixels_at<S: Simd, const P: usize, const K: usize, const STRIDE: usize>(
    s: S,
    job: &Depthwise<'_>,
    padded: usize,
    at: At,
    out: &mut MatrixMut<'_>,
) {
    let channels = out.cols();
    let mut c = 0;
    while c < channels {
        // SAFETY: as many whole vectors as are counted, or a part of one.
        unsafe {
            if c + 2 * S::WIDTH <= channels {
                block::<S, P, 2, K, STRIDE>(s, job, padded, at, c, 2 * S::WIDTH, out);
                c += 2 * S::WIDTH;
            } else {
                let count = S::WIDTH.min(channels - c);
                block::<S, P, 1, K, STRIDE>(s, job, padded, at, c, count, out);
                c += count;
            }
        }
    }
}

/// # Safety
/// As [`pixels_at`], for `count` channels from `c` on: `V` vectors, or less than one.
#[inline(always)]
unsafe fn block<S: Simd, const P: usize, const V: usize, const K: usize, const STRIDE: usize>(
    s: S,
    job: &Depthwise<'_>,
    padded: usize,
    at: At,
    c: usize,
    count: usize,
    out: &mut MatrixMut<'_>,
) {
    let whole = count == V * S::WIDTH;
    let step = job.stride * job.pixel;
    let mut sums = [[s.splat(0.0); V]; P];
    for ky in at.top..at.bottom {
        let y = at.y + ky - at.top - job.pad.0;
        if const { K > 0 } {
            // SAFETY: all taps of the row meet the image, in each of the windows, and `count` channels are there.
            unsafe {
                let from = job.input.as_ptr().add((y * job.width + at.x - job.pad.1) * job.pixel + c);
                let weights = job.weights.as_ptr().add(ky * K * padded + c);
                for v in 0..V {
                    let mut taps = [s.splat(0.0); K];
                    for (kx, tap) in taps.iter_mut().enumerate() {
                        *tap = s.load(weights.add(kx * padded + v * S::WIDTH));
                    }
                    // A value is loaded once for all windows that it is in.
                    for i in 0..(P - 1) * STRIDE + K {
                        let from = from.add(i * job.pixel + v * S::WIDTH);
                        let value = if whole { s.load(from) } else { s.load_first(from, count) };
                        for p in 0..P {
                            if i >= p * STRIDE && i < p * STRIDE + K {
                                sums[p][v] = s.fma(value, taps[i - p * STRIDE], sums[p][v]);
                            }
                        }
                    }
                }
            }
            continue;
        }
        for kx in at.left..at.right {
            let x = at.x + kx - at.left - job.pad.1;
            // SAFETY: the tap meets the image, in each of the windows, and `count` channels are there.
            unsafe {
                let from = job.input.as_ptr().add((y * job.width + x) * job.pixel + c);
                let weights = job.weights.as_ptr().add((ky * job.kernel.1 + kx) * padded + c);
                for v in 0..V {
                    let weight = s.load(weights.add(v * S::WIDTH));
                    for p in 0..P {
                        let from = from.add(p * step + v * S::WIDTH);
                        let value = if whole { s.load(from) } else { s.load_first(from, count) };
                        sums[p][v] = s.fma(value, weight, sums[p][v]);
                    }
                }
            }
        }
    }
    // As in `gemm`: this array has an address, the sums above stay in registers.
    let mut totals = [[s.splat(0.0); V]; P];
    for p in 0..P {
        for v in 0..V {
            totals[p][v] = sums[p][v];
        }
    }
    let stride = out.stride();
    let (low, high) = job.epilogue.clamp().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    let (low, high, zero) = (s.splat(low), s.splat(high), s.splat(0.0));
    let sloped = job.epilogue.activation == Activation::PRelu;
    for v in 0..V {
        // SAFETY: the rows and `count` columns from `c` on are inside of `out`; bias and slopes are padded to whole vectors.
        unsafe {
            let bias = s.load(job.epilogue.bias.as_ptr().add(c + v * S::WIDTH));
            let slopes = if sloped { s.load(job.epilogue.slopes.as_ptr().add(c + v * S::WIDTH)) } else { zero };
            for (p, total) in totals.iter().enumerate() {
                let x = s.add(total[v], bias);
                let x = if sloped { s.fma(slopes, s.min(zero, x), s.max(zero, x)) } else { s.min(high, s.max(low, x)) };
                let to = out.start().add((at.row + p) * stride + c + v * S::WIDTH);
                if whole { s.store(to, x) } else { s.store_first(to, x, count) }
            }
        }
    }
}
