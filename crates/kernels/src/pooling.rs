//! Maxima and means over windows.

use crate::error::{Result, shape_error};
use crate::instructions::Instructions;
use crate::kernel::Pooling;
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

    fn over(&self, xs: &Map, pool: fn(&Pooling<'_>, &mut [f32])) -> Result<Map> {
        let [n, h, w, c] = xs.shape();
        let (oh, ow) = (self.out(h)?, self.out(w)?);
        let mut out = Map::unwritten(xs.pool(), [n, oh, ow, c]);
        let values = xs.values();
        let Self { kernel, stride, padding, .. } = *self;
        lines(&mut out, kernel * kernel, |line, to| {
            let image = &values[line / oh * h * w * c..][..h * w * c];
            let rows = self.inside(line % oh, h);
            pool(&Pooling { image, width: w, channels: c, rows, kernel, stride, padding }, to);
        });
        Ok(out)
    }
}

/// The greatest value of each window, `[n, h, w, c] -> [n, oh, ow, c]`. NaN wins, so that a broken activation is seen.
///
/// # Errors
/// The windows do not fit, or kernels that this processor cannot run.
pub fn max_pool(xs: &Map, spec: PoolSpec) -> Result<Map> {
    spec.over(xs, Instructions::chosen()?.kernel()?.max_pool)
}

/// The mean of each window, `[n, h, w, c] -> [n, oh, ow, c]`.
///
/// # Errors
/// As [`max_pool`].
pub fn avg_pool(xs: &Map, spec: PoolSpec) -> Result<Map> {
    spec.over(xs, Instructions::chosen()?.kernel()?.avg_pool)
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

    #[test]
    fn every_set_of_instructions_pools_as_defined() {
        let mut rng = fastrand::Rng::with_seed(8);
        for _ in 0..60 {
            let (width, height, channels) = (rng.usize(1..9), rng.usize(1..5), rng.usize(1..40));
            let kernel = rng.usize(1..4);
            let (stride, padding) = (rng.usize(1..=kernel), rng.usize(0..kernel));
            let mut image: Vec<f32> = (0..width * height * channels).map(|_| rng.f32() - 0.5).collect();
            let broken = rng.usize(..image.len());
            image[broken] = if rng.bool() { f32::NAN } else { 0.0 };
            let rows = 0..rng.usize(1..=height);
            let windows = (width + padding).div_ceil(stride);
            let job = Pooling { image: &image, width, channels, rows: rows.clone(), kernel, stride, padding };
            for instructions in Instructions::ALL.into_iter().filter(|one| one.supported()) {
                let functions = instructions.kernel().unwrap();
                let (mut max, mut mean) = (vec![0.0; windows * channels], vec![0.0; windows * channels]);
                (functions.max_pool)(&job, &mut max);
                (functions.avg_pool)(&job, &mut mean);
                for (i, (max, mean)) in max.iter().zip(&mean).enumerate() {
                    let start = i / channels * stride;
                    let columns = start.saturating_sub(padding)..(start + kernel - padding).min(width);
                    let seen = rows.clone().flat_map(|y| columns.clone().map(move |x| (y * width + x) * channels));
                    let seen: Vec<f32> = seen.map(|pixel| image[pixel + i % channels]).collect();
                    let greatest =
                        seen.iter().fold(f32::NEG_INFINITY, |a, b| if b.is_nan() || *b > a { *b } else { a });
                    let sum: f32 = seen.iter().sum();
                    assert!(*max == greatest || max.is_nan() && sum.is_nan(), "{max} of {seen:?}");
                    let want = sum / seen.len() as f32;
                    assert!((mean - want).abs() < 1e-6 || mean.is_nan() && want.is_nan(), "{mean} {want}");
                }
            }
        }
    }
}
