//! `facesocial eval`: accuracy on labelled photos.
//!
//! A set is a folder with a table of labels; images lie in `DIR/images` or in `DIR`. A label that cannot be used, an
//! image that is absent or damaged, an answer that is missing: each ends the command, because a figure over a part of
//! a set looks like a figure over the set. `docs/evaluation.md` says what the figures mean.

pub mod age_gender;
pub mod antispoof;
pub mod apply;
pub mod asked;
pub mod curves;
pub mod deepfake;
pub mod detection;
pub mod embedded;
pub mod faces;
pub mod groups;
pub mod identification;
pub mod kept;
pub mod labels;
pub mod metrics;
pub mod report;
pub mod scores;
pub mod verification;
pub mod worst;

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use facesocial_pipeline::Pipeline;
use facesocial_types::AnalyzerSet;
use image::RgbImage;
use serde::{Serialize, de::DeserializeOwned};

use self::{kept::Kept, report::Page};
use crate::{
    cli::{RunArgs, inputs, json::rounded, progress::Progress},
    parallel,
};

/// Options of `facesocial eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Same person or not: pairs.csv with img1,img2,same (or file_x,file_y,decision) and, if the set has folds, fold.
    Verification(verification::VerificationArgs),
    /// Who of many: gallery.csv and probes.csv with file,identity, or labels.csv with file,identity, which is split.
    Identification(identification::IdentificationArgs),
    /// Finding faces: boxes.csv with file,x1,y1,x2,y2 in pixels and, for images without a box, images.csv with file.
    Detection(detection::DetectionArgs),
    /// Live or attack: labels.csv with file,spoof (1 = attack) and, where they are told apart, species of the instrument.
    Antispoof(antispoof::AntispoofArgs),
    /// Age and gender: labels.csv with file,age,gender.
    AgeGender(age_gender::AgeGenderArgs),
    /// Photograph or fake: labels.csv with file,fake (1 = fake).
    Deepfake(deepfake::DeepfakeArgs),
}

/// The labelled set and the form of the answer.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Folder of the labelled set.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Table of labels, if it is not the folder's own.
    #[arg(long, value_name = "FILE", alias = "pairs")]
    labels: Option<PathBuf>,
    /// Take only this many rows of labels (for detection: images), spread evenly over the file.
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Column that tells to which group of people a row belongs; figures are then told for each group, too. Unless given:
    /// the column group, if there is one.
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Keep the answers about single photos in this file: a run that was cut off goes on from there, and a second one asks
    /// no network again. It holds what the networks said, embeddings included.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Write what was said of every row to this CSV file.
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// Write a report with curves and the worst cases to this HTML file. It holds small copies of those photos.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// How intervals of figures are found.
#[derive(Debug, Clone, Copy, Args)]
pub struct BootstrapArgs {
    /// Repetitions of the bootstrap that the intervals come from; 0: no intervals.
    #[arg(long, value_name = "N", default_value_t = metrics::bootstrap::REPETITIONS)]
    bootstrap: usize,
}

impl DataArgs {
    fn limit(&self) -> Option<usize> {
        self.limit.map(NonZeroUsize::get)
    }

    /// The table of labels: the one that was named, else `name` in the folder.
    fn table(&self, name: &str) -> PathBuf {
        self.labels.clone().unwrap_or_else(|| self.data.join(name))
    }

    fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Name of the set.
    fn name(&self) -> String {
        self.data.display().to_string()
    }

    /// Loads the networks that `analyzers` need. A file of thresholds that `--apply` has yet to write need not exist.
    fn load(&self, analyzers: AnalyzerSet, apply: bool) -> anyhow::Result<Pipeline> {
        let mut run = self.run.clone();
        if apply && run.networks.thresholds_file.as_deref().is_some_and(|path| !path.exists()) {
            run.networks.thresholds_file = None;
        }
        run.load(analyzers)
    }
}

/// Runs the command.
///
/// # Errors
/// See the module.
pub fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    match &args.task {
        Task::Verification(args) => verification::run(args),
        Task::Identification(args) => identification::run(args),
        Task::Detection(args) => detection::run(args),
        Task::Antispoof(args) => antispoof::run(args),
        Task::AgeGender(args) => age_gender::run(args),
        Task::Deepfake(args) => deepfake::run(args),
    }
}

