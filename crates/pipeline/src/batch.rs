//! One forward pass over the faces that have a crop, the answers put back in the order of the faces.

use facesocial_engine::EngineError;
use facesocial_types::{Face, Outcome};
use image::RgbImage;

/// Sentence for a face that cannot be aligned.
pub(crate) const NO_LANDMARKS: &str = "no landmarks were found on this face, so it cannot be aligned";

/// Crops each face, runs `forward` once over the crops, and gives one outcome per face.
pub(crate) fn over_faces<T, U>(
    faces: &[Face],
    crop: impl Fn(&Face) -> Option<RgbImage>,
    forward: impl FnOnce(&[RgbImage]) -> Result<Vec<T>, EngineError>,
    answer: impl Fn(&Face, T) -> Outcome<U>,
) -> Vec<Outcome<U>> {
    let crops: Vec<Option<RgbImage>> = faces.iter().map(crop).collect();
    let present: Vec<bool> = crops.iter().map(Option::is_some).collect();
    let crops: Vec<RgbImage> = crops.into_iter().flatten().collect();
    let answers = if crops.is_empty() { Ok(Vec::new()) } else { forward(&crops) };
    let mut answers = match answers {
        Ok(answers) => answers.into_iter(),
        Err(e) => return faces.iter().map(|_| failed(&e)).collect(),
    };
    faces
        .iter()
        .zip(present)
        .map(|(face, present)| match present.then(|| answers.next()).flatten() {
            Some(value) => answer(face, value),
            None => Outcome::Error { reason: NO_LANDMARKS.to_owned() },
        })
        .collect()
}

/// An engine's failure as the answer about a face.
pub(crate) fn failed<T>(error: &EngineError) -> Outcome<T> {
    match error {
        EngineError::Absent { reason, .. } => Outcome::Unavailable { reason: reason.clone() },
        other => Outcome::Error { reason: other.to_string() },
    }
}
