//! Depthwise convolution.

use std::ops::Range;

use super::{ConvSpec, Extent, Job};
use crate::aligned::Aligned;
use crate::kernel::{self, Kernel, MatrixMut};
use crate::threads::{by_rows, parts};

/// The packed weights.
#[derive(Debug, Clone)]
pub(super) struct Depthwise {
    /// Taps times channels, padded to whole vectors.
    weights: Aligned,
}

impl Depthwise {
    /// Packs `[c, 1, kh, kw]`.
    pub fn pack(kernel: &Kernel, spec: ConvSpec, weight: &[f32]) -> Self {
        let (c, taps) = (spec.c_in, spec.kernel.0 * spec.kernel.1);
        let padded = c.next_multiple_of(kernel.width);
        let mut weights = Aligned::zeros(taps * padded);
        for (tap, row) in weights.chunks_exact_mut(padded).enumerate() {
            for (channel, value) in row.iter_mut().enumerate().take(c) {
                *value = weight[channel * taps + tap];
            }
        }
        Self { weights }
    }

    pub fn run(&self, job: &Job<'_>, out: MatrixMut<'_>) {
        let Extent { n, oh, ow, .. } = job.extent;
        let ConvSpec { c_in, kernel, .. } = *job.spec;
        // A product needs a load here; in a dense convolution a load serves many.
        let parts = parts(out.rows() * c_in * kernel.0 * kernel.1 * 4);
        by_rows(out, 0..n * oh, parts, &|line| line * ow, &|lines, out| self.lines(job, lines, out));
    }

    /// Some lines of the result, of one image after the other.
    pub fn lines(&self, job: &Job<'_>, lines: Range<usize>, mut out: MatrixMut<'_>) {
        let Extent { h, w, oh, ow, pad, .. } = job.extent;
        let ConvSpec { c_in, kernel, stride, .. } = *job.spec;
        let mut first = lines.start;
        while first < lines.end {
            let end = lines.end.min((first / oh + 1) * oh);
            let (part, rest) = out.split_rows((end - first) * ow);
            let of_image = kernel::Depthwise {
                input: job.image(first / oh),
                height: h,
                width: w,
                pixel: c_in,
                kernel,
                stride,
                pad: (pad[0], pad[2]),
                first_row: first % oh,
                out_width: ow,
                weights: &self.weights,
                epilogue: job.epilogue.at(first * ow, 0),
            };
            (job.kernel.depthwise)(&of_image, part);
            (out, first) = (rest, end);
        }
    }
}
