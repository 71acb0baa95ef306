//! The charts of a curve over thresholds, the same for every task that has one.

use super::{
    metrics::roc::Roc,
    report::chart::{Axis, Chart, Series},
};

/// How the axes of a task are called.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// Share of negatives that are accepted.
    pub far: &'static str,
    /// Share of positives that are accepted.
    pub tar: &'static str,
    /// Share of positives that are rejected.
    pub frr: &'static str,
}

/// ROC and DET curve of each model. Both have a logarithmic axis for the rate that has to be small; it begins where the set
/// has half a case.
pub fn roc_and_det(curves: &[(String, &Roc)], names: Names) -> Vec<Chart> {
    let Some((_, first)) = curves.first() else { return Vec::new() };
    let (far, frr) = (0.5 / first.negatives() as f64, 0.5 / first.positives() as f64);
    let series = |of: fn((f64, f64)) -> (f64, f64)| -> Vec<Series> {
        let one = |(name, roc): &(String, &Roc)| Series {
            name: name.clone(),
            points: roc.curve().into_iter().map(of).collect(),
        };
        curves.iter().map(one).collect()
    };
    vec![
        Chart::lines("ROC", Axis::rate(names.far, far), Axis::share(names.tar), series(|p| p)),
        Chart::lines("DET", Axis::rate(names.far, far), Axis::rate(names.frr, frr), series(|(f, t)| (f, 1.0 - t))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::roc::tests::generated;

    #[test]
    fn both_curves_are_drawn() {
        let roc = Roc::new(&generated()).unwrap();
        let names = Names { far: "FAR", tar: "TAR", frr: "FRR" };
        assert_eq!(roc_and_det(&[("a".to_owned(), &roc)], names).len(), 2);
        assert!(roc_and_det(&[], names).is_empty());
    }
}
