//! The product of windows with packed weights: convolutions of every kernel, and linear layers.

#![expect(unsafe_code, reason = "the innermost loops work on addresses that were checked before them")]
#![expect(clippy::needless_range_loop, reason = "the indices are names of registers, each loop is unrolled")]

use super::epilogue::Epilogue;
use super::matrix::MatrixMut;
use super::simd::Simd;
use crate::Activation;

/// Where the windows lie in the input.
///
/// Row `i` of the result is that of the window that starts `i / width * step_y + i % width * step_x` values into the
/// input. A window is `runs` times `run` values in a row, each run `run_step` after the one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub width: usize,
    pub step_x: usize,
    pub step_y: usize,
    pub runs: usize,
    pub run: usize,
    pub run_step: usize,
}

impl Windows {
    pub(super) fn start(&self, row: usize) -> usize {
        // Divisions take as long as many products; most products have one line of windows.
        if row < self.width {
            return row * self.step_x;
        }
        row / self.width * self.step_y + row % self.width * self.step_x
    }

    /// Values that the input must have for `rows` windows.
    pub(super) fn reach(&self, rows: usize) -> usize {
        if rows == 0 || self.runs == 0 {
            return 0;
        }
        // The last of a whole line of windows can reach further than the last window.
        let line =
            if rows > self.width { (rows / self.width - 1) * self.step_y + (self.width - 1) * self.step_x } else { 0 };
        line.max(self.start(rows - 1)) + (self.runs - 1) * self.run_step + self.run
    }
}

/// A product to compute.
#[derive(Clone, Copy)]
pub(crate) struct Gemm<'a> {
    pub input: &'a [f32],
    pub windows: Windows,
    /// Packed by [`pack`](super::pack), from the first column of the result on.
    pub weights: &'a [f32],
    /// Columns of a panel of the weights, in whole vectors.
    pub panel: usize,
    /// What is read after these weights: its beginning is on its way from memory when it is needed.
    pub next: &'a [f32],
    /// What follows the sums; they are stored as they are where there is none.
    pub epilogue: Option<Epilogue<'a>>,
}

/// Weights of a panel, per column, that stay in the first or the second cache while the rows pass: a longer sum is computed in
/// pieces.
const DEPTH: usize = 384;
/// Values of a cache line.
const LINE: usize = 16;

/// Part of the sum: of which runs, and from which of their values on how many.
#[derive(Clone, Copy)]
struct Piece {
    first_run: usize,
    runs: usize,
    start: usize,
    len: usize,
    /// Whether there is none before, and none after.
    first: bool,
    last: bool,
}

/// How a sum is divided.
struct Pieces {
    windows: Windows,
    /// Pieces of a run, and runs of a piece; one of the two is 1.
    per_run: usize,
    runs: usize,
    count: usize,
}

impl Pieces {
    fn of(windows: Windows) -> Self {
        let Windows { runs, run, .. } = windows;
        if runs * run <= DEPTH {
            return Self { windows, per_run: 1, runs, count: 1 };
        }
        let (per_run, of_piece) = (run.div_ceil(DEPTH), (DEPTH / run).max(1));
        let count = if per_run > 1 { runs * per_run } else { runs.div_ceil(of_piece) };
        Self { windows, per_run, runs: of_piece, count }
    }

    /// The pieces in order, `i` being below `count`.
    fn piece(&self, i: usize) -> Piece {
        let Windows { runs, run, .. } = self.windows;
        let (first, last) = (i == 0, i + 1 == self.count);
        if self.per_run == 1 {
            let first_run = i * self.runs;
            return Piece { first_run, runs: self.runs.min(runs - first_run), start: 0, len: run, first, last };
        }
        let (first_run, part) = (i / self.per_run, i % self.per_run);
        let (start, end) = (part * run / self.per_run, (part + 1) * run / self.per_run);
        Piece { first_run, runs: 1, start, len: end - start, first, last }
    }
}

