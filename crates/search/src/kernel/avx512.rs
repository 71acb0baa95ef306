//! AVX-512 with VNNI: one instruction multiplies 64 unsigned by 64 signed bytes and sums by fours, without saturation.

#![expect(unsafe_code, reason = "instructions that only some processors have")]

use std::arch::x86_64::{
    __m512i, _CMP_GE_OQ, _MM_HINT_T0, _mm_add_epi32, _mm_prefetch, _mm_storeu_si128, _mm256_add_epi32,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_ps, _mm256_loadu_si256, _mm512_add_epi32,
    _mm512_and_si512, _mm512_castsi512_si256, _mm512_cmp_pd_mask, _mm512_cvtepi32_pd, _mm512_cvtps_pd,
    _mm512_dpbusd_epi32, _mm512_extracti64x4_epi64, _mm512_fmadd_pd, _mm512_load_si512, _mm512_mul_pd, _mm512_or_si512,
    _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_set1_pd, _mm512_setzero_si512, _mm512_slli_epi16,
    _mm512_srai_epi32, _mm512_srli_epi16, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};

use super::{Kernel, Known};
use crate::line::Line;
use crate::quantize::CoarseBound;

/// How far before its use a line is asked for, in lines. The processor's own foresight ends with each page; measured,
/// a page ahead reads 10 % faster.
const AHEAD: usize = 64;

/// This version, where the processor has the instructions.
pub(super) fn kernel() -> Option<Kernel> {
    let able = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni");
    able.then_some(Kernel { name: "avx512-vnni", coarse, passing, fine })
}

fn coarse(rows: &[Line<u8>], probe: &[Line<i8>], dots: &mut [i32]) {
    // SAFETY: only `kernel` hands this function out, and only after it has found the instructions.
    unsafe { coarse_vnni(rows, probe, dots) }
}

fn passing(rows: &Known<'_>, bound: &CoarseBound, floor: f64) -> u64 {
    // SAFETY: as for `coarse`.
    unsafe { passing_avx512(rows, bound, floor) }
}

