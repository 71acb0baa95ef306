//! How much an error rate differs between groups of people.

/// The groups with the lowest and the highest error rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Differential {
    /// Group with the lowest rate, and the rate.
    pub best: (String, f64),
    /// Group with the highest rate, and the rate.
    pub worst: (String, f64),
    /// Highest minus lowest.
    pub difference: f64,
    /// Highest over lowest; `None` if the lowest is 0, which a small group easily is.
    pub ratio: Option<f64>,
}

/// Compares the rates of groups, where lower is better; `None` of fewer than two.
pub fn differential<'a>(rates: impl IntoIterator<Item = (&'a str, f64)>) -> Option<Differential> {
    let rates: Vec<(&str, f64)> = rates.into_iter().collect();
    let best = rates.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let worst = rates.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    (rates.len() > 1).then(|| Differential {
        best: (best.0.to_owned(), best.1),
        worst: (worst.0.to_owned(), worst.1),
        difference: worst.1 - best.1,
        ratio: (best.1 > 0.0).then(|| worst.1 / best.1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_told() {
        let d = differential([("a", 0.02), ("b", 0.06), ("c", 0.03)]).unwrap();
        assert_eq!((d.best.0.as_str(), d.worst.0.as_str()), ("a", "b"));
        assert!((d.difference - 0.04).abs() < 1e-12 && (d.ratio.unwrap() - 3.0).abs() < 1e-12);
        assert_eq!(differential([("a", 0.0), ("b", 0.1)]).unwrap().ratio, None);
        assert_eq!(differential([("a", 0.1)]), None);
    }
}
