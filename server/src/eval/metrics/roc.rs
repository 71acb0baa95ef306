//! Receiver operating characteristic: area, equal error rate, thresholds for a false accept rate.

use super::{MetricError, all_finite};

/// One sample: a higher score speaks for the positive class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The score.
    pub score: f64,
    /// The label.
    pub positive: bool,
}

/// What happens when every score from `threshold` on is accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    threshold: f64,
    true_accepts: usize,
    false_accepts: usize,
}

/// A threshold and the rates it gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperatingPoint {
    /// Scores from here on are accepted.
    pub threshold: f64,
    /// Share of negatives accepted.
    pub far: f64,
    /// Share of positives accepted.
    pub tar: f64,
    /// Number of negatives accepted.
    pub false_accepts: usize,
    /// Number of positives accepted.
    pub true_accepts: usize,
}

/// The curve over all thresholds that make a difference; equal scores are one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Roc {
    /// From the strictest threshold, which accepts nothing, to the laxest, which accepts everything.
    points: Vec<Point>,
    positives: usize,
    negatives: usize,
}

impl Roc {
    /// The curve of `samples`, in any order.
    ///
    /// # Errors
    /// No samples, one class only, a score that is no finite number.
    pub fn new(samples: &[Scored]) -> Result<Self, MetricError> {
        all_finite(samples.iter().map(|s| s.score))?;
        let positives = samples.iter().filter(|s| s.positive).count();
        let negatives = samples.len() - positives;
        match (positives, negatives) {
            (0, 0) => return Err(MetricError::Empty),
            (0, count) => return Err(MetricError::OneClass { count, class: "negative" }),
            (count, 0) => return Err(MetricError::OneClass { count, class: "positive" }),
            _ => {}
        }
        let mut sorted = samples.to_vec();
        sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
        let step = |tied: &[Scored]| {
            let accepted = tied.iter().filter(|s| s.positive).count();
            (tied[0].score, accepted, tied.len() - accepted)
        };
        Self::of_steps(&sorted.chunk_by(|a, b| a.score == b.score).map(step).collect::<Vec<_>>())
    }

    /// The curve of samples counted by their score: (score, positives, negatives), scores falling.
    ///
    /// # Errors
    /// [`MetricError::Empty`] without any, or without one of the classes.
    pub(super) fn of_steps(steps: &[(f64, usize, usize)]) -> Result<Self, MetricError> {
        let highest = steps.first().ok_or(MetricError::Empty)?.0;
        let mut last = Point { threshold: highest.next_up(), true_accepts: 0, false_accepts: 0 };
        let mut points = vec![last];
        for &(threshold, positives, negatives) in steps {
            last = Point {
                threshold,
                true_accepts: last.true_accepts + positives,
                false_accepts: last.false_accepts + negatives,
            };
            points.push(last);
        }
        if last.true_accepts == 0 || last.false_accepts == 0 {
            return Err(MetricError::Empty);
        }
        Ok(Self { points, positives: last.true_accepts, negatives: last.false_accepts })
    }

    /// The samples counted by their score, as [`of_steps`](Self::of_steps) takes them.
    pub(super) fn steps(&self) -> Vec<(f64, usize, usize)> {
        let step = |w: &[Point]| {
            (w[1].threshold, w[1].true_accepts - w[0].true_accepts, w[1].false_accepts - w[0].false_accepts)
        };
        self.points.windows(2).map(step).collect()
    }

