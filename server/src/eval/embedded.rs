//! Embeddings of the face of each labelled photo, by the recognition ensemble and by each of its members.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use facesocial_pipeline::{DetectOptions, Pipeline, PipelineError};
use facesocial_types::{Detector, Embedding, ModelId};
use image::RgbImage;

use super::{DataArgs, asked, faces, over_images};

/// How the face that is embedded is found.
#[derive(Debug, Clone, Copy, Args)]
pub struct EmbedArgs {
    /// How faces are looked for; the large and central one counts.
    #[arg(long, value_name = "NAME", default_value_t = Detector::Auto)]
    pub detector: Detector,
}

/// The ensemble's embedding and those of its members, of one face; `None` without a face that can be aligned.
pub type Embedded = Option<Vec<Embedding>>;

/// As the file of answers keeps it: the members' vectors, each as little-endian 32-bit numbers in base64.
type Record = Option<Vec<String>>;

/// Embeds the face of each photo. The fused embedding comes first; an ensemble of one is its member.
///
/// # Errors
/// A photo that cannot be read, a network that fails or is absent.
pub fn embed(
    pipeline: &Pipeline,
    data: &DataArgs,
    args: EmbedArgs,
    paths: &[PathBuf],
) -> anyhow::Result<Vec<Embedded>> {
    let members = pipeline.engine().members.iter();
    let ids: Vec<ModelId> = members.map(|m| Ok(m.network.id()?.clone())).collect::<anyhow::Result<_>>()?;
    let names: Vec<String> = ids.iter().map(ModelId::to_string).collect();
    let key = asked::key(pipeline, &format!("embeddings by {}", names.join(" ")), args.detector)?;
    let options = DetectOptions { detector: args.detector, ..DetectOptions::default() };
    let records: Vec<Record> = over_images(paths, data, key, |image| record(pipeline, &options, image))?;
    // New answers take the same way as kept ones, so that both give the same figures to the last digit.
    records.into_iter().map(|record| record.map(|vectors| all(pipeline, &ids, &vectors)).transpose()).collect()
}

fn record(pipeline: &Pipeline, options: &DetectOptions, image: &RgbImage) -> anyhow::Result<Record> {
    let faces = pipeline.detect(image, options)?.faces;
    let Some(face) = faces::central(faces, image.width(), image.height()) else { return Ok(None) };
    let members = match pipeline.embed_members(image, &face) {
        Err(PipelineError::NoLandmarks) => return Ok(None),
        members => members?,
    };
    Ok(Some(members.iter().map(|e| written(e.as_slice())).collect()))
}

fn all(pipeline: &Pipeline, ids: &[ModelId], vectors: &[String]) -> anyhow::Result<Vec<Embedding>> {
    ensure!(ids.len() == vectors.len(), "{} vectors are kept for {} networks", vectors.len(), ids.len());
    let member = |(id, text): (&ModelId, &String)| Ok(Embedding::new(id.clone(), read(text)?)?);
    let members: Vec<Embedding> = ids.iter().zip(vectors).map(member).collect::<anyhow::Result<_>>()?;
    let mut all = vec![pipeline.fuse(&members)?];
    if members.len() > 1 {
        all.extend(members);
    }
    Ok(all)
}

/// Names of the models that embedded, the fused one first.
///
/// # Errors
/// No photo shows a face.
pub fn models(embedded: &[Embedded]) -> anyhow::Result<Vec<ModelId>> {
    let Some(first) = embedded.iter().flatten().next() else { bail!("no photo of the set shows a face") };
    Ok(first.iter().map(|e| e.model().clone()).collect())
}

fn written(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

fn read(text: &str) -> anyhow::Result<Vec<f32>> {
    let bytes = STANDARD.decode(text).context("a kept vector is damaged")?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "a kept vector is damaged");
    Ok(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_kept_to_the_last_bit() {
        let vector = [0.1, -2.5e-8, f32::MIN_POSITIVE, 1.0];
        assert_eq!(read(&written(&vector)).unwrap(), vector);
        assert!(read("AAAAAA==").is_ok());
        assert!(read("AAAA").is_err() && read("?").is_err());
    }

    #[test]
    fn a_set_without_faces_is_named() {
        assert_eq!(models(&[None, None]).unwrap_err().to_string(), "no photo of the set shows a face");
    }
}
