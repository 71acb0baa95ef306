//! `facesocial eval deepfake`: photographs against generated and swapped faces.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use facesocial_types::{Analyzer, AnalyzerSet, DeepfakeDecision, Service};
use serde::{Deserialize, Serialize};

use super::{
    BootstrapArgs, DataArgs, Report,
    apply::{self, Applied, ApplyArgs},
    asked::{self, Answered, FaceArgs},
    curves::{Names, roc_and_det},
    faces, figure, four,
    groups::{self, GroupRates, by_group},
    interval,
    labels::{Column, LabelError, Labels},
    metrics::{
        bootstrap::intervals,
        calibration::{Calibration, calibration},
        interval::wilson,
        roc::{Roc, Scored},
    },
    report::{
        Page,
        chart::{Axis, Chart, Series},
    },
    scores, tell, within, worst,
};
use crate::cli::{json::VERSION, share, table::TextTable};

/// Options of `facesocial eval deepfake`.
#[derive(Debug, Args)]
pub struct DeepfakeArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    face: FaceArgs,
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    #[command(flatten)]
    apply: ApplyArgs,
    /// With --apply: share of the photographs that may be called fakes.
    #[arg(long, value_name = "SHARE", value_parser = share::<f64>, default_value_t = 0.02)]
    false_alarms: f64,
    /// With --apply: share of the fakes that may be called photographs.
    #[arg(long, value_name = "SHARE", value_parser = share::<f64>, default_value_t = 0.05)]
    misses: f64,
}

const FILE: Column = &["file"];
const FAKE: Column = &["fake"];
/// Share of photographs called fakes at which the share of fakes found is told.
const FALSE_ALARM_TARGETS: [f64; 3] = [0.1, 0.05, 0.01];

/// The labelled photos.
struct Set {
    names: Vec<String>,
    paths: Vec<PathBuf>,
    fake: Vec<bool>,
    groups: Vec<Option<String>>,
}

/// What was said of one photo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Said {
    /// 0 (photograph) to 1 (fake).
    score: f32,
    decision: DeepfakeDecision,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct DeepfakeReport {
    version: u32,
    task: &'static str,
    data: String,
    model: String,
    detector: String,
    real: usize,
    fake: usize,
    without_face: usize,
    auc: f64,
    auc_interval: Option<[f64; 2]>,
    eer: f64,
    eer_interval: Option<[f64; 2]>,
    eer_threshold: f64,
    operating_points: Vec<PointReport>,
    real_threshold: f64,
    fake_threshold: f64,
    /// Decisions at the thresholds that decide now.
    decisions: Decisions,
    calibration: CalibrationReport,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupRates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<Applied>,
}

#[derive(Debug, Serialize)]
struct PointReport {
    false_alarm_target: f64,
    threshold: f64,
    false_alarm_rate: f64,
    found: f64,
    found_interval: Option<[f64; 2]>,
}

/// How often each class was called what.
#[derive(Debug, Default, Serialize)]
struct Decisions {
    real_called_fake: usize,
    real_uncertain: usize,
    fake_called_real: usize,
    fake_uncertain: usize,
    false_alarm_interval: [f64; 2],
    miss_interval: [f64; 2],
}

#[derive(Debug, Serialize)]
struct CalibrationReport {
    ece: f64,
    brier: f64,
    bins: Vec<BinReport>,
}

#[derive(Debug, Serialize)]
struct BinReport {
    from: f64,
    count: usize,
    said: f64,
    came_true: f64,
}

impl From<Calibration> for CalibrationReport {
    fn from(c: Calibration) -> Self {
        let bins = c.bins.iter().map(|b| BinReport {
            from: figure(b.from),
            count: b.count,
            said: figure(b.said),
            came_true: figure(b.came_true),
        });
        Self { ece: figure(c.ece), brier: figure(c.brier), bins: bins.collect() }
    }
}

