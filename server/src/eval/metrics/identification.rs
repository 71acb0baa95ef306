//! Searches among enrolled persons: who comes first, and who is found at all at a threshold.
//!
//! Names as in ISO/IEC 19795-1: a search is mated if the person is enrolled. FPIR is the share of searches without a mate
//! that give anybody; FNIR the share of mated ones that do not give the right person first and at the threshold.

use super::{MetricError, all_finite};

/// One search and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Whether the person is enrolled.
    pub mated: bool,
    /// The right person's score and rank, from 1; of equal scores the right person's counts as the last. `None` without a
    /// mate, or where the photo of either shows no face.
    pub right: Option<(f64, usize)>,
    /// The best score of anybody else; `None` where nobody else is enrolled or the photo shows no face.
    pub wrong: Option<f64>,
}

/// Rates at a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdentificationPoint {
    /// Scores from here on are reported.
    pub threshold: f64,
    /// Share of searches without a mate that report somebody.
    pub fpir: f64,
    /// Share of mated searches that do not report the right person first.
    pub fnir: f64,
    /// Searches without a mate that report somebody.
    pub false_positives: usize,
    /// Mated searches that fail.
    pub misses: usize,
}

/// Share of the mated searches whose right person is among the first `rank`, for ranks 1 to `ranks`.
///
/// # Errors
/// No mated search.
pub fn cumulative_match(searches: &[Search], ranks: usize) -> Result<Vec<f64>, MetricError> {
    let mated: Vec<&Search> = searches.iter().filter(|s| s.mated).collect();
    if mated.is_empty() {
        return Err(MetricError::Empty);
    }
    let within = |rank: usize| mated.iter().filter(|s| s.right.is_some_and(|(_, r)| r <= rank)).count();
    Ok((1..=ranks).map(|rank| within(rank) as f64 / mated.len() as f64).collect())
}

/// The rates at the lowest threshold that keeps FPIR at or below `target`: just above the best score that has to be refused.
///
/// # Errors
/// One kind of searches alone, a score that is no finite number.
pub fn at_fpir(searches: &[Search], target: f64) -> Result<IdentificationPoint, MetricError> {
    let mut strangers: Vec<f64> = searches.iter().filter(|s| !s.mated).filter_map(|s| s.wrong).collect();
    all_finite(strangers.iter().copied())?;
    all_finite(searches.iter().filter_map(|s| Some(s.right?.0)))?;
    let without_mate = searches.iter().filter(|s| !s.mated).count();
    strangers.sort_by(|a, b| b.total_cmp(a));
    // A hair of slack: 3 of 3000 is 1e-3, whatever the rounding.
    let allowed = (target * without_mate as f64 + 1e-9).floor() as usize;
    let threshold = strangers.get(allowed).map_or(-1.0, |refused| refused.next_up());
    at_threshold(searches, threshold)
}

/// The rates at a threshold.
///
/// # Errors
/// One kind of searches alone.
pub fn at_threshold(searches: &[Search], threshold: f64) -> Result<IdentificationPoint, MetricError> {
    let mated = searches.iter().filter(|s| s.mated).count();
    let strangers = searches.len() - mated;
    match (mated, strangers) {
        (0, 0) => return Err(MetricError::Empty),
        (0, count) => return Err(MetricError::OneClass { count, class: "not enrolled" }),
        (count, 0) => return Err(MetricError::OneClass { count, class: "enrolled" }),
        _ => {}
    }
    let found = |s: &&Search| s.right.is_some_and(|(score, rank)| rank == 1 && score >= threshold);
    let misses = mated - searches.iter().filter(|s| s.mated).filter(found).count();
    let false_positives = searches.iter().filter(|s| !s.mated && s.wrong.is_some_and(|w| w >= threshold)).count();
    Ok(IdentificationPoint {
        threshold,
        fpir: false_positives as f64 / strangers as f64,
        fnir: misses as f64 / mated as f64,
        false_positives,
        misses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mated(score: f64, rank: usize) -> Search {
        Search { mated: true, right: Some((score, rank)), wrong: Some(0.3) }
    }

    fn stranger(wrong: f64) -> Search {
        Search { mated: false, right: None, wrong: Some(wrong) }
    }

    fn searches() -> Vec<Search> {
        let blind = Search { mated: true, right: None, wrong: None };
        let mut all = vec![mated(0.9, 1), mated(0.5, 1), mated(0.4, 3), blind];
        all.extend([0.6, 0.45, 0.2, 0.1].map(stranger));
        all
    }

    #[test]
    fn ranks_worked_out_by_hand() {
        assert_eq!(cumulative_match(&searches(), 3), Ok(vec![0.5, 0.5, 0.75]));
        assert_eq!(cumulative_match(&[stranger(0.1)], 3), Err(MetricError::Empty));
    }

    #[test]
    fn thresholds_worked_out_by_hand() {
        // One of four strangers may be reported: the one at 0.45 is refused, 0.6 is not.
        let p = at_fpir(&searches(), 0.25).unwrap();
        assert!(p.threshold > 0.45 && p.threshold < 0.450001);
        // Found are 0.9 and 0.5; the third is not first, the fourth has no face.
        assert_eq!((p.fpir, p.fnir, p.false_positives, p.misses), (0.25, 0.5, 1, 2));
        let strict = at_fpir(&searches(), 0.0).unwrap();
        assert_eq!((strict.fpir, strict.fnir), (0.0, 0.75));
        assert_eq!(at_threshold(&searches(), 0.6).unwrap().false_positives, 1);
        // All may be reported.
        assert_eq!(at_fpir(&searches(), 1.0).unwrap().fpir, 1.0);
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        assert_eq!(at_fpir(&[], 0.1), Err(MetricError::Empty));
        let one = at_fpir(&[stranger(0.1)], 0.1);
        assert_eq!(one, Err(MetricError::OneClass { count: 1, class: "not enrolled" }));
        let nan = at_fpir(&[stranger(f64::NAN), mated(0.4, 1)], 0.1);
        assert!(matches!(nan, Err(MetricError::NotFinite { .. })));
    }
}
