//! `facesocial compare`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::anyhow;
use clap::Args;
use facesocial_pipeline::{FarTarget, PipelineError};
use facesocial_types::{Analyzer, Comparison};
use serde::Serialize;

use super::{
    RunArgs, inputs,
    json::{VERSION, face_box, rounded, score},
};

/// Options of `facesocial compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The first photo.
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The second photo.
    #[arg(value_name = "B")]
    second: PathBuf,
    /// The false accept rate whose threshold decides: 1e-2, 1e-3 or 1e-4. A lower rate means fewer strangers taken for the
    /// same person and more photos of one person told apart.
    #[arg(long, value_name = "RATE", default_value = "1e-3", value_parser = far)]
    far: FarTarget,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs,
}

fn far(text: &str) -> Result<FarTarget, String> {
    let rate: f32 = text.parse().map_err(|_| "a number is needed".to_owned())?;
    FarTarget::ALL.into_iter().find(|t| (t.rate() - rate).abs() < 1e-9).ok_or_else(|| {
        let known: Vec<String> = FarTarget::ALL.iter().map(|t| t.rate().to_string()).collect();
        format!("thresholds exist for {} only", known.join(", "))
    })
}

#[derive(Serialize)]
struct Document<F> {
    version: u32,
    model: String,
    similarity: f64,
    threshold: f64,
    far: f64,
    same_person: bool,
    faces: Vec<FaceJson<F>>,
}

#[derive(Serialize)]
struct FaceJson<F> {
    path: String,
    #[serde(rename = "box")]
    bbox: F,
}

/// Runs the command; the exit code says only whether there is an answer, not which.
///
/// # Errors
/// A photo that cannot be read or shows no face, no weights, standard output closed.
pub fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let pipeline = args.run.load([Analyzer::Recognition].into_iter().collect())?;
    let paths = [&args.first, &args.second];
    let named = |path: &PathBuf| inputs::read_image(path).map_err(|e| anyhow!("{}: {e:#}", path.display()));
    let (a, b) = (named(paths[0])?, named(paths[1])?);
    let comparison = pipeline.compare(&a, &b, args.far).map_err(|e| match e {
        PipelineError::NoFace { image } => anyhow!("{}: no face found", paths[image.min(1)].display()),
        other => other.into(),
    })?;
    let text = if args.json { document(&comparison, &paths)? } else { sentence(&comparison) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn document(c: &Comparison, paths: &[&PathBuf; 2]) -> anyhow::Result<String> {
    let faces = c.faces.iter().zip(paths);
    let document = Document {
        version: VERSION,
        model: c.model.to_string(),
        similarity: score(c.similarity),
        threshold: score(c.threshold),
        far: rounded(f64::from(c.far), 6),
        same_person: c.same_person,
        faces: faces.map(|(f, p)| FaceJson { path: p.to_string_lossy().into_owned(), bbox: face_box(f) }).collect(),
    };
    Ok(serde_json::to_string(&document)? + "\n")
}

fn sentence(c: &Comparison) -> String {
    format!(
        "decision    {}\nsimilarity  {:.4}\nthreshold   {:.4} (false accept rate {})\nmodel       {}\n",
        if c.same_person { "same person" } else { "different people" },
        c.similarity,
        c.threshold,
        c.far,
        c.model,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rates_with_a_threshold_are_taken() {
        assert_eq!(far("0.001"), Ok(FarTarget::PerMille1));
        assert_eq!(far("1e-2"), Ok(FarTarget::Percent1));
        assert_eq!(far("1e-4"), Ok(FarTarget::PerTenThousand1));
        assert_eq!(far("1e-5"), Err("thresholds exist for 0.01, 0.001, 0.0001 only".to_owned()));
        assert!(far("x").is_err());
    }
}
