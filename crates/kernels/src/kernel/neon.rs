//! NEON: four lanes, thirty-two registers.

#![expect(unsafe_code, reason = "instructions that only some processors have")]

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vaddq_s32, vcvtnq_s32_f32, vdivq_f32, vdupq_n_f32, vdupq_n_s32, vfmaq_f32, vld1q_f32,
    vmaxq_f32, vminq_f32, vmulq_f32, vreinterpretq_f32_s32, vrndnq_f32, vshlq_n_s32, vst1q_f32, vsubq_f32,
};

use super::epilogue::{Epilogue, finish};
use super::matrix::MatrixMut;
use super::simd::{Simd, operations};

/// Proof that the processor has NEON.
#[derive(Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    /// Where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

#[target_feature(enable = "neon")]
fn finish_with(s: Neon, epilogue: &Epilogue<'_>, out: MatrixMut<'_>) {
    finish(s, epilogue, out);
}

impl Simd for Neon {
    type V = float32x4_t;
    const WIDTH: usize = 4;
    const ROWS: [usize; 4] = [6, 6, 6, 6];

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        // SAFETY: `self` is proof that the processor has the instruction.
        unsafe { vdupq_n_f32(value) }
    }

    operations! {
        add(a, b) = vaddq_f32(a, b);
        sub(a, b) = vsubq_f32(a, b);
        mul(a, b) = vmulq_f32(a, b);
        div(a, b) = vdivq_f32(a, b);
        greatest(a, b) = vmaxq_f32(a, b);
        max(a, b) = vmaxq_f32(a, b);
        min(a, b) = vminq_f32(a, b);
        fma(a, b, c) = vfmaq_f32(c, a, b);
        round(a) = vrndnq_f32(a);
        exp2(a) = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtnq_s32_f32(a), vdupq_n_s32(127))));
    }

    fn finish(self, epilogue: &Epilogue<'_>, out: MatrixMut<'_>) {
        // SAFETY: `self` is proof that the processor has the instructions.
        unsafe { finish_with(self, epilogue, out) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: float32x4_t) {
        // SAFETY: the caller's promise.
        unsafe { vst1q_f32(to, value) }
    }

    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> float32x4_t {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: `i` is below `count`.
            *lane = unsafe { from.add(i).read() };
        }
        // SAFETY: the array has four values.
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, value: float32x4_t, count: usize) {
        let mut lanes = [0.0; 4];
        // SAFETY: the array has four values.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), value) };
        for (i, lane) in lanes.iter().enumerate().take(count) {
            // SAFETY: `i` is below `count`.
            unsafe { to.add(i).write(*lane) }
        }
    }
}
