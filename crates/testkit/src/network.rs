//! Comparison of what networks compute, whose products may be of fewer bits than single precision has.

use facesocial_kernels::Instructions;

use crate::{Difference, Tolerance};

/// By how much tolerances are wider where products are of sums of two bfloat16, which keep sixteen of the twenty-four bits of a
/// factor: twice what the strictest of the tests of networks needs, 8.1. Cosines stay 1 to eight digits.
pub const TILES: f32 = 16.0;

/// The tolerance for the kernels that are chosen.
pub fn tolerance(tolerance: Tolerance) -> Tolerance {
    let tiles = Instructions::chosen().is_ok_and(|chosen| chosen == Instructions::Amx);
    let factor = if tiles { TILES } else { 1.0 };
    Tolerance { abs: tolerance.abs * factor, rel: tolerance.rel * factor }
}

/// As [`compare`](crate::compare), with the tolerance for the kernels that are chosen.
pub fn compare(got: &[f32], want: &[f32], of: Tolerance) -> Difference {
    crate::compare(got, want, tolerance(of))
}

/// As [`assert_close`](crate::assert_close), with the tolerance for the kernels that are chosen.
///
/// # Panics
/// A value is outside.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], of: Tolerance) -> f32 {
    crate::assert_close(what, got, want, tolerance(of))
}
