//! Intervals of the figures of a curve by the bootstrap: the samples are drawn anew with replacement, the figures computed
//! anew, and the middle 95 % of them told.
//!
//! Positives and negatives are drawn apart, so that each repetition has as many of both. The draws come from a generator
//! with a fixed seed: the same samples give the same interval.

use super::{
    MetricError,
    interval::{Interval, quantile},
    roc::{Roc, Scored},
};

/// Repetitions unless told.
pub const REPETITIONS: usize = 1000;
/// Seed of the draws.
const SEED: u64 = 20_250_101;

/// 95 % intervals of a curve's figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Intervals {
    /// Of the area under the curve.
    pub auc: Interval,
    /// Of the equal error rate.
    pub eer: Interval,
    /// Of the true accept rate at each of the false accept rates asked for.
    pub tar: Vec<Interval>,
}

/// Intervals of the figures of `samples` from so many `repetitions`.
///
/// # Errors
/// As [`Roc::new`]; [`MetricError::Empty`] without repetitions.
pub fn intervals(samples: &[Scored], far_targets: &[f64], repetitions: usize) -> Result<Intervals, MetricError> {
    let steps = Roc::new(samples)?.steps();
    let places = |of: fn(&(f64, usize, usize)) -> usize| -> Vec<usize> {
        steps.iter().enumerate().flat_map(|(place, step)| std::iter::repeat_n(place, of(step))).collect()
    };
    let (positives, negatives) = (places(|s| s.1), places(|s| s.2));
    let mut draws = SplitMix64(SEED);
    let mut figures: Vec<Vec<f64>> = vec![Vec::with_capacity(repetitions); 2 + far_targets.len()];
    for _ in 0..repetitions {
        let mut drawn: Vec<(f64, usize, usize)> = steps.iter().map(|s| (s.0, 0, 0)).collect();
        for _ in 0..positives.len() {
            drawn[positives[draws.below(positives.len())]].1 += 1;
        }
        for _ in 0..negatives.len() {
            drawn[negatives[draws.below(negatives.len())]].2 += 1;
        }
        drawn.retain(|s| s.1 + s.2 > 0);
        let roc = Roc::of_steps(&drawn)?;
        let of_targets = far_targets.iter().map(|&target| roc.at_far(target).tar);
        for (place, value) in [roc.auc(), roc.eer().0].into_iter().chain(of_targets).enumerate() {
            figures[place].push(value);
        }
    }
    let mut told = Vec::with_capacity(figures.len());
    for mut values in figures {
        values.sort_by(f64::total_cmp);
        let end = |q| quantile(&values, q).ok_or(MetricError::Empty);
        told.push([end(0.025)?, end(0.975)?]);
    }
    Ok(Intervals { auc: told[0], eer: told[1], tar: told.split_off(2) })
}

/// Steele, Lea and Flood's generator: short, and easy to write again elsewhere.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 on and below `end`; the high word of the product is fair enough for any set that fits in memory.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::{super::roc::tests::generated, *};

    #[test]
    fn the_generator_is_the_published_one() {
        // First outputs for the seed 1234567, as given with the reference implementation.
        let mut draws = SplitMix64(1_234_567);
        assert_eq!(draws.next(), 6_457_827_717_110_365_317);
        assert_eq!(draws.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn an_interval_holds_the_figure_and_is_repeated() {
        let samples = generated();
        let roc = Roc::new(&samples).unwrap();
        let found = intervals(&samples, &[0.1, 0.01], 200).unwrap();
        let holds = |interval: Interval, value: f64| interval[0] <= value && value <= interval[1];
        assert!(holds(found.auc, roc.auc()) && holds(found.eer, roc.eer().0), "{found:?}");
        assert!(holds(found.tar[0], roc.at_far(0.1).tar) && holds(found.tar[1], roc.at_far(0.01).tar), "{found:?}");
        // 400 samples with an area of 0.83: DeLong's standard error is 0.020.
        let width = found.auc[1] - found.auc[0];
        assert!((0.06..0.10).contains(&width), "{width}");
        assert_eq!(intervals(&samples, &[0.1, 0.01], 200).unwrap(), found);
    }

    #[test]
    fn separable_scores_have_no_width() {
        let samples = [(0.9, true), (0.8, true), (0.2, false), (0.1, false)];
        let samples = samples.map(|(score, positive)| Scored { score, positive });
        let found = intervals(&samples, &[0.01], 50).unwrap();
        assert_eq!((found.auc, found.eer, &found.tar[..]), ([1.0; 2], [0.0; 2], &[[1.0; 2]][..]));
        assert_eq!(intervals(&samples, &[], 0), Err(MetricError::Empty));
        assert!(matches!(intervals(&samples[..2], &[], 9), Err(MetricError::OneClass { .. })));
    }
}
