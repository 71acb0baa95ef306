//! How far a share of counted cases can be trusted.

/// Quantile of the normal distribution for a two-sided interval of 95 %.
const Z: f64 = 1.959_963_984_540_054;
/// Errors from which on an observed rate is within 30 % of the true one, nine times in ten (Doddington's rule of 30).
pub const RULE_OF_30: usize = 30;

/// The ends of an interval that holds the true value in 95 of 100 repetitions.
pub type Interval = [f64; 2];

/// Wilson's 95 % interval of the share `count` of `total`; the whole range where `total` is 0.
///
/// It takes the cases as independent: photos of one person or one screen are not, and their interval is too narrow.
pub fn wilson(count: usize, total: usize) -> Interval {
    if total == 0 {
        return [0.0, 1.0];
    }
    let n = total as f64;
    let p = count as f64 / n;
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // Exactly 0 and 1 at the ends, whatever the rounding.
    let low = if count == 0 { 0.0 } else { middle - half };
    let high = if count == total { 1.0 } else { middle + half };
    [low, high]
}

/// The quantile `q` (0..=1) of `sorted` by linear interpolation, as numpy's default; `None` of nothing.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_worked_out_by_hand() {
        // 1 of 10: (0.1 + 0.19207) / 1.38415 = 0.21101; half: 1.95996 / 1.38415 * sqrt(0.009 + 0.0096036) = 0.19314.
        let [low, high] = wilson(1, 10);
        assert!((low - 0.017876).abs() < 1e-5 && (high - 0.404150).abs() < 1e-5, "{low} {high}");
        // No error among 100 allows for 3.7 %, about the rule of three's 3 %.
        let [low, high] = wilson(0, 100);
        assert!(low == 0.0 && (high - 0.036994).abs() < 1e-5, "{high}");
        assert_eq!(wilson(5, 5)[1], 1.0);
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }

    #[test]
    fn quantiles_lie_between_the_values() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(quantile(&sorted, 0.5), Some(3.0));
        assert_eq!(quantile(&sorted, 0.0), Some(1.0));
        assert_eq!(quantile(&sorted, 1.0), Some(8.0));
        // numpy.quantile([1, 2, 4, 8], 0.9) = 4 + 4 * 0.7
        assert!((quantile(&sorted, 0.9).unwrap() - 6.8).abs() < 1e-12);
        assert_eq!(quantile(&[], 0.5), None);
    }
}