/// Computes all of `out`.
#[inline(always)]
pub(super) fn gemm<S: Simd>(s: S, job: &Gemm<'_>, mut out: MatrixMut<'_>) {
    let (rows, cols) = (out.rows(), out.cols());
    if rows == 0 || cols == 0 {
        return;
    }
    let depth = job.windows.runs * job.windows.run;
    assert!(depth > 0, "windows of nothing");
    assert!(job.windows.width > 0 && job.windows.reach(rows) <= job.input.len(), "windows beyond the input");
    assert!(job.weights.len() >= depth * cols.next_multiple_of(S::WIDTH), "too few weights");
    assert!(job.epilogue.is_none_or(|epilogue| epilogue.fits(rows, cols, S::WIDTH)), "an epilogue for another result");
    let most = job.panel / S::WIDTH;
    assert!((1..=S::VECTORS).contains(&most), "panels of another width");
    let pieces = Pieces::of(job.windows);
    let mut weights = job.weights.as_ptr();
    let mut col = 0;
    while col < cols {
        let vectors = (cols - col).div_ceil(S::WIDTH).min(most);
        // Tiles of like height, the full one or one row less where there are many rows: a short one's sums wait for each other.
        let tiles = rows.div_ceil(S::ROWS[vectors - 1]);
        let (height, taller) = (rows / tiles, rows % tiles);
        for i in 0..pieces.count {
            let piece = pieces.piece(i);
            let size = piece.runs * piece.len * vectors * S::WIDTH;
            let last = piece.last && col + vectors * S::WIDTH >= cols;
            let next = if last { job.next.as_ptr() } else { weights.wrapping_add(size) };
            let (mut row, mut line, mut x) = (0, 0, 0);
            for tile in 0..tiles {
                let height = height + usize::from(tile < taller);
                // Each of the first tiles brings one of the lines that a step of the next piece takes.
                let asked = tile * LINE < vectors * S::WIDTH && !(last && job.next.is_empty());
                let ahead = if asked { (next.wrapping_add(tile * LINE), vectors * S::WIDTH) } else { (weights, 0) };
                let at =
                    Place { row, window: (line, x), col, count: (vectors * S::WIDTH).min(cols - col), piece, ahead };
                // SAFETY: rows and columns are inside of `out`; windows, weights and epilogue suffice by the assertions.
                unsafe { by_width(s, job, weights, height, vectors, at, &mut out) };
                (row, x) = (row + height, x + height);
                while x >= job.windows.width {
                    (line, x) = (line + job.windows.step_y, x - job.windows.width);
                }
            }
            // SAFETY: at most to the end of the weights, by the assertion above: the pieces make up the depth.
            weights = unsafe { weights.add(size) };
        }
        col += vectors * S::WIDTH;
    }
}

/// Part of the result: from which row and column on, and how many columns; and which piece of its sums.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    /// Of the row: where its line of windows starts, and which window of the line it is.
    window: (usize, usize),
    col: usize,
    count: usize,
    piece: Piece,
    /// What to bring near, and how much further that is at each step; it need not be there.
    ahead: (*const f32, usize),
}

/// # Safety
/// As [`tile`], for `height` rows and `vectors` vectors, at most those that are computed together.
#[inline(always)]
unsafe fn by_width<S: Simd>(
    s: S,
    job: &Gemm<'_>,
    weights: *const f32,
    height: usize,
    vectors: usize,
    at: Place,
    out: &mut MatrixMut<'_>,
) {
    // SAFETY: the caller's promise; each is called for the number of vectors that it computes.
    unsafe {
        if vectors == 1 {
            by_height::<S, 1>(s, job, weights, height, at, out);
        } else if vectors == 2 {
            by_height::<S, 2>(s, job, weights, height, at, out);
        } else if const { S::VECTORS > 2 } && vectors == 3 {
            by_height::<S, 3>(s, job, weights, height, at, out);
        } else if const { S::VECTORS > 3 } {
            by_height::<S, 4>(s, job, weights, height, at, out);
        }
    }
}

/// # Safety
/// As [`tile`], for `height` rows, at most those that are computed together.
#[inline(always)]
unsafe fn by_height<S: Simd, const NV: usize>(
    s: S,
    job: &Gemm<'_>,
    weights: *const f32,
    height: usize,
    at: Place,
    out: &mut MatrixMut<'_>,
) {
    macro_rules! call {
        ($($rows:literal)*) => {
            // SAFETY: the caller's promise; the one of this height is called.
            unsafe {
                $(if const { $rows <= S::ROWS[NV - 1] } && height == $rows {
                    return tile::<S, $rows, NV>(s, job, weights, at, out);
                })*
            }
        };
    }
    // The most frequent first: tiles are of like height.
    call!(14 13 12 11 10 9 8 7 6 5 4 3 2 1);
}

