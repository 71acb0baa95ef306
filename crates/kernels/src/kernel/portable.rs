//! Arrays of four, shaped so that the compiler vectorises them.

#![expect(unsafe_code, reason = "the trait hands over addresses")]

use super::epilogue::{Epilogue, finish};
use super::matrix::MatrixMut;
use super::simd::Simd;

/// Any processor.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Portable {
    /// As the other versions; there is nothing to detect.
    #[expect(clippy::unnecessary_wraps, reason = "the other versions are not always there")]
    pub const fn detect() -> Option<Self> {
        Some(Self)
    }
}

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; 4] {
    [f(0), f(1), f(2), f(3)]
}

impl Simd for Portable {
    type V = [f32; 4];
    const WIDTH: usize = 4;
    const ROWS: [usize; 4] = [4, 4, 0, 0];

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn greatest(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if a[i] >= b[i] || a[i].is_nan() { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn max(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    /// Two roundings: one would be a call where the instruction is not certain to be there.
    #[inline(always)]
    fn fma(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] * b[i] + c[i])
    }

    /// By adding and taking away 1.5 * 2^23, where floats are whole; values are of -2^22..=2^22.
    #[inline(always)]
    fn round(self, a: [f32; 4]) -> [f32; 4] {
        const WHOLE: f32 = 12_582_912.0;
        each(|i| (a[i] + WHOLE) - WHOLE)
    }

    #[inline(always)]
    fn exp2(self, a: [f32; 4]) -> [f32; 4] {
        each(|i| f32::from_bits(((a[i] as i32 + 127) << 23).cast_unsigned()))
    }

    #[inline(never)]
    fn finish(self, epilogue: &Epilogue<'_>, out: MatrixMut<'_>) {
        finish(self, epilogue, out);
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 4] {
        // SAFETY: the caller's promise; an array is aligned as its elements.
        unsafe { from.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: [f32; 4]) {
        // SAFETY: the caller's promise; an array is aligned as its elements.
        unsafe { to.cast::<[f32; 4]>().write(value) }
    }

    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> [f32; 4] {
        let mut value = [0.0; 4];
        for (i, lane) in value.iter_mut().enumerate().take(count) {
            // SAFETY: `i` is below `count`.
            *lane = unsafe { from.add(i).read() };
        }
        value
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, value: [f32; 4], count: usize) {
        for (i, lane) in value.iter().enumerate().take(count) {
            // SAFETY: `i` is below `count`.
            unsafe { to.add(i).write(*lane) }
        }
    }
}
