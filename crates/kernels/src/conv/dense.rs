//! Convolution as a product of windows with the weights, without unfolding the windows.

use std::ops::Range;

use super::weights::Weights;
use super::{ConvSpec, Extent, Job};
use crate::kernel::{Kernel, MatrixMut, Padded, Source, Windows};
use crate::threads::{by_cols, by_rows, parts, with_scratch};

/// Values of the input that a product walks over for one panel of weights after the other: they stay in the cache.
const BAND: usize = 32 << 10;
/// As [`BAND`], where there are more weights than that: it pays to read them seldom, and the input stays in the second cache.
const WIDE_BAND: usize = 160 << 10;

/// Weights that each thread may read for its own rows.
const MOST_SHARED: usize = 64 << 10;

/// The packed weights of one group.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    weights: Weights,
    /// Channels of the input and of the result in this group.
    c_in: usize,
}

impl Dense {
    /// Packs `[c_out / groups, c_in / groups, kh, kw]`.
    pub fn pack(kernel: &Kernel, spec: ConvSpec, weight: &[f32]) -> Self {
        let ConvSpec { kernel: (kh, kw), groups, .. } = spec;
        let (c_in, c_out) = (spec.c_in / groups, spec.c_out / groups);
        let taps = kh * kw;
        let of = |k: usize, col: usize| weight[(col * c_in + k % c_in) * taps + k / c_in];
        let weights = Weights::pack(kernel, (kh, kw * c_in), spec.stride, c_out, of);
        Self { weights, c_in }
    }

    /// Computes the columns of group `group`.
    pub fn run(&self, job: &Job<'_>, group: usize, out: MatrixMut<'_>) {
        let Extent { n, w, oh, ow, pad, .. } = job.extent;
        let ConvSpec { kernel: (kh, kw), stride, groups, .. } = *job.spec;
        let (rows, cols) = (out.rows(), out.cols());
        let depth = kh * kw * self.c_in;
        let parts = parts(rows * depth * cols);
        let first_col = group * cols;
        let direct = groups == 1 && pad == [0; 4];
        if direct && (kh, kw, stride) == (1, 1, 1) {
            // Images follow each other: one long row of pixels.
            let units = rows;
            self.share(first_col, out, units, parts, &|unit| unit, &|pixels: Range<usize>, cols, out| {
                self.pixels(job, pixels, cols, out);
            });
        } else {
            let units = n * oh;
            self.share(first_col, out, units, parts, &|unit| unit * ow, &|lines: Range<usize>, cols, mut out| {
                // The lines of one image at a time, and no more of them than keep the input in the cache.
                let line = (w + pad[2] + pad[3]) * self.c_in;
                let at_once = if self.weights.on_tiles() { oh } else { (BAND / (line * stride).max(1)).max(1) };
                let mut first = lines.start;
                while first < lines.end {
                    let end = lines.end.min((first / oh + 1) * oh).min(first + at_once);
                    let (band, rest) = out.split_rows((end - first) * ow);
                    if direct {
                        self.lines_direct(job, first..end, cols, band);
                    } else {
                        self.lines_padded(job, group, first..end, cols, band);
                    }
                    (out, first) = (rest, end);
                }
            });
        }
    }

