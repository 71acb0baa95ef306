//! `facesocial eval antispoof`: live faces against presentation attacks.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use facesocial_pipeline::Band;
use facesocial_types::{Analyzer, AnalyzerSet, LivenessDecision, Service};
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
        interval::wilson,
        pad::{by_species, pad_errors},
        roc::{Roc, Scored},
    },
    report::{Page, chart::Chart},
    scores, tell, within, worst,
};
use crate::cli::{
    json::VERSION,
    share,
    table::{TextTable, liveness},
};

/// Options of `facesocial eval antispoof`.
#[derive(Debug, Args)]
pub struct AntispoofArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    face: FaceArgs,
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    #[command(flatten)]
    apply: ApplyArgs,
    /// With --apply: share of the attacks (of the worst species) that may be called live.
    #[arg(long, value_name = "SHARE", value_parser = share::<f64>, default_value_t = 0.02)]
    apcer: f64,
    /// With --apply: share of the live faces that may be called attacks.
    #[arg(long, value_name = "SHARE", value_parser = share::<f64>, default_value_t = 0.05)]
    bpcer: f64,
}

const FILE: Column = &["file"];
const SPOOF: Column = &["spoof", "attack"];
const SPECIES: Column = &["species", "instrument", "pai"];
/// BPCER is told where this share of the attacks passes: BPCER10, BPCER20 and BPCER100 of the standard.
const APCER_TARGETS: [f64; 3] = [0.1, 0.05, 0.01];

/// The labelled photos.
struct Set {
    names: Vec<String>,
    paths: Vec<PathBuf>,
    live: Vec<bool>,
    /// Of every row, whether an attack or not; `None` if the table tells none.
    species: Option<Vec<String>>,
    groups: Vec<Option<String>>,
}

/// What was said of one photo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Said {
    /// 0 (attack) to 1 (live).
    score: f32,
    decision: LivenessDecision,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct AntispoofReport {
    version: u32,
    task: &'static str,
    data: String,
    model: String,
    detector: String,
    live: usize,
    attacks: usize,
    without_face: usize,
    spoof_threshold: f64,
    live_threshold: f64,
    auc: f64,
    auc_interval: Option<[f64; 2]>,
    eer: f64,
    eer_interval: Option<[f64; 2]>,
    eer_threshold: f64,
    /// Of the worst species where the table tells species, else of all attacks.
    apcer: f64,
    apcer_interval: [f64; 2],
    bpcer: f64,
    bpcer_interval: [f64; 2],
    acer: f64,
    uncertain: usize,
    bpcer_at_apcer: Vec<BpcerReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    species: Vec<SpeciesReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupRates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<Applied>,
}

#[derive(Debug, Serialize)]
struct BpcerReport {
    apcer_target: f64,
    threshold: f64,
    apcer: f64,
    bpcer: f64,
}

#[derive(Debug, Serialize)]
struct SpeciesReport {
    species: String,
    attacks: usize,
    passed: usize,
    apcer: f64,
    interval: [f64; 2],
}

fn read_set(data: &DataArgs) -> Result<Set, LabelError> {
    let labels = Labels::read(&data.table("labels.csv"), &[FILE, SPOOF], &[SPECIES], data.group())?;
    let rows = || labels.rows(data.limit());
    let set = Set {
        names: rows().map(|r| r.text(0).to_owned()).collect(),
        paths: rows().map(|r| r.image(0, &data.data)).collect::<Result<_, _>>()?,
        live: rows().map(|r| Ok(!r.flag(1)?)).collect::<Result<_, _>>()?,
        species: rows().map(|r| r.optional(2).map(str::to_owned)).collect(),
        groups: rows().map(|r| r.group().map(str::to_owned)).collect(),
    };
    labels.both(1, set.live.iter().map(|live| !live))?;
    Ok(set)
}

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &AntispoofArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let target = args.apply.target(data)?;
    let set = read_set(data)?;
    let wanted: AnalyzerSet = [Analyzer::Antispoof].into_iter().collect();
    let pipeline = data.load(wanted, args.apply.apply)?;
    let (model, band) = (asked::model(&pipeline, Service::Antispoof)?, pipeline.liveness_band());
    let question = format!("antispoof by {model}, {} to {} uncertain", band.low(), band.high());
    let answers = asked::ask(&pipeline, data, args.face, &set.paths, &question, Analyzer::Antispoof, |face| {
        let said = faces::done(face.antispoof)?;
        Ok(Said { score: said.score, decision: said.decision })
    })?;
    if let Some(path) = &data.scores {
        write_scores(path, &set, &answers)?;
    }
    let mut report = measure(&set, &answers, args.bootstrap.bootstrap)?;
    report.data = data.name();
    report.model = model.to_string();
    report.detector = args.face.detector.to_string();
    (report.spoof_threshold, report.live_threshold) = (figure(band.low().into()), figure(band.high().into()));
    if let Some(path) = &target {
        let band = choose(&set, &answers, args.apcer, args.bpcer)?;
        report.applied = Some(apply::antispoof(path, &model, band, &report.data)?);
    }
    tell(&report, data, |page| illustrate(page, &set, &answers))
}

