//! Winograd's minimal filtering for 3 x 3 kernels at stride 1: the transforms around the products.
//!
//! <https://arxiv.org/abs/1509.09308>. A tile of `N` x `N` of the input gives `N - 2` x `N - 2` of the result with `N * N`
//! products instead of `9 * (N - 2)^2`; `N` is 4 or 6.

#![expect(unsafe_code, reason = "the innermost loops work on addresses that were checked before them")]
#![expect(clippy::needless_range_loop, reason = "the indices are names of registers, each loop is unrolled")]

use super::epilogue::{Epilogue, Residual, activate, then};
use super::matrix::MatrixMut;
use super::simd::Simd;
use crate::Activation;

/// Tiles of an image to transform, side by side.
#[derive(Clone, Copy)]
pub(crate) struct Tiles<'a> {
    /// The image: `height` rows of `width` pixels.
    pub input: &'a [f32],
    pub height: usize,
    pub width: usize,
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
    assert!(job.height * job.width * job.channels <= job.input.len(), "an image beyond the input");
    assert!(place.fit::<N>(job.count, padded, out.len()), "tiles beyond their room");
    assert!(patch.len() >= N * N * padded, "no room for a tile");
    let y = job.row * (N - 2);
    for tile in 0..job.count {
        let x = (job.first + tile) * (N - 2);
        let inside =
            y >= job.pad.0 && x >= job.pad.1 && y - job.pad.0 + N <= job.height && x - job.pad.1 + N <= job.width;
        let (from, line, pixel) = if inside {
            let start = ((y - job.pad.0) * job.width + x - job.pad.1) * job.channels;
            (job.input[start..].as_ptr(), job.width * job.channels, job.channels)
        } else {
            gather::<N>(job, (y, x), patch);
            (patch.as_ptr(), N * job.channels, job.channels)
        };
        for c in (0..job.channels).step_by(S::WIDTH) {
            let lanes = S::WIDTH.min(job.channels - c);
            // SAFETY: the tile's pixels with `channels` values each are inside of the image or of the patch; the tile's
            // place in `out` is there for all `N * N` values, by the assertions.
            unsafe {
                let to = out.as_mut_ptr().add((place.first + tile) * padded + c);
                if lanes == S::WIDTH {
                    transform_input::<S, N, true>(s, from.add(c), (line, pixel), lanes, to, place.plane);
                } else {
                    transform_input::<S, N, false>(s, from.add(c), (line, pixel), lanes, to, place.plane);
                }
            }
        }
    }
}

/// Copies a tile that reaches over the edge, with the padding around it.
fn gather<const N: usize>(job: &Tiles<'_>, (y, x): (usize, usize), patch: &mut [f32]) {
    let c = job.channels;
    // The tile's columns that are inside, and the first of them in the image.
    let before = job.pad.1.saturating_sub(x).min(N);
    let inside = (job.pad.1 + job.width).saturating_sub(x).clamp(before, N);
    let first = (x + before).saturating_sub(job.pad.1);
    let pad = |to: &mut [f32]| {
        if job.fill.is_empty() {
            to.fill(0.0);
        } else {
            to.chunks_exact_mut(c).for_each(|to| to.copy_from_slice(&job.fill[..c]));
        }
    };
    for (i, to) in patch.chunks_exact_mut(N * c).take(N).enumerate() {
        match (y + i).checked_sub(job.pad.0).filter(|row| *row < job.height) {
            Some(row) => {
                let from = &job.input[(row * job.width + first) * c..][..(inside - before) * c];
                to[before * c..inside * c].copy_from_slice(from);
                pad(&mut to[..before * c]);
                pad(&mut to[inside * c..]);
            }
            None => pad(to),
        }
    }
}

