//! Which face of a labelled photo the label speaks of.

use anyhow::bail;
use facesocial_pipeline::{DetectOptions, Pipeline};
use facesocial_types::{BBox, Detection, Face, Landmarks, Outcome, Point};
use image::RgbImage;

/// The face with the largest area minus twice the squared distance of its centre from the photo's: large and central.
/// The rule is that of facenet-pytorch's `center_weighted_size`.
pub fn central(faces: Vec<Face>, width: u32, height: u32) -> Option<Face> {
    let middle = Point::new(width as f32 / 2.0, height as f32 / 2.0);
    let weight = |f: &Face| f.bbox.area() - 2.0 * f.bbox.center().distance(middle).powi(2);
    faces.into_iter().max_by(|a, b| weight(a).total_cmp(&weight(b)))
}

/// The central face alone as a detection; where none is found the whole photo counts as the face (crops of labelled
/// sets are often too tight for a detector). The flag says whether a face was found.
///
/// # Errors
/// The detector has no weights or fails.
pub fn central_or_whole(
    pipeline: &Pipeline,
    image: &RgbImage,
    options: &DetectOptions,
) -> anyhow::Result<(Detection, bool)> {
    let Detection { detector, faces } = pipeline.detect(image, options)?;
    Ok(match central(faces, image.width(), image.height()) {
        Some(face) => (Detection { detector, faces: vec![face] }, true),
        None => {
            let bbox = BBox::new(0.0, 0.0, image.width() as f32, image.height() as f32);
            let face = Face { bbox, score: 1.0, landmarks: Landmarks::default() };
            (Detection { detector: "whole photo".to_owned(), faces: vec![face] }, false)
        }
    })
}

/// The answer, or its absence as an error: figures over half of the answers would mislead.
///
/// # Errors
/// There is no answer.
pub fn done<T>(outcome: Option<Outcome<T>>) -> anyhow::Result<T> {
    match outcome {
        Some(Outcome::Done(value)) => Ok(value),
        Some(Outcome::Unavailable { reason }) => bail!("nothing to measure: {reason}"),
        Some(Outcome::Error { reason, .. }) => bail!("{reason}"),
        None => bail!("the pipeline gave no answer for the face"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, y: f32, side: f32) -> Face {
        Face { bbox: BBox::new(x, y, side, side), score: 0.9, landmarks: Landmarks::default() }
    }

    #[test]
    fn the_central_face_wins_over_a_slightly_larger_one_at_the_edge() {
        let faces = vec![face(0.0, 0.0, 50.0), face(75.0, 75.0, 45.0)];
        assert_eq!(central(faces, 200, 200).unwrap().bbox.x, 75.0);
        assert_eq!(central(vec![], 200, 200), None);
    }

    #[test]
    fn a_much_larger_face_wins_anywhere() {
        let faces = vec![face(90.0, 90.0, 10.0), face(0.0, 0.0, 160.0)];
        assert_eq!(central(faces, 200, 200).unwrap().bbox.width, 160.0);
    }
}
