//! Products of windows with weights where every value is the sum of two bfloat16, for processors that multiply tiles of them.
//!
//! `x = high + low` holds sixteen bits of `x`, and `a * b` is `a.high * b.high + a.high * b.low + a.low * b.high` but for
//! about 2^-16 of it, summed in single precision: three products of bfloat16 for one (Henry, Tang and Heinecke 2019,
//! <https://arxiv.org/abs/1904.06376>; oneMKL's `float_to_bf16x2`). Tiles multiply sixteen times as fast as vectors of single
//! precision do.

#![expect(unsafe_code, reason = "windows are read at addresses that were checked before")]

use std::ops::Range;

use half::bf16;

use super::epilogue::Epilogue;
use super::gemm::Windows;
use super::matrix::MatrixMut;
use crate::aligned::Aligned;
use crate::threads::with_scratch;

/// Values of a window that one tile holds of each row.
pub(super) const DEPTH: usize = 32;
/// Rows of a tile, and columns of a tile of sums.
pub(super) const SIDE: usize = 16;
/// Rows and columns of the sums that are computed together: two tiles by two.
pub(crate) const BLOCK: usize = 2 * SIDE;

/// Values that are split at once where all weights stay in the second cache, and where they do not.
const BAND: (usize, usize) = (32 << 10, 160 << 10);
/// Weights, of bfloat16, that stay there.
const MOST_CACHED: usize = 512 << 10;

/// In which steps a window is walked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Values in a row.
    runs: usize,
    run: usize,
}

impl Layout {
    /// That of windows of `runs` times `run` values, `stride` pixels apart.
    pub fn of(runs: usize, run: usize, stride: usize) -> Self {
        let steps = (runs * run.div_ceil(DEPTH), (runs * run).div_ceil(DEPTH));
        // One run where the rows of the kernel fill their steps badly: windows are copied then, without gaps.
        let joined = 3 * steps.0 > 4 * steps.1 || stride > 1 && steps.0 > steps.1;
        if joined { Self { runs: 1, run: runs * run } } else { Self { runs, run } }
    }

    /// Whether tiles are faster than vectors for windows of `runs` times `run` values and so many columns: they fill a tile, and
    /// there is not just one window for all these weights, which memory holds up.
    pub const fn pays(runs: usize, run: usize, cols: usize) -> bool {
        let fills = cols > SIDE && (run >= 24 || runs == 1 && run >= 12);
        fills && runs * run <= 8192
    }

    /// Steps of a run.
    const fn steps(&self) -> usize {
        self.run.div_ceil(DEPTH)
    }

    /// Words for each column.
    const fn words(&self) -> usize {
        2 * self.runs * self.steps() * DEPTH
    }
}

/// Weights in the order in which they are read: panels of two tiles of columns, in each the steps, in each the low and the
/// high parts.
#[derive(Debug, Clone)]
pub(crate) struct SplitWeights {
    words: Aligned<u16>,
    layout: Layout,
}

impl SplitWeights {
    /// `weight` gives that of a place in the window and of a column.
    pub fn pack(layout: Layout, cols: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut words = Vec::with_capacity(layout.words() * cols.next_multiple_of(SIDE));
        for first in (0..cols).step_by(BLOCK) {
            let tiles = (cols - first).div_ceil(SIDE).min(2);
            for step in 0..layout.runs * layout.steps() {
                let (run, start) = (step / layout.steps(), step % layout.steps() * DEPTH);
                for part in [low, high] {
                    for tile in 0..tiles {
                        // A row of the tile holds pairs of values, column by column.
                        for i in 0..SIDE * DEPTH {
                            let (k, col) = (start + i / DEPTH * 2 + i % 2, first + tile * SIDE + i % DEPTH / 2);
                            let inside = k < layout.run && col < cols;
                            words.push(if inside { part(weight(run * layout.run + k, col)) } else { 0 });
                        }
                    }
                }
            }
        }
        Self { words: Aligned::from(words.as_slice()), layout }
    }

    /// Values, in single precision's size.
    pub fn len(&self) -> usize {
        self.words.len() / 2
    }
}

