//! Times what `facesocial analyze` does to a photo, networks loaded: from the file to what is said of each face.
//!
//! ```text
//! cargo run --release -p facesocial-pipeline --example analysis_time -- PHOTO .. [--threads N] [--passes N]
//! ```
//!
//! A line of JSON for each photo. With `--serve` it answers one request a line instead, as `tests/peers/pipeline.py` asks:
//! `{"photo": .., "passes": ..}`. Quality, which no network judges, is left out.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Parser;
use facesocial_imaging::{Limits, decode};
use facesocial_pipeline::{ChosenThresholds, DetectOptions, EngineSettings, LoadOptions, Pipeline, Selection, on_pool};
use facesocial_types::{Analysis, Analyzer, AnalyzerSet, FaceAnalysis, Gender, Outcome, Service};
use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Times the analysis of photos.
#[derive(Parser)]
struct Args {
    /// Which.
    #[arg(required_unless_present = "serve")]
    photos: Vec<PathBuf>,
    /// Passes that are timed.
    #[arg(long, default_value_t = 15)]
    passes: usize,
    /// Threads that compute; RAYON_NUM_THREADS or every core unless told.
    #[arg(long)]
    threads: Option<usize>,
    /// Answers requests from standard input.
    #[arg(long, conflicts_with = "photos")]
    serve: bool,
    /// Folder with weights.lock.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../weights"))]
    weights: PathBuf,
}

/// A line of standard input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    photo: PathBuf,
    passes: usize,
}

/// The milliseconds of every pass by stages that follow each other, and what was said.
#[derive(Default, Serialize)]
struct Answer {
    decode_ms: Vec<f64>,
    detect_ms: Vec<f64>,
    analyse_ms: Vec<f64>,
    faces: Vec<Said>,
}

/// What is said of a face.
#[derive(Serialize)]
struct Said {
    /// Left, top, right, bottom in pixels.
    #[serde(rename = "box")]
    corners: [f32; 4],
    score: f32,
    embedding: Vec<f32>,
    live: f32,
    fake: f32,
    age: f32,
    male: f32,
}

/// Every analysis that a network makes.
const ANALYSES: [Analyzer; 4] = [Analyzer::Recognition, Analyzer::Antispoof, Analyzer::GenderAge, Analyzer::Deepfake];
const SERVICES: [Service; 7] = [
    Service::Mediapipe,
    Service::Yolo,
    Service::Mtcnn,
    Service::Recognition,
    Service::Antispoof,
    Service::GenderAge,
    Service::Deepfake,
];

fn pass(pipeline: &Pipeline, path: &Path, answer: &mut Answer) -> Result<Analysis> {
    let mut started = Instant::now();
    let mut lap = || {
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        started = Instant::now();
        milliseconds
    };
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let image = on_pool(|| decode(&bytes, &Limits::default()))?.image;
    answer.decode_ms.push(lap());
    let detection = pipeline.detect(&image, &DetectOptions::default())?;
    answer.detect_ms.push(lap());
    let analysis = pipeline.analyze_faces(&image, detection, AnalyzerSet::from_iter(ANALYSES));
    answer.analyse_ms.push(lap());
    Ok(analysis)
}

fn answer(pipeline: &Pipeline, request: &Request) -> Result<Answer> {
    pass(pipeline, &request.photo, &mut Answer::default())?;
    let mut answer = Answer::default();
    let mut said = None;
    for _ in 0..request.passes {
        said = Some(pass(pipeline, &request.photo, &mut answer)?);
    }
    let faces = said.map(|analysis| analysis.faces).unwrap_or_default();
    answer.faces = faces.into_iter().map(Said::of).collect::<Result<_>>()?;
    Ok(answer)
}

impl Said {
    fn of(face: FaceAnalysis) -> Result<Self> {
        let age = done(face.gender_age)?;
        Ok(Self {
            corners: [face.bbox.x, face.bbox.y, face.bbox.right(), face.bbox.bottom()],
            score: face.score,
            embedding: done(face.recognition)?.embedding.as_slice().to_vec(),
            live: done(face.antispoof)?.score,
            fake: done(face.deepfake)?.score,
            age: age.age,
            male: if age.gender == Gender::Male { age.gender_score } else { 1.0 - age.gender_score },
        })
    }
}

fn done<T>(outcome: Option<Outcome<T>>) -> Result<T> {
    match outcome {
        Some(Outcome::Done(value)) => Ok(value),
        Some(Outcome::Error { reason, .. } | Outcome::Unavailable { reason }) => Err(reason.into()),
        None => Err("an analysis was not made".into()),
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let pipeline = Pipeline::load(&LoadOptions {
        weights: args.weights,
        pulled: None,
        services: SERVICES.to_vec(),
        on_demand: Vec::new(),
        remotes: BTreeMap::new(),
        selection: Selection::default(),
        thresholds: None,
        chosen: ChosenThresholds::default(),
        settings: EngineSettings::default(),
    })?;
    pipeline.warm_up()?;
    if args.serve {
        for line in io::stdin().lock().lines() {
            let answered = || -> Result<String> {
                Ok(serde_json::to_string(&answer(&pipeline, &serde_json::from_str(&line?)?)?)?)
            };
            let error = |error: Box<dyn Error>| serde_json::json!({ "error": error.to_string() }).to_string();
            println!("{}", answered().unwrap_or_else(error));
            io::stdout().flush()?;
        }
        return Ok(());
    }
    for photo in args.photos {
        let request = Request { photo, passes: args.passes };
        println!("{}", serde_json::to_string(&answer(&pipeline, &request)?)?);
    }
    Ok(())
}