fn fine(upper: &[Line<u8>], lower: &[Line<u8>], major: &[Line<i8>], minor: &[Line<i8>]) -> (i32, i32) {
    // SAFETY: as for `coarse`.
    unsafe { fine_vnni(upper, lower, major, minor) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load<T>(line: &Line<T>) -> __m512i {
    const { assert!(size_of::<Line<T>>() == 64 && align_of::<Line<T>>() == 64) };
    // SAFETY: the reference is to 64 initialised bytes at a multiple of 64, by the assertion above; every pattern of
    // bits is a vector of integers.
    unsafe { _mm512_load_si512(std::ptr::from_ref(line).cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn coarse_vnni(rows: &[Line<u8>], probe: &[Line<i8>], dots: &mut [i32]) {
    let lines = probe.len() / 2;
    assert_eq!(rows.len(), dots.len() * lines, "rows of another length than the probe");
    let (fours, rest) = dots.as_chunks_mut::<4>();
    let (of_fours, of_rest) = rows.split_at(fours.len() * 4 * lines);
    for (four, dots) in of_fours.chunks_exact(4 * lines).zip(fours) {
        // One row after the other, because memory is fastest in order.
        // No iterator with a closure: it would not be compiled with these instructions.
        let (first, second) = four.split_at(2 * lines);
        let (first, second) = (first.split_at(lines), second.split_at(lines));
        let (a, b) = (coarse_row(first.0, probe), coarse_row(first.1, probe));
        let (c, d) = (coarse_row(second.0, probe), coarse_row(second.1, probe));
        *dots = sum_each([a, b, c, d]);
    }
    for (row, dot) in of_rest.chunks_exact(lines).zip(rest) {
        *dot = _mm512_reduce_add_epi32(coarse_row(row, probe));
    }
}

/// The sum of one row, still spread over the lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn coarse_row(row: &[Line<u8>], probe: &[Line<i8>]) -> __m512i {
    let (low_half, high_half) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0xf0_u8.cast_signed()));
    let (mut low, mut high) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for (line, digits) in row.iter().zip(probe.as_chunks::<2>().0) {
        let ahead = std::ptr::from_ref(line).wrapping_add(AHEAD);
        // Addresses that are not there are ignored.
        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
        let bytes = load(line);
        low = _mm512_dpbusd_epi32(low, _mm512_and_si512(bytes, low_half), load(&digits[0]));
        // Sixteen times too much, so no shift is needed here but one at the end.
        high = _mm512_dpbusd_epi32(high, _mm512_and_si512(bytes, high_half), load(&digits[1]));
    }
    _mm512_add_epi32(low, _mm512_srai_epi32::<4>(high))
}

/// The sum over the lanes of each of four vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_each([a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64::<1>(abcd));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
    let mut each = [0; 4];
    // SAFETY: the array has the 16 bytes that are stored, and this store needs no alignment.
    unsafe { _mm_storeu_si128(each.as_mut_ptr().cast(), sums) };
    each
}

#[target_feature(enable = "avx512f")]
fn passing_avx512(rows: &Known<'_>, bound: &CoarseBound, floor: f64) -> u64 {
    let count = rows.rows();
    let (middle, unit) = (_mm512_set1_pd(bound.middle_sum), _mm512_set1_pd(bound.unit));
    let (sixteen, error) = (_mm512_set1_pd(16.0), _mm512_set1_pd(bound.error));
    let floor_each = _mm512_set1_pd(floor);
    let whole = count / 8 * 8;
    let mut passing = 0;
    for i in (0..whole).step_by(8) {
        let (dots, scales) = (&rows.dots[i..i + 8], &rows.scales[i..i + 8]);
        let (reaches, residuals) = (&rows.reaches[i..i + 8], &rows.residuals[i..i + 8]);
        // SAFETY: each slice has the 32 bytes that are loaded, and these loads need no alignment.
        let (dots, scales, reaches, residuals) = unsafe {
            (
                _mm256_loadu_si256(dots.as_ptr().cast()),
                _mm256_loadu_ps(scales.as_ptr()),
                _mm256_loadu_ps(reaches.as_ptr()),
                _mm256_loadu_ps(residuals.as_ptr()),
            )
        };
        let dot = _mm512_fmadd_pd(_mm512_cvtepi32_pd(dots), sixteen, middle);
        let scaled = _mm512_mul_pd(_mm512_cvtps_pd(scales), unit);
        let left_out = _mm512_fmadd_pd(_mm512_cvtps_pd(reaches), error, _mm512_cvtps_pd(residuals));
        let most = _mm512_fmadd_pd(scaled, dot, left_out);
        passing |= u64::from(_mm512_cmp_pd_mask::<_CMP_GE_OQ>(most, floor_each)) << i;
    }
    for i in whole..count {
        let high = bound.high(rows.dots[i], rows.scales[i], rows.reaches[i], rows.residuals[i]);
        passing |= u64::from(high >= floor) << i;
    }
    passing
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn fine_vnni(upper: &[Line<u8>], lower: &[Line<u8>], major: &[Line<i8>], minor: &[Line<i8>]) -> (i32, i32) {
    let (low_half, high_half) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0xf0_u8.cast_signed()));
    let mut sums = [_mm512_setzero_si512(); 4];
    let digits = major.as_chunks::<2>().0.iter().zip(minor.as_chunks::<2>().0);
    for ((up, low), (major, minor)) in upper.iter().zip(lower).zip(digits) {
        let (up, low) = (load(up), load(low));
        // Shifts go over pairs of bytes; masked as they are, no bit reaches the neighbour.
        let first =
            _mm512_or_si512(_mm512_slli_epi16::<4>(_mm512_and_si512(up, low_half)), _mm512_and_si512(low, low_half));
        let second =
            _mm512_or_si512(_mm512_and_si512(up, high_half), _mm512_srli_epi16::<4>(_mm512_and_si512(low, high_half)));
        sums[0] = _mm512_dpbusd_epi32(sums[0], first, load(&major[0]));
        sums[1] = _mm512_dpbusd_epi32(sums[1], second, load(&major[1]));
        sums[2] = _mm512_dpbusd_epi32(sums[2], first, load(&minor[0]));
        sums[3] = _mm512_dpbusd_epi32(sums[3], second, load(&minor[1]));
    }
    let sum = |a, b| _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
    (sum(sums[0], sums[1]), sum(sums[2], sums[3]))
}