/// The nearest bfloat16.
pub(super) fn high(value: f32) -> u16 {
    bf16::from_f32(value).to_bits()
}

/// The bfloat16 nearest to what [`high`] leaves.
pub(super) fn low(value: f32) -> u16 {
    bf16::from_f32(value - bf16::from_f32(value).to_f32()).to_bits()
}

/// Where values come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// As they lie.
    Plain(&'a [f32]),
    /// An image with padding around it that is nowhere in memory; windows begin at whole rows of it.
    Padded(Padded<'a>),
}

/// `height` rows of `width` pixels and what is around them.
#[derive(Clone, Copy)]
pub(crate) struct Padded<'a> {
    pub image: &'a [f32],
    pub height: usize,
    pub width: usize,
    /// Values of a pixel, and those of them that are looked at: from which on, how many.
    pub pixel: usize,
    pub channels: (usize, usize),
    /// Rows above, columns before and after.
    pub above: usize,
    pub before: usize,
    pub after: usize,
    /// The padding's value for each channel; zero where empty.
    pub fill: &'a [f32],
    /// The row, padding included, from which on windows count.
    pub top: usize,
}

/// A product to compute.
#[derive(Clone, Copy)]
pub(crate) struct SplitProduct<'a> {
    pub input: Source<'a>,
    pub windows: Windows,
    pub weights: &'a SplitWeights,
    /// The first column of the weights that belongs to the result, at a whole panel.
    pub col: usize,
    pub epilogue: Epilogue<'a>,
}

/// Sums of a block, row by row.
#[repr(align(64))]
pub(super) struct Sums(pub [f32; BLOCK * BLOCK]);

/// One block to compute: addresses of bfloat16, distances in bytes.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// The high parts of the first row's window; the low parts are `low` bytes further.
    pub high: *const u16,
    pub low: usize,
    /// From row to row.
    pub row: usize,
    /// Of each step from the window's start.
    pub steps: &'a [usize],
    pub weights: *const u16,
    /// Tiles of rows and of columns, one or two each.
    pub tiles: (usize, usize),
    /// What is to be brought near meanwhile; it need not be there.
    pub ahead: Ahead,
}

/// Cache lines that are brought near at each step, one behind the other.
#[derive(Clone, Copy)]
pub(super) enum Ahead {
    /// Eight from this address on: others' rows pass before the next weights are needed.
    Some(*const u16),
    /// As many as a step takes: weights that are read once.
    All(*const u16),
}

/// What the processor does. A value is proof that it has the instructions.
pub(super) trait Blocks: Copy {
    /// Writes the [`high`] and [`low`] parts of `from`, all of one length.
    fn split(self, from: &[f32], high: &mut [u16], low: &mut [u16]);

    /// Computes the sums of a block; those of tiles that it has not are left.
    ///
    /// # Safety
    /// The windows of all rows of the block's tiles can be read, [`DEPTH`] values at each step, and so can the weights.
    unsafe fn block(self, block: Block<'_>, sums: &mut Sums);

    /// The epilogue on the sums from row `row` of the block on.
    fn complete(self, epilogue: &Epilogue<'_>, sums: &Sums, row: usize, out: MatrixMut<'_>);
}

/// Computes all of `out`.
///
/// # Panics
/// Windows reach beyond the input, the weights are others', or the epilogue is.
pub(super) fn product<B: Blocks>(b: B, job: &SplitProduct<'_>, mut out: MatrixMut<'_>) {
    let (rows, cols) = (out.rows(), out.cols());
    if rows == 0 || cols == 0 {
        return;
    }
    let (windows, layout) = (&job.windows, job.weights.layout);
    assert!(windows.width > 0 && job.input.has(windows.reach(rows)), "windows beyond the input");
    assert!(layout.runs * layout.run == windows.runs * windows.run, "weights of other windows");
    let words = job.weights.words.get(layout.words() * job.col..).unwrap_or_default();
    assert!(
        job.col.is_multiple_of(BLOCK) && words.len() >= layout.words() * cols.next_multiple_of(SIDE),
        "too few weights"
    );
    assert!(job.epilogue.fits(rows, cols, SIDE), "an epilogue for another result");

    let most = if job.weights.words.len() > MOST_CACHED { BAND.1 } else { BAND.0 };
    let line = (windows.width * windows.step_x).max(windows.step_y).max(1);
    // Of one line any part will do, of several whole ones.
    let at_once = if rows <= windows.width {
        (most / windows.step_x.max(1)).max(1).next_multiple_of(BLOCK)
    } else {
        (most / line).max(BLOCK.div_ceil(windows.width)) * windows.width
    };
    for first in (0..rows).step_by(at_once) {
        let count = at_once.min(rows - first);
        let (band, rest) = out.split_rows(count);
        let part = Part { job, start: windows.start(first), rows: count, words, epilogue: job.epilogue.at(first, 0) };
        part.compute(b, band);
        out = rest;
    }
}

impl<'a> Source<'a> {
    /// The values where they are in memory; none otherwise, in which no window is.
    pub const fn plain(&self) -> &'a [f32] {
        match self {
            Self::Plain(values) => values,
            Self::Padded(_) => &[],
        }
    }

