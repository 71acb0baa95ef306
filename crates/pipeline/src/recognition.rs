//! The recognition ensemble: embeddings of one face by several networks, fused into one unit-norm vector.
//!
//! Members are unit-norm vectors e_i with weights w_i that sum to 1. The fused vector is the concatenation of sqrt(w_i) e_i:
//! its norm is 1 and the dot product of two fused vectors is the weighted mean of the members' cosines, so a gallery
//! compares one vector instead of several.

use std::collections::BTreeMap;

use facesocial_engine::{Engine, EngineError, Ensemble, FaceCrop, Member, PendingEmbeddings, joint_id};
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{Embedding, EmbeddingError, Face, Failure, ModelId, Outcome, Recognition};
use image::RgbImage;

use crate::{
    batch::{Begun, Call, cut, failed},
    error::{PipelineError, Result},
};

/// Name of the ensemble in ids.
const ENSEMBLE: &str = "ensemble";
/// Side of FaceNet's crop against the face box: 160 pixels of which 14 are margin.
const FACENET_MARGIN: f32 = 160.0 / (160.0 - 14.0);

/// The ensemble's id: its version is made of the members' versions, and of their weights where those are not the ones
/// that come with the members, so that it changes when any of them does.
pub(crate) fn model_id(engine: &Engine) -> facesocial_engine::Result<ModelId> {
    let ids = engine.members.iter().map(|m| m.network.id()).collect::<facesocial_engine::Result<Vec<_>>>()?;
    let weights: Vec<f32> = engine.members.iter().map(|m| m.weight).collect();
    Ok(fused_id(&ids, &weights))
}

fn fused_id(ids: &[&ModelId], weights: &[f32]) -> ModelId {
    let id = joint_id(ENSEMBLE, ids.iter().copied());
    let usual = |e: &Ensemble| {
        e.members().len() == ids.len()
            && e.members()
                .iter()
                .zip(ids.iter().zip(weights))
                .all(|((name, w), (id, weight))| name == id.name() && (w - weight).abs() < 1e-4)
    };
    if ids.len() == 1 || [Ensemble::bundled(), Ensemble::full()].iter().any(usual) {
        return id;
    }
    let weights: Vec<String> = weights.iter().map(|w| format!("{:.0}", w * 1000.0)).collect();
    ModelId::new(ENSEMBLE, format!("{}-w{}", id.version(), weights.join("-")))
}

/// Each member's embeddings that are on their way, in the ensemble's order.
pub(crate) type PendingMembers = Vec<PendingEmbeddings>;

/// Cuts the crops and hands them to every member.
pub(crate) fn begin(call: Call<'_>, image: &RgbImage, faces: &[Face]) -> Begun<PendingMembers> {
    match crop_kinds(call.engine) {
        Ok(kinds) => Begun::new(cut(call, faces, |f| Crops::of(image, f, &kinds)), |crops| submit(call, &crops)),
        Err(error) => Begun::new(vec![Some(()); faces.len()], |_| Err(error)),
    }
}

/// One embedding per face, in order.
pub(crate) fn finish(call: Call<'_>, begun: Begun<PendingMembers>) -> Vec<Outcome<Recognition>> {
    begun.finish(
        call.watch,
        |pending| members(call.engine, pending),
        |_, members| match members.and_then(|members| fuse(call.engine, &members)) {
            Ok(embedding) => Outcome::Done(Recognition { embedding }),
            Err(PipelineError::Engine(error)) => failed(&error),
            // A vector that is none: the networks say the same of the same face.
            Err(error) => Outcome::Error { reason: error.to_string(), failure: Failure::Lasting },
        },
    )
}

pub(crate) fn embed_members(call: Call<'_>, image: &RgbImage, face: &Face) -> Result<Vec<Embedding>> {
    let kinds = crop_kinds(call.engine)?;
    let crops = Crops::of(image, face, &kinds).ok_or(PipelineError::NoLandmarks)?;
    let answers = members(call.engine, submit(call, &[crops])?);
    answers.into_iter().next().unwrap_or(Err(EngineError::Stopped))?
}

fn crop_kinds(engine: &Engine) -> Result<Vec<FaceCrop>, EngineError> {
    engine.members.iter().map(|m| m.network.crop()).collect()
}

