//! What the networks say of the face of each labelled photo.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use facesocial_pipeline::{DetectOptions, Pipeline};
use facesocial_types::{Analyzer, Detector, FaceAnalysis, ModelId, Service};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{DataArgs, faces, over_images};

/// How the face that the label speaks of is found.
#[derive(Debug, Clone, Copy, Args)]
pub struct FaceArgs {
    /// How faces are looked for; the large and central one counts, the whole photo where none is found.
    #[arg(long, value_name = "NAME", default_value_t = Detector::Auto)]
    pub detector: Detector,
}

/// An answer about one photo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered<T> {
    /// What was said.
    pub answer: T,
    /// Whether the detector found a face; else the whole photo was taken.
    pub face_found: bool,
}

/// What is asked of which networks: answers to different questions are kept apart.
///
/// # Errors
/// The detector has no weights.
pub fn key(pipeline: &Pipeline, question: &str, detector: Detector) -> anyhow::Result<String> {
    let id = pipeline.detector_id(detector)?;
    Ok(format!("{question}; faces by {detector} {id}; facesocial {}", env!("CARGO_PKG_VERSION")))
}

/// The network that answers for `service`.
///
/// # Errors
/// It has no weights.
pub fn model(pipeline: &Pipeline, service: Service) -> anyhow::Result<ModelId> {
    let status = pipeline.status().into_iter().find(|s| s.service == service).map(|s| s.model);
    let written = match status {
        Some(Ok(written)) => written,
        Some(Err(reason)) => anyhow::bail!("{service} is unavailable: {reason}"),
        None => anyhow::bail!("{service} does not run"),
    };
    ModelId::parse(&written).ok_or_else(|| anyhow::anyhow!("{written} is no id of a network"))
}

/// Asks `analyzer` about the face of each photo; `read` takes its answer out of the face's. `question` names the network and whatever else the
/// answer depends on.
///
/// # Errors
/// A photo that cannot be read, a network that fails or is absent.
pub fn ask<R: Send + Serialize + DeserializeOwned>(
    pipeline: &Pipeline,
    data: &DataArgs,
    face: FaceArgs,
    paths: &[PathBuf],
    question: &str,
    analyzer: Analyzer,
    read: impl Fn(FaceAnalysis) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<Answered<R>>> {
    let options = DetectOptions { detector: face.detector, ..DetectOptions::default() };
    over_images(paths, data, key(pipeline, question, face.detector)?, |image| {
        let (detection, face_found) = faces::central_or_whole(pipeline, image, &options)?;
        let mut analysis = pipeline.analyze_faces(image, detection, [analyzer].into_iter().collect());
        let face = analysis.faces.pop().context("the pipeline gave no answer for the face")?;
        Ok(Answered { answer: read(face)?, face_found })
    })
}