fn read_set(data: &DataArgs) -> Result<Set, LabelError> {
    let labels = Labels::read(&data.table("labels.csv"), &[FILE, FAKE], &[], data.group())?;
    let rows = || labels.rows(data.limit());
    let set = Set {
        names: rows().map(|r| r.text(0).to_owned()).collect(),
        paths: rows().map(|r| r.image(0, &data.data)).collect::<Result<_, _>>()?,
        fake: rows().map(|r| r.flag(1)).collect::<Result<_, _>>()?,
        groups: rows().map(|r| r.group().map(str::to_owned)).collect(),
    };
    labels.both(1, set.fake.iter().copied())?;
    Ok(set)
}

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &DeepfakeArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let target = args.apply.target(data)?;
    let set = read_set(data)?;
    let wanted: AnalyzerSet = [Analyzer::Deepfake].into_iter().collect();
    let pipeline = data.load(wanted, args.apply.apply)?;
    let (model, band) = (asked::model(&pipeline, Service::Deepfake)?, pipeline.deepfake_band()?);
    let question = format!("deepfake by {model}, {} to {} uncertain", band.low(), band.high());
    let answers = asked::ask(&pipeline, data, args.face, &set.paths, &question, Analyzer::Deepfake, |face| {
        let said = faces::done(face.deepfake)?;
        Ok(Said { score: said.score, decision: said.decision })
    })?;
    if let Some(path) = &data.scores {
        write_scores(path, &set, &answers)?;
    }
    let mut report = measure(&set, &answers, args.bootstrap.bootstrap)?;
    report.data = data.name();
    report.model = model.to_string();
    report.detector = args.face.detector.to_string();
    (report.real_threshold, report.fake_threshold) = (figure(band.low().into()), figure(band.high().into()));
    if let Some(path) = &target {
        let curves = [Roc::new(&scored(&set, &answers))?];
        let classes = ["photographs", "fakes"];
        let band = apply::band(&curves, args.false_alarms, args.misses, classes)?;
        report.applied = Some(apply::deepfake(path, &model, band, &report.data)?);
    }
    tell(&report, data, |page| illustrate(page, &set, &answers, &report.calibration))
}

fn write_scores(path: &Path, set: &Set, answers: &[Answered<Said>]) -> anyhow::Result<()> {
    let head = ["file", "fake", "score", "decision", "face_found", "group"];
    let rows = answers.iter().enumerate().map(|(i, a)| {
        let decision = match a.answer.decision {
            DeepfakeDecision::Real => "real",
            DeepfakeDecision::Fake => "fake",
            DeepfakeDecision::Uncertain => "uncertain",
        };
        let (fake, found) = (scores::flag(set.fake[i]), scores::flag(a.face_found));
        let group = set.groups[i].clone().unwrap_or_default();
        vec![set.names[i].clone(), fake, a.answer.score.to_string(), decision.to_owned(), found, group]
    });
    scores::write(path, &head, rows)
}

fn scored(set: &Set, answers: &[Answered<Said>]) -> Vec<Scored> {
    let one = |(a, fake): (&Answered<Said>, &bool)| Scored { score: a.answer.score.into(), positive: *fake };
    answers.iter().zip(&set.fake).map(one).collect()
}

