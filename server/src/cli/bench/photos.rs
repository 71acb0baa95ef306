//! Photos from their files to everything about their faces.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use facesocial_pipeline::{AnalyzeOptions, Pipeline, Stage, Watch};
use facesocial_types::{AnalyzerSet, Detector, FaceAnalysis, Service};
use serde::Serialize;

use super::spread::{Spread, millis, per_second};
use crate::{
    cli::{inputs, json::rounded, progress::Progress},
    parallel,
};

/// What photos take.
#[derive(Debug, Serialize)]
pub(super) struct PhotoFigures {
    pub photos: usize,
    pub faces: usize,
    /// One photo at a time, from its file to the answers.
    #[serde(flatten)]
    pub spread: Spread,
    pub photos_per_second: f64,
    /// So many at the same time.
    pub at_once: usize,
    pub photos_per_second_at_once: f64,
    /// Where the time goes, one photo at a time.
    pub stages: Vec<StageFigures>,
}

/// Mean over the photos.
#[derive(Debug, Serialize)]
pub(super) struct StageFigures {
    pub stage: &'static str,
    pub mean_ms: f64,
    /// Whether it is a part of another stage, and summed over analyses that run side by side.
    pub within: Option<&'static str>,
}

/// Sums the time of the stages.
#[derive(Default)]
struct Sums(Mutex<Vec<(Stage, Duration)>>);

impl Watch for Sums {
    fn stage(&self, stage: Stage, took: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((stage, took));
    }
    fn searched(&self, _: Detector, _: &[Service], _: Option<&[f32]>) {}
    fn analysed(&self, _: AnalyzerSet, _: &[FaceAnalysis]) {}
    fn compared(&self, _: bool) {}
}

impl Sums {
    fn of(&self, stage: Stage) -> Duration {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|s| s.0 == stage).map(|s| s.1).sum()
    }
}

/// Times every photo of `dir` alone, then all of them, `at_once` at a time.
pub(super) fn time(pipeline: &Pipeline, dir: &Path, at_once: NonZeroUsize) -> anyhow::Result<PhotoFigures> {
    let found = inputs::collect(&[dir.to_owned()]);
    let paths: Vec<PathBuf> = found
        .into_iter()
        .map(|p| p.map_err(|e| anyhow!("{}: {}", e.path.display(), e.reason)))
        .collect::<anyhow::Result<_>>()?;
    ensure!(!paths.is_empty(), "{} holds no images", dir.display());
    pipeline.warm_up()?;
    let options = AnalyzeOptions::default();
    let sums = Arc::new(Sums::default());
    let watched = pipeline.watched_by(Arc::clone(&sums) as Arc<dyn Watch>);
    let progress = Progress::new(2 * paths.len(), "photos");
    let one = |pipeline: &Pipeline, path: &PathBuf| -> anyhow::Result<(Duration, Duration, usize)> {
        let begun = Instant::now();
        let image = inputs::read_image(path)?;
        let decoded = begun.elapsed();
        let faces = pipeline.analyze(&image, &options)?.faces.len();
        Ok((decoded, begun.elapsed(), faces))
    };
    let named = |path: &PathBuf| path.display().to_string();
    // The first one twice, once for nothing.
    one(pipeline, &paths[0]).with_context(|| named(&paths[0]))?;
    let (mut times, mut decoding, mut faces) = (Vec::new(), Duration::ZERO, 0);
    for path in &paths {
        let (decoded, took, found) = one(&watched, path).with_context(|| named(path))?;
        times.push(took);
        decoding += decoded;
        faces += found;
        progress.step();
    }
    let begun = Instant::now();
    let work = |path: &PathBuf| {
        let done = one(pipeline, path).with_context(|| named(path));
        progress.step();
        done
    };
    parallel::ordered(&paths, at_once, work, |_, done| done.map(drop))?;
    let together = begun.elapsed();

    let total: Duration = times.iter().sum();
    let mean = |time: Duration| rounded(millis(time) / paths.len() as f64, 3);
    let stage = |stage, time, within| StageFigures { stage, mean_ms: mean(time), within };
    let detect = sums.of(Stage::Detect);
    let analyse = total.saturating_sub(decoding + detect);
    let within = Some("analyse");
    Ok(PhotoFigures {
        photos: paths.len(),
        faces,
        spread: Spread::of(&times).context("no photo was timed")?,
        photos_per_second: per_second(paths.len(), total),
        at_once: at_once.get(),
        photos_per_second_at_once: per_second(paths.len(), together),
        stages: vec![
            stage("read and decode", decoding, None),
            stage("detect", detect, None),
            stage("analyse", analyse, None),
            stage("cut crops", sums.of(Stage::Align), within),
            stage("quality", sums.of(Stage::Quality), within),
            stage("scores to answers", sums.of(Stage::Post), within),
        ],
    })
}