fn write_scores(path: &std::path::Path, set: &Set, answers: &[Answered<Said>]) -> anyhow::Result<()> {
    let head = ["file", "spoof", "score", "decision", "face_found", "species", "group"];
    let rows = answers.iter().enumerate().map(|(i, a)| {
        let species = set.species.as_ref().map(|s| s[i].clone());
        vec![
            set.names[i].clone(),
            scores::flag(!set.live[i]),
            a.answer.score.to_string(),
            liveness(a.answer.decision).to_owned(),
            scores::flag(a.face_found),
            species.unwrap_or_default(),
            set.groups[i].clone().unwrap_or_default(),
        ]
    });
    scores::write(path, &head, rows)
}

fn scored(set: &Set, answers: &[Answered<Said>]) -> Vec<Scored> {
    let one = |(a, live): (&Answered<Said>, &bool)| Scored { score: a.answer.score.into(), positive: *live };
    answers.iter().zip(&set.live).map(one).collect()
}

/// The curve of live faces against the attacks of each species; against all where the table tells none.
fn curves_by_species(set: &Set, samples: &[Scored]) -> anyhow::Result<Vec<(String, Roc)>> {
    let Some(species) = &set.species else { return Ok(vec![("all attacks".to_owned(), Roc::new(samples)?)]) };
    let mut names: Vec<&String> = species.iter().zip(&set.live).filter(|(_, live)| !**live).map(|(s, _)| s).collect();
    names.sort_unstable();
    names.dedup();
    let curve = |name: &String| {
        let of = samples.iter().zip(species).filter(|(sample, s)| sample.positive || *s == name);
        Ok((name.clone(), Roc::new(&of.map(|(sample, _)| *sample).collect::<Vec<_>>())?))
    };
    names.into_iter().map(curve).collect()
}

/// Thresholds that keep the rates asked for.
fn choose(set: &Set, answers: &[Answered<Said>], apcer: f64, bpcer: f64) -> anyhow::Result<Band> {
    let curves = curves_by_species(set, &scored(set, answers))?.into_iter().map(|c| c.1);
    apply::band(&curves.collect::<Vec<_>>(), apcer, bpcer, ["attacks", "live faces"])
}

