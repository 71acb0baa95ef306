//! Rows of pixels summed and copied: vectors along the channels.

#![expect(unsafe_code, reason = "the innermost loops work on addresses that were checked before them")]

use super::simd::Simd;

/// Two rows of pixels to add.
#[derive(Clone, Copy)]
pub(crate) struct Sum<'a> {
    /// The values of each row, and the channels of its pixels.
    pub rows: [(&'a [f32], usize); 2],
    /// Channels of the result's pixels; what a row has fewer is zero.
    pub channels: usize,
    /// Whether what is negative becomes zero.
    pub relu: bool,
}

/// The sum of each pixel's channels into `out`.
#[inline(always)]
pub(super) fn sum<S: Simd>(s: S, job: &Sum<'_>, out: &mut [f32]) {
    let Sum { rows: [a, b], channels, relu } = *job;
    let pixels = out.len().checked_div(channels).unwrap_or(0);
    assert!(pixels * a.1 <= a.0.len() && pixels * b.1 <= b.0.len(), "a row of fewer pixels");
    let zero = s.splat(0.0);
    for pixel in 0..pixels {
        for first in (0..channels).step_by(S::WIDTH) {
            let lanes = S::WIDTH.min(channels - first);
            // SAFETY: both rows have the pixel by the assertion, and `lanes` channels from `first` on are inside of `out`.
            unsafe {
                let value = s.add(channels_of(s, a, pixel, first), channels_of(s, b, pixel, first));
                let value = if relu { s.greatest(value, zero) } else { value };
                let to = out.as_mut_ptr().add(pixel * channels + first);
                if lanes == S::WIDTH { s.store(to, value) } else { s.store_first(to, value, lanes) }
            }
        }
    }
}

/// Pixels to copy: `channels` values of every `stride`.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub values: &'a [f32],
    pub channels: usize,
    pub stride: usize,
}

/// Copies each pixel to every `step` values of `out`.
#[inline(always)]
pub(super) fn copy<S: Simd>(s: S, job: &Part<'_>, out: &mut [f32], step: usize) {
    let Part { values: from, channels, stride } = *job;
    if channels == 0 {
        return;
    }
    assert!(channels <= stride.min(step), "pixels that overlap");
    let pixels = |len: usize, step: usize| if len < channels { 0 } else { (len - channels) / step + 1 };
    for pixel in 0..pixels(from.len(), stride).min(pixels(out.len(), step)) {
        // SAFETY: both have `channels` values of the pixel.
        unsafe {
            let (from, to) = (from.as_ptr().add(pixel * stride), out.as_mut_ptr().add(pixel * step));
            for first in (0..channels).step_by(S::WIDTH) {
                let lanes = S::WIDTH.min(channels - first);
                if lanes == S::WIDTH {
                    s.store(to.add(first), s.load(from.add(first)));
                } else {
                    s.store_first(to.add(first), s.load_first(from.add(first), lanes), lanes);
                }
            }
        }
    }
}

/// A vector of a pixel's channels from `first` on, zeros behind the last.
///
/// # Safety
/// The row has the pixel.
#[inline(always)]
unsafe fn channels_of<S: Simd>(s: S, (values, channels): (&[f32], usize), pixel: usize, first: usize) -> S::V {
    let lanes = channels.saturating_sub(first);
    if lanes == 0 {
        return s.splat(0.0);
    }
    // SAFETY: `lanes` channels of the pixel are there from `first` on.
    unsafe {
        let from = values.as_ptr().add(pixel * channels + first);
        if lanes >= S::WIDTH { s.load(from) } else { s.load_first(from, lanes) }
    }
}
