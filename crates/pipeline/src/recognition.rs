//! The recognition ensemble: three embeddings of one face, fused into one unit-norm vector.
//!
//! Members are unit-norm vectors e_i with weights w_i that sum to 1. The fused vector is the concatenation of sqrt(w_i) e_i:
//! its norm is 1 and the dot product of two fused vectors is the weighted mean of the members' cosines, so a gallery
//! compares one vector instead of three.

use facesocial_engine::{Engine, EngineError};
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{Embedding, EmbeddingError, Face, ModelId, Outcome, Recognition};
use image::RgbImage;

use crate::{
    batch::{NO_LANDMARKS, failed},
    error::{PipelineError, Result},
};

/// The ensemble's members and their weights, in the order of the fused vector. Chosen on the LFW development pairs, see
/// `models-src/ensemble/CARD.md`.
pub const MEMBERS: [(&str, f32); 3] = [("mobilefacenet", 0.2), ("dlib-resnet", 0.75), ("faceres", 0.05)];

/// False accept rates that a verification threshold is shipped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FarTarget {
    /// One impostor in a hundred is accepted.
    Percent1,
    /// One in a thousand.
    #[default]
    PerMille1,
}

impl FarTarget {
    /// The rate.
    pub const fn rate(self) -> f32 {
        match self {
            Self::Percent1 => 1e-2,
            Self::PerMille1 => 1e-3,
        }
    }

    /// Similarity from which two faces count as the same person's.
    ///
    /// Chosen on the LFW development pairs with `facesocial eval verification`, and raised to what all 543,191 pairs of
    /// strangers among 1,044 of those photos ask for: 1,709 pairs alone say little about one in a thousand.
    pub const fn threshold(self) -> f32 {
        match self {
            Self::Percent1 => 0.772,
            Self::PerMille1 => 0.805,
        }
    }
}

/// Name of the ensemble in ids.
const ENSEMBLE: &str = "ensemble";

/// The ensemble's id: its version is made of the members' versions, so that it changes when any of them does.
pub(crate) fn model_id(engine: &Engine) -> facesocial_engine::Result<ModelId> {
    let members = [engine.mobilefacenet.id()?, engine.dlib_resnet.id()?, engine.faceres.id()?];
    Ok(fused_id(members))
}

fn fused_id<'a>(members: impl IntoIterator<Item = &'a ModelId>) -> ModelId {
    let versions: Vec<_> = members.into_iter().map(|m| m.version().get(..4).unwrap_or(m.version())).collect();
    ModelId::new(ENSEMBLE, versions.join("-"))
}

/// One embedding per face, in order.
pub(crate) fn embed(engine: &Engine, image: &RgbImage, faces: &[Face]) -> Vec<Outcome<Recognition>> {
    let aligned: Vec<Option<Aligned>> = faces.iter().map(|f| Aligned::of(image, f)).collect();
    let present: Vec<&Aligned> = aligned.iter().flatten().collect();
    let embeddings = match members(engine, &present) {
        Ok(embeddings) => embeddings,
        Err(PipelineError::Engine(e)) => return faces.iter().map(|_| failed(&e)).collect(),
        Err(e) => return faces.iter().map(|_| Outcome::Error { reason: e.to_string() }).collect(),
    };
    let mut embeddings = embeddings.into_iter();
    aligned
        .iter()
        .map(|aligned| match aligned.as_ref().and_then(|_| embeddings.next()) {
            Some(members) => match fuse(&members) {
                Ok(embedding) => Outcome::Done(Recognition { embedding }),
                Err(e) => Outcome::Error { reason: e.to_string() },
            },
            None => Outcome::Error { reason: NO_LANDMARKS.to_owned() },
        })
        .collect()
}

pub(crate) fn embed_members(engine: &Engine, image: &RgbImage, face: &Face) -> Result<Vec<Embedding>> {
    let aligned = Aligned::of(image, face).ok_or(PipelineError::NoLandmarks)?;
    Ok(members(engine, &[&aligned])?.remove(0))
}

/// Weighted concatenation of the members.
pub(crate) fn fuse(members: &[Embedding]) -> Result<Embedding> {
    let mut vector = Vec::with_capacity(members.iter().map(|m| m.as_slice().len()).sum());
    for ((name, weight), member) in MEMBERS.iter().zip(members) {
        if member.model().name() != *name {
            let expected = ModelId::new(*name, member.model().version());
            return Err(EmbeddingError::DifferentModels(expected, member.model().clone()).into());
        }
        vector.extend(member.as_slice().iter().map(|v| v * weight.sqrt()));
    }
    Ok(Embedding::new(fused_id(members.iter().map(Embedding::model)), vector)?)
}

/// The crops that the members take of one face.
struct Aligned {
    arcface: RgbImage,
    dlib: RgbImage,
    faceres: RgbImage,
}

impl Aligned {
    /// `None` without landmarks.
    fn of(image: &RgbImage, face: &Face) -> Option<Self> {
        let arcface = imaging::arcface_112(image, &face.landmarks)?;
        Some(Self {
            dlib: imaging::dlib_chip_150(image, &face.landmarks)?,
            // Aligned, unlike the crop for age and gender: that raises TAR at FAR 1e-3 from 0.36 to 0.52 on LFW.
            faceres: imaging::resize(&arcface, 224, 224, Sampling::Bilinear),
            arcface,
        })
    }
}

/// For each face the members' embeddings in the order of [`MEMBERS`]; one batch per network.
fn members(engine: &Engine, faces: &[&Aligned]) -> Result<Vec<Vec<Embedding>>> {
    if faces.is_empty() {
        return Ok(Vec::new());
    }
    let crops = |of: fn(&Aligned) -> &RgbImage| faces.iter().map(|a| of(a).clone()).collect::<Vec<_>>();
    let (mobilefacenet, (dlib, faceres)) = rayon::join(
        || engine.mobilefacenet.run(|n| n.embed(&crops(|a| &a.arcface))),
        || {
            rayon::join(
                || engine.dlib_resnet.run(|n| n.embed(&crops(|a| &a.dlib))),
                || {
                    let outputs = engine.faceres.run(|n| n.analyze(&crops(|a| &a.faceres)))?;
                    Ok::<_, EngineError>(outputs.into_iter().map(|o| o.embedding).collect::<Vec<_>>())
                },
            )
        },
    );
    let ids = [engine.mobilefacenet.id()?, engine.dlib_resnet.id()?, engine.faceres.id()?];
    let mut columns = [mobilefacenet?.into_iter(), dlib?.into_iter(), faceres?.into_iter()];
    let mut rows = Vec::with_capacity(faces.len());
    for _ in faces {
        let row = columns.iter_mut().zip(ids).filter_map(|(column, id)| Some((column.next()?, id)));
        let row = row.map(|(vector, id)| Embedding::new(id.clone(), vector)).collect::<Result<Vec<_>, _>>()?;
        rows.push(row);
    }
    Ok(rows)
}
