//! Sums of rows of a photo's bytes: where shrinking a photo spends its time.

use crate::instructions::Instructions;

/// `sums[i] += weight * bytes[i]`, as far as both reach; the same with all instructions.
pub fn add_weighted_bytes(sums: &mut [f32], weight: f32, bytes: &[u8]) {
    // A choice that fails tells so when the first network is loaded.
    let kernel = Instructions::chosen().and_then(Instructions::kernel).or_else(|_| Instructions::Portable.kernel());
    if let Ok(kernel) = kernel {
        (kernel.add_weighted_bytes)(sums, weight, bytes);
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    #[test]
    fn sums_are_the_same_with_all_instructions() {
        let mut rng = Rng::with_seed(1);
        for len in [0, 1, 7, 16, 33, 100, 5761] {
            let rows: Vec<Vec<u8>> = (0..3).map(|_| (0..len).map(|_| rng.u8(..)).collect()).collect();
            let weights = [0.3, 0.5, 0.2];
            let want = |i: usize| rows.iter().zip(weights).fold(0.0, |sum, (row, w)| sum + w * f32::from(row[i]));
            for instructions in Instructions::ALL.into_iter().filter(|one| one.supported()) {
                let mut sums = vec![0.0; len];
                for (row, weight) in rows.iter().zip(weights) {
                    (instructions.kernel().unwrap().add_weighted_bytes)(&mut sums, weight, row);
                }
                assert!((0..len).all(|i| sums[i] == want(i)), "{instructions:?}");
            }
        }
        let mut sums = [0.0, 1.0];
        add_weighted_bytes(&mut sums, 0.5, &[1, 2, 3]);
        assert_eq!(sums, [0.5, 2.0]);
    }
}
