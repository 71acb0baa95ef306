//! `facesocial eval`: accuracy on labelled photos.
//!
//! A set is a folder with a table of labels; images lie in `DIR/images` or in `DIR`. A label that cannot be used, an
//! image that is absent or damaged, an answer that is missing: each ends the command, because a figure over a part of
//! a set looks like a figure over the set.

pub mod age_gender;
pub mod antispoof;
pub mod detection;
pub mod faces;
pub mod labels;
pub mod metrics;
pub mod verification;

use std::{
    fs,
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use image::RgbImage;
use serde::Serialize;

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
    /// Finding faces: boxes.csv with file,x1,y1,x2,y2 in pixels and, for images without a box, images.csv with file.
    Detection(detection::DetectionArgs),
    /// Live or attack: labels.csv with file,spoof (1 = attack).
    Antispoof(antispoof::AntispoofArgs),
    /// Age and gender: labels.csv with file,age,gender.
    AgeGender(age_gender::AgeGenderArgs),
}

/// The labelled set and the form of the answer.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Folder of the labelled set.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Take only this many rows of labels (for detection: images), spread evenly over the file.
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs,
}

impl DataArgs {
    fn limit(&self) -> Option<usize> {
        self.limit.map(NonZeroUsize::get)
    }
}

/// Runs the command.
///
/// # Errors
/// See the module.
pub fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    match &args.task {
        Task::Verification(args) => verification::run(args),
        Task::Detection(args) => detection::run(args),
        Task::Antispoof(args) => antispoof::run(args),
        Task::AgeGender(args) => age_gender::run(args),
    }
}

/// A measured report: JSON by serde, and as text.
trait Report: Serialize {
    /// Lines and tables for people.
    fn text(&self) -> String;
}

fn tell(report: &impl Report, json: bool) -> anyhow::Result<ExitCode> {
    let text = if json { serde_json::to_string(report)? + "\n" } else { report.text() };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Reads each image and runs `work` on it, side by side; the results are in the order of `paths`.
fn over_images<R: Send>(
    paths: &[PathBuf],
    threads: NonZeroUsize,
    work: impl Fn(&RgbImage) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let progress = Progress::new(paths.len(), "photos");
    let one = |path: &PathBuf| {
        let result = inputs::read_image(path).and_then(|image| work(&image));
        progress.step();
        result.map_err(|e| anyhow!("{}: {e:#}", path.display()))
    };
    let mut results = Vec::with_capacity(paths.len());
    parallel::ordered(paths, threads, one, |_, result| {
        results.push(result?);
        anyhow::Ok(())
    })?;
    Ok(results)
}

/// Figures are given with six decimals: enough for any set that fits on a disk.
fn figure(value: f64) -> f64 {
    rounded(value, 6)
}

/// Writes raw scores, for choosing thresholds elsewhere.
fn write_scores(path: &Path, head: &[String], rows: impl Iterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head)?;
    for row in rows {
        writer.write_record(row)?;
    }
    let bytes = writer.into_inner()?;
    fs::write(path, bytes).with_context(|| format!("cannot write the scores to {}", path.display()))
}
