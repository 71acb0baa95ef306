//! Whether a probability means what it says.

use super::{MetricError, all_finite, roc::Scored};

/// Bins of equal width over 0..=1.
pub const BINS: usize = 10;

/// The samples whose probability lies in one bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Lowest probability of the bin.
    pub from: f64,
    /// Number of samples.
    pub count: usize,
    /// Mean of what was said.
    pub said: f64,
    /// Share of positives: what came true.
    pub came_true: f64,
}

/// How well probabilities fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Bins with samples, from low to high probability.
    pub bins: Vec<Bin>,
    /// Expected calibration error: the mean over all samples of what their bin says wrongly, 0 at best.
    pub ece: f64,
    /// Brier score: the mean squared difference of probability and truth, 0 at best.
    pub brier: f64,
}

/// Compares the scores, as probabilities of a positive, with the labels.
///
/// # Errors
/// No samples; a score that is no finite number, or outside 0..=1.
pub fn calibration(samples: &[Scored]) -> Result<Calibration, MetricError> {
    if samples.is_empty() {
        return Err(MetricError::Empty);
    }
    all_finite(samples.iter().map(|s| s.score))?;
    if let Some((index, s)) = samples.iter().enumerate().find(|(_, s)| !(0.0..=1.0).contains(&s.score)) {
        return Err(MetricError::NoProbability { index, value: s.score });
    }
    let mut sums = [(0_usize, 0.0, 0_usize); BINS];
    for s in samples {
        let bin = &mut sums[((s.score * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += 1;
        bin.1 += s.score;
        bin.2 += usize::from(s.positive);
    }
    let bins: Vec<Bin> = sums
        .iter()
        .enumerate()
        .filter(|(_, bin)| bin.0 > 0)
        .map(|(i, &(count, said, positives))| Bin {
            from: i as f64 / BINS as f64,
            count,
            said: said / count as f64,
            came_true: positives as f64 / count as f64,
        })
        .collect();
    let n = samples.len() as f64;
    let ece = bins.iter().map(|b| b.count as f64 / n * (b.said - b.came_true).abs()).sum();
    let brier = samples.iter().map(|s| (s.score - f64::from(u8::from(s.positive))).powi(2)).sum::<f64>() / n;
    Ok(Calibration { bins, ece, brier })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(samples: &[(f64, bool)]) -> Vec<Scored> {
        samples.iter().map(|&(score, positive)| Scored { score, positive }).collect()
    }

    #[test]
    fn errors_worked_out_by_hand() {
        let found =
            calibration(&scored(&[(0.1, false), (0.15, false), (0.95, true), (1.0, false), (0.85, true)])).unwrap();
        // 0.1 and 0.15 share a bin: 0.125 said, 0 true; 0.85: 0.15 too low; 0.95 and 1.0: 0.975 said, a half true.
        assert_eq!(found.bins.iter().map(|b| (b.from, b.count)).collect::<Vec<_>>(), [(0.1, 2), (0.8, 1), (0.9, 2)]);
        assert!((found.ece - (2.0 * 0.125 + 0.15 + 2.0 * 0.475) / 5.0).abs() < 1e-12, "{}", found.ece);
        assert!((found.brier - (0.01 + 0.0225 + 0.0025 + 1.0 + 0.0225) / 5.0).abs() < 1e-12, "{}", found.brier);
    }

    #[test]
    fn what_is_no_probability_is_named() {
        assert_eq!(calibration(&[]), Err(MetricError::Empty));
        let wrong = calibration(&scored(&[(0.5, true), (1.5, false)]));
        assert_eq!(wrong, Err(MetricError::NoProbability { index: 1, value: 1.5 }));
    }
}