    fn has(&self, len: usize) -> bool {
        match self {
            Self::Plain(values) => len <= values.len(),
            // Below the image there is padding as far as anyone asks.
            Self::Padded(p) => p.image.len() >= p.height * p.width * p.pixel && p.channels.0 + p.channels.1 <= p.pixel,
        }
    }

    /// Splits the values from `start` on.
    fn split<B: Blocks>(&self, b: B, start: usize, high: &mut [u16], low: &mut [u16]) {
        match self {
            Self::Plain(values) => b.split(&values[start..start + high.len()], high, low),
            Self::Padded(padded) => padded.split(b, start, high, low),
        }
    }
}

impl Padded<'_> {
    fn split<B: Blocks>(&self, b: B, start: usize, high: &mut [u16], low: &mut [u16]) {
        let (first, channels) = self.channels;
        let line = (self.before + self.width + self.after) * channels;
        let (rows, inside) = (start / line, self.width * channels);
        assert!(start.is_multiple_of(line), "windows that begin inside of a row");
        for (y, (high, low)) in high.chunks_mut(line).zip(low.chunks_mut(line)).enumerate() {
            let Some(row) = (self.top + rows + y).checked_sub(self.above).filter(|row| *row < self.height) else {
                self.pad(b, high, low);
                continue;
            };
            // The last may be wanted in part.
            let before = (self.before * channels).min(high.len());
            let end = (before + inside).min(high.len());
            self.pad(b, &mut high[..before], &mut low[..before]);
            self.pad(b, &mut high[end..], &mut low[end..]);
            let (high, low) = (&mut high[before..end], &mut low[before..end]);
            let from = &self.image[row * self.width * self.pixel..][..self.width * self.pixel];
            if channels == self.pixel {
                b.split(&from[..high.len()], high, low);
            } else {
                let pixels = high.chunks_mut(channels).zip(low.chunks_mut(channels));
                for ((high, low), from) in pixels.zip(from.chunks_exact(self.pixel)) {
                    b.split(&from[first..][..high.len()], high, low);
                }
            }
        }
    }

    /// Writes padding, from the first channel on.
    fn pad<B: Blocks>(&self, b: B, high: &mut [u16], low: &mut [u16]) {
        if self.fill.is_empty() {
            high.fill(0);
            low.fill(0);
        } else {
            for (high, low) in high.chunks_mut(self.fill.len()).zip(low.chunks_mut(self.fill.len())) {
                b.split(&self.fill[..high.len()], high, low);
            }
        }
    }
}

/// Some rows of a product, one or several whole lines of them or a part of a line.
struct Part<'a> {
    job: &'a SplitProduct<'a>,
    /// Of the first window.
    start: usize,
    rows: usize,
    /// From the first column on.
    words: &'a [u16],
    epilogue: Epilogue<'a>,
}