/// `MR` rows of `NV` vectors: the sums stay in registers from the first to the last weight.
///
/// # Safety
/// The rows from `at.row`, whose window is `at.window`, and the columns from `at.col` are inside of `out`, `at.count` at most
/// `NV` vectors; the input has the windows of the rows; `weights` are those of the columns; the epilogue fits.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    job: &Gemm<'_>,
    weights: *const f32,
    at: Place,
    out: &mut MatrixMut<'_>,
) {
    let windows = &job.windows;
    let (mut line, mut x) = at.window;
    // SAFETY: the window of the row starts inside of the input.
    let mut starts = [unsafe { job.input.as_ptr().add(line + x * windows.step_x) }; MR];
    if x + MR <= windows.width {
        for m in 1..MR {
            // SAFETY: as above.
            starts[m] = unsafe { starts[m - 1].add(windows.step_x) };
        }
    } else {
        for m in 1..MR {
            x += 1;
            if x == windows.width {
                (line, x) = (line + windows.step_y, 0);
            }
            // SAFETY: as above.
            starts[m] = unsafe { job.input.as_ptr().add(line + x * windows.step_x) };
        }
    }
    let mut sums = [[s.splat(0.0); NV]; MR];
    if !at.piece.first {
        for m in 0..MR {
            for n in 0..NV {
                // SAFETY: the rows and `count` columns of them are inside of `out`, where the sums so far are.
                sums[m][n] = unsafe {
                    let from = out.start().add((at.row + m) * out.stride() + at.col + n * S::WIDTH);
                    let lanes = at.count.saturating_sub(n * S::WIDTH);
                    if lanes >= S::WIDTH { s.load(from) } else { s.load_first(from, lanes) }
                };
            }
        }
    }
    let mut weight = weights;
    let (mut ahead, step) = at.ahead;
    macro_rules! add {
        ($i:expr) => {
            s.prefetch(ahead);
            ahead = ahead.wrapping_add(step);
            let mut vectors = [s.splat(0.0); NV];
            // SAFETY: `NV` vectors of weights for each value of the window, and the window is inside of the input.
            unsafe {
                for (n, vector) in vectors.iter_mut().enumerate() {
                    *vector = s.load(weight.add(n * S::WIDTH));
                }
                weight = weight.add(NV * S::WIDTH);
                for m in 0..MR {
                    let value = s.splat(*starts[m].add($i));
                    for n in 0..NV {
                        sums[m][n] = s.fma(value, vectors[n], sums[m][n]);
                    }
                }
            }
        };
    }
    for run in at.piece.first_run..at.piece.first_run + at.piece.runs {
        let first = run * windows.run_step + at.piece.start;
        let mut i = first;
        while i + 2 <= first + at.piece.len {
            add!(i);
            add!(i + 1);
            i += 2;
        }
        if i < first + at.piece.len {
            add!(i);
        }
    }
    // SAFETY: the caller's promise.
    if at.count == NV * S::WIDTH && unsafe { store_whole(s, job.epilogue.as_ref(), sums, at, out) } {
        return;
    }
    // Apart from the array that is looked at by address below, the sums would be written to it after every step.
    let mut totals = [[s.splat(0.0); NV]; MR];
    for m in 0..MR {
        for n in 0..NV {
            totals[m][n] = sums[m][n];
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store(s, job.epilogue.as_ref(), &totals, at, out) }
}

/// Stores whole vectors where nothing follows the sums or the first rectifier bounds them; whether it did.
///
/// # Safety
/// As [`tile`], and `at.count` is `NV` vectors.
#[inline(always)]
unsafe fn store_whole<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    epilogue: Option<&Epilogue<'_>>,
    sums: [[S::V; NV]; MR],
    at: Place,
    out: &mut MatrixMut<'_>,
) -> bool {
    let stride = out.stride();
    // SAFETY: row and column are inside of `out`.
    let to = unsafe { out.start().add(at.row * stride + at.col) };
    let Some(epilogue) = epilogue.filter(|_| at.piece.last) else {
        for m in 0..MR {
            for n in 0..NV {
                // SAFETY: the rows and `NV` vectors of them are inside of `out`.
                unsafe { s.store(to.add(m * stride + n * S::WIDTH), sums[m][n]) }
            }
        }
        return true;
    };
    let Some((low, high)) = epilogue.clamp() else { return false };
    let (low, high) = (s.splat(low), s.splat(high));
    for n in 0..NV {
        // SAFETY: as above; the bias is padded to whole vectors.
        unsafe {
            let bias = s.load(epilogue.bias.as_ptr().add(at.col + n * S::WIDTH));
            for m in 0..MR {
                let x = s.min(high, s.max(low, s.add(sums[m][n], bias)));
                s.store(to.add(m * stride + n * S::WIDTH), x);
            }
        }
    }
    if !epilogue.ends_with_activation() {
        finish::<S, MR>(s, epilogue, Activation::None, at, out);
    }
    true
}

