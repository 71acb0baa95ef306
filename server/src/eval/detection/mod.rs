//! `facesocial eval detection`: average precision of the detectors.

mod measure;
mod set;
mod told;

use std::process::ExitCode;

use clap::Args;
use facesocial_pipeline::{DetectOptions, Pipeline};
use facesocial_types::{AnalyzerSet, BBox, Detector};

use self::{
    measure::{DetectionReport, MIN_IOU, measure},
    set::{Set, read_set},
};
use super::{DataArgs, asked, metrics::ap::Detected, over_images, tell};
use crate::cli::{
    json::{VERSION, rounded},
    share,
};

/// Options of `facesocial eval detection`.
#[derive(Debug, Args)]
pub struct DetectionArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Detectors to measure, separated by commas: auto, mediapipe, mediapipe_short, mediapipe_full, yolo, mtcnn.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "auto")]
    detector: Vec<Detector>,
    /// Detections less sure than this are not asked for; a low value lets the curve reach its full recall.
    #[arg(long, value_name = "SCORE", value_parser = share::<f32>, default_value_t = 0.1)]
    min_score: f32,
}

/// More faces than any photo of the sets shows.
const MAX_FACES: usize = 5000;

/// What each detector found on each image.
type Found = Vec<(Detector, Vec<Vec<Detected>>)>;

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &DetectionArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let set = read_set(&data.data, &data.table("boxes.csv"), data.limit, data.group())?;
    let pipeline = data.load(AnalyzerSet::NONE, false)?;
    let default_score = DetectOptions::default().min_score;
    let mut all: Found = Vec::new();
    for &detector in &args.detector {
        all.push((detector, find(&pipeline, args, detector, &set)?));
    }
    let of_detector =
        |(detector, found): &(Detector, Vec<Vec<Detected>>)| measure(*detector, &set, found, default_score);
    let report = DetectionReport {
        version: VERSION,
        task: "detection",
        data: data.name(),
        images: set.images.len(),
        min_iou: f64::from(MIN_IOU),
        min_score: rounded(f64::from(args.min_score), 4),
        default_score: rounded(f64::from(default_score), 4),
        detectors: all.iter().map(of_detector).collect::<Result<_, _>>()?,
    };
    if let Some(path) = &data.scores {
        told::write_scores(path, &set, &all)?;
    }
    tell(&report, data, |page| told::illustrate(page, &set, &all, default_score))
}

fn find(
    pipeline: &Pipeline,
    args: &DetectionArgs,
    detector: Detector,
    set: &Set,
) -> anyhow::Result<Vec<Vec<Detected>>> {
    let options = DetectOptions { detector, min_score: args.min_score, min_size: 0.0, max_faces: MAX_FACES };
    let key = asked::key(pipeline, &format!("faces from score {} on", args.min_score), detector)?;
    // As the file of answers keeps them: x, y, width, height, score.
    let found: Vec<Vec<[f32; 5]>> = over_images(&set.images, &args.data, key, |image| {
        let faces = pipeline.detect(image, &options)?.faces;
        Ok(faces.into_iter().map(|f| [f.bbox.x, f.bbox.y, f.bbox.width, f.bbox.height, f.score]).collect())
    })?;
    let detected = |[x, y, width, height, score]: [f32; 5]| Detected { bbox: BBox::new(x, y, width, height), score };
    Ok(found.into_iter().map(|faces| faces.into_iter().map(detected).collect()).collect())
}
