//! The sums of integers that the scan spends its time in, chosen once for the processor at hand.
//!
//! All versions return the same integers, so they are interchangeable, and tested to be.

mod portable;

use crate::line::Line;

/// Sums of the upper halves of some rows times the probe's major digits, one per row, into `dots`.
///
/// `rows` holds `dots.len()` rows of `probe.len() / 2` lines.
pub(crate) type Coarse = fn(rows: &[Line<u8>], probe: &[Line<i8>], dots: &mut [i32]);

/// Sums of one row's bytes times the probe's major digits, and times its minor digits.
pub(crate) type Fine = fn(upper: &[Line<u8>], lower: &[Line<u8>], major: &[Line<i8>], minor: &[Line<i8>]) -> (i32, i32);

/// The functions for one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// Name for diagnostics.
    pub name: &'static str,
    pub coarse: Coarse,
    pub fine: Fine,
}

/// Runs everywhere; the compiler vectorises it for the least processor it builds for.
pub(crate) const PORTABLE: Kernel = Kernel { name: "portable", coarse: portable::coarse, fine: portable::fine };

/// The fastest version that this processor can run.
pub(crate) fn detect() -> Kernel {
    PORTABLE
}
