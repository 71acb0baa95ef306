//! `facesocial eval verification`: accuracy of the recognition ensemble and of each of its members.

use std::{
    collections::HashMap,
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use facesocial_pipeline::{DetectOptions, FarTarget, Pipeline, PipelineError};
use facesocial_types::{Analyzer, Detector, Embedding};
use image::RgbImage;
use serde::Serialize;

use super::{
    DataArgs, Report, faces, figure,
    labels::{Column, LabelError, Labels},
    metrics::{
        folds::{FoldSample, consecutive_stratified, cross_validate},
        roc::{OperatingPoint, Roc, Scored},
    },
    over_images, tell, write_scores,
};
use crate::cli::{json::VERSION, table::TextTable};

/// Options of `facesocial eval verification`.
#[derive(Debug, Args)]
pub struct VerificationArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Table of pairs, if not pairs.csv of the folder.
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// How faces are looked for; the large and central one counts.
    #[arg(long, value_name = "NAME", default_value_t = Detector::Auto)]
    detector: Detector,
    /// Write the similarity of every pair by every model to this CSV file.
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
}

/// Folds, unless the table names its own.
const FOLDS: usize = 10;
/// False accept rates whose thresholds are reported.
const FAR_TARGETS: [f64; 3] = [1e-2, 1e-3, 1e-4];

const FIRST: Column = &["img1", "file_x", "file1", "path1"];
const SECOND: Column = &["img2", "file_y", "file2", "path2"];
const SAME: Column = &["same", "decision", "issame", "label"];
const FOLD: Column = &["fold"];

/// Pairs as positions in the list of images, each image once.
#[derive(Debug, Default)]
struct Pairs {
    images: Vec<PathBuf>,
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    names: [String; 2],
    images: [usize; 2],
    same: bool,
    fold: Option<String>,
}

fn read_pairs(dir: &Path, table: &Path, limit: Option<usize>) -> Result<Pairs, LabelError> {
    let labels = Labels::read(table, &[FIRST, SECOND, SAME], &[FOLD])?;
    let mut all = Pairs::default();
    let mut known: HashMap<PathBuf, usize> = HashMap::new();
    for row in labels.rows(limit) {
        let mut images = [0; 2];
        for (column, place) in images.iter_mut().enumerate() {
            let path = row.image(column, dir)?;
            *place = *known.entry(path.clone()).or_insert_with(|| {
                all.images.push(path);
                all.images.len() - 1
            });
        }
        let names = [row.text(0).to_owned(), row.text(1).to_owned()];
        all.pairs.push(Pair { names, images, same: row.flag(2)?, fold: row.optional(3).map(str::to_owned) });
    }
    Ok(all)
}

/// What was measured.
#[derive(Debug, Serialize)]
struct VerificationReport {
    version: u32,
    task: &'static str,
    pairs_file: String,
    detector: String,
    images: usize,
    images_without_face: usize,
    pairs: usize,
    same: usize,
    different: usize,
    pairs_without_face: usize,
    folds: Folds,
    models: Vec<ModelReport>,
}

#[derive(Debug, Serialize)]
struct Folds {
    count: usize,
    source: &'static str,
}

#[derive(Debug, Serialize)]
struct ModelReport {
    model: String,
    accuracy: f64,
    accuracy_std: f64,
    auc: f64,
    eer: f64,
    eer_threshold: f64,
    operating_points: Vec<PointReport>,
    /// Rates at the thresholds that the product ships; only the ensemble has any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shipped_thresholds: Vec<PointReport>,
    folds: Vec<FoldReport>,
}

#[derive(Debug, Serialize)]
struct PointReport {
    far_target: f64,
    threshold: f64,
    far: f64,
    tar: f64,
    false_accepts: usize,
}

#[derive(Debug, Serialize)]
struct FoldReport {
    pairs: usize,
    threshold: f64,
    accuracy: f64,
}

