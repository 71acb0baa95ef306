//! AVX2. Its product of unsigned and signed bytes saturates at 16 bits, so it is used only where it cannot.

#![expect(unsafe_code, reason = "instructions that only some processors have")]

use std::arch::x86_64::{
    __m128i, __m256i, _MM_HINT_T0, _mm_add_epi32, _mm_cvtsi128_si32, _mm_prefetch, _mm_shuffle_epi32, _mm256_add_epi16,
    _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16,
    _mm256_extracti128_si256, _mm256_load_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_slli_epi16, _mm256_srli_epi16,
};

use super::{Kernel, portable};
use crate::line::Line;

/// How far before its use a line is asked for, in lines: the processor's own foresight ends with each page.
const AHEAD: usize = 64;

/// This version, where the processor has the instructions.
pub(super) fn kernel() -> Option<Kernel> {
    is_x86_feature_detected!("avx2").then_some(Kernel { name: "avx2", coarse, passing: portable::passing, fine })
}

fn coarse(rows: &[Line<u8>], probe: &[Line<i8>], dots: &mut [i32]) {
    // SAFETY: only `kernel` hands this function out, and only after it has found the instructions.
    unsafe { coarse_avx2(rows, probe, dots) }
}

fn fine(upper: &[Line<u8>], lower: &[Line<u8>], major: &[Line<i8>], minor: &[Line<i8>]) -> (i32, i32) {
    // SAFETY: as for `coarse`.
    unsafe { fine_avx2(upper, lower, major, minor) }
}

/// The two halves of a line.
#[inline]
#[target_feature(enable = "avx2")]
fn load<T>(line: &Line<T>) -> [__m256i; 2] {
    const { assert!(size_of::<Line<T>>() == 64 && align_of::<Line<T>>() == 64) };
    let halves: *const __m256i = std::ptr::from_ref(line).cast();
    // SAFETY: the reference is to 64 initialised bytes at a multiple of 64, by the assertion above, so both halves are
    // inside of it and at multiples of 32; every pattern of bits is a vector of integers.
    unsafe { [_mm256_load_si256(halves), _mm256_load_si256(halves.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum(lanes: __m256i) -> i32 {
    let four: __m128i = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}

#[target_feature(enable = "avx2")]
fn coarse_avx2(rows: &[Line<u8>], probe: &[Line<i8>], dots: &mut [i32]) {
    let lines = probe.len() / 2;
    assert_eq!(rows.len(), dots.len() * lines, "rows of another length than the probe");
    let (half, ones) = (_mm256_set1_epi8(0x0f), _mm256_set1_epi16(1));
    for (row, dot) in rows.chunks_exact(lines).zip(dots) {
        let mut total = _mm256_setzero_si256();
        for (line, pair) in row.iter().zip(probe.as_chunks::<2>().0) {
            let ahead = std::ptr::from_ref(line).wrapping_add(AHEAD);
            // Addresses that are not there are ignored.
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            let (bytes, low, high) = (load(line), load(&pair[0]), load(&pair[1]));
            let mut products = _mm256_setzero_si256();
            for i in 0..2 {
                let low_half = _mm256_and_si256(bytes[i], half);
                let high_half = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes[i]), half);
                // Each is a sum of two products of at most 15 * 127; four of them are 15 240, and 16 bits hold that.
                products = _mm256_add_epi16(products, _mm256_maddubs_epi16(low_half, low[i]));
                products = _mm256_add_epi16(products, _mm256_maddubs_epi16(high_half, high[i]));
            }
            total = _mm256_add_epi32(total, _mm256_madd_epi16(products, ones));
        }
        *dot = sum(total);
    }
}

#[target_feature(enable = "avx2")]
fn fine_avx2(upper: &[Line<u8>], lower: &[Line<u8>], major: &[Line<i8>], minor: &[Line<i8>]) -> (i32, i32) {
    let (low_half, high_half) = (_mm256_set1_epi8(0x0f), _mm256_set1_epi8(0xf0_u8.cast_signed()));
    let mut major_sum = _mm256_setzero_si256();
    let mut minor_sum = major_sum;
    let digits = major.as_chunks::<2>().0.iter().zip(minor.as_chunks::<2>().0);
    for ((up, low), (major, minor)) in upper.iter().zip(lower).zip(digits) {
        let (up, low) = (load(up), load(low));
        let major = [load(&major[0]), load(&major[1])];
        let minor = [load(&minor[0]), load(&minor[1])];
        for i in 0..2 {
            // Shifts go over pairs of bytes; masked as they are, no bit reaches the neighbour.
            let first = _mm256_or_si256(
                _mm256_slli_epi16::<4>(_mm256_and_si256(up[i], low_half)),
                _mm256_and_si256(low[i], low_half),
            );
            let second = _mm256_or_si256(
                _mm256_and_si256(up[i], high_half),
                _mm256_srli_epi16::<4>(_mm256_and_si256(low[i], high_half)),
            );
            for (bytes, half) in [(first, 0), (second, 1)] {
                major_sum = _mm256_add_epi32(major_sum, products(bytes, major[half][i]));
                minor_sum = _mm256_add_epi32(minor_sum, products(bytes, minor[half][i]));
            }
        }
    }
    (sum(major_sum), sum(minor_sum))
}

/// Products of whole bytes, summed to eight: widened first, because here two products can exceed 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn products(bytes: __m256i, digits: __m256i) -> __m256i {
    let low = _mm256_madd_epi16(
        _mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes)),
        _mm256_cvtepi8_epi16(_mm256_castsi256_si128(digits)),
    );
    let high = _mm256_madd_epi16(
        _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(bytes)),
        _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(digits)),
    );
    _mm256_add_epi32(low, high)
}
