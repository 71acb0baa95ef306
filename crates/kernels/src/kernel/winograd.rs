//! Winograd's minimal filtering for 3 x 3 kernels at stride 1: the transforms around the products.
//!
//! <https://arxiv.org/abs/1509.09308>. A tile of `N` x `N` of the input gives `N - 2` x `N - 2` of the result with `N * N`
//! products instead of `9 * (N - 2)^2`; `N` is 4 or 6.

#![expect(unsafe_code, reason = "the innermost loops work on addresses that were checked before them")]
#![expect(clippy::needless_range_loop, reason = "the indices are names of registers, each loop is unrolled")]

use super::epilogue::{Epilogue, then};
use super::matrix::MatrixMut;
use super::simd::Simd;
use crate::Activation;

/// Tiles of an image to transform, side by side.
#[derive(Clone, Copy)]
pub(crate) struct Tiles<'a> {
    /// The image: `height` rows of `width` pixels, a pixel `pixel` values after the one before.
    pub input: &'a [f32],
    pub height: usize,
    pub width: usize,
    pub pixel: usize,
    pub channels: usize,
    /// Rows above the image, columns before it.
    pub pad: (usize, usize),
    /// The padding's value for each channel; zero where empty.
    pub fill: &'a [f32],
    /// Which row of tiles, the first of them in it, and how many.
    pub row: usize,
    pub first: usize,
    pub count: usize,
}

/// Where the values of tiles lie: value `i` of tile `t` at `i * plane + (first + t) * channels`, the channels in whole vectors.
#[derive(Clone, Copy)]
pub(crate) struct Planes {
    pub plane: usize,
    pub first: usize,
}

impl Planes {
    /// Whether `count` tiles of `N * N` values have their place, of `channels` values in whole vectors, in `len` values.
    fn fit<const N: usize>(&self, count: usize, channels: usize, len: usize) -> bool {
        (self.first + count) * channels <= self.plane && N * N * self.plane <= len
    }
}

/// Transforms tiles into `out`; `patch` is room for one.
#[inline(always)]
pub(super) fn input<S: Simd, const N: usize>(s: S, job: &Tiles<'_>, place: Planes, patch: &mut [f32], out: &mut [f32]) {
    let padded = job.channels.next_multiple_of(S::WIDTH);
    let pixels = job.height * job.width;
    assert!(pixels == 0 || (pixels - 1) * job.pixel + job.channels <= job.input.len(), "an image beyond the input");
    assert!(place.fit::<N>(job.count, padded, out.len()), "tiles beyond their room");
    assert!(patch.len() >= N * N * padded, "no room for a tile");
    let y = job.row * (N - 2);
    for tile in 0..job.count {
        let x = (job.first + tile) * (N - 2);
        let inside =
            y >= job.pad.0 && x >= job.pad.1 && y - job.pad.0 + N <= job.height && x - job.pad.1 + N <= job.width;
        let (from, line, pixel) = if inside {
            let start = ((y - job.pad.0) * job.width + x - job.pad.1) * job.pixel;
            (job.input[start..].as_ptr(), job.width * job.pixel, job.pixel)
        } else {
            gather::<N>(job, (y, x), padded, patch);
            (patch.as_ptr(), N * padded, padded)
        };
        let mut c = 0;
        while c < job.channels {
            let lanes = S::WIDTH.min(job.channels - c);
            // SAFETY: the tile's pixels with `channels` values each are inside of the image or of the patch; the tile's
            // place in `out` is there for all `N * N` values, by the assertions.
            unsafe {
                let to = out.as_mut_ptr().add((place.first + tile) * padded + c);
                transform_input::<S, N>(s, from.add(c), line, pixel, lanes, to, place.plane);
            }
            c += lanes;
        }
    }
}

/// Copies a tile that reaches over the edge, with the padding around it.
fn gather<const N: usize>(job: &Tiles<'_>, (y, x): (usize, usize), padded: usize, patch: &mut [f32]) {
    for i in 0..N {
        for j in 0..N {
            let to = &mut patch[(i * N + j) * padded..][..job.channels];
            let row = (y + i).checked_sub(job.pad.0).filter(|row| *row < job.height);
            let col = (x + j).checked_sub(job.pad.1).filter(|col| *col < job.width);
            match (row, col) {
                (Some(row), Some(col)) => {
                    to.copy_from_slice(&job.input[(row * job.width + col) * job.pixel..][..job.channels]);
                }
                _ if job.fill.is_empty() => to.fill(0.0),
                _ => to.copy_from_slice(&job.fill[..job.channels]),
            }
        }
    }
}

