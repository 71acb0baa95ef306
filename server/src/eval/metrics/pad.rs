//! Presentation attack detection (ISO/IEC 30107-3): error rates of decisions.

use super::MetricError;

/// Errors at fixed thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PadErrors {
    /// Share of attacks that passed as live.
    pub apcer: f64,
    /// Share of live faces that were not called live.
    pub bpcer: f64,
    /// Mean of the two.
    pub acer: f64,
}

/// Error rates of `decisions`: `(called live, is live)`. Whatever is not called live, the uncertain too, is a
/// rejection.
///
/// # Errors
/// No samples, one class only.
pub fn pad_errors(decisions: &[(bool, bool)]) -> Result<PadErrors, MetricError> {
    let live = decisions.iter().filter(|d| d.1).count();
    let attacks = decisions.len() - live;
    match (live, attacks) {
        (0, 0) => return Err(MetricError::Empty),
        (0, count) => return Err(MetricError::OneClass { count, class: "attack" }),
        (count, 0) => return Err(MetricError::OneClass { count, class: "live" }),
        _ => {}
    }
    let passed = decisions.iter().filter(|d| d.0 && !d.1).count();
    let refused = decisions.iter().filter(|d| !d.0 && d.1).count();
    let (apcer, bpcer) = (passed as f64 / attacks as f64, refused as f64 / live as f64);
    Ok(PadErrors { apcer, bpcer, acer: f64::midpoint(apcer, bpcer) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_worked_out_by_hand() {
        // Four attacks, one passed; two live faces, one refused.
        let decisions = [(true, false), (false, false), (false, false), (false, false), (true, true), (false, true)];
        assert_eq!(pad_errors(&decisions), Ok(PadErrors { apcer: 0.25, bpcer: 0.5, acer: 0.375 }));
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        assert_eq!(pad_errors(&[]), Err(MetricError::Empty));
        assert_eq!(pad_errors(&[(true, true)]), Err(MetricError::OneClass { count: 1, class: "live" }));
        assert_eq!(pad_errors(&[(true, false)]), Err(MetricError::OneClass { count: 1, class: "attack" }));
    }
}
