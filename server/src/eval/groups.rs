//! Figures for each group of people, and how far they lie apart.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    figure, four,
    metrics::{
        differential::{Differential, differential},
        interval::wilson,
    },
    report::Page,
};
use crate::cli::table::TextTable;

/// Positions of the rows of each group; `None` if the table tells none.
pub fn by_group<'a>(groups: impl IntoIterator<Item = Option<&'a str>>) -> Option<BTreeMap<&'a str, Vec<usize>>> {
    let mut all: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, group) in groups.into_iter().enumerate() {
        all.entry(group?).or_default().push(row);
    }
    (!all.is_empty()).then_some(all)
}

/// A rate of one group: how many of how many, with its 95 % interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupRate {
    /// The group.
    pub group: String,
    /// Errors.
    pub errors: usize,
    /// Cases of the group; a group without any has no rate.
    pub total: usize,
    /// Errors by total.
    pub rate: f64,
    /// Wilson's interval of the rate.
    pub interval: [f64; 2],
}

/// One error rate over all groups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupRates {
    /// What is counted.
    pub figure: &'static str,
    /// In the order of their names.
    pub groups: Vec<GroupRate>,
    /// How far the groups lie apart; `None` of one group.
    pub differential: Option<DifferentialReport>,
}

/// See [`Differential`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DifferentialReport {
    /// Group with the lowest rate.
    pub best: String,
    /// Group with the highest.
    pub worst: String,
    /// Highest minus lowest.
    pub difference: f64,
    /// Highest over lowest; `None` if the lowest is 0.
    pub ratio: Option<f64>,
}

impl From<Differential> for DifferentialReport {
    fn from(d: Differential) -> Self {
        Self { best: d.best.0, worst: d.worst.0, difference: figure(d.difference), ratio: d.ratio.map(figure) }
    }
}

impl GroupRates {
    /// The rate of `figure` in each group: (group, errors, cases).
    pub fn new<'a>(figure_name: &'static str, counts: impl IntoIterator<Item = (&'a str, usize, usize)>) -> Self {
        let rate = |(group, errors, total): (&str, usize, usize)| GroupRate {
            group: group.to_owned(),
            errors,
            total,
            rate: figure(errors as f64 / total as f64),
            interval: super::interval(wilson(errors, total)),
        };
        let groups: Vec<GroupRate> = counts.into_iter().filter(|c| c.2 > 0).map(rate).collect();
        let ends = differential(groups.iter().map(|g| (g.group.as_str(), g.errors as f64 / g.total as f64)));
        Self { figure: figure_name, groups, differential: ends.map(Into::into) }
    }
}

/// Adds a table of `rates`, and what lies between the groups, to a page.
pub fn tell(page: &mut Page, rates: &[GroupRates]) {
    if rates.iter().all(|r| r.groups.is_empty()) {
        return;
    }
    let mut table = TextTable::new(["rate", "group", "errors", "of", "share", "95 % from", "to"]);
    for rates in rates {
        for g in &rates.groups {
            table.row([
                rates.figure.to_owned(),
                g.group.clone(),
                g.errors.to_string(),
                g.total.to_string(),
                four(g.rate),
                four(g.interval[0]),
                four(g.interval[1]),
            ]);
        }
    }
    page.captioned("error rates by group", table);
    for GroupRates { figure, differential, .. } in rates {
        let Some(d) = differential else { continue };
        let times = d.ratio.map_or("; the lowest is 0, so no ratio".to_owned(), |r| format!(", {r:.2} times"));
        page.text(format!(
            "{figure}: {} has the lowest, {} the highest: {:.4} apart{times}",
            d.best, d.worst, d.difference
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_group_unless_none_is_told() {
        let groups = by_group([Some("b"), Some("a"), Some("b")]).unwrap();
        assert_eq!(groups.into_iter().collect::<Vec<_>>(), [("a", vec![1]), ("b", vec![0, 2])]);
        assert_eq!(by_group([None, None]), None);
        assert_eq!(by_group([]), None);
    }

    #[test]
    fn rates_are_told_with_what_lies_between() {
        let rates = GroupRates::new("BPCER", [("a", 1, 10), ("b", 3, 10), ("c", 0, 0)]);
        assert_eq!(rates.groups.len(), 2);
        let d = rates.differential.clone().unwrap();
        assert_eq!((d.worst.as_str(), d.difference, d.ratio), ("b", 0.2, Some(3.0)));
        let mut page = Page::new(String::new());
        tell(&mut page, &[rates]);
        let text = page.render();
        assert!(text.contains("BPCER: a has the lowest, b the highest: 0.2000 apart, 3.00 times"), "{text}");
    }
}
