//! `facesocial eval identification`: searches among enrolled persons.

mod search;
mod set;
mod told;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use facesocial_types::Analyzer;
use serde::Serialize;

use self::{
    search::{Found, search},
    set::{Set, read_set},
};
use super::{
    DataArgs,
    embedded::{self, EmbedArgs, Embedded},
    figure,
    groups::{GroupRates, by_group},
    interval,
    metrics::{
        MetricError,
        identification::{IdentificationPoint, Search, at_fpir, cumulative_match},
        interval::{RULE_OF_30, wilson},
    },
    tell,
};
use crate::cli::json::VERSION;

/// Options of `facesocial eval identification`.
#[derive(Debug, Args)]
pub struct IdentificationArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    embed: EmbedArgs,
}

/// Ranks that are told.
const RANKS: usize = 20;
/// False positive identification rates whose thresholds are told.
const FPIR_TARGETS: [f64; 3] = [0.1, 0.01, 0.001];
/// Groups are compared at the threshold for this one.
const GROUP_TARGET: f64 = 0.01;

/// What was measured.
#[derive(Debug, Serialize)]
struct IdentificationReport {
    version: u32,
    task: &'static str,
    data: String,
    /// Where gallery and probes come from.
    split: &'static str,
    detector: String,
    persons: usize,
    gallery: usize,
    gallery_without_face: usize,
    mated: usize,
    /// Probes of persons who are not enrolled.
    strangers: usize,
    probes_without_face: usize,
    models: Vec<ModelReport>,
    /// Of the first model, at its threshold for a FPIR of 0.01.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupRates>,
}

#[derive(Debug, Serialize)]
struct ModelReport {
    model: String,
    rank_1: f64,
    rank_1_interval: [f64; 2],
    /// Share of mated searches whose person is among the first 1, 2, 3 ...
    cumulative_match: Vec<f64>,
    /// Empty where everybody who is looked for is enrolled.
    operating_points: Vec<PointReport>,
}

#[derive(Debug, Serialize)]
struct PointReport {
    fpir_target: f64,
    threshold: f64,
    fpir: f64,
    fnir: f64,
    fnir_interval: [f64; 2],
    false_positives: usize,
    misses: usize,
    /// Whether there are enough strangers for the rule of 30 at this rate.
    rule_of_30: bool,
}

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &IdentificationArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let set = read_set(data)?;
    let pipeline = data.load([Analyzer::Recognition].into_iter().collect(), false)?;
    let paths: Vec<PathBuf> = set.gallery.iter().chain(&set.probes).map(|p| p.path.clone()).collect();
    let embedded = embedded::embed(&pipeline, data, args.embed, &paths)?;
    let models: Vec<String> = embedded::models(&embedded)?.iter().map(ToString::to_string).collect();
    let (gallery, probes) = embedded.split_at(set.gallery.len());
    let found: Vec<Vec<Found>> = (0..models.len()).map(|m| search(&set, gallery, probes, m)).collect();
    if let Some(path) = &data.scores {
        told::write_scores(path, &set, &models, &found)?;
    }
    let mut report = measure(&set, &models, &found)?;
    report.data = data.name();
    report.detector = args.embed.detector.to_string();
    let without = |of: &[Embedded]| of.iter().filter(|e| e.is_none()).count();
    (report.gallery_without_face, report.probes_without_face) = (without(gallery), without(probes));
    tell(&report, data, |page| told::illustrate(page, &set, &found, &report))
}

fn measure(set: &Set, models: &[String], found: &[Vec<Found>]) -> anyhow::Result<IdentificationReport> {
    let reports = models.iter().zip(found).map(|(model, found)| {
        let searches: Vec<Search> = found.iter().map(|f| f.search).collect();
        model_report(model, &searches).with_context(|| format!("cannot measure {model}"))
    });
    let mated = set.mated().count();
    Ok(IdentificationReport {
        version: VERSION,
        task: "identification",
        data: String::new(),
        split: set.split,
        detector: String::new(),
        persons: set.persons(),
        gallery: set.gallery.len(),
        gallery_without_face: 0,
        mated,
        strangers: set.probes.len() - mated,
        probes_without_face: 0,
        models: reports.collect::<anyhow::Result<_>>()?,
        groups: group_rates(set, &found[0])?,
    })
}