fn measure(set: &Set, answers: &[Answered<Said>], repetitions: usize) -> anyhow::Result<AntispoofReport> {
    let samples = scored(set, answers);
    let roc = Roc::new(&samples)?;
    let spread = (repetitions > 0).then(|| intervals(&samples, &[], repetitions)).transpose()?;
    let called_live = |i: usize| answers[i].answer.decision == LivenessDecision::Live;
    let decisions: Vec<(bool, bool)> = set.live.iter().enumerate().map(|(i, live)| (called_live(i), *live)).collect();
    let attacks = |i: &usize| !set.live[*i];
    let species = set
        .species
        .as_ref()
        .map(|species| by_species((0..answers.len()).filter(attacks).map(|i| (called_live(i), species[i].as_str()))));
    let species = species.unwrap_or_default();
    let errors = pad_errors(&decisions)?.of_worst_species(&species);
    let worst = species.values().max_by(|a, b| a.apcer().total_cmp(&b.apcer()));
    let passed = decisions.iter().filter(|d| d.0 && !d.1).count();
    let (passed, of) = worst.map_or((passed, roc.negatives()), |w| (w.passed, w.attacks));
    let refused = decisions.iter().filter(|d| !d.0 && d.1).count();
    let (eer, eer_threshold) = roc.eer();
    let at = |target: &f64| {
        let p = roc.at_far(*target);
        BpcerReport {
            apcer_target: *target,
            threshold: figure(p.threshold),
            apcer: figure(p.far),
            bpcer: figure(1.0 - p.tar),
        }
    };
    let of_species = |(name, s): (&&str, &super::metrics::pad::SpeciesErrors)| SpeciesReport {
        species: (*name).to_owned(),
        attacks: s.attacks,
        passed: s.passed,
        apcer: figure(s.apcer()),
        interval: interval(wilson(s.passed, s.attacks)),
    };
    Ok(AntispoofReport {
        version: VERSION,
        task: "antispoof",
        data: String::new(),
        model: String::new(),
        detector: String::new(),
        live: roc.positives(),
        attacks: roc.negatives(),
        without_face: answers.iter().filter(|a| !a.face_found).count(),
        spoof_threshold: 0.0,
        live_threshold: 0.0,
        auc: figure(roc.auc()),
        auc_interval: spread.as_ref().map(|s| interval(s.auc)),
        eer: figure(eer),
        eer_interval: spread.as_ref().map(|s| interval(s.eer)),
        eer_threshold: figure(eer_threshold),
        apcer: figure(errors.apcer),
        apcer_interval: interval(wilson(passed, of)),
        bpcer: figure(errors.bpcer),
        bpcer_interval: interval(wilson(refused, roc.positives())),
        acer: figure(errors.acer),
        uncertain: answers.iter().filter(|a| a.answer.decision == LivenessDecision::Uncertain).count(),
        bpcer_at_apcer: APCER_TARGETS.iter().map(at).collect(),
        species: species.iter().map(of_species).collect(),
        groups: group_rates(set, &decisions),
        applied: None,
    })
}

fn group_rates(set: &Set, decisions: &[(bool, bool)]) -> Vec<GroupRates> {
    let Some(groups) = by_group(set.groups.iter().map(Option::as_deref)) else { return Vec::new() };
    let counts = |live: bool| {
        groups.iter().map(move |(group, rows)| {
            let of_kind = rows.iter().map(|i| decisions[*i]).filter(move |d| d.1 == live);
            (*group, of_kind.clone().filter(|d| d.0 != live).count(), of_kind.count())
        })
    };
    vec![GroupRates::new("APCER", counts(false)), GroupRates::new("BPCER", counts(true))]
}

impl Report for AntispoofReport {
    fn page(&self) -> Page {
        let mut page = Page::new(format!(
            "antispoof on {}: {} live, {} attacks, model {}, detector {}",
            self.data, self.live, self.attacks, self.model, self.detector
        ));
        page.text(format!(
            "no face found in {} photos: the whole photo was taken; {} answers are uncertain and count as attack",
            self.without_face, self.uncertain
        ));
        let mut table = TextTable::new(["AUC", "EER", "at score", "APCER", "BPCER", "ACER"]);
        table.row([
            within(self.auc, self.auc_interval),
            within(self.eer, self.eer_interval),
            four(self.eer_threshold),
            within(self.apcer, Some(self.apcer_interval)),
            within(self.bpcer, Some(self.bpcer_interval)),
            four(self.acer),
        ]);
        page.table(table);
        page.text(format!(
            "APCER: attacks passed as live{}. BPCER: live faces not called live. Both at the thresholds that decide, \
             attack below {}, live from {}. In brackets: 95 %.",
            if self.species.is_empty() { "" } else { ", of the species that passes most often" },
            self.spoof_threshold,
            self.live_threshold
        ));
        let mut table = TextTable::new(["APCER at most", "threshold", "APCER", "BPCER"]);
        for p in &self.bpcer_at_apcer {
            table.row([p.apcer_target.to_string(), four(p.threshold), four(p.apcer), four(p.bpcer)]);
        }
        page.captioned("at one threshold, nothing uncertain, all attacks alike", table);
        if !self.species.is_empty() {
            let mut table = TextTable::new(["species", "attacks", "passed", "APCER", "95 % from", "to"]);
            for s in &self.species {
                let [low, high] = s.interval;
                let (attacks, passed) = (s.attacks.to_string(), s.passed.to_string());
                table.row([s.species.clone(), attacks, passed, four(s.apcer), four(low), four(high)]);
            }
            page.table(table);
        }
        groups::tell(&mut page, &self.groups);
        if let Some(applied) = &self.applied {
            page.text(applied.sentence());
        }
        page
    }
}

