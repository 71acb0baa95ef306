//! Presentation attack detection (ISO/IEC 30107-3): error rates of decisions.

use std::collections::BTreeMap;

use super::MetricError;

/// Errors at fixed thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PadErrors {
    /// Share of attacks that passed as live; of several species of attack instruments that of the one that passes most
    /// often, as the standard asks.
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

/// Attacks of one species of instruments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpeciesErrors {
    /// Attacks.
    pub attacks: usize,
    /// Of them, those that passed as live.
    pub passed: usize,
}

impl SpeciesErrors {
    /// Share of the attacks that passed.
    pub fn apcer(&self) -> f64 {
        self.passed as f64 / self.attacks.max(1) as f64
    }
}

/// Attacks by the species of their instrument: `(called live, species)` of each.
pub fn by_species<'a>(attacks: impl IntoIterator<Item = (bool, &'a str)>) -> BTreeMap<&'a str, SpeciesErrors> {
    let mut all = BTreeMap::new();
    for (passed, species) in attacks {
        let of = all.entry(species).or_insert(SpeciesErrors { attacks: 0, passed: 0 });
        of.attacks += 1;
        of.passed += usize::from(passed);
    }
    all
}

impl PadErrors {
    /// The same errors with the worst species in the place of all attacks together.
    #[must_use]
    pub fn of_worst_species(self, species: &BTreeMap<&str, SpeciesErrors>) -> Self {
        let worst = species.values().map(SpeciesErrors::apcer).max_by(f64::total_cmp).unwrap_or(self.apcer);
        Self { apcer: worst, bpcer: self.bpcer, acer: f64::midpoint(worst, self.bpcer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_species_counts() {
        let attacks = [(true, "print"), (false, "print"), (false, "screen"), (false, "screen"), (false, "screen")];
        let species = by_species(attacks);
        assert_eq!(species["print"], SpeciesErrors { attacks: 2, passed: 1 });
        let all = PadErrors { apcer: 0.25, bpcer: 0.125, acer: 0.1875 };
        assert_eq!(all.of_worst_species(&species), PadErrors { apcer: 0.5, bpcer: 0.125, acer: 0.3125 });
        assert_eq!(all.of_worst_species(&BTreeMap::new()), all);
    }

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