impl Part<'_> {
    fn compute<B: Blocks>(&self, b: B, out: MatrixMut<'_>) {
        let (windows, layout) = (&self.job.windows, self.job.weights.layout);
        let total = layout.runs * layout.steps();
        let width = windows.width.min(self.rows);
        let lines = self.rows.div_ceil(width);
        let joined = layout.runs != windows.runs;
        // Where lines follow each other at a whole number of windows, those between are computed and not looked at; otherwise
        // the last tile of each line is filled badly.
        let even = windows.step_y.is_multiple_of(windows.step_x.max(1)) && windows.step_y >= width * windows.step_x;
        let period = if lines == 1 { width } else { windows.step_y / windows.step_x.max(1) };
        let flat = if lines == 1 || even { (lines - 1) * period + width } else { usize::MAX }.div_ceil(SIDE);
        let by_line = lines * width.div_ceil(SIDE);
        let gathered = self.rows.div_ceil(SIDE);
        if joined || windows.runs == 1 && windows.step_x > windows.run || 3 * flat.min(by_line) > 4 * gathered {
            return self.gather(b, total, out);
        }
        let (groups, period, flats) =
            if flat <= by_line { (1, period, (lines - 1) * period + width) } else { (lines, width, width) };
        let reach = windows.reach(self.rows);
        let last = (groups - 1) * windows.step_y + (flats.next_multiple_of(SIDE) - 1) * windows.step_x;
        let room = last + (layout.runs - 1) * windows.run_step + layout.steps() * DEPTH;
        with_room(room.max(reach + DEPTH), total, |high, low, steps| {
            self.job.input.split(b, self.start, &mut high[..reach], &mut low[..reach]);
            // Zeros behind the last window: they meet weights that are zero, what is there now might not be finite.
            high[reach..reach + DEPTH].fill(0);
            low[reach..reach + DEPTH].fill(0);
            for (i, step) in steps.iter_mut().enumerate() {
                *step = 2 * (i / layout.steps() * windows.run_step + i % layout.steps() * DEPTH);
            }
            let (step, line) = (windows.step_x, windows.step_y);
            let even = Even { high, low, step, steps, groups, line, flats, period, width };
            self.blocks(b, &even, out);
        });
    }

    /// From copies of the windows.
    fn gather<B: Blocks>(&self, b: B, total: usize, mut out: MatrixMut<'_>) {
        let (windows, layout) = (&self.job.windows, self.job.weights.layout);
        let (size, rows) = (total * DEPTH, self.rows);
        // As the weights lie: runs in a row where they are joined, each from a step on where they are not.
        let joined = layout.runs != windows.runs;
        let place = |run: usize| if joined { run * windows.run } else { run * layout.steps() * DEPTH };
        let end = |run: usize| if joined && run + 1 < windows.runs { place(run + 1) } else { place(run) + windows.run };
        with_room(rows.next_multiple_of(SIDE) * size, total, |high, low, steps| {
            let (windows_high, windows_low) = (high.chunks_exact_mut(size), low.chunks_exact_mut(size));
            let copies = windows_high.zip(windows_low).take(rows).enumerate();
            match self.job.input {
                Source::Plain(values) if windows.runs * windows.run <= windows.step_x => {
                    // Each value is needed once, and others not at all.
                    for (row, (high, low)) in copies {
                        let start = self.start + windows.start(row);
                        for run in 0..windows.runs {
                            let from = &values[start + run * windows.run_step..][..windows.run];
                            let to = place(run)..place(run) + windows.run;
                            b.split(from, &mut high[to.clone()], &mut low[to]);
                        }
                    }
                }
                input => {
                    let reach = windows.reach(rows);
                    with_room(reach, 0, |split_high, split_low, _| {
                        input.split(b, self.start, &mut split_high[..reach], &mut split_low[..reach]);
                        for (row, (high, low)) in copies {
                            for run in 0..windows.runs {
                                let start = windows.start(row) + run * windows.run_step;
                                let (from, to) = (start..start + windows.run, place(run)..place(run) + windows.run);
                                high[to.clone()].copy_from_slice(&split_high[from.clone()]);
                                low[to].copy_from_slice(&split_low[from]);
                            }
                        }
                    });
                }
            }
            // What fills the last step of a run.
            for words in [&mut *high, &mut *low] {
                for window in words.chunks_exact_mut(size).take(rows) {
                    for run in 0..windows.runs {
                        let filled =
                            if joined && run + 1 < windows.runs { end(run) } else { end(run).next_multiple_of(DEPTH) };
                        window[end(run)..filled].fill(0);
                    }
                }
            }
            for (i, step) in steps.iter_mut().enumerate() {
                *step = 2 * i * DEPTH;
            }
            let even =
                Even { high, low, step: size, steps, groups: 1, line: 0, flats: rows, period: rows, width: rows };
            self.blocks(b, &even, out.reborrow());
        });
    }

    fn blocks<B: Blocks>(&self, b: B, windows: &Even<'_>, mut out: MatrixMut<'_>) {
        let cols = out.cols();
        // SAFETY: both are of one allocation.
        let low = unsafe { windows.low.as_ptr().byte_offset_from(windows.high.as_ptr()) }.unsigned_abs();
        let mut sums = Sums([0.0; BLOCK * BLOCK]);
        let mut weights = self.words.as_ptr();
        let per_tile = windows.steps.len() * 2 * DEPTH * SIDE;
        let once = windows.groups == 1 && windows.flats <= BLOCK;
        for col in (0..cols).step_by(BLOCK) {
            let wide = (cols - col).div_ceil(SIDE).min(2);
            let next = weights.wrapping_add(per_tile * wide);
            let mut passed = 0;
            for group in 0..windows.groups {
                for flat in (0..windows.flats).step_by(BLOCK) {
                    let tall = (windows.flats - flat).div_ceil(SIDE).min(2);
                    let ahead = if once {
                        Ahead::All(weights.wrapping_add(8 * 2 * DEPTH * SIDE * wide))
                    } else {
                        Ahead::Some(next.wrapping_add(passed))
                    };
                    passed += windows.steps.len() * 8 * DEPTH;
                    let block = Block {
                        // SAFETY: one of the windows, which are inside.
                        high: unsafe { windows.high.as_ptr().add(group * windows.line + flat * windows.step) },
                        low,
                        row: 2 * windows.step,
                        steps: windows.steps,
                        weights,
                        tiles: (tall, wide),
                        ahead,
                    };
                    // SAFETY: the room reaches to the end of the last step of the last window of a whole tile; the weights
                    // are those of the columns, by the assertion.
                    unsafe { b.block(block, &mut sums) };
                    let flats = flat..windows.flats.min(flat + tall * SIDE);
                    self.rows(b, windows, group, flats, col, &sums, out.reborrow());
                }
            }
            // SAFETY: at most to the end of the weights, by the assertion.
            weights = unsafe { weights.add(per_tile * wide) };
        }
    }

    /// Writes the sums of those windows that are rows of the result, line by line.
    #[expect(clippy::too_many_arguments, reason = "a step of `blocks`")]
    fn rows<B: Blocks>(
        &self,
        b: B,
        windows: &Even<'_>,
        group: usize,
        flats: Range<usize>,
        col: usize,
        sums: &Sums,
        mut out: MatrixMut<'_>,
    ) {
        let mut from = flats.start;
        let (mut line, mut x) = (group + from / windows.period, from % windows.period);
        while from < flats.end {
            if x < windows.width {
                let row = line * windows.width + x;
                let count = (windows.width - x).min(flats.end - from).min(self.rows - row);
                let (_, place) = out.reborrow().split_rows(row);
                let (_, place) = place.split_rows(count).0.split_cols(col);
                b.complete(&self.epilogue.at(row, col), sums, from - flats.start, place.split_cols(BLOCK).0);
            }
            (from, line, x) = (from + windows.period - x, line + 1, 0);
        }
    }
}