/// # Safety
/// `lanes` values are readable at each of the `N` x `N` pixels, and a vector is writable at each `step` from `to`.
#[inline(always)]
unsafe fn transform_input<S: Simd, const N: usize>(
    s: S,
    from: *const f32,
    line: usize,
    pixel: usize,
    lanes: usize,
    to: *mut f32,
    step: usize,
) {
    let mut columns = [[s.splat(0.0); N]; N];
    for j in 0..N {
        let mut d = [s.splat(0.0); N];
        for (i, d) in d.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *d = unsafe {
                let from = from.add(i * line + j * pixel);
                if lanes == S::WIDTH { s.load(from) } else { s.load_first(from, lanes) }
            };
        }
        let t = data_transform(s, d);
        for i in 0..N {
            columns[i][j] = t[i];
        }
    }
    for (i, row) in columns.iter().enumerate() {
        let t = data_transform(s, *row);
        for (j, value) in t.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { s.store(to.add((i * N + j) * step), *value) }
        }
    }
}

/// The paper's `B^T d`.
#[inline(always)]
fn data_transform<S: Simd, const N: usize>(s: S, d: [S::V; N]) -> [S::V; N] {
    let mut t = d;
    if N == 4 {
        t[0] = s.sub(d[0], d[2]);
        t[1] = s.add(d[1], d[2]);
        t[2] = s.sub(d[2], d[1]);
        t[3] = s.sub(d[1], d[3]);
    } else {
        let (four, two) = (s.splat(4.0), s.splat(2.0));
        let (minus4, minus5) = (s.splat(-4.0), s.splat(-5.0));
        t[0] = s.fma(four, d[0], s.fma(minus5, d[2], d[4]));
        let (even, odd) = (s.fma(minus4, d[2], d[4]), s.fma(minus4, d[1], d[3]));
        t[1] = s.add(even, odd);
        t[2] = s.sub(even, odd);
        let (even, odd) = (s.sub(d[4], d[2]), s.mul(two, s.sub(d[3], d[1])));
        t[3] = s.add(even, odd);
        t[4] = s.sub(even, odd);
        t[5] = s.fma(four, d[1], s.fma(minus5, d[3], d[5]));
    }
    t
}

/// The paper's `A^T m`: the first `N - 2` values count.
#[inline(always)]
fn inverse_transform<S: Simd, const N: usize>(s: S, m: [S::V; N]) -> [S::V; N] {
    let mut t = m;
    if N == 4 {
        t[0] = s.add(s.add(m[0], m[1]), m[2]);
        t[1] = s.sub(s.sub(m[1], m[2]), m[3]);
    } else {
        let (two, four, eight) = (s.splat(2.0), s.splat(4.0), s.splat(8.0));
        let (sum1, sum2) = (s.add(m[1], m[2]), s.add(m[3], m[4]));
        let (diff1, diff2) = (s.sub(m[1], m[2]), s.sub(m[3], m[4]));
        t[0] = s.add(s.add(m[0], sum1), sum2);
        t[1] = s.fma(two, diff2, diff1);
        t[2] = s.fma(four, sum2, sum1);
        t[3] = s.add(s.fma(eight, diff2, diff1), m[5]);
    }
    t
}

/// The paper's `G g G^T` of a 3 x 3 kernel: `n * n` values into `out`, `n` being 4 or 6.
pub(crate) fn kernel_transform(g: [f32; 9], n: usize, out: &mut [f32]) {
    const G4: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
    const G6: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    let rows: &[[f64; 3]] = if n == 4 { &G4 } else { &G6 };
    let g = g.map(f64::from);
    for (a, out) in rows.iter().zip(out.chunks_exact_mut(n)) {
        // A row of `G g`.
        let t: [f64; 3] = std::array::from_fn(|j| a[0] * g[j] + a[1] * g[3 + j] + a[2] * g[6 + j]);
        for (b, out) in rows.iter().zip(out) {
            *out = (t[0] * b[0] + t[1] * b[1] + t[2] * b[2]) as f32;
        }
    }
}

