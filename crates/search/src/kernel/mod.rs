//! The sums of integers that the scan spends its time in, chosen once for the processor at hand.
//!
//! All versions return the same integers, so they are interchangeable, and tested to be.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::line::Line;
use crate::quantize::CoarseBound;

/// Sums of the upper halves of some rows times the probe's major digits, one per row, into `dots`.
///
/// `rows` holds `dots.len()` rows of `probe.len() / 2` lines.
pub(crate) type Coarse = fn(rows: &[Line<u8>], probe: &[Line<i8>], dots: &mut [i32]);

/// What is known of at most 64 rows after the coarse sums: one element of each array per row.
pub(crate) struct Known<'a> {
    pub dots: &'a [i32],
    pub scales: &'a [f32],
    pub reaches: &'a [f32],
    pub residuals: &'a [f32],
}

impl Known<'_> {
    /// How many rows there are.
    ///
    /// # Panics
    /// The arrays differ in length, or are longer than the bits of a result.
    fn rows(&self) -> usize {
        let rows = self.dots.len();
        assert!(
            rows <= 64 && [self.scales, self.reaches, self.residuals].iter().all(|of_rows| of_rows.len() == rows),
            "arrays of different lengths"
        );
        rows
    }
}

/// Which rows can reach `floor`: one bit each, the first row's lowest.
pub(crate) type Passing = fn(rows: &Known<'_>, bound: &CoarseBound, floor: f64) -> u64;

/// Sums of one row's bytes times the probe's major digits, and times its minor digits.
pub(crate) type Fine = fn(upper: &[Line<u8>], lower: &[Line<u8>], major: &[Line<i8>], minor: &[Line<i8>]) -> (i32, i32);

/// The functions for one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// Name for diagnostics.
    pub name: &'static str,
    pub coarse: Coarse,
    pub passing: Passing,
    pub fine: Fine,
}

/// Runs everywhere; the compiler vectorises it for the least processor it builds for.
const PORTABLE: Kernel =
    Kernel { name: "portable", coarse: portable::coarse, passing: portable::passing, fine: portable::fine };

/// Every version that this processor can run, the fastest first.
pub(crate) fn available() -> impl Iterator<Item = Kernel> {
    #[cfg(target_arch = "x86_64")]
    let special = [avx512::kernel(), avx2::kernel()];
    #[cfg(not(target_arch = "x86_64"))]
    let special = [None];
    special.into_iter().flatten().chain([PORTABLE])
}

/// The fastest version that this processor can run.
pub(crate) fn detect() -> Kernel {
    available().next().unwrap_or(PORTABLE)
}

