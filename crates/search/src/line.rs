//! Cache lines: the unit in which rows and probes are stored and read.

/// Elements per line.
pub(crate) const LANES: usize = 64;

/// Components of a vector that one line of a plane holds: two halves of a byte per byte.
pub(crate) const COMPONENTS: usize = 2 * LANES;

/// One cache line of one-byte elements.
///
/// Line `j` of a row's plane holds components `128 j ..`: component `128 j + i` in the lower half of byte `i`, component
/// `128 j + 64 + i` in its upper half. The probe has two lines for it, first those for the lower halves.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line<T>(pub [T; LANES]);

/// Lines that a row of `dimension` components takes in each plane.
pub(crate) fn lines(dimension: usize) -> usize {
    dimension.div_ceil(COMPONENTS)
}