fn model_report(model: &str, searches: &[Search]) -> Result<ModelReport, MetricError> {
    let cmc = cumulative_match(searches, RANKS)?;
    let mated = searches.iter().filter(|s| s.mated).count();
    let strangers = searches.len() - mated;
    let first = searches.iter().filter(|s| s.right.is_some_and(|r| r.1 == 1)).count();
    let point = |target: &f64| {
        let IdentificationPoint { threshold, fpir, fnir, false_positives, misses } = at_fpir(searches, *target)?;
        Ok(PointReport {
            fpir_target: *target,
            threshold: figure(threshold),
            fpir: figure(fpir),
            fnir: figure(fnir),
            fnir_interval: interval(wilson(misses, mated)),
            false_positives,
            misses,
            rule_of_30: target * strangers as f64 >= RULE_OF_30 as f64,
        })
    };
    let targets = if strangers > 0 { &FPIR_TARGETS[..] } else { &[] };
    Ok(ModelReport {
        model: model.to_owned(),
        rank_1: figure(cmc[0]),
        rank_1_interval: interval(wilson(first, mated)),
        cumulative_match: cmc.into_iter().map(figure).collect(),
        operating_points: targets.iter().map(point).collect::<Result<_, MetricError>>()?,
    })
}

fn group_rates(set: &Set, found: &[Found]) -> Result<Vec<GroupRates>, MetricError> {
    let Some(groups) = by_group(set.probes.iter().map(|p| p.group.as_deref())) else { return Ok(Vec::new()) };
    let searches: Vec<Search> = found.iter().map(|f| f.search).collect();
    let not_first = |s: &Search| s.right.is_none_or(|r| r.1 > 1);
    let rates = |mated: bool, wrong: &dyn Fn(&Search) -> bool| -> Vec<(&str, usize, usize)> {
        let of = groups.iter().map(|(group, rows)| {
            let kind: Vec<&Search> = rows.iter().map(|i| &searches[*i]).filter(|s| s.mated == mated).collect();
            (*group, kind.iter().filter(|s| wrong(s)).count(), kind.len())
        });
        of.collect()
    };
    let mut all = vec![GroupRates::new("not first", rates(true, &not_first))];
    if searches.iter().any(|s| !s.mated) {
        let t = at_fpir(&searches, GROUP_TARGET)?.threshold;
        let miss = |s: &Search| not_first(s) || s.right.is_some_and(|r| r.0 < t);
        all.push(GroupRates::new("FNIR", rates(true, &miss)));
        all.push(GroupRates::new("FPIR", rates(false, &|s| s.wrong.is_some_and(|w| w >= t))));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use facesocial_types::{Embedding, ModelId};

    use super::{set::tests::listed, *};

    fn of(direction: f32) -> Embedded {
        Some(vec![Embedding::new(ModelId::new("plane", "1"), vec![direction.cos(), direction.sin()]).unwrap()])
    }

    #[test]
    fn figures_worked_out_by_hand() {
        // Ann twice and Bob once in the gallery; probes: Ann, Ann unseen, Bob nearer to Ann, two strangers.
        let set = listed(&["ann", "ann", "bob"], &["ann", "ann", "bob", "cid", "dan"]);
        let gallery = [of(0.0), of(0.4), of(2.0)];
        let probes = [of(0.35), None, of(0.9), of(1.9), of(4.5)];
        let found = vec![search(&set, &gallery, &probes, 0)];
        let report = measure(&set, &["plane@1".to_owned()], &found).unwrap();
        assert_eq!((report.persons, report.gallery, report.mated, report.strangers), (2, 3, 3, 2));
        let m = &report.models[0];
        // Ann is first, Bob second, the photo without a face nowhere.
        assert_eq!((m.rank_1, m.cumulative_match[1]), (0.333333, 0.666667));
        // One of two strangers may be reported at no rate told, so that the threshold lies above cid's cos 0.1.
        let p = &m.operating_points[0];
        assert!((p.threshold - 0.995004).abs() < 1e-6, "{}", p.threshold);
        assert_eq!((p.fpir, p.misses, p.rule_of_30), (0.0, 2, false));
        assert_eq!(report.groups.len(), 3);
    }

    #[test]
    fn a_set_without_strangers_has_ranks_alone_and_one_without_mates_is_an_error() {
        let set = listed(&["ann", "bob"], &["ann"]);
        let found = vec![search(&set, &[of(0.0), of(2.0)], &[of(0.1)], 0)];
        let report = measure(&set, &["plane@1".to_owned()], &found).unwrap();
        assert_eq!((report.models[0].rank_1, report.models[0].operating_points.len()), (1.0, 0));
        let set = listed(&["ann", "bob"], &["cid"]);
        let found = vec![search(&set, &[of(0.0), of(2.0)], &[of(0.1)], 0)];
        assert!(measure(&set, &["plane@1".to_owned()], &found).is_err());
    }
}
