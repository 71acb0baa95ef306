//! Crops that are kept so that another model can embed a face later: the face with its surroundings, because every network
//! aligns in its own way. Finding the face again in its crop gives the same landmarks to a fraction of a pixel.

use facesocial_imaging::{self as imaging, Sampling};
use facesocial_pipeline::DetectOptions;
use facesocial_types::{Analyzer, AnalyzerSet, BBox, Detection, Embedding, Face};
use image::RgbImage;

use super::probe;
use crate::{
    error::{ApiError, ApiResult, Code},
    state::Loaded,
};

/// Side of a crop in sides of the face's box: the widest alignment needs 1.6 of them, a turned head more.
const SURROUNDINGS: f32 = 2.2;
/// Most pixels on a side. The networks look at faces of 112 to 224.
const MAX_SIDE: f32 = 512.0;
/// JPEG quality: what is lost moves an embedding less than another photo of the same second does.
const QUALITY: u8 = 95;

/// The crop of a face, as JPEG. Where it leaves the photo it is black.
pub fn cut(image: &RgbImage, bbox: &BBox) -> Vec<u8> {
    let side = (bbox.width.max(bbox.height) * SURROUNDINGS).max(1.0);
    let square = BBox::new(bbox.x + bbox.width / 2.0 - side / 2.0, bbox.y + bbox.height / 2.0 - side / 2.0, side, side);
    // Never larger than life: pixels that are made up tell nothing.
    let pixels = side.min(MAX_SIDE).round() as u32;
    imaging::encode_jpeg(&imaging::crop_resize(image, &square, pixels, pixels, [0; 3], Sampling::Area), QUALITY)
}

/// Embeds the face in the middle of a crop; others may have come onto it, too. Blocks: compute pool only.
///
/// # Errors
/// The face is not found again; recognition has no weights; a network fails.
pub fn embed(loaded: &Loaded, crop: &RgbImage) -> ApiResult<Embedding> {
    let pipeline = &loaded.pipeline;
    let Detection { detector, faces } = pipeline.detect(crop, &DetectOptions::default())?;
    let no_face = || ApiError::new(Code::NoFace, "the face was not found again in its crop");
    let face = middle(faces, crop.width(), crop.height()).ok_or_else(no_face)?;
    let wanted = AnalyzerSet::NONE.with(Analyzer::Recognition);
    let mut analysis = pipeline.analyze_faces(crop, Detection { detector, faces: vec![face] }, wanted);
    let answer = analysis.faces.pop().and_then(|face| face.recognition);
    probe::embedding(loaded, answer)?.map_err(|reason| ApiError::new(Code::NoFace, reason))
}

/// The face that the crop was cut around.
fn middle(faces: Vec<Face>, width: u32, height: u32) -> Option<Face> {
    let (x, y) = (width as f32 / 2.0, height as f32 / 2.0);
    let inside = |b: &BBox| (b.x..=b.x + b.width).contains(&x) && (b.y..=b.y + b.height).contains(&y);
    let off = |b: &BBox| (b.x + b.width / 2.0 - x).hypot(b.y + b.height / 2.0 - y);
    let around = faces.into_iter().filter(|face| inside(&face.bbox));
    around.min_by(|a, b| off(&a.bbox).total_cmp(&off(&b.bbox)))
}

#[cfg(test)]
mod tests {
    use facesocial_types::Landmarks;

    use super::*;

    #[test]
    fn a_crop_holds_the_surroundings_and_is_no_larger_than_life() {
        let photo = RgbImage::from_fn(400, 300, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let size = |bbox: &BBox| {
            let crop = image::load_from_memory(&cut(&photo, bbox)).unwrap();
            (crop.width(), crop.height())
        };
        assert_eq!(size(&BBox::new(100.0, 100.0, 80.0, 100.0)), (220, 220));
        assert_eq!(size(&BBox::new(-50.0, -50.0, 500.0, 400.0)), (512, 512));
        assert_eq!(size(&BBox::new(0.0, 0.0, 0.0, 0.0)), (1, 1));
    }

    #[test]
    fn the_face_in_the_middle_is_meant() {
        let face = |x: f32| Face { bbox: BBox::new(x, 40.0, 20.0, 20.0), score: 1.0, landmarks: Landmarks::default() };
        assert_eq!(middle(vec![face(0.0), face(38.0), face(44.0)], 100, 100).unwrap().bbox.x, 38.0);
        assert!(middle(vec![face(0.0)], 100, 100).is_none());
    }
}
