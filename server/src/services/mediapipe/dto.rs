//! The service's answers as clients of the original know them.

use facesocial_types::FaceAnalysis;
use serde::Serialize;

use crate::services::{
    detection::{Found, quality_score},
    face::{BoxDto, ImageInfo, LandmarksDto, MouthNames, score},
};

/// Answer for one photo.
#[derive(Debug, Serialize)]
pub struct Detected {
    success: bool,
    faces: Vec<Face>,
    total_faces: usize,
    processing_time: f64,
    image_info: ImageInfo,
    model_info: ModelInfo,
}

#[derive(Debug, Serialize)]
struct Face {
    face_id: String,
    face_index: usize,
    /// x, y, width, height in whole pixels.
    bbox: [i64; 4],
    bounding_box: BoxDto,
    confidence: f64,
    detection_method: &'static str,
    landmarks: Option<LandmarksDto>,
    quality_score: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ModelInfo {
    detector: &'static str,
    version: String,
    confidence_threshold: f64,
}

impl Detected {
    /// The answer for one photo.
    pub fn of(found: &Found) -> Self {
        let face = |face: &FaceAnalysis| Face {
            face_id: format!("mp_face_{}", face.index),
            face_index: face.index,
            bbox: [face.bbox.x, face.bbox.y, face.bbox.width, face.bbox.height].map(|v| v.round() as i64),
            bounding_box: BoxDto::scored(&face.bbox, face.score),
            confidence: score(face.score),
            detection_method: "mediapipe",
            landmarks: LandmarksDto::of(&face.landmarks, face.score, MouthNames::MouthFirst),
            quality_score: quality_score(face),
        };
        Self {
            success: true,
            faces: found.analysis.faces.iter().map(face).collect(),
            total_faces: found.analysis.faces.len(),
            processing_time: (found.seconds * 1e4).round() / 1e4,
            image_info: ImageInfo::of(&found.analysis),
            model_info: ModelInfo {
                detector: "mediapipe",
                version: found.analysis.detector.clone(),
                confidence_threshold: score(found.options.min_score),
            },
        }
    }
}
