//! Verification accuracy by cross-validation, as LFW defines it: each fold is decided with the threshold that is best
//! on the others.

use super::{MetricError, all_finite};

/// One pair of photos. `score` is `None` where one of them shows no face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoldSample {
    /// Similarity; higher speaks for the same person.
    pub score: Option<f64>,
    /// The label.
    pub same: bool,
    /// Which fold, from 0.
    pub fold: usize,
}

/// Result of one fold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fold {
    /// Threshold chosen on the other folds.
    pub threshold: f64,
    /// Share of the fold's pairs decided rightly; a pair without score counts as wrong.
    pub accuracy: f64,
    /// Number of pairs in the fold.
    pub pairs: usize,
}

/// Result of all folds.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossValidation {
    /// Mean over the folds.
    pub accuracy: f64,
    /// Standard deviation over the folds (divided by their number, not by one less).
    pub std: f64,
    /// In the order of the fold numbers.
    pub folds: Vec<Fold>,
}

/// Decides each fold with the threshold that is best on the others.
///
/// # Errors
/// No samples, fewer than two folds, an empty fold, no score at all outside a fold, a score that is no finite number.
pub fn cross_validate(samples: &[FoldSample]) -> Result<CrossValidation, MetricError> {
    if samples.is_empty() {
        return Err(MetricError::Empty);
    }
    all_finite(samples.iter().map(|s| s.score.unwrap_or(0.0)))?;
    let count = samples.iter().map(|s| s.fold + 1).max().unwrap_or(0);
    if count < 2 {
        return Err(MetricError::TooFewFolds { given: count });
    }
    let mut sorted: Vec<(f64, bool, usize)> = samples.iter().filter_map(|s| Some((s.score?, s.same, s.fold))).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));

    let mut folds = Vec::with_capacity(count);
    for fold in 0..count {
        let threshold = best_threshold(sorted.iter().filter(|s| s.2 != fold).map(|s| (s.0, s.1)))?;
        let held_out = samples.iter().filter(|s| s.fold == fold);
        let pairs = held_out.clone().count();
        if pairs == 0 {
            return Err(MetricError::TooFewFolds { given: fold });
        }
        let right = held_out.filter(|s| s.score.is_some_and(|score| (score >= threshold) == s.same)).count();
        folds.push(Fold { threshold, accuracy: right as f64 / pairs as f64, pairs });
    }
    let accuracy = folds.iter().map(|f| f.accuracy).sum::<f64>() / count as f64;
    let variance = folds.iter().map(|f| (f.accuracy - accuracy).powi(2)).sum::<f64>() / count as f64;
    Ok(CrossValidation { accuracy, std: variance.sqrt(), folds })
}

/// The threshold with the most right decisions on `sorted` (score ascending, label): half-way between two neighbouring
/// scores. Of several equally good ones the middle one, so that the choice hangs on no single pair.
fn best_threshold(sorted: impl Iterator<Item = (f64, bool)>) -> Result<f64, MetricError> {
    let sorted: Vec<(f64, bool)> = sorted.collect();
    let (Some(lowest), Some(highest)) = (sorted.first(), sorted.last()) else { return Err(MetricError::Empty) };
    // Below every score all are accepted, so that the same pairs are right.
    let mut right = sorted.iter().filter(|s| s.1).count();
    let mut candidates = vec![(right, lowest.0)];
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let same = tied.iter().filter(|s| s.1).count();
        right = right + (tied.len() - same) - same;
        candidates.push((right, tied[0].0));
    }
    let most = candidates.iter().map(|c| c.0).max().unwrap_or(0);
    let best: Vec<usize> = (0..candidates.len()).filter(|&i| candidates[i].0 == most).collect();
    let chosen = best[best.len() / 2];
    // Candidate i rejects the scores up to candidates[i].1; candidate 0 rejects none.
    Ok(match chosen {
        0 => lowest.0,
        i if i + 1 == candidates.len() => highest.0.next_up(),
        i => f64::midpoint(candidates[i].1, candidates[i + 1].1),
    })
}

/// Deals `labels` to `count` folds of equal size: within each class consecutive samples go to the same fold.
pub fn consecutive_stratified(labels: &[bool], count: usize) -> Vec<usize> {
    let total = |class: bool| labels.iter().filter(|l| **l == class).count();
    let totals = [total(false), total(true)];
    let mut seen = [0; 2];
    labels
        .iter()
        .map(|&label| {
            let class = usize::from(label);
            let fold = seen[class] * count / totals[class];
            seen[class] += 1;
            fold
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::roc::tests::generated, *};

    #[test]
    fn figures_equal_those_of_a_search_over_all_thresholds() {
        // The same definition written with numpy over every candidate threshold.
        let samples = generated();
        let folds = consecutive_stratified(&samples.iter().map(|s| s.positive).collect::<Vec<_>>(), 10);
        let samples: Vec<FoldSample> = samples
            .iter()
            .zip(&folds)
            .map(|(s, &fold)| FoldSample { score: Some(s.score), same: s.positive, fold })
            .collect();
        let result = cross_validate(&samples).unwrap();
        assert!((result.accuracy - 0.745).abs() < 1e-12);
        assert!((result.std - 0.056789083458002744).abs() < 1e-12);
        assert!(result.folds.iter().all(|f| (f.threshold - 0.315).abs() < 1e-12 && f.pairs == 40));
    }

    #[test]
    fn a_pair_without_score_is_wrong_and_chooses_no_threshold() {
        let pair = |score, same, fold| FoldSample { score, same, fold };
        let samples = [
            pair(Some(0.9), true, 0),
            pair(Some(0.1), false, 0),
            pair(None, false, 0),
            pair(Some(0.8), true, 1),
            pair(Some(0.2), false, 1),
        ];
        let result = cross_validate(&samples).unwrap();
        assert_eq!(result.folds[0].accuracy, 2.0 / 3.0);
        assert_eq!(result.folds[1].accuracy, 1.0);
        assert_eq!(result.folds[0].threshold, 0.5);
    }

    #[test]
    fn folds_are_of_equal_size_and_hold_both_classes() {
        let labels: Vec<bool> = (0..40).map(|i| i < 20).collect();
        let folds = consecutive_stratified(&labels, 10);
        for fold in 0..10 {
            let members: Vec<bool> = (0..40).filter(|&i| folds[i] == fold).map(|i| labels[i]).collect();
            assert_eq!(members, [true, true, false, false]);
        }
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        assert_eq!(cross_validate(&[]), Err(MetricError::Empty));
        let pair = FoldSample { score: Some(0.5), same: true, fold: 0 };
        assert_eq!(cross_validate(&[pair]), Err(MetricError::TooFewFolds { given: 1 }));
        let nan = FoldSample { score: Some(f64::NAN), fold: 1, ..pair };
        assert!(matches!(cross_validate(&[pair, nan]), Err(MetricError::NotFinite { index: 1, .. })));
        let missing = FoldSample { score: None, fold: 1, ..pair };
        assert_eq!(cross_validate(&[pair, missing]), Err(MetricError::Empty));
    }
}