/// Products to transform back.
#[derive(Clone, Copy)]
pub(crate) struct Products<'a> {
    pub values: &'a [f32],
    pub place: Planes,
    /// Pixels of a row of the result.
    pub width: usize,
    /// The first of the tiles in its row, and how many there are.
    pub first: usize,
    pub count: usize,
    pub epilogue: Epilogue<'a>,
}

/// Transforms products back into their pixels of `out`, whole rows of the result, at most `N - 2` of them.
#[inline(always)]
pub(super) fn output<S: Simd, const N: usize>(s: S, job: &Products<'_>, mut out: MatrixMut<'_>) {
    let Products { values, place, width, epilogue, .. } = job;
    let (pixels, cols, stride) = (out.rows(), out.cols(), out.stride());
    let padded = cols.next_multiple_of(S::WIDTH);
    let rows = pixels.checked_div(*width).unwrap_or(0).min(N - 2);
    assert!(place.fit::<N>(job.count, padded, values.len()), "tiles beyond their room");
    assert!(epilogue.fits(pixels, cols, S::WIDTH), "an epilogue for another result");
    let from_x = job.first * (N - 2);
    let to_x = (from_x + job.count * (N - 2)).min(*width);
    let (low, high) = epilogue.clamp().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    let (low, high, zero) = (s.splat(low), s.splat(high), s.splat(0.0));
    let sloped = epilogue.activation == Activation::PRelu;
    // What has no branch of its own is left to a second pass.
    let done = sloped || epilogue.clamp().is_some();
    let with_slopes = sloped || epilogue.then == Activation::PRelu;
    for (tile, x) in (from_x..to_x).step_by(N - 2).enumerate() {
        let valid = (to_x - x).min(N - 2);
        let mut col = 0;
        while col < cols {
            let lanes = S::WIDTH.min(cols - col);
            // SAFETY: the tile's products are there by the assertion, as whole vectors; the pixels that are stored are
            // inside of `out`; bias and slopes are padded to whole vectors, and the residual has the pixels.
            unsafe {
                let from = values.as_ptr().add((place.first + tile) * padded + col);
                let values = transform_output::<S, N>(s, from, place.plane);
                let bias = s.load(epilogue.bias.as_ptr().add(col));
                let slopes = if with_slopes { s.load(epilogue.slopes.as_ptr().add(col)) } else { zero };
                for (i, values) in values.iter().enumerate().take(rows) {
                    for (j, value) in values.iter().enumerate().take(valid) {
                        let (pixel, v) = (i * width + x + j, s.add(*value, bias));
                        let mut v = if sloped {
                            s.fma(slopes, s.min(zero, v), s.max(zero, v))
                        } else {
                            s.min(high, s.max(low, v))
                        };
                        if let Some(residual) = epilogue.residual.as_ref().filter(|_| done) {
                            let from = residual.values.as_ptr().add(pixel * residual.stride + col);
                            v = s.add(v, if lanes == S::WIDTH { s.load(from) } else { s.load_first(from, lanes) });
                            v = then(s, epilogue.then, v, slopes);
                        }
                        let to = out.start().add(pixel * stride + col);
                        if lanes == S::WIDTH { s.store(to, v) } else { s.store_first(to, v, lanes) }
                    }
                }
            }
            col += lanes;
        }
    }
    if !done {
        for i in 0..rows {
            let start = i * width + from_x;
            let line = out.reborrow().split_rows(start).1.split_rows(to_x - from_x).0;
            s.finish(&epilogue.at(start, 0), line);
        }
    }
}

/// # Safety
/// A vector is readable at each of `N * N` `step`s from `from`.
#[inline(always)]
unsafe fn transform_output<S: Simd, const N: usize>(s: S, from: *const f32, step: usize) -> [[S::V; N]; N] {
    let mut columns = [[s.splat(0.0); N]; N];
    for j in 0..N {
        let mut m = [s.splat(0.0); N];
        for (i, m) in m.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *m = unsafe { s.load(from.add((i * N + j) * step)) };
        }
        let t = inverse_transform(s, m);
        for i in 0..N {
            columns[i][j] = t[i];
        }
    }
    for row in columns.iter_mut().take(N - 2) {
        *row = inverse_transform(s, *row);
    }
    columns
}
