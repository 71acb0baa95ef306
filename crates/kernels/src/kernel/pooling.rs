//! Maxima and means over windows: vectors along the channels.

#![expect(unsafe_code, reason = "the innermost loops work on addresses that were checked before them")]

use std::ops::Range;

use super::simd::Simd;

/// A row of windows over one image.
#[derive(Clone)]
pub(crate) struct Pooling<'a> {
    /// The image: rows of `width` pixels, one behind the other.
    pub image: &'a [f32],
    pub width: usize,
    pub channels: usize,
    /// Rows of the image that the windows see.
    pub rows: Range<usize>,
    /// Windows start `stride` pixels apart, the first of them `padding` pixels before the image.
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Pooling<'_> {
    /// Columns that window `i` sees.
    fn columns(&self, i: usize) -> Range<usize> {
        let start = i * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(self.width)
    }
}

/// One pixel for each window into `out`: the greatest value of each channel, where one is NaN that, or the mean if `MEAN`.
#[inline(always)]
pub(super) fn pool<S: Simd, const MEAN: bool>(s: S, job: &Pooling<'_>, out: &mut [f32]) {
    let c = job.channels;
    assert!(job.padding < job.kernel && job.rows.end * job.width * c <= job.image.len(), "windows beyond the image");
    if c == 0 || job.rows.is_empty() {
        return;
    }
    for (i, out) in out.chunks_exact_mut(c).enumerate() {
        let columns = job.columns(i);
        assert!(!columns.is_empty(), "a window of nothing");
        let count = s.splat((job.rows.len() * columns.len()) as f32);
        let mut first = 0;
        while first < c {
            let lanes = S::WIDTH.min(c - first);
            let mut sum = s.splat(if MEAN { 0.0 } else { f32::NEG_INFINITY });
            for y in job.rows.clone() {
                for x in columns.clone() {
                    // SAFETY: the pixel is inside of the image, `lanes` channels from `first` on are its own.
                    let value = unsafe {
                        let from = job.image.as_ptr().add((y * job.width + x) * c + first);
                        if lanes == S::WIDTH { s.load(from) } else { s.load_first(from, lanes) }
                    };
                    sum = if MEAN { s.add(sum, value) } else { s.greatest(sum, value) };
                }
            }
            let value = if MEAN { s.div(sum, count) } else { sum };
            // SAFETY: `lanes` channels from `first` on are inside of the pixel.
            unsafe {
                let to = out.as_mut_ptr().add(first);
                if lanes == S::WIDTH { s.store(to, value) } else { s.store_first(to, value, lanes) }
            }
            first += lanes;
        }
    }
}
