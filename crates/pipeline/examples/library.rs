//! The engine as a library, without HTTP and without a database: a face is registered, found again in other photos, and a
//! group photo is analysed.
//!
//!     cargo run --release -p facesocial-pipeline --example library
//!     cargo run --release -p facesocial-pipeline --example library -- WEIGHTS PHOTOS
//!
//! `WEIGHTS` is the folder with `weights.lock`, `PHOTOS` holds portrait.jpg, grey.jpg (the same person), portrait_2.jpg
//! (another one) and group.jpg, as `tests/images` does.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use facesocial_imaging::{Limits, RgbImage, decode};
use facesocial_pipeline::{
    AnalyzeOptions, ChosenThresholds, DetectOptions, EngineSettings, FarTarget, LoadOptions, Pipeline, Selection,
};
use facesocial_types::{Analyzer, AnalyzerSet, Embedding, Outcome, Service};

#[allow(dead_code, reason = "the test that runs this file calls run")]
fn main() -> Result<(), Box<dyn Error>> {
    let folder = |n, default: &str| env::args_os().nth(n).map_or_else(|| PathBuf::from(default), PathBuf::from);
    run(&folder(1, "weights"), &folder(2, "tests/images"), &mut io::stdout().lock())
}

/// Registers, identifies, analyses, and tells of it.
pub fn run(weights: &Path, photos: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let pipeline = Pipeline::load(&LoadOptions {
        weights: weights.to_owned(),
        pulled: None,
        services: Service::ALL.to_vec(),
        on_demand: Vec::new(),
        remotes: BTreeMap::new(),
        selection: Selection::default(),
        // Those that were measured for the ensemble.
        thresholds: None,
        chosen: ChosenThresholds::default(),
        settings: EngineSettings::default(),
    })?;
    let open = |name: &str| photo(&photos.join(name));

    // A gallery is what the caller makes of it: here, names and embeddings in memory.
    let gallery: Vec<(&str, Embedding)> = vec![("eileen", embedding(&pipeline, &open("portrait.jpg")?)?)];
    writeln!(out, "registered eileen: {} values by {}", gallery[0].1.as_slice().len(), gallery[0].1.model())?;

    let threshold = pipeline.threshold(FarTarget::PerMille1).ok_or("no threshold was measured for this ensemble")?;
    for name in ["grey.jpg", "portrait_2.jpg"] {
        let probe = embedding(&pipeline, &open(name)?)?;
        let mut best: Option<(&str, f32)> = None;
        for (person, known) in &gallery {
            let similarity = known.cosine(&probe)?;
            if similarity >= threshold && best.is_none_or(|(_, highest)| similarity > highest) {
                best = Some((person, similarity));
            }
        }
        match best {
            Some((person, similarity)) => writeln!(out, "identified {person} in {name}: {similarity:.3}")?,
            None => writeln!(out, "nobody known in {name}: below {threshold:.3}")?,
        }
    }

    let analysis = pipeline.analyze(&open("group.jpg")?, &AnalyzeOptions::default())?;
    writeln!(out, "analysed group.jpg: {} faces", analysis.faces.len())?;
    for face in &analysis.faces {
        // An answer that cannot be given says why; here it is left out.
        let live = face.antispoof.as_ref().and_then(Outcome::done);
        let age = face.gender_age.as_ref().and_then(Outcome::done);
        let fake = face.deepfake.as_ref().and_then(Outcome::done);
        write!(out, "  face {} at {:.0}, {:.0}", face.index, face.bbox.x, face.bbox.y)?;
        age.map_or(Ok(()), |age| write!(out, "; about {:.0} years", age.age))?;
        live.map_or(Ok(()), |live| write!(out, "; {:?} {:.2}", live.decision, live.score))?;
        fake.map_or(Ok(()), |fake| write!(out, "; {:?} {:.2}", fake.decision, fake.score))?;
        writeln!(out)?;
    }
    Ok(())
}

fn photo(path: &Path) -> Result<RgbImage, Box<dyn Error>> {
    Ok(decode(&fs::read(path)?, &Limits::default())?.image)
}

/// The embedding of the largest face.
fn embedding(pipeline: &Pipeline, image: &RgbImage) -> Result<Embedding, Box<dyn Error>> {
    let detect = DetectOptions { max_faces: 1, ..DetectOptions::default() };
    let analyzers = AnalyzerSet::NONE.with(Analyzer::Recognition);
    let analysis = pipeline.analyze(image, &AnalyzeOptions { detect, analyzers })?;
    let face = analysis.faces.into_iter().next().ok_or("no face was found")?;
    match face.recognition {
        Some(Outcome::Done(recognition)) => Ok(recognition.embedding),
        Some(Outcome::Unavailable { reason } | Outcome::Error { reason, .. }) => Err(reason.into()),
        None => Err("recognition was not asked for".into()),
    }
}
