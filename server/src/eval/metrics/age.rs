//! Errors of estimated ages.

use std::collections::BTreeMap;

use super::{MetricError, all_finite};

/// One face: the true age and what was said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AgeSample {
    /// True age in years.
    pub truth: f64,
    /// Estimated age in years.
    pub estimate: f64,
    /// Lowest and highest year of the stated range.
    pub range: [f64; 2],
}

/// Errors over a group of faces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AgeErrors {
    /// Number of faces.
    pub count: usize,
    /// Mean absolute error in years.
    pub mae: f64,
    /// Mean of estimate minus truth in years: positive when faces look too old to the network.
    pub bias: f64,
    /// Share of faces whose true age lies in the stated range, ends included.
    pub coverage: f64,
    /// Mean width of the stated range in years.
    pub range_width: f64,
}

/// Errors over all samples.
///
/// # Errors
/// No samples, an age that is no finite number.
pub fn age_errors(samples: &[AgeSample]) -> Result<AgeErrors, MetricError> {
    if samples.is_empty() {
        return Err(MetricError::Empty);
    }
    all_finite(samples.iter().map(|s| s.estimate))?;
    all_finite(samples.iter().map(|s| s.truth))?;
    let n = samples.len() as f64;
    let mean = |of: fn(&AgeSample) -> f64| samples.iter().map(of).sum::<f64>() / n;
    Ok(AgeErrors {
        count: samples.len(),
        mae: mean(|s| (s.estimate - s.truth).abs()),
        bias: mean(|s| s.estimate - s.truth),
        coverage: mean(|s| f64::from(u8::from((s.range[0]..=s.range[1]).contains(&s.truth)))),
        range_width: mean(|s| s.range[1] - s.range[0]),
    })
}

/// Errors by decade of the true age (0 for 0..=9, 10 for 10..=19, ...), decades without faces left out.
///
/// # Errors
/// As [`age_errors`].
pub fn by_decade(samples: &[AgeSample]) -> Result<BTreeMap<u32, AgeErrors>, MetricError> {
    let mut groups: BTreeMap<u32, Vec<AgeSample>> = BTreeMap::new();
    for sample in samples {
        groups.entry((sample.truth.max(0.0) / 10.0) as u32 * 10).or_default().push(*sample);
    }
    groups.into_iter().map(|(decade, group)| Ok((decade, age_errors(&group)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(truth: f64, estimate: f64) -> AgeSample {
        AgeSample { truth, estimate, range: [estimate - 5.0, estimate + 5.0] }
    }

    #[test]
    fn errors_worked_out_by_hand() {
        let samples = [sample(8.0, 10.0), sample(9.0, 9.0), sample(30.0, 24.0), sample(35.0, 40.0)];
        let all = age_errors(&samples).unwrap();
        assert_eq!((all.count, all.mae, all.bias, all.coverage, all.range_width), (4, 3.25, 0.25, 0.75, 10.0));
        let decades = by_decade(&samples).unwrap();
        assert_eq!(decades.keys().copied().collect::<Vec<_>>(), [0, 30]);
        assert_eq!((decades[&0].mae, decades[&30].mae, decades[&30].coverage), (1.0, 5.5, 0.5));
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        assert_eq!(age_errors(&[]), Err(MetricError::Empty));
        assert!(matches!(age_errors(&[sample(1.0, f64::NAN)]), Err(MetricError::NotFinite { index: 0, .. })));
    }
}
