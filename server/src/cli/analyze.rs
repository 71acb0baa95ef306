//! `facesocial analyze`.

use std::{io, path::PathBuf, process::ExitCode, str::FromStr};

use anyhow::Context;
use clap::Args;
use facesocial_pipeline::{AnalyzeOptions, DetectOptions, Pipeline};
use facesocial_types::{Analysis, Analyzer, AnalyzerSet, Detector, ParseNameError};

use super::{
    RunArgs, annotate,
    inputs::{self, BadInput, Input},
    json::{Document, Image, VERSION},
    length,
    progress::Progress,
    share, table,
};
use crate::parallel;

/// Options of `facesocial analyze`.
#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// Photos, and folders that are searched for photos.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What to tell of each face: quality, recognition, antispoof, gender_age, deepfake, separated by commas;
    /// "detection" alone tells only where the faces are. Unless given: everything.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    services: Option<Vec<Asked>>,
    /// How faces are looked for: auto, mediapipe, mediapipe_short, mediapipe_full, yolo or mtcnn.
    #[arg(long, value_name = "NAME", default_value_t = Detector::Auto)]
    detector: Detector,
    /// Write one JSON document instead of tables.
    #[arg(long)]
    json: bool,
    /// Put the embedding vectors into the JSON.
    #[arg(long, requires = "json")]
    embeddings: bool,
    /// Write each photo with boxes and captions to this folder, as NAME.jpg.
    #[arg(long, value_name = "DIR")]
    annotate: Option<PathBuf>,
    /// Leave out faces lower than this many pixels.
    #[arg(long, value_name = "PIXELS", value_parser = length)]
    min_size: Option<f32>,
    /// Leave out faces that the detector is less sure of than this, 0 to 1.
    #[arg(long, value_name = "SCORE", value_parser = share::<f32>)]
    min_score: Option<f32>,
    #[command(flatten)]
    run: RunArgs,
}

/// One name of `--services`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Where the faces are: told in any case.
    Detection,
    Of(Analyzer),
}

impl FromStr for Asked {
    type Err = ParseNameError;

    fn from_str(name: &str) -> Result<Self, ParseNameError> {
        if name.trim().eq_ignore_ascii_case("detection") { Ok(Self::Detection) } else { name.parse().map(Self::Of) }
    }
}

fn analyzers(asked: Option<&[Asked]>) -> AnalyzerSet {
    let Some(asked) = asked else { return AnalyzerSet::ALL };
    let of = |a: &Asked| match a {
        Asked::Detection => None,
        Asked::Of(analyzer) => Some(*analyzer),
    };
    asked.iter().filter_map(of).collect()
}

/// Runs the command. The exit code is 1 if any photo failed.
///
/// # Errors
/// No weights, no folder for the annotated photos, standard output closed.
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<ExitCode> {
    let analyzers = analyzers(args.services.as_deref());
    let defaults = DetectOptions::default();
    let options = AnalyzeOptions {
        detect: DetectOptions {
            detector: args.detector,
            min_score: args.min_score.unwrap_or(defaults.min_score),
            min_size: args.min_size.unwrap_or(defaults.min_size),
            ..defaults
        },
        analyzers,
    };
    let pipeline = args.run.load(analyzers)?;
    let inputs = inputs::collect(&args.paths);
    let targets = match &args.annotate {
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
            annotate::targets(dir, &inputs).into_iter().map(Some).collect()
        }
        None => vec![None; inputs.len()],
    };
    let tasks: Vec<(Input, Option<PathBuf>)> = inputs.into_iter().zip(targets).collect();

    let progress = Progress::new(tasks.len(), "photos");
    let mut report = Report { args, asked: analyzers, images: Vec::new(), notes: table::Notes::default(), failed: 0 };
    let work = |(input, target): &(Input, Option<PathBuf>)| {
        let answer = input.clone().and_then(|path| {
            let bad = |e: anyhow::Error| BadInput { path: path.clone(), reason: format!("{e:#}") };
            one(&pipeline, &options, &path, target.as_deref()).map(|a| (path.clone(), a)).map_err(bad)
        });
        progress.step();
        answer
    };
    parallel::ordered(&tasks, args.run.at_once(), work, |_, answer| report.add(&progress, answer))?;
    report.finish(&progress)
}

fn one(
    pipeline: &Pipeline,
    options: &AnalyzeOptions,
    path: &std::path::Path,
    target: Option<&std::path::Path>,
) -> anyhow::Result<Analysis> {
    let image = inputs::read_image(path)?;
    let analysis = pipeline.analyze(&image, options)?;
    if let Some(target) = target {
        annotate::write(image, &analysis, target)?;
    }
    Ok(analysis)
}

/// What has been told so far.
struct Report<'a> {
    args: &'a AnalyzeArgs,
    asked: AnalyzerSet,
    images: Vec<Image>,
    notes: table::Notes,
    failed: usize,
}

impl Report<'_> {
    fn add(&mut self, progress: &Progress, answer: Result<(PathBuf, Analysis), BadInput>) -> io::Result<()> {
        match answer {
            Ok((path, analysis)) if self.args.json => {
                let path = path.to_string_lossy().into_owned();
                self.images.push(Image::new(path, &analysis, self.args.embeddings));
            }
            Ok((path, analysis)) => {
                let text = table::photo(&path.to_string_lossy(), &analysis, self.asked, &mut self.notes);
                progress.print(&text)?;
            }
            Err(BadInput { path, reason }) => {
                self.failed += 1;
                progress.complain(&format!("{}: {reason}", path.display()));
                if self.args.json {
                    self.images.push(Image::Failed { path: path.to_string_lossy().into_owned(), error: reason });
                }
            }
        }
        Ok(())
    }

    fn finish(self, progress: &Progress) -> anyhow::Result<ExitCode> {
        if self.args.json {
            let document = Document { version: VERSION, images: self.images };
            progress.print(&(serde_json::to_string(&document)? + "\n"))?;
        } else {
            progress.print(&self.notes.render())?;
        }
        Ok(if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_services_is_a_set_of_analyses() {
        assert_eq!(analyzers(None), AnalyzerSet::ALL);
        assert_eq!(analyzers(Some(&["detection".parse().unwrap()])), AnalyzerSet::NONE);
        let asked: Vec<Asked> = ["quality", "Deepfake"].iter().map(|s| s.parse().unwrap()).collect();
        assert_eq!(analyzers(Some(&asked)).iter().collect::<Vec<_>>(), [Analyzer::Quality, Analyzer::Deepfake]);
        assert!("iris".parse::<Asked>().unwrap_err().to_string().contains("quality, recognition"));
    }
}
