//! Rows of a photo's bytes summed value by value.

/// `sums[i] += weight * bytes[i]`. A plain loop: the compiler takes the vectors of the instructions that it is compiled for, and
/// rounds the same with all of them.
#[inline(always)]
pub(super) fn add_weighted(sums: &mut [f32], weight: f32, bytes: &[u8]) {
    for (sum, byte) in sums.iter_mut().zip(bytes) {
        *sum += weight * f32::from(*byte);
    }
}