fn illustrate(page: &mut Page, set: &Set, answers: &[Answered<Said>]) -> anyhow::Result<()> {
    let samples = scored(set, answers);
    let curves = curves_by_species(set, &samples)?;
    let named: Vec<(String, &Roc)> = curves.iter().map(|(name, roc)| (name.clone(), roc)).collect();
    let mut charts = roc_and_det(&named, Names { far: "APCER", tar: "live faces passed", frr: "BPCER" });
    let of = |live: bool| samples.iter().filter(|s| s.positive == live).map(|s| s.score).collect();
    let classes = vec![("live".to_owned(), of(true)), ("attacks".to_owned(), of(false))];
    charts.push(Chart::histogram("scores", "score", classes));
    page.charts(charts);
    let mut rows: Vec<(usize, f64)> = samples.iter().map(|s| s.score).enumerate().collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let attacks: Vec<_> = rows.iter().copied().filter(|(i, _)| !set.live[*i]).collect();
    let live: Vec<_> = rows.iter().rev().copied().filter(|(i, _)| set.live[*i]).collect();
    page.pictures("Attacks that look most alive", worst::photos(&attacks, &set.paths, &set.names)?);
    page.pictures("Live faces that look least so", worst::photos(&live, &set.paths, &set.names)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(live: &[bool], species: Option<&[&str]>) -> Set {
        let texts = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        Set {
            names: texts(live.len()),
            paths: texts(live.len()).into_iter().map(PathBuf::from).collect(),
            live: live.to_vec(),
            species: species.map(|s| s.iter().map(|s| (*s).to_owned()).collect()),
            groups: (0..live.len()).map(|i| Some(if i % 2 == 0 { "a" } else { "b" }.to_owned())).collect(),
        }
    }

    fn said(score: f32, decision: LivenessDecision, live: bool) -> Answered<Said> {
        Answered { answer: Said { score, decision }, face_found: live }
    }

    #[test]
    fn uncertain_counts_as_attack() {
        use LivenessDecision::{Live, Spoof, Uncertain};
        let answers =
            [said(0.9, Live, true), said(0.5, Uncertain, true), said(0.55, Uncertain, false), said(0.1, Spoof, false)];
        let report = measure(&set(&[true, true, false, false], None), &answers, 20).unwrap();
        assert_eq!((report.live, report.attacks, report.without_face, report.uncertain), (2, 2, 2, 2));
        assert_eq!((report.apcer, report.bpcer, report.acer, report.auc), (0.0, 0.5, 0.25, 0.75));
        // At a threshold of 0.9 no attack passes, and one of two live faces does.
        let p = &report.bpcer_at_apcer[2];
        assert_eq!((p.threshold, p.apcer, p.bpcer), (0.9, 0.0, 0.5));
        assert_eq!(report.groups[1].groups[1].rate, 1.0);
        assert!(report.page().render().contains("2 live, 2 attacks"));
    }

    #[test]
    fn the_worst_species_is_told() {
        use LivenessDecision::{Live, Spoof};
        let answers = [said(0.9, Live, true), said(0.8, Live, false), said(0.2, Spoof, false), said(0.1, Spoof, false)];
        let set = set(&[true, false, false, false], Some(&["", "mask", "mask", "print"]));
        let report = measure(&set, &answers, 0).unwrap();
        assert_eq!((report.apcer, report.acer, report.species.len()), (0.5, 0.25, 2));
        assert_eq!(curves_by_species(&set, &scored(&set, &answers)).unwrap().len(), 2);
        assert!(report.page().render().contains("of the species that passes most often"));
    }

    #[test]
    fn one_class_is_an_error() {
        let answers = [said(0.9, LivenessDecision::Live, true)];
        assert!(measure(&set(&[true], None), &answers, 0).is_err());
    }
}