    /// The curve, (false accept rate, true accept rate) at every threshold, from the strictest to the laxest.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        self.points.iter().map(|p| (self.far(p), self.tar(p))).collect()
    }

    /// Number of positives.
    pub fn positives(&self) -> usize {
        self.positives
    }

    /// Number of negatives.
    pub fn negatives(&self) -> usize {
        self.negatives
    }

    /// Area under the curve by the trapezoid rule: the chance that a positive scores above a negative, ties half.
    pub fn auc(&self) -> f64 {
        let doubled: f64 = self
            .points
            .windows(2)
            .map(|w| (w[1].false_accepts - w[0].false_accepts) as f64 * (w[1].true_accepts + w[0].true_accepts) as f64)
            .sum();
        doubled / (2.0 * self.positives as f64 * self.negatives as f64)
    }

    /// Equal error rate and the threshold next to it: where the curve, drawn as straight lines between its points,
    /// rejects as large a share of positives as it accepts of negatives.
    pub fn eer(&self) -> (f64, f64) {
        let gap = |p: &Point| self.far(p) - (1.0 - self.tar(p));
        // The gap rises from -1 to 1, so a crossing exists.
        let i = self.points.partition_point(|p| gap(p) < 0.0);
        let (before, after) = (&self.points[i - 1], &self.points[i]);
        let t = -gap(before) / (gap(after) - gap(before));
        (self.far(before) + t * (self.far(after) - self.far(before)), after.threshold)
    }

    /// The smallest score of the samples that, as threshold, keeps the false accept rate at or below `target`.
    ///
    /// Equal scores are accepted or rejected together. If even the best score must be rejected, the threshold lies just
    /// above it and nothing is accepted.
    pub fn at_far(&self, target: f64) -> OperatingPoint {
        // A hair of slack: 3 of 3000 is 1e-3, whatever the rounding of the division.
        let allowed = (target * self.negatives as f64 + 1e-9).floor() as usize;
        let i = self.points.partition_point(|p| p.false_accepts <= allowed);
        self.operating_point(&self.points[i - 1])
    }

    /// The largest score of the samples that, as threshold, keeps the share of rejected positives at or below `target`.
    pub fn at_frr(&self, target: f64) -> OperatingPoint {
        let allowed = (target * self.positives as f64 + 1e-9).floor() as usize;
        let i = self.points.partition_point(|p| self.positives - p.true_accepts > allowed);
        self.operating_point(&self.points[i])
    }

    /// The rates at a given threshold.
    pub fn at_threshold(&self, threshold: f64) -> OperatingPoint {
        let i = self.points.partition_point(|p| p.threshold >= threshold);
        let point = self.points[i.saturating_sub(1)];
        OperatingPoint { threshold, ..self.operating_point(&point) }
    }

    fn operating_point(&self, p: &Point) -> OperatingPoint {
        OperatingPoint {
            threshold: p.threshold,
            far: self.far(p),
            tar: self.tar(p),
            false_accepts: p.false_accepts,
            true_accepts: p.true_accepts,
        }
    }

    fn far(&self, p: &Point) -> f64 {
        p.false_accepts as f64 / self.negatives as f64
    }

    fn tar(&self, p: &Point) -> f64 {
        p.true_accepts as f64 / self.positives as f64
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn scored(samples: &[(f64, bool)]) -> Vec<Scored> {
        samples.iter().map(|&(score, positive)| Scored { score, positive }).collect()
    }

    /// 400 samples with many ties, from a linear congruential generator that is easy to write again elsewhere:
    /// u = (x >> 8) % 1000, score = (u * 7 / 100 + 30 if positive) / 100, every second one positive.
    pub(crate) fn generated() -> Vec<Scored> {
        let mut x: u64 = 12345;
        (0..400)
            .map(|i| {
                x = (x * 1_103_515_245 + 12345) % (1 << 31);
                let positive = i % 2 == 0;
                let hundredths = (x >> 8) % 1000 * 7 / 100 + if positive { 30 } else { 0 };
                Scored { score: hundredths as f64 / 100.0, positive }
            })
            .collect()
    }

    #[test]
    fn figures_worked_out_by_hand() {
        // Of 2 x 3 comparisons 0.9 wins three, 0.4 wins one and ties one: 4.5 / 6.
        let roc = Roc::new(&scored(&[(0.9, true), (0.4, true), (0.5, false), (0.4, false), (0.1, false)])).unwrap();
        assert_eq!(roc.auc(), 0.75);
        // Between (far 1/3, tar 1/2) and (2/3, 1) the line far = 1 - tar is met at far = 0.4.
        assert!((roc.eer().0 - 0.4).abs() < 1e-12, "{:?}", roc.eer());
        let none = roc.at_far(0.0);
        assert_eq!((none.threshold, none.tar, none.false_accepts), (0.9, 0.5, 0));
        // 0.4 is shared by both classes: accepted together, two false accepts.
        assert_eq!(roc.at_far(0.5).threshold, 0.5);
        assert_eq!((roc.at_far(0.67).threshold, roc.at_far(0.67).tar), (0.4, 1.0));
        let p = roc.at_threshold(0.45);
        assert_eq!((p.threshold, p.false_accepts, p.true_accepts), (0.45, 1, 1));
        assert_eq!(roc.at_threshold(2.0).true_accepts, 0);
        // One of two positives may be rejected: from 0.9 on; none: from 0.4 on.
        assert_eq!((roc.at_frr(0.5).threshold, roc.at_frr(0.4).threshold), (0.9, 0.4));
        assert_eq!(roc.curve()[..3], [(0.0, 0.0), (0.0, 0.5), (1.0 / 3.0, 0.5)]);
        assert_eq!(Roc::of_steps(&roc.steps()), Ok(roc));
    }

    #[test]
    fn figures_equal_those_of_scikit_learn() {
        // roc_auc_score; brentq over roc_curve; the last roc_curve point with fpr <= target (scikit-learn 1.x).
        let roc = Roc::new(&generated()).unwrap();
        assert!((roc.auc() - 0.832325).abs() < 1e-12);
        assert!((roc.eer().0 - 0.30928571428571405).abs() < 1e-9);
        for (target, threshold, far, tar) in
            [(0.1, 0.64, 0.095, 0.495), (0.01, 0.69, 0.01, 0.425), (1e-3, 0.70, 0.0, 0.405)]
        {
            let p = roc.at_far(target);
            assert_eq!((p.threshold, p.far, p.tar), (threshold, far, tar));
        }
    }

    #[test]
    fn the_best_score_may_be_an_impostor() {
        let roc = Roc::new(&scored(&[(0.9, false), (0.8, true)])).unwrap();
        let p = roc.at_far(1e-3);
        assert!(p.threshold > 0.9);
        assert_eq!((p.far, p.tar), (0.0, 0.0));
        assert_eq!(roc.auc(), 0.0);
        assert_eq!(roc.eer().0, 1.0);
    }

    #[test]
    fn separable_and_constant_scores() {
        let perfect = Roc::new(&scored(&[(0.9, true), (0.8, true), (0.1, false)])).unwrap();
        assert_eq!((perfect.auc(), perfect.eer().0), (1.0, 0.0));
        let constant = Roc::new(&scored(&[(0.5, true), (0.5, false)])).unwrap();
        assert_eq!((constant.auc(), constant.eer().0), (0.5, 0.5));
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        assert_eq!(Roc::new(&[]), Err(MetricError::Empty));
        let one = Roc::new(&scored(&[(0.5, true), (0.6, true)]));
        assert_eq!(one, Err(MetricError::OneClass { count: 2, class: "positive" }));
        let nan = Roc::new(&scored(&[(0.5, true), (f64::NAN, false)]));
        assert!(matches!(nan, Err(MetricError::NotFinite { index: 1, .. })), "{nan:?}");
    }
}