/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn store<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    epilogue: Option<&Epilogue<'_>>,
    sums: &[[S::V; NV]; MR],
    at: Place,
    out: &mut MatrixMut<'_>,
) {
    let stride = out.stride();
    // SAFETY: row and column are inside of `out`.
    let to = unsafe { out.start().add(at.row * stride + at.col) };
    let Some(epilogue) = epilogue.filter(|_| at.piece.last) else {
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                let lanes = at.count.saturating_sub(n * S::WIDTH);
                // SAFETY: the rows and `count` columns of them are inside of `out`.
                unsafe {
                    let to = to.add(m * stride + n * S::WIDTH);
                    if lanes >= S::WIDTH { s.store(to, *sum) } else { s.store_first(to, *sum, lanes) }
                }
            }
        }
        return;
    };
    let (low, high) = epilogue.clamp().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    let (low, high, zero) = (s.splat(low), s.splat(high), s.splat(0.0));
    let sloped = epilogue.activation == Activation::PRelu;
    for n in 0..NV {
        let lanes = S::WIDTH.min(at.count - (n * S::WIDTH).min(at.count));
        // SAFETY: bias and slopes are padded to whole vectors; `lanes` columns of every row are inside of `out`.
        unsafe {
            let bias = s.load(epilogue.bias.as_ptr().add(at.col + n * S::WIDTH));
            let slopes = if sloped { s.load(epilogue.slopes.as_ptr().add(at.col + n * S::WIDTH)) } else { zero };
            for (m, sums) in sums.iter().enumerate() {
                let x = s.add(sums[n], bias);
                let x = if sloped { s.fma(slopes, s.min(zero, x), s.max(zero, x)) } else { s.min(high, s.max(low, x)) };
                let to = to.add(m * stride + n * S::WIDTH);
                if lanes == S::WIDTH { s.store(to, x) } else { s.store_first(to, x, lanes) }
            }
        }
    }
    let done = sloped || epilogue.clamp().is_some();
    if done && epilogue.ends_with_activation() {
        return;
    }
    let activation = if done { Activation::None } else { epilogue.activation };
    finish::<S, MR>(s, epilogue, activation, at, out);
}

/// What is left of the epilogue, `activation` first.
#[inline(always)]
fn finish<S: Simd, const MR: usize>(
    s: S,
    epilogue: &Epilogue<'_>,
    activation: Activation,
    at: Place,
    out: &mut MatrixMut<'_>,
) {
    let (_, rows) = out.reborrow().split_rows(at.row);
    let (_, place) = rows.split_rows(MR).0.split_cols(at.col);
    let rest = Epilogue { activation, ..epilogue.at(at.row, at.col) };
    s.finish(&rest, place.split_cols(at.count).0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_sum_are_all_of_it_in_order() {
        for (runs, run) in [(1, 1), (1, 384), (1, 385), (1, 5000), (3, 192), (3, 384), (3, 400), (7, 60), (49, 100)] {
            let windows = Windows { width: 1, step_x: 0, step_y: 0, runs, run, run_step: run };
            let mut next = 0;
            let pieces = Pieces::of(windows);
            for i in 0..pieces.count {
                let piece = pieces.piece(i);
                assert_eq!((piece.first, piece.last), (next == 0, i + 1 == pieces.count));
                assert!(piece.runs == 1 || (piece.start, piece.len) == (0, run));
                assert_eq!(piece.first_run * run + piece.start, next, "{runs} x {run}");
                assert!(piece.runs * piece.len <= DEPTH);
                next += piece.runs * piece.len;
            }
            assert_eq!(next, runs * run);
        }
    }
}
