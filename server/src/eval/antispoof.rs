//! `facesocial eval antispoof`: live faces against presentation attacks.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use facesocial_pipeline::DetectOptions;
use facesocial_types::{Analyzer, AnalyzerSet, AntiSpoof, Detector, LivenessDecision};
use serde::Serialize;

use super::{
    DataArgs, Report, faces, figure,
    labels::{Column, LabelError, Labels},
    metrics::{
        pad::pad_errors,
        roc::{Roc, Scored},
    },
    over_images, tell, write_scores,
};
use crate::cli::{
    json::VERSION,
    table::{TextTable, liveness},
};

/// Options of `facesocial eval antispoof`.
#[derive(Debug, Args)]
pub struct AntispoofArgs {
    #[command(flatten)]
    data: DataArgs,
    /// How faces are looked for; the large and central one counts, the whole photo where none is found.
    #[arg(long, value_name = "NAME", default_value_t = Detector::Auto)]
    detector: Detector,
    /// Write the score of every photo to this CSV file.
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
}

const FILE: Column = &["file"];
const SPOOF: Column = &["spoof", "attack"];

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
    auc: f64,
    eer: f64,
    eer_threshold: f64,
    apcer: f64,
    bpcer: f64,
    acer: f64,
    uncertain: usize,
}

/// One photo.
struct Sample {
    answer: AntiSpoof,
    face_found: bool,
    live: bool,
}

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &AntispoofArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let labels = Labels::read(&data.data.join("labels.csv"), &[FILE, SPOOF], &[])?;
    let rows = labels.rows(data.limit()).map(|r| Ok((r.text(0), r.image(0, &data.data)?, !r.flag(1)?)));
    let rows: Vec<(&str, PathBuf, bool)> = rows.collect::<Result<_, LabelError>>()?;
    let paths: Vec<PathBuf> = rows.iter().map(|r| r.1.clone()).collect();

    let asked: AnalyzerSet = [Analyzer::Antispoof].into_iter().collect();
    let pipeline = data.run.load(asked)?;
    let options = DetectOptions { detector: args.detector, ..DetectOptions::default() };
    let answers = over_images(&paths, data.run.at_once(), |image| {
        let (detection, face_found) = faces::central_or_whole(&pipeline, image, &options)?;
        let mut analysis = pipeline.analyze_faces(image, detection, asked);
        Ok((faces::done(analysis.faces.pop().and_then(|f| f.antispoof))?, face_found))
    })?;
    let answers = answers.into_iter().zip(&rows);
    let samples: Vec<Sample> =
        answers.map(|((answer, face_found), row)| Sample { answer, face_found, live: row.2 }).collect();

    if let Some(path) = &args.scores {
        let head = ["file", "spoof", "score", "decision", "face_found"].map(str::to_owned);
        let rows = rows.iter().zip(&samples).map(|((name, ..), s)| {
            let flag = |v: bool| u8::from(v).to_string();
            let decision = liveness(s.answer.decision).to_owned();
            vec![(*name).to_owned(), flag(!s.live), s.answer.score.to_string(), decision, flag(s.face_found)]
        });
        write_scores(path, &head, rows)?;
    }
    let report = measure(&samples, data.data.display().to_string(), args.detector.to_string())?;
    tell(&report, data.json)
}

fn measure(samples: &[Sample], data: String, detector: String) -> anyhow::Result<AntispoofReport> {
    let scored = samples.iter().map(|s| Scored { score: f64::from(s.answer.score), positive: s.live });
    let roc = Roc::new(&scored.collect::<Vec<_>>())?;
    let decisions = samples.iter().map(|s| (s.answer.decision == LivenessDecision::Live, s.live));
    let errors = pad_errors(&decisions.collect::<Vec<_>>())?;
    let (eer, eer_threshold) = roc.eer();
    Ok(AntispoofReport {
        version: VERSION,
        task: "antispoof",
        data,
        model: samples.first().map(|s| s.answer.model.to_string()).unwrap_or_default(),
        detector,
        live: roc.positives(),
        attacks: roc.negatives(),
        without_face: samples.iter().filter(|s| !s.face_found).count(),
        auc: figure(roc.auc()),
        eer: figure(eer),
        eer_threshold: figure(eer_threshold),
        apcer: figure(errors.apcer),
        bpcer: figure(errors.bpcer),
        acer: figure(errors.acer),
        uncertain: samples.iter().filter(|s| s.answer.decision == LivenessDecision::Uncertain).count(),
    })
}

impl Report for AntispoofReport {
    fn text(&self) -> String {
        let mut out = format!(
            "antispoof on {}: {} live, {} attacks, model {}, detector {}\n",
            self.data, self.live, self.attacks, self.model, self.detector
        );
        let _ = writeln!(
            out,
            "no face found in {} photos: the whole photo was taken; {} answers are uncertain and count as attack\n",
            self.without_face, self.uncertain
        );
        let mut table = TextTable::new(["AUC", "EER", "at score", "APCER", "BPCER", "ACER"]);
        let figures = [self.auc, self.eer, self.eer_threshold, self.apcer, self.bpcer, self.acer];
        table.row(figures.map(|v| format!("{v:.4}")));
        out += &table.render();
        out + "\nAPCER: attacks passed as live. BPCER: live faces not called live. Both at the shipped thresholds.\n"
    }
}

#[cfg(test)]
mod tests {
    use facesocial_types::ModelId;

    use super::*;

    fn sample(score: f32, decision: LivenessDecision, live: bool) -> Sample {
        Sample { answer: AntiSpoof { model: ModelId::new("tree", "1"), score, decision }, face_found: live, live }
    }

    #[test]
    fn uncertain_counts_as_attack() {
        use LivenessDecision::{Live, Spoof, Uncertain};
        let samples = [
            sample(0.9, Live, true),
            sample(0.5, Uncertain, true),
            sample(0.55, Uncertain, false),
            sample(0.1, Spoof, false),
        ];
        let report = measure(&samples, "set".to_owned(), "auto".to_owned()).unwrap();
        assert_eq!((report.live, report.attacks, report.without_face, report.uncertain), (2, 2, 2, 2));
        assert_eq!((report.apcer, report.bpcer, report.acer, report.auc), (0.0, 0.5, 0.25, 0.75));
        assert!(report.text().contains("model tree@1"));
    }

    #[test]
    fn one_class_is_an_error() {
        let samples = [sample(0.9, LivenessDecision::Live, true)];
        assert!(measure(&samples, String::new(), String::new()).is_err());
    }
}