/// Windows at even distances, split.
struct Even<'a> {
    high: &'a [u16],
    low: &'a [u16],
    /// From window to window.
    step: usize,
    /// As in [`Block`].
    steps: &'a [usize],
    /// Sequences of windows, one or one a line, each `line` values after the one before.
    groups: usize,
    line: usize,
    /// Windows of a group, of each `period` of which the first `width` are rows of the result.
    flats: usize,
    period: usize,
    width: usize,
}

/// Calls `f` with room for `len` high parts, as many low ones, and `steps` steps.
fn with_room(len: usize, steps: usize, f: impl FnOnce(&mut [u16], &mut [u16], &mut [usize])) {
    // Vectors of each start at a line.
    let len = len.next_multiple_of(2 * DEPTH);
    let of_steps = (steps + 1) * size_of::<usize>() / size_of::<f32>();
    with_scratch(len + of_steps, |scratch| {
        let (words, room) = scratch.split_at_mut(len);
        // SAFETY: any bits are numbers of each of the types.
        let (words, room) = unsafe { (words.align_to_mut::<u16>().1, room.align_to_mut::<usize>().1) };
        let (high, low) = words.split_at_mut(len);
        f(high, low, &mut room[..steps]);
    });
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::super::epilogue::complete;
    use super::super::portable::Portable;
    use super::*;
    use crate::Activation;

    /// What tiles do, value by value: for processors without them, and for Miri.
    #[derive(Clone, Copy)]
    struct Emulated;

    impl Blocks for Emulated {
        fn split(self, from: &[f32], highs: &mut [u16], lows: &mut [u16]) {
            assert_eq!((from.len(), from.len()), (highs.len(), lows.len()));
            for (value, (h, l)) in from.iter().zip(highs.iter_mut().zip(lows)) {
                (*h, *l) = (high(*value), low(*value));
            }
        }

        unsafe fn block(self, block: Block<'_>, sums: &mut Sums) {
            let (tall, wide) = block.tiles;
            let part = |word: u16| bf16::from_bits(word).to_f32();
            for (r, c) in (0..tall * SIDE).flat_map(|r| (0..wide * SIDE).map(move |c| (r, c))) {
                let mut sum = 0.0;
                for (i, step) in block.steps.iter().enumerate() {
                    for k in 0..DEPTH {
                        let weight = |of: usize| {
                            let tile = (2 * i + of) * wide + c / SIDE;
                            tile * SIDE * DEPTH + k / 2 * DEPTH + c % SIDE * 2 + k % 2
                        };
                        // SAFETY: the caller's promise: a value at each step of each row, its low part, and its weights.
                        let (a, b) = unsafe {
                            let at = block.high.byte_add(r * block.row + step).add(k);
                            let (low, high) = (block.weights.add(weight(0)), block.weights.add(weight(1)));
                            ((part(*at), part(*at.byte_add(block.low))), (part(*high), part(*low)))
                        };
                        sum += a.0 * b.1 + a.0 * b.0 + a.1 * b.0;
                    }
                }
                sums.0[r * BLOCK + c] = sum;
            }
        }

        fn complete(self, epilogue: &Epilogue<'_>, sums: &Sums, row: usize, out: MatrixMut<'_>) {
            complete(Portable::detect().unwrap(), epilogue, &sums.0[row * BLOCK..], BLOCK, out);
        }
    }

    fn random(rng: &mut Rng, len: usize) -> Vec<f32> {
        (0..len).map(|_| rng.f32() - 0.5).collect()
    }

    #[test]
    fn products_of_padded_images_are_those_of_the_definition() {
        let mut rng = Rng::with_seed(1);
        for round in 0..if cfg!(miri) { 6 } else { 150 } {
            let small = if cfg!(miri) { 2 } else { 1 };
            let (kh, kw, stride) = (rng.usize(1..4), rng.usize(1..4), rng.usize(1..3));
            let (h, w) = (rng.usize(3..24 / small), rng.usize(3..40 / small));
            let (groups, c, cols) = (rng.usize(1..3), rng.usize(1..70 / small), rng.usize(1..70 / small));
            let pads = [rng.usize(0..3), rng.usize(0..3), rng.usize(0..3)];
            let (pixel, group) = (groups * c, rng.usize(0..groups));
            let padded = w + pads[1] + pads[2];
            let (oh, ow) = ((h + 2 * pads[0] - kh) / stride + 1, (padded - kw) / stride + 1);
            let top = rng.usize(0..oh) * stride;
            let rows = (oh - top / stride) * ow;
            let image = random(&mut rng, h * w * pixel);
            let fill = if rng.bool() { random(&mut rng, c) } else { Vec::new() };
            let weight = random(&mut rng, kh * kw * c * cols);
            let bias = random(&mut rng, cols.next_multiple_of(SIDE));

            let value = |y: usize, x: usize, channel: usize| {
                let (y, x) = (y.checked_sub(pads[0]).filter(|y| *y < h), x.checked_sub(pads[1]).filter(|x| *x < w));
                match (y, x) {
                    (Some(y), Some(x)) => image[(y * w + x) * pixel + group * c + channel],
                    _ => fill.get(channel).copied().unwrap_or(0.0),
                }
            };
            let windows = Windows {
                width: ow,
                step_x: stride * c,
                step_y: stride * padded * c,
                runs: kh,
                run: kw * c,
                run_step: padded * c,
            };
            let weights = SplitWeights::pack(Layout::of(kh, kw * c, stride), cols, |k, col| weight[k * cols + col]);
            let epilogue = Epilogue {
                bias: &bias,
                slopes: &[],
                activation: Activation::Relu,
                residual: None,
                then: Activation::None,
            };
            // The same from memory, where the windows of the whole image lie.
            let copy: Vec<f32> = (0..h + 2 * pads[0])
                .flat_map(|y| (0..padded * c).map(move |i| (y, i)))
                .map(|(y, i)| value(y, i / c, i % c))
                .collect();
            let padding = Padded {
                image: &image,
                height: h,
                width: w,
                pixel,
                channels: (group * c, c),
                above: pads[0],
                before: pads[1],
                after: pads[2],
                fill: &fill,
                top,
            };
            let input = if round % 2 == 0 { Source::Padded(padding) } else { Source::Plain(&copy[top * padded * c..]) };
            let job = SplitProduct { input, windows, weights: &weights, col: 0, epilogue };
            let mut out = vec![f32::NAN; rows * cols];
            product(Emulated, &job, MatrixMut::new(&mut out, rows, cols, cols));
            for (i, got) in out.iter().enumerate() {
                let (y, x, col) = (top + i / cols / ow * stride, i / cols % ow * stride, i % cols);
                let taps = (0..kh * kw * c).map(|k| {
                    let (ky, kx, channel) = (k / (kw * c), k / c % kw, k % c);
                    f64::from(value(y + ky, x + kx, channel)) * f64::from(weight[k * cols + col])
                });
                let want = (taps.sum::<f64>() + f64::from(bias[col])).max(0.0);
                assert!((f64::from(*got) - want).abs() < 1e-4, "{got} {want} at {i} of {windows:?}, {cols} columns");
            }
        }
    }

    #[test]
    fn a_value_is_the_sum_of_its_parts_to_sixteen_bits() {
        let mut rng = Rng::with_seed(2);
        for _ in 0..1000 {
            let value = (rng.f32() - 0.5) * 10_f32.powi(rng.i32(-20..20));
            let sum = bf16::from_bits(high(value)).to_f64() + bf16::from_bits(low(value)).to_f64();
            assert!((sum - f64::from(value)).abs() <= f64::from(value.abs()) * 2_f64.powi(-17), "{value} {sum}");
        }
        assert!(bf16::from_bits(high(f32::NAN)).is_nan());
    }

    #[test]
    #[should_panic(expected = "weights of other windows")]
    fn weights_of_other_windows_are_refused() {
        let weights = SplitWeights::pack(Layout::of(1, 5, 1), 4, |_, _| 0.0);
        let windows = Windows { width: 1, step_x: 4, step_y: 0, runs: 1, run: 4, run_step: 0 };
        let epilogue = Epilogue {
            bias: &[0.0; 16],
            slopes: &[],
            activation: Activation::None,
            residual: None,
            then: Activation::None,
        };
        let job = SplitProduct { input: Source::Plain(&[0.0; 4]), windows, weights: &weights, col: 0, epilogue };
        product(Emulated, &job, MatrixMut::new(&mut [0.0; 4], 1, 4, 4));
    }
}
