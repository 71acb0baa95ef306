//! A depthwise and the pointwise convolution behind it in one: what is between them never leaves the cache.

use super::dense::Dense;
use super::depthwise::Depthwise;
use super::{Conv2d, ConvSpec, Job, Padding, Plan};
use crate::error::Result;
use crate::kernel::MatrixMut;
use crate::map::Map;
use crate::threads::{by_rows, parts, with_scratch};

/// Values between the two that are worked on at once: they stay in the first cache, or in the second where there are weights
/// that it pays to read seldom.
const BAND: (usize, usize) = (8 << 10, 96 << 10);
/// Weights that a band may read again.
const FEW_WEIGHTS: usize = 32 << 10;

/// `pointwise(depthwise(x))`, or with `shortcut` added as [`Conv2d::forward_add`] does: `[n, h, w, c_in] -> [n, oh, ow, c_out]`.
///
/// Any two convolutions may be given; those that are not depthwise and pointwise are computed one after the other.
///
/// # Errors
/// As [`Conv2d::forward`] and [`Conv2d::forward_add`].
pub fn separable(depthwise: &Conv2d, pointwise: &Conv2d, xs: &Map, shortcut: Option<&Map>) -> Result<Map> {
    let one_after_the_other = |xs: &Map| {
        let between = depthwise.forward(xs)?;
        pointwise.compute(&between, shortcut)
    };
    let (Plan::Depthwise(first), Plan::Dense(groups), [second]) =
        (&depthwise.plan, &pointwise.plan, pointwise.groups())
    else {
        return one_after_the_other(xs);
    };
    debug_assert_eq!(groups.len(), 1, "a pointwise convolution has one group");
    let extent = depthwise.extent(xs.shape())?;
    let (n, oh, ow) = (extent.n, extent.oh, extent.ow);
    let rows = n * oh * ow;
    let work =
        rows * depthwise.spec.c_in * (4 * depthwise.spec.kernel.0 * depthwise.spec.kernel.1 + pointwise.spec.c_out);
    let parts = parts(work);
    // Few lines and many weights: threads share columns.
    if second.shares_columns(rows, pointwise.spec.c_out, n * oh, parts) {
        return one_after_the_other(xs);
    }
    pointwise.onto([n, oh, ow, depthwise.spec.c_out], xs.pool(), shortcut, |job, out| {
        let input =
            Job { spec: &depthwise.spec, extent, input: xs.values(), fill: &[], epilogue: depthwise.epilogue(), ..job };
        by_rows(out, 0..n * oh, parts, &|line| line * ow, &|lines, out| bands(&input, first, &job, second, lines, out));
    })
}

/// Some lines of the result.
fn bands(
    input: &Job<'_>,
    depthwise: &Depthwise,
    job: &Job<'_>,
    pointwise: &Dense,
    lines: std::ops::Range<usize>,
    mut out: MatrixMut<'_>,
) {
    let (c, ow) = (input.spec.c_out, input.extent.ow);
    let most = if pointwise.len() > FEW_WEIGHTS { BAND.1 } else { BAND.0 };
    // Bands of like height.
    let count = (lines.len() * ow * c).div_ceil(most).max(1);
    let at_once = lines.len().div_ceil(count);
    for first in lines.clone().step_by(at_once) {
        let band = first..lines.end.min(first + at_once);
        let rows = band.len() * ow;
        let (part, rest) = out.split_rows(rows);
        with_scratch(rows * c, |between| {
            depthwise.lines(input, band, MatrixMut::new(between, rows, c, c));
            pointwise.pixels_of(job, between, first * ow, part);
        });
        out = rest;
    }
}

impl Conv2d {
    /// The weights of a 1 x 1 kernel at stride 1 without padding and groups, alone in the slice; none of others.
    fn groups(&self) -> &[Dense] {
        let ConvSpec { kernel, stride, padding, groups, .. } = self.spec;
        let plain = padding == Padding::all(0) || padding == Padding::Same;
        match &self.plan {
            Plan::Dense(dense) if (kernel, stride, groups) == ((1, 1), 1, 1) && plain => dense,
            _ => &[],
        }
    }
}
