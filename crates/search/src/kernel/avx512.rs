//! AVX-512 with VNNI: one instruction multiplies 64 unsigned by 64 signed bytes and sums by fours, without saturation.

#![expect(unsafe_code, reason = "instructions that only some processors have")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_or_si512,
    _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_slli_epi16, _mm512_srai_epi32,
    _mm512_srli_epi16,
};

use super::Kernel;
use crate::line::Line;

/// Rows that share each load of the probe, and keep the multiplier busy while its results are on their way.
const ROWS: usize = 4;

/// This version, where the processor has the instructions.
pub(super) fn kernel() -> Option<Kernel> {
    let able = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni");
    able.then_some(Kernel { name: "avx512-vnni", coarse, fine })
}

fn coarse(rows: &[Line<u8>], probe: &[Line<i8>], dots: &mut [i32]) {
    // SAFETY: only `kernel` hands this function out, and only after it has found the instructions.
    unsafe { coarse_vnni(rows, probe, dots) }
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
    let (groups, rest) = dots.as_chunks_mut::<ROWS>();
    let (rows, rest_rows) = rows.split_at(groups.len() * ROWS * lines);
    for (rows, dots) in rows.chunks_exact(ROWS * lines).zip(groups) {
        *dots = coarse_group::<ROWS>(rows, probe);
    }
    for (row, dot) in rest_rows.chunks_exact(lines).zip(rest) {
        [*dot] = coarse_group::<1>(row, probe);
    }
}

/// The sums of `N` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn coarse_group<const N: usize>(rows: &[Line<u8>], probe: &[Line<i8>]) -> [i32; N] {
    let (low_half, high_half) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0xf0_u8.cast_signed()));
    let mut low = [_mm512_setzero_si512(); N];
    let mut high = low;
    let lines = probe.len() / 2;
    let rows: [&[Line<u8>]; N] = std::array::from_fn(|row| &rows[row * lines..][..lines]);
    for (j, pair) in probe.as_chunks::<2>().0.iter().enumerate() {
        let (low_digits, high_digits) = (load(&pair[0]), load(&pair[1]));
        for row in 0..N {
            let bytes = load(&rows[row][j]);
            low[row] = _mm512_dpbusd_epi32(low[row], _mm512_and_si512(bytes, low_half), low_digits);
            // Sixteen times too much, so no shift is needed here but one at the end.
            high[row] = _mm512_dpbusd_epi32(high[row], _mm512_and_si512(bytes, high_half), high_digits);
        }
    }
    let mut dots = [0; N];
    for row in 0..N {
        dots[row] = _mm512_reduce_add_epi32(_mm512_add_epi32(low[row], _mm512_srai_epi32::<4>(high[row])));
    }
    dots
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