/// `WHOLE` tells that `lanes` are a vector.
///
/// # Safety
/// `lanes` values are readable at each of the `N` x `N` pixels, and a vector is writable at each `step` from `to`.
#[inline(always)]
unsafe fn transform_input<S: Simd, const N: usize, const WHOLE: bool>(
    s: S,
    from: *const f32,
    (line, pixel): (usize, usize),
    lanes: usize,
    to: *mut f32,
    step: usize,
) {
    // Some of the rows at a time: all values together would not fit into the registers, and to read one again is cheaper.
    macro_rules! rows {
        ($($row:literal)*) => {{
            let mut columns = [[s.splat(0.0); N]; N];
            for j in 0..N {
                let mut d = [s.splat(0.0); N];
                for (i, d) in d.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    *d = unsafe {
                        let from = from.add(i * line + j * pixel);
                        if WHOLE { s.load(from) } else { s.load_first(from, lanes) }
                    };
                }
                let t = data_transform(s, d);
                $(columns[$row][j] = t[$row];)*
            }
            $({
                let t = data_transform(s, columns[$row]);
                for (j, value) in t.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe { s.store(to.add(($row * N + j) * step), *value) }
                }
            })*
        }};
    }
    if N == 4 {
        rows!(0 1 2 3);
    } else {
        rows!(1 2);
        rows!(3 4);
        rows!(0 5);
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
    let (pixels, cols) = (out.rows(), out.cols());
    let padded = cols.next_multiple_of(S::WIDTH);
    let rows = pixels.checked_div(*width).unwrap_or(0).min(N - 2);
    assert!(place.fit::<N>(job.count, padded, values.len()), "tiles beyond their room");
    assert!(epilogue.fits(pixels, cols, S::WIDTH), "an epilogue for another result");
    let from_x = job.first * (N - 2);
    let to_x = (from_x + job.count * (N - 2)).min(*width);
    let sloped = epilogue.activation == Activation::PRelu;
    // What has no branch of its own is left to a second pass.
    let done = sloped || epilogue.clamp().is_some();
    let residual = epilogue.residual.filter(|_| done);
    // What is asked once for all tiles need not be asked for each pixel.
    macro_rules! tiles_with {
        ($sloped:literal, $then:expr) => {
            for (tile, x) in (from_x..to_x).step_by(N - 2).enumerate() {
                let valid = (to_x - x).min(N - 2);
                for col in (0..cols).step_by(S::WIDTH) {
                    let lanes = S::WIDTH.min(cols - col);
                    let pixels = Pixels { x, col, lanes, rows, valid, width: *width };
                    // SAFETY: the tile's products are there by the assertion, as whole vectors; its pixels are inside of
                    // `out`, and the epilogue fits.
                    unsafe {
                        let from = values.as_ptr().add((place.first + tile) * padded + col);
                        let sums = transform_output::<S, N>(s, from, place.plane);
                        if lanes == S::WIDTH && rows == N - 2 && valid == N - 2 {
                            store_pixels::<S, N, true, $sloped, { $then }>(s, sums, pixels, epilogue, residual, &mut out);
                        } else {
                            store_pixels::<S, N, false, $sloped, { $then }>(s, sums, pixels, epilogue, residual, &mut out);
                        }
                    }
                }
            }
        };
    }
    match (sloped, residual.map(|_| epilogue.then)) {
        (false, None) => tiles_with!(false, NO_RESIDUAL),
        (true, None) => tiles_with!(true, NO_RESIDUAL),
        (false, Some(Activation::Relu)) => tiles_with!(false, Activation::Relu as u8),
        (true, Some(Activation::Relu)) => tiles_with!(true, Activation::Relu as u8),
        (false, Some(Activation::PRelu)) => tiles_with!(false, Activation::PRelu as u8),
        (true, Some(Activation::PRelu)) => tiles_with!(true, Activation::PRelu as u8),
        (false, Some(_)) => tiles_with!(false, Activation::None as u8),
        (true, Some(_)) => tiles_with!(true, Activation::None as u8),
    }
    if !done {
        for i in 0..rows {
            let start = i * width + from_x;
            let line = out.reborrow().split_rows(start).1.split_rows(to_x - from_x).0;
            s.finish(&epilogue.at(start, 0), line);
        }
    }
}

/// Stands for the rectifier after the residual where there is none.
const NO_RESIDUAL: u8 = u8::MAX;

/// Which pixels of the result a tile's are: `valid` of a row from `x` on, of `rows` rows, and `lanes` of their columns from `col`
/// on.
#[derive(Clone, Copy)]
struct Pixels {
    x: usize,
    col: usize,
    lanes: usize,
    rows: usize,
    valid: usize,
    width: usize,
}

/// Stores a tile's sums after the epilogue, whose first rectifier is PReLU if `SLOPED` and bounds otherwise, and whose second has
/// the number `THEN`. `WHOLE` tells that there are `N - 2` rows of `N - 2` pixels and whole vectors.
///
/// # Safety
/// The pixels are inside of `out`, and the epilogue has values for them, with `THEN` the residual too.
#[inline(always)]
unsafe fn store_pixels<S: Simd, const N: usize, const WHOLE: bool, const SLOPED: bool, const THEN: u8>(
    s: S,
    sums: [[S::V; N]; N],
    pixels: Pixels,
    epilogue: &Epilogue<'_>,
    residual: Option<Residual<'_>>,
    out: &mut MatrixMut<'_>,
) {
    let Pixels { x, col, lanes, rows, valid, width } = pixels;
    let next = const { if THEN == NO_RESIDUAL { Activation::None } else { Activation::of_number(THEN) } };
    let (low, high) = epilogue.clamp().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    let (low, high, stride) = (s.splat(low), s.splat(high), out.stride());
    // SAFETY: the caller's promise; bias and slopes are padded to whole vectors.
    unsafe {
        let bias = s.load(epilogue.bias.as_ptr().add(col));
        let slopes =
            if SLOPED || next == Activation::PRelu { s.load(epilogue.slopes.as_ptr().add(col)) } else { s.splat(0.0) };
        for i in 0..N - 2 {
            for j in 0..N - 2 {
                if !WHOLE && (i >= rows || j >= valid) {
                    continue;
                }
                let pixel = i * width + x + j;
                let v = s.add(sums[i][j], bias);
                let mut v = if SLOPED { activate(s, Activation::PRelu, v, slopes) } else { s.min(high, s.max(low, v)) };
                if let Some(residual) = residual.filter(|_| THEN != NO_RESIDUAL) {
                    let from = residual.values.as_ptr().add(pixel * residual.stride + col);
                    v = s.add(v, if WHOLE || lanes == S::WIDTH { s.load(from) } else { s.load_first(from, lanes) });
                    v = then(s, next, v, slopes);
                }
                let to = out.start().add(pixel * stride + col);
                if WHOLE || lanes == S::WIDTH { s.store(to, v) } else { s.store_first(to, v, lanes) }
            }
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