fn measure(set: &Set, answers: &[Answered<Said>], repetitions: usize) -> anyhow::Result<DeepfakeReport> {
    let samples = scored(set, answers);
    let roc = Roc::new(&samples)?;
    let spread = (repetitions > 0).then(|| intervals(&samples, &FALSE_ALARM_TARGETS, repetitions)).transpose()?;
    let (eer, eer_threshold) = roc.eer();
    let point = |(i, target): (usize, &f64)| {
        let p = roc.at_far(*target);
        PointReport {
            false_alarm_target: *target,
            threshold: figure(p.threshold),
            false_alarm_rate: figure(p.far),
            found: figure(p.tar),
            found_interval: spread.as_ref().map(|s| interval(s.tar[i])),
        }
    };
    let called = |fake: bool, decision: DeepfakeDecision| {
        let of = answers.iter().zip(&set.fake).filter(|(a, f)| **f == fake && a.answer.decision == decision);
        of.count()
    };
    let (alarms, misses) = (called(false, DeepfakeDecision::Fake), called(true, DeepfakeDecision::Real));
    Ok(DeepfakeReport {
        version: VERSION,
        task: "deepfake",
        data: String::new(),
        model: String::new(),
        detector: String::new(),
        real: roc.negatives(),
        fake: roc.positives(),
        without_face: answers.iter().filter(|a| !a.face_found).count(),
        auc: figure(roc.auc()),
        auc_interval: spread.as_ref().map(|s| interval(s.auc)),
        eer: figure(eer),
        eer_interval: spread.as_ref().map(|s| interval(s.eer)),
        eer_threshold: figure(eer_threshold),
        operating_points: FALSE_ALARM_TARGETS.iter().enumerate().map(point).collect(),
        real_threshold: 0.0,
        fake_threshold: 0.0,
        decisions: Decisions {
            real_called_fake: alarms,
            real_uncertain: called(false, DeepfakeDecision::Uncertain),
            fake_called_real: misses,
            fake_uncertain: called(true, DeepfakeDecision::Uncertain),
            false_alarm_interval: interval(wilson(alarms, roc.negatives())),
            miss_interval: interval(wilson(misses, roc.positives())),
        },
        calibration: calibration(&samples)?.into(),
        groups: group_rates(set, answers),
        applied: None,
    })
}

fn group_rates(set: &Set, answers: &[Answered<Said>]) -> Vec<GroupRates> {
    let Some(groups) = by_group(set.groups.iter().map(Option::as_deref)) else { return Vec::new() };
    let counts = |fake: bool, wrong: DeepfakeDecision| {
        groups.iter().map(move |(group, rows)| {
            let of_kind = rows.iter().filter(move |i| set.fake[**i] == fake);
            (*group, of_kind.clone().filter(|i| answers[**i].answer.decision == wrong).count(), of_kind.count())
        })
    };
    vec![
        GroupRates::new("photographs called fakes", counts(false, DeepfakeDecision::Fake)),
        GroupRates::new("fakes called photographs", counts(true, DeepfakeDecision::Real)),
    ]
}

impl Report for DeepfakeReport {
    fn page(&self) -> Page {
        let mut page = Page::new(format!(
            "deepfake on {}: {} photographs, {} fakes, model {}, detector {}",
            self.data, self.real, self.fake, self.model, self.detector
        ));
        page.text(format!("no face found in {} photos: the whole photo was taken", self.without_face));
        let mut table = TextTable::new(["AUC", "EER", "at score", "ECE", "Brier"]);
        table.row([
            within(self.auc, self.auc_interval),
            within(self.eer, self.eer_interval),
            four(self.eer_threshold),
            four(self.calibration.ece),
            four(self.calibration.brier),
        ]);
        page.table(table);
        let mut table = TextTable::new(["false alarms at most", "threshold", "false alarms", "fakes found"]);
        for p in &self.operating_points {
            table.row([
                p.false_alarm_target.to_string(),
                four(p.threshold),
                four(p.false_alarm_rate),
                within(p.found, p.found_interval),
            ]);
        }
        page.table(table);
        let d = &self.decisions;
        let mut table =
            TextTable::new(["labelled", "number", "called right", "uncertain", "called wrong", "95 % from", "to"]);
        let mut row = |name: &str, total: usize, uncertain: usize, wrong: usize, [low, high]: [f64; 2]| {
            let counts = [total, total - uncertain - wrong, uncertain, wrong].map(|n| n.to_string());
            table.row([name.to_owned()].into_iter().chain(counts).chain([four(low), four(high)]));
        };
        row("photograph", self.real, d.real_uncertain, d.real_called_fake, d.false_alarm_interval);
        row("fake", self.fake, d.fake_uncertain, d.fake_called_real, d.miss_interval);
        let thresholds = format!("as set: photograph below {}, fake from {}", self.real_threshold, self.fake_threshold);
        page.captioned(thresholds, table);
        let mut table = TextTable::new(["probability from", "photos", "said", "came true"]);
        for b in &self.calibration.bins {
            table.row([format!("{:.1}", b.from), b.count.to_string(), four(b.said), four(b.came_true)]);
        }
        page.captioned(
            "reliability: of the photos called fakes with a probability, how many are fakes in this set",
            table,
        );
        groups::tell(&mut page, &self.groups);
        if let Some(applied) = &self.applied {
            page.text(applied.sentence());
        }
        page
    }
}