/// The ensemble's embedding and those of its members, of one face; `None` without a face that can be aligned.
type Embedded = Option<Vec<Embedding>>;

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &VerificationArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let table = args.pairs.clone().unwrap_or_else(|| data.data.join("pairs.csv"));
    let pairs = read_pairs(&data.data, &table, data.limit())?;
    let pipeline = data.run.load([Analyzer::Recognition].into_iter().collect())?;
    let options = DetectOptions { detector: args.detector, ..DetectOptions::default() };
    let embedded = over_images(&pairs.images, data.run.at_once(), |image| embed(&pipeline, &options, image))?;
    let similarities = Similarities::of(&pairs, &embedded)?;
    if let Some(path) = &args.scores {
        similarities.write(path, &pairs)?;
    }
    let without_face = embedded.iter().filter(|e| e.is_none()).count();
    let thresholds: Vec<_> = FarTarget::ALL.into_iter().filter_map(|t| Some((t, pipeline.threshold(t)?))).collect();
    let mut report = measure(&pairs, &similarities, without_face, &thresholds)?;
    report.pairs_file = table.display().to_string();
    report.detector = args.detector.to_string();
    tell(&report, data.json)
}

fn embed(pipeline: &Pipeline, options: &DetectOptions, image: &RgbImage) -> anyhow::Result<Embedded> {
    let faces = pipeline.detect(image, options)?.faces;
    let Some(face) = faces::central(faces, image.width(), image.height()) else { return Ok(None) };
    let members = match pipeline.embed_members(image, &face) {
        Err(PipelineError::NoLandmarks) => return Ok(None),
        members => members?,
    };
    let mut all = vec![pipeline.fuse(&members)?];
    // An ensemble of one is its member.
    if members.len() > 1 {
        all.extend(members);
    }
    Ok(Some(all))
}

/// Similarities of all pairs by all models.
struct Similarities {
    models: Vec<String>,
    /// `[pair][model]`; `None` where a photo shows no face.
    pairs: Vec<Option<Vec<f64>>>,
}

impl Similarities {
    fn of(pairs: &Pairs, embedded: &[Embedded]) -> anyhow::Result<Self> {
        let Some(first) = embedded.iter().flatten().next() else { bail!("no photo of the set shows a face") };
        let models = first.iter().map(|e| e.model().to_string()).collect();
        let similarity = |pair: &Pair| -> anyhow::Result<Option<Vec<f64>>> {
            let [Some(a), Some(b)] = pair.images.map(|i| embedded[i].as_ref()) else { return Ok(None) };
            let both = a.iter().zip(b).map(|(a, b)| Ok(f64::from(a.cosine(b)?)));
            both.collect::<anyhow::Result<_>>().map(Some)
        };
        Ok(Self { models, pairs: pairs.pairs.iter().map(similarity).collect::<anyhow::Result<_>>()? })
    }

    fn write(&self, path: &Path, pairs: &Pairs) -> anyhow::Result<()> {
        let head: Vec<String> =
            ["img1", "img2", "same"].into_iter().map(str::to_owned).chain(self.models.iter().cloned()).collect();
        let rows = pairs.pairs.iter().zip(&self.pairs).map(|(pair, similarities)| {
            let cell = |m: usize| similarities.as_ref().map_or(String::new(), |s| s[m].to_string());
            let labels = pair.names.iter().cloned().chain([u8::from(pair.same).to_string()]);
            labels.chain((0..self.models.len()).map(cell)).collect()
        });
        write_scores(path, &head, rows)
    }
}