/// Asks for lines that are read soon, while others are worked on.
#[inline]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "the instruction takes a bare address"))]
pub(crate) fn prefetch(lines: &[Line<u8>]) {
    #[cfg(target_arch = "x86_64")]
    for line in lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has the instruction, and it reads nothing that the program can see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = lines;
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::{Known, PORTABLE, available};
    use crate::frame::Frame;
    use crate::line::{LANES, Line};
    use crate::quantize::Probe;

    fn bytes(rng: &mut Rng, count: usize, extreme: bool) -> Vec<Line<u8>> {
        let byte = |rng: &mut Rng| if extreme { [0, 15, 240, 255][rng.usize(..4)] } else { rng.u8(..) };
        (0..count).map(|_| Line(std::array::from_fn::<_, LANES, _>(|_| byte(rng)))).collect()
    }

    fn digits(rng: &mut Rng, count: usize, extreme: bool) -> Vec<Line<i8>> {
        // All of one sign: the sums are as large as they get.
        let most = [-127, 127][rng.usize(..2)];
        (0..count)
            .map(|_| Line(std::array::from_fn::<_, LANES, _>(|_| if extreme { most } else { rng.i8(-127..=127) })))
            .collect()
    }

    /// The sums by their definition.
    fn reference(upper: &[Line<u8>], lower: &[Line<u8>], probe: &[Line<i8>]) -> (i32, i32) {
        let (mut coarse, mut fine) = (0, 0);
        for (j, line) in upper.iter().enumerate() {
            for i in 0..LANES {
                for half in 0..2 {
                    let up = i32::from(line.0[i] >> (4 * half) & 15);
                    let low = i32::from(lower[j].0[i] >> (4 * half) & 15);
                    let digit = i32::from(probe[2 * j + half].0[i]);
                    coarse += up * digit;
                    fine += (16 * up + low) * digit;
                }
            }
        }
        (coarse, fine)
    }

    #[test]
    fn all_versions_return_the_sums_of_the_definition() {
        let mut rng = Rng::with_seed(11);
        let names: Vec<_> = available().map(|kernel| kernel.name).collect();
        assert_eq!(names.last(), Some(&PORTABLE.name));
        for lines in (1..=9).chain([16, 33, 512]) {
            for rows in [0, 1, 2, 3, 4, 5, 7, 8, 13, 64] {
                let rows = if lines > 9 { rows.min(5) } else { rows };
                let extreme = rng.bool();
                let upper = bytes(&mut rng, rows * lines, extreme);
                let lower = bytes(&mut rng, rows * lines, extreme);
                let (major, minor) = (digits(&mut rng, 2 * lines, extreme), digits(&mut rng, 2 * lines, extreme));
                for kernel in available() {
                    let mut dots = vec![0; rows];
                    (kernel.coarse)(&upper, &major, &mut dots);
                    for row in 0..rows {
                        let (up, low) = (&upper[row * lines..][..lines], &lower[row * lines..][..lines]);
                        let by_major = reference(up, low, &major);
                        let by_minor = reference(up, low, &minor);
                        let of = format!("{}, {lines} lines, row {row} of {rows}", kernel.name);
                        assert_eq!(dots[row], by_major.0, "{of}");
                        assert_eq!((kernel.fine)(up, low, &major, &minor), (by_major.1, by_minor.1), "{of}");
                    }
                }
            }
        }
    }

    #[test]
    fn all_versions_pass_the_same_rows() {
        let mut rng = Rng::with_seed(12);
        for rows in (0..=20).chain([63, 64]) {
            let probe: Vec<f32> = (0..512).map(|_| rng.f32() - 0.3).collect();
            let bound = Probe::new(&Frame::unknown(512), &probe).unwrap().coarse_bound;
            let dots: Vec<i32> = (0..rows).map(|_| rng.i32(-100_000..100_000)).collect();
            let scales: Vec<f32> = (0..rows).map(|_| rng.f32() / 512.0).collect();
            let residuals: Vec<f32> = (0..rows).map(|_| rng.f32() / 5.0).collect();
            let reaches: Vec<f32> = (0..rows).map(|_| 1.0 + rng.f32()).collect();
            let known = Known { dots: &dots, scales: &scales, reaches: &reaches, residuals: &residuals };
            let highs: Vec<f64> = (0..rows).map(|i| bound.high(dots[i], scales[i], reaches[i], residuals[i])).collect();
            let mut sorted = highs.clone();
            sorted.sort_by(f64::total_cmp);
            for share in [0.0, 0.3, 0.5, 0.9] {
                // Between two of them, so that the last bit of rounding decides nothing.
                let at = (rows as f64 * share) as usize;
                let floor = sorted.get(at).map_or(0.0, |high| high - 1e-9);
                let expected = highs.iter().rev().fold(0_u64, |bits, high| bits << 1 | u64::from(*high >= floor));
                for kernel in available() {
                    let passing = (kernel.passing)(&known, &bound, floor);
                    assert_eq!(passing, expected, "{}, {rows} rows", kernel.name);
                    assert_eq!(passing.count_ones() as usize, rows - at.min(rows), "{}", kernel.name);
                }
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        let lines = crate::MAX_DIMENSION / crate::line::COMPONENTS;
        for (byte, digit) in [(255, 127), (255, -127), (0, 127)] {
            let (row, probe) = (vec![Line([byte; LANES]); lines], vec![Line([digit; LANES]); 2 * lines]);
            let (coarse, fine) = reference(&row, &row, &probe);
            assert_eq!(i64::from(fine), i64::from(byte) * i64::from(digit) * 65_536);
            for kernel in available() {
                let mut dots = [0; 2];
                (kernel.coarse)(&[row.as_slice(), &row].concat(), &probe, &mut dots);
                assert_eq!(dots, [coarse; 2], "{}", kernel.name);
                assert_eq!((kernel.fine)(&row, &row, &probe, &probe), (fine, fine), "{}", kernel.name);
            }
        }
    }

    #[test]
    #[should_panic(expected = "rows of another length")]
    fn rows_must_match_the_dots() {
        let kernel = available().next().unwrap();
        (kernel.coarse)(
            &bytes(&mut Rng::with_seed(1), 3, false),
            &digits(&mut Rng::with_seed(1), 4, false),
            &mut [0; 2],
        );
    }
}
