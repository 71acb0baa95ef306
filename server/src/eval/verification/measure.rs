//! From similarities to figures.

use anyhow::{Context, ensure};
use facesocial_pipeline::FarTarget;
use serde::Serialize;

use super::{pairs::Pairs, similarities::Similarities};
use crate::{
    cli::json::{VERSION, rounded},
    eval::{
        apply::Applied,
        figure,
        groups::{GroupRates, by_group},
        interval,
        metrics::{
            bootstrap::intervals,
            folds::{FoldSample, consecutive_stratified, cross_validate},
            interval::RULE_OF_30,
            roc::{OperatingPoint, Roc, Scored},
        },
    },
};

/// Folds, unless the table names its own.
const FOLDS: usize = 10;
/// False accept rates whose thresholds are reported.
const FAR_TARGETS: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Groups are compared at the threshold for this one.
const GROUP_TARGET: usize = 1;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct VerificationReport {
    pub version: u32,
    pub task: &'static str,
    pub pairs_file: String,
    pub detector: String,
    pub images: usize,
    pub images_without_face: usize,
    pub pairs: usize,
    pub same: usize,
    pub different: usize,
    pub pairs_without_face: usize,
    pub folds: Folds,
    pub models: Vec<ModelReport>,
    /// Of the first model, at its threshold for a false accept rate of 1e-3 on the whole set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupRates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

#[derive(Debug, Serialize)]
pub(super) struct Folds {
    pub count: usize,
    pub source: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct ModelReport {
    pub model: String,
    pub accuracy: f64,
    pub accuracy_std: f64,
    pub auc: f64,
    pub auc_interval: Option<[f64; 2]>,
    pub eer: f64,
    pub eer_interval: Option<[f64; 2]>,
    pub eer_threshold: f64,
    pub operating_points: Vec<PointReport>,
    /// Rates at the thresholds that decide now; only the ensemble has any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub current_thresholds: Vec<PointReport>,
    pub folds: Vec<FoldReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct PointReport {
    pub far_target: f64,
    pub threshold: f64,
    pub far: f64,
    pub tar: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tar_interval: Option<[f64; 2]>,
    pub false_accepts: usize,
    /// Whether there are enough strangers for the rule of 30 at this rate.
    pub rule_of_30: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct FoldReport {
    pairs: usize,
    threshold: f64,
    accuracy: f64,
}

/// Figures, and the curve of each model.
pub(super) struct Measured {
    pub report: VerificationReport,
    pub curves: Vec<(String, Roc)>,
}

/// Measures every model; `thresholds` are those that decide now, of the first model.
pub(super) fn measure(
    pairs: &Pairs,
    similarities: &Similarities,
    repetitions: usize,
    thresholds: &[(FarTarget, f32)],
) -> anyhow::Result<Measured> {
    let labels: Vec<bool> = pairs.pairs.iter().map(|p| p.same).collect();
    let same = labels.iter().filter(|l| **l).count();
    let (folds, source) = folds(pairs, &labels)?;
    let (mut models, mut curves) = (Vec::new(), Vec::new());
    for (m, model) in similarities.models.iter().enumerate() {
        let scores = similarities.of_model(m);
        let samples = scores.iter().zip(&labels).zip(&folds);
        let samples: Vec<_> = samples.map(|((&score, &same), &fold)| FoldSample { score, same, fold }).collect();
        // The fused embedding comes first; only it has thresholds that decide.
        let thresholds = if m == 0 { thresholds } else { &[] };
        let measured = model_report(model, &samples, same, repetitions, thresholds);
        let (report, roc) = measured.with_context(|| format!("cannot measure {model}"))?;
        models.push(report);
        curves.push((model.clone(), roc));
    }
    let groups = group_rates(pairs, similarities, curves[0].1.at_far(FAR_TARGETS[GROUP_TARGET]).threshold);
    let report = VerificationReport {
        version: VERSION,
        task: "verification",
        pairs_file: String::new(),
        detector: String::new(),
        images: pairs.images.len(),
        images_without_face: 0,
        pairs: labels.len(),
        same,
        different: labels.len() - same,
        pairs_without_face: similarities.pairs.iter().filter(|s| s.is_none()).count(),
        folds: Folds { count: folds.iter().max().map_or(0, |f| f + 1), source },
        models,
        groups,
        applied: None,
    };
    Ok(Measured { report, curves })
}

/// The fold of each pair, and where it comes from.
fn folds(pairs: &Pairs, labels: &[bool]) -> anyhow::Result<(Vec<usize>, &'static str)> {
    let named: Option<Vec<&str>> = pairs.pairs.iter().map(|p| p.fold.as_deref()).collect();
    if let Some(named) = named {
        let mut names: Vec<&str> = named.clone();
        names.sort_unstable();
        names.dedup();
        return Ok((named.iter().map(|n| names.partition_point(|m| m < n)).collect(), "column fold"));
    }
    let same = labels.iter().filter(|l| **l).count();
    let count = FOLDS.min(same).min(labels.len() - same);
    ensure!(
        count >= 2,
        "{same} pairs of the same person and {} of different people; at least 2 of each are needed",
        labels.len() - same
    );
    Ok((consecutive_stratified(labels, count), "consecutive pairs, stratified"))
}

fn model_report(
    model: &str,
    samples: &[FoldSample],
    same: usize,
    repetitions: usize,
    thresholds: &[(FarTarget, f32)],
) -> anyhow::Result<(ModelReport, Roc)> {
    let validated = cross_validate(samples)?;
    let scored: Vec<Scored> =
        samples.iter().filter_map(|s| Some(Scored { score: s.score?, positive: s.same })).collect();
    let roc = Roc::new(&scored)?;
    let spread = (repetitions > 0).then(|| intervals(&scored, &FAR_TARGETS, repetitions)).transpose()?;
    // Over all pairs of the same person: one without a face is rejected. The false accepts are counted against the pairs with
    // faces only, so that missing faces make no model look safer.
    let with_faces = roc.positives() as f64 / same as f64;
    let point = |far_target: f64, p: OperatingPoint| PointReport {
        far_target,
        threshold: figure(p.threshold),
        far: figure(p.far),
        tar: figure(p.true_accepts as f64 / same as f64),
        tar_interval: None,
        false_accepts: p.false_accepts,
        rule_of_30: far_target * roc.negatives() as f64 >= RULE_OF_30 as f64,
    };
    let here = FAR_TARGETS.iter().enumerate().map(|(i, &target)| {
        let tar_interval = spread.as_ref().map(|s| interval(s.tar[i].map(|end| end * with_faces)));
        PointReport { tar_interval, ..point(target, roc.at_far(target)) }
    });
    let current = thresholds.iter().map(|(t, at)| {
        // A threshold is a 32-bit number, and so were the similarities.
        point(rounded(f64::from(t.rate()), 6), roc.at_threshold(f64::from(*at)))
    });
    let fold = |f: &crate::eval::metrics::folds::Fold| FoldReport {
        pairs: f.pairs,
        threshold: figure(f.threshold),
        accuracy: figure(f.accuracy),
    };
    let (eer, eer_threshold) = roc.eer();
    let report = ModelReport {
        model: model.to_owned(),
        accuracy: figure(validated.accuracy),
        accuracy_std: figure(validated.std),
        auc: figure(roc.auc()),
        auc_interval: spread.as_ref().map(|s| interval(s.auc)),
        eer: figure(eer),
        eer_interval: spread.as_ref().map(|s| interval(s.eer)),
        eer_threshold: figure(eer_threshold),
        operating_points: here.collect(),
        current_thresholds: current.collect(),
        folds: validated.folds.iter().map(fold).collect(),
    };
    Ok((report, roc))
}

/// False match and non-match rates of the first model in each group; a pair of the same person without a face is no match.
fn group_rates(pairs: &Pairs, similarities: &Similarities, threshold: f64) -> Vec<GroupRates> {
    let Some(groups) = by_group(pairs.pairs.iter().map(|p| p.group.as_deref())) else { return Vec::new() };
    let accepted = |i: usize| similarities.pairs[i].as_ref().is_some_and(|s| s[0] >= threshold);
    let counts = |same: bool| {
        groups.iter().map(move |(group, rows)| {
            let of_kind = rows.iter().filter(move |i| pairs.pairs[**i].same == same);
            let wrong = of_kind.clone().filter(|i| accepted(**i) != same).count();
            (*group, wrong, of_kind.count())
        })
    };
    vec![GroupRates::new("false match rate", counts(false)), GroupRates::new("false non-match rate", counts(true))]
}

#[cfg(test)]
mod tests {
    use super::{super::tests::set, *};

    #[test]
    fn a_pair_without_face_is_an_error_and_no_threshold() {
        let (_dir, pairs, embedded) = set();
        let similarities = Similarities::of(&pairs, &embedded).unwrap();
        let thresholds = [(FarTarget::Percent1, 0.7), (FarTarget::PerMille1, 0.8)];
        let Measured { report, curves } = measure(&pairs, &similarities, 50, &thresholds).unwrap();
        assert_eq!((report.pairs, report.same, report.pairs_without_face, report.folds.count), (9, 5, 1, 4));
        let good = &report.models[0];
        assert_eq!((good.auc, good.eer, good.auc_interval), (1.0, 0.0, Some([1.0, 1.0])));
        // Four of five pairs of the same person have faces, and all of those are accepted.
        let point = &good.operating_points[1];
        assert_eq!((point.tar, point.tar_interval, point.rule_of_30), (0.8, Some([0.8, 0.8]), false));
        // The pair without a face is one of two in its fold; the other folds are right.
        assert_eq!(good.accuracy, (3.0 + 0.5) / 4.0);
        assert_eq!((report.models[1].auc, curves.len()), (0.5, 2));
        assert!(report.models[1].current_thresholds.is_empty() && good.current_thresholds.len() == 2);
        // The pair without a face is of group y.
        let rejected = &report.groups[1];
        assert_eq!((rejected.groups[0].errors, rejected.groups[1].errors, rejected.groups[1].total), (0, 1, 3));
        assert_eq!(rejected.differential.as_ref().unwrap().worst, "y");
    }

    #[test]
    fn intervals_can_be_left_out() {
        let (_dir, pairs, embedded) = set();
        let similarities = Similarities::of(&pairs, &embedded).unwrap();
        let Measured { report, .. } = measure(&pairs, &similarities, 0, &[]).unwrap();
        let json = serde_json::to_value(&report.models[0]).unwrap();
        assert!(json["auc_interval"].is_null() && json["operating_points"][0]["tar_interval"].is_null(), "{json}");
    }

    #[test]
    fn a_column_fold_is_used() {
        let (_dir, mut pairs, _) = set();
        for (i, pair) in pairs.pairs.iter_mut().enumerate() {
            pair.fold = Some(if i % 2 == 0 { "b" } else { "a" }.to_owned());
        }
        let labels: Vec<bool> = pairs.pairs.iter().map(|p| p.same).collect();
        let (folds, source) = folds(&pairs, &labels).unwrap();
        assert_eq!((&folds[..3], source), (&[1, 0, 1][..], "column fold"));
    }

    #[test]
    fn too_few_pairs_of_a_kind_are_named() {
        let (_dir, mut pairs, embedded) = set();
        pairs.pairs.truncate(6);
        let similarities = Similarities::of(&pairs, &embedded).unwrap();
        let message = measure(&pairs, &similarities, 0, &[]).err().unwrap().to_string();
        assert_eq!(message, "5 pairs of the same person and 1 of different people; at least 2 of each are needed");
    }
}
