//! Plain loops over whole lines, shaped so that the compiler vectorises them.

use super::Known;
use crate::line::{LANES, Line};
use crate::quantize::CoarseBound;

pub(super) fn coarse(rows: &[Line<u8>], probe: &[Line<i8>], dots: &mut [i32]) {
    let lines = probe.len() / 2;
    assert_eq!(rows.len(), dots.len() * lines, "rows of another length than the probe");
    for (row, dot) in rows.chunks_exact(lines).zip(dots) {
        let mut sum = 0;
        for (line, pair) in row.iter().zip(probe.as_chunks::<2>().0) {
            for i in 0..LANES {
                let byte = line.0[i];
                sum += i32::from(byte & 15) * i32::from(pair[0].0[i]);
                sum += i32::from(byte >> 4) * i32::from(pair[1].0[i]);
            }
        }
        *dot = sum;
    }
}

pub(super) fn passing(rows: &Known<'_>, bound: &CoarseBound, floor: f64) -> u64 {
    (0..rows.rows()).fold(0, |passing, i| {
        let high = bound.high(rows.dots[i], rows.scales[i], rows.reaches[i], rows.residuals[i]);
        passing | u64::from(high >= floor) << i
    })
}

pub(super) fn fine(upper: &[Line<u8>], lower: &[Line<u8>], major: &[Line<i8>], minor: &[Line<i8>]) -> (i32, i32) {
    let (mut major_sum, mut minor_sum) = (0, 0);
    let digits = major.as_chunks::<2>().0.iter().zip(minor.as_chunks::<2>().0);
    for ((up, low), (major, minor)) in upper.iter().zip(lower).zip(digits) {
        for i in 0..LANES {
            let first = i32::from((up.0[i] & 15) << 4 | low.0[i] & 15);
            let second = i32::from(up.0[i] & 0xf0 | low.0[i] >> 4);
            major_sum += first * i32::from(major[0].0[i]) + second * i32::from(major[1].0[i]);
            minor_sum += first * i32::from(minor[0].0[i]) + second * i32::from(minor[1].0[i]);
        }
    }
    (major_sum, minor_sum)
}
