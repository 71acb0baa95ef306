//! Maxima and means over windows.

use crate::error::{Result, shape_error};
use crate::map::Map;
use crate::threads::lines;

/// The windows of a pooling; one that reaches over the edge counts what lies inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSpec {
    /// Side of the square windows.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Rows and columns that the first windows start outside, and the last may end outside; less than `kernel`.
    pub padding: usize,
    /// Whether an incomplete window at the end is kept: PyTorch's `ceil_mode`.
    pub ceil: bool,
}

impl PoolSpec {
    /// Complete windows alone.
    pub const fn new(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: 0, ceil: false }
    }

    fn out(&self, extent: usize) -> Result<usize> {
        let Self { kernel, stride, padding, ceil } = *self;
        let fits = stride > 0 && padding < kernel && (!ceil || stride <= kernel);
        let steps = (extent + 2 * padding).checked_sub(kernel).filter(|_| fits && extent > 0);
        let steps =
            steps.ok_or_else(|| shape_error!("pooling of {kernel} with stride {stride} does not fit {extent}"))?;
        Ok(if ceil { steps.div_ceil(stride) } else { steps / stride } + 1)
    }

    /// What of window `i` lies inside.
    fn inside(&self, i: usize, extent: usize) -> std::ops::Range<usize> {
        let start = i * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(extent)
    }

    /// `fold` takes each pixel of a window into the result, `first` prepares it, `last` gets the number of pixels.
    fn over(
        &self,
        xs: &Map,
        first: f32,
        fold: impl Fn(&mut f32, f32) + Sync,
        last: impl Fn(&mut [f32], usize) + Sync,
    ) -> Result<Map> {
        let [n, h, w, c] = xs.shape();
        let (oh, ow) = (self.out(h)?, self.out(w)?);
        let mut out = Map::unwritten(xs.pool(), [n, oh, ow, c]);
        let values = xs.values();
        lines(&mut out, self.kernel * self.kernel, |line, to| {
            let image = &values[line / oh * h * w * c..][..h * w * c];
            let rows = self.inside(line % oh, h);
            for (x, to) in to.chunks_exact_mut(c).enumerate() {
                let columns = self.inside(x, w);
                to.fill(first);
                for y in rows.clone() {
                    for pixel in image[(y * w + columns.start) * c..(y * w + columns.end) * c].chunks_exact(c) {
                        to.iter_mut().zip(pixel).for_each(|(o, v)| fold(o, *v));
                    }
                }
                last(to, rows.len() * columns.len());
            }
        });
        Ok(out)
    }
}

/// The greatest value of each window, `[n, h, w, c] -> [n, oh, ow, c]`. NaN wins, so that a broken activation is seen.
///
/// # Errors
/// The windows do not fit.
pub fn max_pool(xs: &Map, spec: PoolSpec) -> Result<Map> {
    let greater = |o: &mut f32, v: f32| *o = if *o >= v || o.is_nan() { *o } else { v };
    spec.over(xs, f32::NEG_INFINITY, greater, |_, _| ())
}

/// The mean of each window, `[n, h, w, c] -> [n, oh, ow, c]`.
///
/// # Errors
/// The windows do not fit.
pub fn avg_pool(xs: &Map, spec: PoolSpec) -> Result<Map> {
    let divide = |to: &mut [f32], count: usize| to.iter_mut().for_each(|o| *o /= count as f32);
    spec.over(xs, 0.0, |o, v| *o += v, divide)
}

/// The mean of each channel, `[n, h, w, c] -> [n, 1, 1, c]`.
///
/// # Errors
/// The images have no pixels.
pub fn mean(xs: &Map) -> Result<Map> {
    let [n, h, w, c] = xs.shape();
    if h * w == 0 {
        return Err(shape_error!("the mean of {h} x {w} pixels"));
    }
    let mut out = Map::unwritten(xs.pool(), [n, 1, 1, c]);
    let values = xs.values();
    lines(&mut out, h * w, |i, to| {
        to.fill(0.0);
        for pixel in values[i * h * w * c..][..h * w * c].chunks_exact(c.max(1)) {
            to.iter_mut().zip(pixel).for_each(|(o, v)| *o += v);
        }
        to.iter_mut().for_each(|o| *o /= (h * w) as f32);
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    fn map(values: &[f32], shape: [usize; 4]) -> Map {
        Map::from_nhwc(&Pool::default(), values, shape).unwrap()
    }

    #[test]
    fn windows_at_the_edge_count_what_is_inside() {
        let xs: Vec<f32> = (0..15).map(|v| -1.0 - v as f32).collect();
        let xs = map(&xs, [1, 3, 5, 1]);
        let ceil = PoolSpec { ceil: true, ..PoolSpec::new(2, 2) };
        assert_eq!(max_pool(&xs, ceil).unwrap().values(), [-1.0, -3.0, -5.0, -11.0, -13.0, -15.0]);
        assert_eq!(max_pool(&xs, PoolSpec::new(2, 2)).unwrap().values(), [-1.0, -3.0]);
        assert_eq!(avg_pool(&xs, ceil).unwrap().values(), [-4.0, -6.0, -7.5, -11.5, -13.5, -15.0]);
        let padded = PoolSpec { padding: 1, ..PoolSpec::new(3, 1) };
        assert_eq!(max_pool(&xs, padded).unwrap().shape(), [1, 3, 5, 1]);
        assert_eq!(max_pool(&xs, padded).unwrap().values()[..5], [-1.0, -1.0, -2.0, -3.0, -4.0]);
        assert!(max_pool(&xs, PoolSpec::new(4, 1)).is_err() && max_pool(&xs, PoolSpec::new(2, 0)).is_err());
    }

    #[test]
    fn channels_are_apart_and_nan_is_kept() {
        let xs = map(&[1.0, f32::NAN, 3.0, 5.0, 2.0, 7.0, 0.0, 1.0], [2, 1, 2, 2]);
        let max = max_pool(&xs, PoolSpec { ceil: true, ..PoolSpec::new(1, 1) }).unwrap();
        assert_eq!(max.values()[2..], xs.values()[2..]);
        let means = mean(&xs).unwrap();
        assert_eq!((means.shape(), means.values()[0], &means.values()[2..]), ([2, 1, 1, 2], 2.0, &[1.0, 4.0][..]));
        assert!(means.values()[1].is_nan());
        let wide = map(&[f32::NAN, 1.0, 2.0, f32::NAN], [1, 2, 2, 1]);
        assert!(max_pool(&wide, PoolSpec::new(2, 1)).unwrap().values()[0].is_nan());
    }
}