/// A measured report: JSON by serde, and as a page.
trait Report: Serialize {
    /// Sentences and tables for people.
    fn page(&self) -> Page;
}

/// Writes the answer to standard output, and the HTML file where one is wanted; `illustrate` adds charts and pictures to it.
fn tell(
    report: &impl Report,
    data: &DataArgs,
    illustrate: impl FnOnce(&mut Page) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    if let Some(path) = &data.report {
        let mut page = report.page();
        illustrate(&mut page)?;
        page.write_html(path)?;
    }
    let text = if data.json { serde_json::to_string(report)? + "\n" } else { report.page().render() };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Reads each image and runs `work` on it, side by side; the results are in the order of `paths`. `key` says what is asked
/// of which networks: results that the file of answers holds for it are taken from there, new ones are added.
fn over_images<R: Send + Serialize + DeserializeOwned>(
    paths: &[PathBuf],
    data: &DataArgs,
    key: String,
    work: impl Fn(&RgbImage) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let mut kept = Kept::open(data.answers.as_deref(), key)?;
    let mut writer = kept.take_writer();
    let progress = Progress::new(paths.len(), "photos");
    let one = |path: &PathBuf| -> anyhow::Result<(Option<String>, R)> {
        let named = |e: anyhow::Error| anyhow!("{}: {e:#}", path.display());
        let result = answer(path, &kept, &work).map_err(named);
        progress.step();
        result
    };
    let mut results = Vec::with_capacity(paths.len());
    parallel::ordered(paths, data.run.at_once(), one, |_, result| {
        let (new, result) = result?;
        if let Some(sha256) = new {
            kept.add(&mut writer, &sha256, &result)?;
        }
        results.push(result);
        anyhow::Ok(())
    })?;
    Ok(results)
}

/// The kept answer about the image, or a new one with the sha256 that it is to be kept under.
fn answer<R: DeserializeOwned>(
    path: &Path,
    kept: &Kept,
    work: impl Fn(&RgbImage) -> anyhow::Result<R>,
) -> anyhow::Result<(Option<String>, R)> {
    let bytes = inputs::read_bytes(path)?;
    let sha256 = kept::digest(&bytes);
    if let Some(result) = kept.get(&sha256) {
        return Ok((None, result));
    }
    Ok((Some(sha256), work(&inputs::decode(&bytes)?)?))
}

/// Figures are given with six decimals: enough for any set that fits on a disk.
fn figure(value: f64) -> f64 {
    rounded(value, 6)
}

/// Both ends of an interval, as [`figure`].
fn interval(ends: metrics::interval::Interval) -> [f64; 2] {
    ends.map(figure)
}

/// A figure as tables tell it.
fn four(value: f64) -> String {
    format!("{value:.4}")
}

/// A figure with its interval, as tables tell it.
fn within(value: f64, interval: Option<[f64; 2]>) -> String {
    interval.map_or_else(|| four(value), |[low, high]| format!("{value:.4} ({low:.4} to {high:.4})"))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs};

    use super::*;

    #[test]
    fn a_photo_is_asked_about_once_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let photo = facesocial_imaging::encode_png(&RgbImage::new(16, 12));
        let (a, b) = (dir.path().join("a.png"), dir.path().join("b.png"));
        fs::write(&a, &photo).unwrap();
        fs::write(&b, &photo).unwrap();
        let file = dir.path().join("answers.jsonl");
        let asked = Cell::new(0);
        let work = |image: &RgbImage| {
            asked.set(asked.get() + 1);
            Ok(image.width())
        };
        let mut kept = Kept::open(Some(&file), "width".to_owned()).unwrap();
        let (sha256, width) = answer(&a, &kept, work).unwrap();
        let mut writer = kept.take_writer();
        kept.add(&mut writer, &sha256.unwrap(), &width).unwrap();
        let kept = Kept::open(Some(&file), "width".to_owned()).unwrap();
        assert_eq!((answer(&b, &kept, work).unwrap(), asked.get()), ((None, 16), 1));
    }
}