fn illustrate(
    page: &mut Page,
    set: &Set,
    answers: &[Answered<Said>],
    calibration: &CalibrationReport,
) -> anyhow::Result<()> {
    let samples = scored(set, answers);
    let roc = Roc::new(&samples)?;
    let names = Names { far: "photographs called fakes", tar: "fakes found", frr: "fakes missed" };
    let mut charts = roc_and_det(&[("all".to_owned(), &roc)], names);
    let of = |fake: bool| samples.iter().filter(|s| s.positive == fake).map(|s| s.score).collect();
    let classes = vec![("photographs".to_owned(), of(false)), ("fakes".to_owned(), of(true))];
    charts.push(Chart::histogram("scores", "probability of a fake", classes));
    let points = calibration.bins.iter().map(|b| (b.said, b.came_true)).collect();
    let series = vec![Series { name: "bins of a tenth".to_owned(), points }];
    charts.push(Chart::against_diagonal("reliability", Axis::share("said"), Axis::share("came true"), series));
    page.charts(charts);
    let mut rows: Vec<(usize, f64)> = samples.iter().map(|s| s.score).enumerate().collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let real: Vec<_> = rows.iter().copied().filter(|(i, _)| !set.fake[*i]).collect();
    let fake: Vec<_> = rows.iter().rev().copied().filter(|(i, _)| set.fake[*i]).collect();
    page.pictures("Photographs that look most like fakes", worst::photos(&real, &set.paths, &set.names)?);
    page.pictures("Fakes that look most like photographs", worst::photos(&fake, &set.paths, &set.names)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> DeepfakeReport {
        use DeepfakeDecision::{Fake, Real, Uncertain};
        let said = |score, decision| Answered { answer: Said { score, decision }, face_found: true };
        let answers = [said(0.1, Real), said(0.95, Fake), said(0.92, Fake), said(0.15, Real), said(0.5, Uncertain)];
        let set = Set {
            names: Vec::new(),
            paths: Vec::new(),
            fake: vec![false, false, true, true, true],
            groups: ["a", "b", "a", "b", "b"].map(|g| Some(g.to_owned())).to_vec(),
        };
        measure(&set, &answers, 20).unwrap()
    }

    #[test]
    fn figures_worked_out_by_hand() {
        let report = measured();
        // 0.95 beats all three fakes, 0.1 none: 3 of 6 comparisons are right.
        assert_eq!((report.auc, report.real, report.fake), (0.5, 2, 3));
        let d = &report.decisions;
        assert_eq!((d.real_called_fake, d.real_uncertain, d.fake_called_real, d.fake_uncertain), (1, 0, 1, 1));
        let c = &report.calibration;
        // Bins: {0.1, 0.15} said 0.125, true 0.5; {0.5} said 0.5, true 1; {0.95, 0.92} said 0.935, true 0.5.
        assert_eq!(c.bins.iter().map(|b| b.count).collect::<Vec<_>>(), [2, 1, 2]);
        assert!((c.ece - (2.0 * 0.375 + 0.5 + 2.0 * 0.435) / 5.0).abs() < 1e-6, "{}", c.ece);
    }

    #[test]
    fn groups_and_decisions_are_told() {
        let report = measured();
        assert_eq!(report.groups[0].differential.as_ref().unwrap().worst, "b");
        let text = report.page().render();
        assert!(text.contains("2 photographs, 3 fakes") && text.contains("reliability"), "{text}");
    }
}
