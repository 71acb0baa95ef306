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
    /// Lowest and highest year of the stated range, if one was stated.
    pub range: Option<[f64; 2]>,
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
    /// Share of faces whose true age lies in the stated range, ends included; `None` without ranges.
    pub coverage: Option<f64>,
    /// Mean width of the stated ranges in years; `None` without any.
    pub range_width: Option<f64>,
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
    let of_ranges = |of: fn([f64; 2], f64) -> f64| {
        let values: Vec<f64> = samples.iter().filter_map(|s| Some(of(s.range?, s.truth))).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    Ok(AgeErrors {
        count: samples.len(),
        mae: mean(|s| (s.estimate - s.truth).abs()),
        bias: mean(|s| s.estimate - s.truth),
        coverage: of_ranges(|[low, high], truth| f64::from(u8::from((low..=high).contains(&truth)))),
        range_width: of_ranges(|[low, high], _| high - low),
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
        AgeSample { truth, estimate, range: Some([estimate - 5.0, estimate + 5.0]) }
    }

    #[test]
    fn errors_worked_out_by_hand() {
        let samples = [sample(8.0, 10.0), sample(9.0, 9.0), sample(30.0, 24.0), sample(35.0, 40.0)];
        let all = age_errors(&samples).unwrap();
        assert_eq!(
            (all.count, all.mae, all.bias, all.coverage, all.range_width),
            (4, 3.25, 0.25, Some(0.75), Some(10.0))
        );
        let decades = by_decade(&samples).unwrap();
        assert_eq!(decades.keys().copied().collect::<Vec<_>>(), [0, 30]);
        assert_eq!((decades[&0].mae, decades[&30].mae, decades[&30].coverage), (1.0, 5.5, Some(0.5)));
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        assert_eq!(age_errors(&[]), Err(MetricError::Empty));
        assert!(matches!(age_errors(&[sample(1.0, f64::NAN)]), Err(MetricError::NotFinite { index: 0, .. })));
    }
}