    /// Divides the work by rows, or by columns where there are too few rows; `f` gets units, the first column and the part.
    fn share(
        &self,
        first_col: usize,
        out: MatrixMut<'_>,
        units: usize,
        parts: usize,
        start: &(impl Fn(usize) -> usize + Sync),
        f: &(impl Fn(Range<usize>, (usize, usize), MatrixMut<'_>) + Sync),
    ) {
        if self.shares_columns(out.rows(), out.cols(), units, parts) {
            by_cols(out, 0, self.weights.panel(), parts, &|col, part| f(0..units, (first_col + col, col), part));
        } else {
            by_rows(out, 0..units, parts, start, &|units, part| f(units, (first_col, 0), part));
        }
    }

    /// Whether threads share the columns of a result of `rows` x `cols` rather than its rows, which are in `units`.
    pub fn shares_columns(&self, rows: usize, cols: usize, units: usize, parts: usize) -> bool {
        let panels = cols.div_ceil(self.weights.panel());
        // Parts of the rows read all weights each, parts of the columns the whole input.
        let heavy = self.len() > MOST_SHARED.max(rows * self.c_in) && panels >= parts;
        parts > 1 && (heavy || units < 4 * parts && units < panels)
    }

    /// Values of the weights.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// A 1 x 1 kernel over pixels that are not the job's input, all channels; the first of them is row `row` of the result.
    pub fn pixels_of(&self, job: &Job<'_>, pixels: &[f32], row: usize, out: MatrixMut<'_>) {
        let c = self.c_in;
        let windows = Windows { width: out.rows().max(1), step_x: c, step_y: 0, runs: 1, run: c, run_step: 0 };
        self.product(job, Source::Plain(pixels), windows, row, (0, 0), out);
    }

    /// The product for some windows, whose first is row `row` of the whole result; `cols` are the first column of the
    /// whole result and of the group.
    fn product(
        &self,
        job: &Job<'_>,
        input: Source<'_>,
        windows: Windows,
        row: usize,
        (col, of_group): (usize, usize),
        out: MatrixMut<'_>,
    ) {
        self.weights.product(job.kernel, input, windows, of_group, job.epilogue.at(row, col), out);
    }

    /// A 1 x 1 kernel at stride 1.
    fn pixels(&self, job: &Job<'_>, pixels: Range<usize>, cols: (usize, usize), mut out: MatrixMut<'_>) {
        let c = self.c_in;
        // Tiles make bands of their own.
        let most = if self.weights.on_tiles() {
            usize::MAX
        } else if self.weights.len() > BAND {
            WIDE_BAND
        } else {
            BAND
        };
        // Bands of like height, of whole tiles where tiles are highest.
        let bands = (pixels.len() * c).div_ceil(most).max(1);
        let at_once = pixels.len().div_ceil(bands).next_multiple_of(14);
        for first in pixels.clone().step_by(at_once) {
            let end = pixels.end.min(first + at_once);
            let (band, rest) = out.split_rows(end - first);
            let windows = Windows { width: end - first, step_x: c, step_y: 0, runs: 1, run: c, run_step: 0 };
            self.product(job, Source::Plain(&job.input[first * c..end * c]), windows, first, cols, band);
            out = rest;
        }
    }

    /// Lines of one image's result, read where the input lies: no padding.
    fn lines_direct(&self, job: &Job<'_>, lines: Range<usize>, cols: (usize, usize), out: MatrixMut<'_>) {
        let Extent { w, oh, ow, .. } = job.extent;
        let ConvSpec { kernel: (kh, kw), stride, c_in, .. } = *job.spec;
        let windows = Windows {
            width: ow,
            step_x: stride * c_in,
            step_y: stride * w * c_in,
            runs: kh,
            run: kw * c_in,
            run_step: w * c_in,
        };
        let image = &job.image(lines.start / oh)[lines.start % oh * windows.step_y..];
        self.product(job, Source::Plain(image), windows, lines.start * ow, cols, out);
    }

    /// Lines of one image's result, from a copy of the rows that they need with the padding around it.
    fn lines_padded(&self, job: &Job<'_>, group: usize, lines: Range<usize>, cols: (usize, usize), out: MatrixMut<'_>) {
        let Extent { h, w, oh, ow, pad, .. } = job.extent;
        let ConvSpec { kernel: (kh, kw), stride, c_in: pixel, .. } = *job.spec;
        let c = self.c_in;
        let width = w + pad[2] + pad[3];
        let (top, rows) = (lines.start % oh * stride, (lines.len() - 1) * stride + kh);
        let image = job.image(lines.start / oh);
        let fill = if job.fill.is_empty() { &[][..] } else { &job.fill[group * c..][..c] };
        let windows = Windows {
            width: ow,
            step_x: stride * c,
            step_y: stride * width * c,
            runs: kh,
            run: kw * c,
            run_step: width * c,
        };
        if self.weights.on_tiles() {
            let padded = Padded {
                image,
                height: h,
                width: w,
                pixel,
                channels: (group * c, c),
                above: pad[0],
                before: pad[2],
                after: pad[3],
                fill,
                top,
            };
            return self.product(job, Source::Padded(padded), windows, lines.start * ow, cols, out);
        }
        with_scratch(rows * width * c, |scratch| {
            for (y, to) in scratch.chunks_exact_mut(width * c).enumerate() {
                let Some(row) = (top + y).checked_sub(pad[0]).filter(|row| *row < h) else {
                    pad_pixels(to, fill);
                    continue;
                };
                let (before, inside) = to.split_at_mut(pad[2] * c);
                let (inside, after) = inside.split_at_mut(w * c);
                pad_pixels(before, fill);
                pad_pixels(after, fill);
                let from = &image[row * w * pixel..][..w * pixel];
                if c == pixel {
                    inside.copy_from_slice(from);
                } else {
                    for (to, from) in inside.chunks_exact_mut(c).zip(from.chunks_exact(pixel)) {
                        to.copy_from_slice(&from[group * c..][..c]);
                    }
                }
            }
            self.product(job, Source::Plain(scratch), windows, lines.start * ow, cols, out);
        });
    }
}

fn pad_pixels(pixels: &mut [f32], fill: &[f32]) {
    if fill.is_empty() {
        pixels.fill(0.0);
    } else {
        pixels.chunks_exact_mut(fill.len()).for_each(|pixel| pixel.copy_from_slice(fill));
    }
}