fn measure(
    pairs: &Pairs,
    similarities: &Similarities,
    images_without_face: usize,
    thresholds: &[(FarTarget, f32)],
) -> anyhow::Result<VerificationReport> {
    let labels: Vec<bool> = pairs.pairs.iter().map(|p| p.same).collect();
    let same = labels.iter().filter(|l| **l).count();
    let (folds, source) = folds(pairs, &labels)?;
    let models = similarities
        .models
        .iter()
        .enumerate()
        .map(|(m, model)| {
            let scores: Vec<Option<f64>> = similarities.pairs.iter().map(|s| Some(s.as_ref()?[m])).collect();
            // The fused embedding comes first; only it has thresholds that decide.
            let thresholds = if m == 0 { thresholds } else { &[] };
            model_report(model, &scores, &labels, &folds, thresholds).with_context(|| format!("cannot measure {model}"))
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(VerificationReport {
        version: VERSION,
        task: "verification",
        pairs_file: String::new(),
        detector: String::new(),
        images: pairs.images.len(),
        images_without_face,
        pairs: labels.len(),
        same,
        different: labels.len() - same,
        pairs_without_face: similarities.pairs.iter().filter(|s| s.is_none()).count(),
        folds: Folds { count: folds.iter().max().map_or(0, |f| f + 1), source },
        models,
    })
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
    scores: &[Option<f64>],
    labels: &[bool],
    folds: &[usize],
    thresholds: &[(FarTarget, f32)],
) -> anyhow::Result<ModelReport> {
    let samples = scores.iter().zip(labels).zip(folds);
    let samples: Vec<_> = samples.map(|((&score, &same), &fold)| FoldSample { score, same, fold }).collect();
    let validated = cross_validate(&samples)?;
    let scored: Vec<Scored> =
        samples.iter().filter_map(|s| Some(Scored { score: s.score?, positive: s.same })).collect();
    let roc = Roc::new(&scored)?;
    let same = labels.iter().filter(|l| **l).count();
    let point = |far_target: f64, p: OperatingPoint| PointReport {
        far_target,
        threshold: figure(p.threshold),
        far: figure(p.far),
        // Over all pairs of the same person: one without a face is rejected. The false accepts are counted against the
        // pairs with faces only, so that missing faces make no model look safer.
        tar: figure(p.true_accepts as f64 / same as f64),
        false_accepts: p.false_accepts,
    };
    let (eer, eer_threshold) = roc.eer();
    Ok(ModelReport {
        model: model.to_owned(),
        accuracy: figure(validated.accuracy),
        accuracy_std: figure(validated.std),
        auc: figure(roc.auc()),
        eer: figure(eer),
        eer_threshold: figure(eer_threshold),
        operating_points: FAR_TARGETS.iter().map(|&t| point(t, roc.at_far(t))).collect(),
        shipped_thresholds: thresholds
            .iter()
            .map(|(t, at)| point(super::rounded(f64::from(t.rate()), 6), roc.at_threshold(f64::from(*at))))
            .collect(),
        folds: validated
            .folds
            .iter()
            .map(|f| FoldReport { pairs: f.pairs, threshold: figure(f.threshold), accuracy: figure(f.accuracy) })
            .collect(),
    })
}

impl Report for VerificationReport {
    fn text(&self) -> String {
        let mut out = format!(
            "verification on {}: {} pairs ({} same person, {} different) of {} photos, detector {}\n",
            self.pairs_file, self.pairs, self.same, self.different, self.images, self.detector
        );
        let _ = writeln!(
            out,
            "no face to align in {} photos, {} pairs: wrong in the accuracy, rejected in TAR, not in AUC, EER and FAR",
            self.images_without_face, self.pairs_without_face
        );
        let _ = writeln!(
            out,
            "accuracy over {} folds ({}), each decided with the threshold best on the others; +- is their deviation\n",
            self.folds.count, self.folds.source
        );
        let mut summary = TextTable::new(["model", "accuracy", "+-", "AUC", "EER"]);
        let mut points =
            TextTable::new(["model", "FAR at most", "threshold", "FAR", "strangers accepted", "TAR", "chosen"]);
        for m in &self.models {
            let four = |v: f64| format!("{v:.4}");
            summary.row([m.model.clone(), four(m.accuracy), four(m.accuracy_std), four(m.auc), four(m.eer)]);
            let chosen = m.operating_points.iter().map(|p| (p, "here"));
            for (p, how) in chosen.chain(m.shipped_thresholds.iter().map(|p| (p, "as shipped"))) {
                points.row([
                    m.model.clone(),
                    p.far_target.to_string(),
                    format!("{:.4}", p.threshold),
                    format!("{:.5}", p.far),
                    p.false_accepts.to_string(),
                    four(p.tar),
                    how.to_owned(),
                ]);
            }
        }
        out + &summary.render() + "\n" + &points.render()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use facesocial_types::ModelId;

    use super::*;

    /// Twelve pairs over four "people", each photo a vector; photo 8 shows no face.
    fn set() -> (tempfile::TempDir, Pairs, Vec<Embedded>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        for i in 0..9 {
            fs::write(dir.path().join(format!("images/{i}.png")), "").unwrap();
        }
        // Photos 2k and 2k+1 are of one person.
        let rows = "0.png,1.png,1\n2.png,3.png,1\n4.png,5.png,yes\n6.png,7.png,1\n0.png,8.png,1\n\
                    0.png,2.png,0\n1.png,4.png,0\n3.png,6.png,0\n5.png,7.png,no\n";
        let table = dir.path().join("pairs.csv");
        fs::write(&table, format!("file_x,file_y,Decision\n{rows}")).unwrap();
        let pairs = read_pairs(dir.path(), &table, None).unwrap();
        let embedded = pairs.images.iter().map(|path| {
            let number: usize = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            (number < 8).then(|| {
                let mut vector = vec![0.1; 4];
                vector[number / 2] = 1.0;
                let good = Embedding::new(ModelId::new("good", "1"), vector).unwrap();
                let blind = Embedding::new(ModelId::new("blind", "1"), vec![1.0, 0.0]).unwrap();
                vec![good, blind]
            })
        });
        let embedded = embedded.collect();
        (dir, pairs, embedded)
    }

    #[test]
    fn each_photo_is_listed_once() {
        let (_dir, pairs, _) = set();
        assert_eq!((pairs.images.len(), pairs.pairs.len()), (9, 9));
        assert_eq!(pairs.pairs[5].images[0], pairs.pairs[0].images[0]);
    }

    #[test]
    fn a_pair_without_face_is_an_error_and_no_threshold() {
        let (_dir, pairs, embedded) = set();
        let similarities = Similarities::of(&pairs, &embedded).unwrap();
        let thresholds = [(FarTarget::Percent1, 0.7), (FarTarget::PerMille1, 0.8)];
        let report = measure(&pairs, &similarities, 1, &thresholds).unwrap();
        assert_eq!((report.pairs, report.same, report.pairs_without_face, report.folds.count), (9, 5, 1, 4));
        let good = &report.models[0];
        assert_eq!((good.auc, good.eer), (1.0, 0.0));
        // Four of five pairs of the same person have faces, and all of those are accepted.
        assert_eq!(good.operating_points[1].tar, 0.8);
        // The pair without a face is one of two in its fold; the other folds are right.
        assert_eq!(good.accuracy, (3.0 + 0.5) / 4.0);
        assert_eq!(report.models[1].auc, 0.5);
        assert!(report.models[1].shipped_thresholds.is_empty() && good.shipped_thresholds.len() == 2);
        let text = report.text();
        assert!(text.contains("9 pairs (5 same person, 4 different)") && text.contains("good@1"), "{text}");
    }

    #[test]
    fn scores_are_written_with_an_empty_cell_where_a_face_is_missing() {
        let (dir, pairs, embedded) = set();
        let path = dir.path().join("scores.csv");
        Similarities::of(&pairs, &embedded).unwrap().write(&path, &pairs).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "img1,img2,same,good@1,blind@1");
        assert!(lines[1].starts_with("0.png,1.png,1,") && lines[1].ends_with(",1"), "{}", lines[1]);
        assert_eq!(lines[5], "0.png,8.png,1,,");
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
    fn one_class_and_no_face_are_named() {
        let (_dir, mut pairs, embedded) = set();
        let blind = vec![None; embedded.len()];
        assert!(Similarities::of(&pairs, &blind).is_err());
        pairs.pairs.truncate(5);
        let similarities = Similarities::of(&pairs, &embedded).unwrap();
        let message = measure(&pairs, &similarities, 1, &[]).unwrap_err().to_string();
        assert_eq!(message, "5 pairs of the same person and 0 of different people; at least 2 of each are needed");
    }
}