/// Weighted concatenation of the members' embeddings, in the ensemble's order.
pub(crate) fn fuse(engine: &Engine, embeddings: &[Embedding]) -> Result<Embedding> {
    let weights: Vec<f32> = engine.members.iter().map(|m| m.weight).collect();
    let mut vector = Vec::with_capacity(embeddings.iter().map(|m| m.as_slice().len()).sum());
    for (member, embedding) in engine.members.iter().zip(embeddings) {
        let expected = member.network.id()?;
        if embedding.model() != expected {
            return Err(EmbeddingError::DifferentModels(expected.clone(), embedding.model().clone()).into());
        }
        vector.extend(embedding.as_slice().iter().map(|v| v * member.weight.sqrt()));
    }
    let ids: Vec<&ModelId> = embeddings.iter().map(Embedding::model).collect();
    Ok(Embedding::new(fused_id(&ids, &weights), vector)?)
}

/// The crops that the members take of one face, each kind once.
struct Crops(BTreeMap<u32, RgbImage>);

impl Crops {
    /// `None` without landmarks.
    fn of(image: &RgbImage, face: &Face, kinds: &[FaceCrop]) -> Option<Self> {
        // Every ensemble is refused such a face, whichever its members: which faces can be enrolled must not depend on them.
        let arcface = imaging::arcface_112(image, &face.landmarks)?;
        let mut crops = BTreeMap::new();
        for kind in kinds {
            let side = kind.side();
            if crops.contains_key(&side) {
                continue;
            }
            let crop = match kind {
                FaceCrop::ArcFace112 => arcface.clone(),
                FaceCrop::DlibChip150 => imaging::dlib_chip_150(image, &face.landmarks)?,
                // Aligned, unlike the crop for age and gender: that raises TAR at FAR 1e-3 from 0.36 to 0.52 on LFW.
                FaceCrop::ArcFaceEnlarged224 => imaging::resize(&arcface, side, side, Sampling::Bilinear),
                FaceCrop::Box160 => {
                    let bbox = face.bbox.scaled(FACENET_MARGIN).clipped(image.width(), image.height());
                    imaging::crop_resize(image, &bbox, side, side, [0; 3], Sampling::Box)
                }
            };
            crops.insert(side, crop);
        }
        Some(Self(crops))
    }
}

/// Hands every member the crops that it looks at.
fn submit(call: Call<'_>, faces: &[Crops]) -> Result<PendingMembers, EngineError> {
    let hand_in = |member: &Member| {
        let side = member.network.crop()?.side();
        let crops = faces.iter().filter_map(|f| f.0.get(&side).cloned()).collect();
        member.network.submit(call.caller, crops)
    };
    call.engine.members.iter().map(hand_in).collect()
}

/// For each face the members' embeddings in the ensemble's order. The outer failure is a network's; the inner one is an
/// embedding's that cannot be used.
fn members(engine: &Engine, pending: PendingMembers) -> Vec<Result<Result<Vec<Embedding>>, EngineError>> {
    let columns: Vec<Vec<_>> = pending.into_iter().map(PendingEmbeddings::wait).collect();
    let faces = columns.iter().map(Vec::len).min().unwrap_or(0);
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let row = |_| {
        let vectors: Vec<_> = columns.iter_mut().filter_map(Iterator::next).collect();
        let vectors = vectors.into_iter().collect::<Result<Vec<_>, EngineError>>()?;
        let ids = engine.members.iter().map(|m| m.network.id()).collect::<Result<Vec<_>, EngineError>>()?;
        Ok(ids.into_iter().zip(vectors).map(|(id, v)| Ok(Embedding::new(id.clone(), v)?)).collect())
    };
    (0..faces).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_tells_members_and_unusual_weights() {
        let ids = [("mobilefacenet", "aaaabbbb"), ("dlib-resnet", "ccccdddd"), ("faceres", "eeeeffff")];
        let ids = ids.map(|(n, v)| ModelId::new(n, v));
        let ids: Vec<&ModelId> = ids.iter().collect();
        assert_eq!(fused_id(&ids, &[0.2, 0.75, 0.05]).to_string(), "ensemble@aaaa-cccc-eeee");
        assert_eq!(fused_id(&ids[..2], &[0.5, 0.5]).to_string(), "ensemble@aaaa-cccc-w500-500");
        assert_eq!(fused_id(&ids[..1], &[1.0]).to_string(), "mobilefacenet@aaaabbbb");
    }
}
