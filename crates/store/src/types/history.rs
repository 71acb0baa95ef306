//! Stored analyses.

use facesocial_types::BBox;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::ids::{CollectionId, DetectionId, FaceId, SessionId, UserId};

/// An analysis to be stored.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Who asked.
    pub user_id: Option<UserId>,
    /// The gallery that faces were looked for in.
    pub collection_id: Option<CollectionId>,
    /// sha256 of the file, hex.
    pub image_hash: String,
    /// Bytes of the file.
    pub image_size: u64,
    /// Such as `image/jpeg`.
    pub mime_type: String,
    /// The file itself; only where keeping images was configured.
    pub image: Option<Vec<u8>>,
    /// How long it took.
    pub processing_time_ms: u64,
    /// The faces.
    pub detections: Vec<NewDetection>,
}

/// A face of an analysis to be stored.
#[derive(Debug, Clone)]
pub struct NewDetection {
    /// Index of the face in the photo.
    pub face_index: u32,
    /// Detector.
    pub detection_method: String,
    /// Where it is.
    pub bbox: BBox,
    /// Points, as answered.
    pub landmarks: Option<Value>,
    /// The detector's score, 0..=1.
    pub confidence_score: f32,
    /// Quality, as answered.
    pub quality_metrics: Option<Value>,
    /// Whom it is most like.
    pub recognition: Option<NewRecognition>,
    /// Liveness.
    pub antispoof: Option<NewAntispoof>,
    /// Gender and age.
    pub gender_age: Option<NewGenderAge>,
    /// Whether it was generated.
    pub deepfake: Option<NewDeepfake>,
}

/// The best match of a face.
#[derive(Debug, Clone)]
pub struct NewRecognition {
    /// The gallery's face.
    pub matched_face_id: Option<FaceId>,
    /// Cosine similarity.
    pub similarity_score: f32,
    /// Model or ensemble.
    pub recognition_method: String,
    /// Whether it passes the threshold.
    pub is_verified_match: bool,
}

/// Liveness of a face.
#[derive(Debug, Clone)]
pub struct NewAntispoof {
    /// `None` where it was not decided.
    pub is_real: Option<bool>,
    /// 0..=1.
    pub confidence_score: f32,
    /// Kind of attack, where known.
    pub spoof_type: Option<String>,
    /// As answered.
    pub details: Value,
}

/// Gender and age of a face.
#[derive(Debug, Clone)]
pub struct NewGenderAge {
    /// `male`, `female`.
    pub predicted_gender: Option<String>,
    /// 0..=1.
    pub gender_confidence: Option<f32>,
    /// Years.
    pub predicted_age: f32,
    /// Years.
    pub age_range: Option<[u8; 2]>,
}

/// Whether a face was generated.
#[derive(Debug, Clone)]
pub struct NewDeepfake {
    /// `None` where it was not decided.
    pub is_deepfake: Option<bool>,
    /// 0..=1.
    pub confidence_score: f32,
    /// Model.
    pub detection_method: String,
    /// As answered.
    pub details: Value,
}

/// A stored analysis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its identifier.
    pub id: SessionId,
    /// Who asked.
    pub user_id: Option<UserId>,
    /// The gallery that faces were looked for in.
    pub collection_id: Option<CollectionId>,
    /// sha256 of the file, hex.
    pub image_hash: String,
    /// Bytes of the file.
    pub image_size: u64,
    /// Such as `image/jpeg`.
    pub mime_type: String,
    /// Whether the file is kept.
    pub has_image: bool,
    /// How many faces it found.
    pub total_faces_detected: u32,
    /// How long it took.
    pub processing_time_ms: u64,
    /// When it was stored.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A stored analysis with its faces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionDetail {
    /// The analysis.
    #[serde(flatten)]
    pub session: Session,
    /// Its faces by index, each with the results stored for it.
    pub faces: Vec<StoredDetection>,
}

/// A face of a stored analysis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredDetection {
    /// Its identifier.
    pub id: DetectionId,
    /// Index of the face in the photo.
    pub face_index: u32,
    /// Detector.
    pub detection_method: String,
    /// Where it is.
    pub bbox: BBox,
    /// The detector's score, 0..=1.
    pub confidence_score: f32,
    /// Points, as answered.
    pub landmarks: Option<Value>,
    /// Quality, as answered.
    pub quality_metrics: Option<Value>,
    /// The row of `face_recognitions`.
    pub recognition: Option<Value>,
    /// The row of `antispoof_results`.
    pub antispoof: Option<Value>,
    /// The row of `gender_age_results`.
    pub gender_age: Option<Value>,
    /// The row of `deepfake_results`.
    pub deepfake: Option<Value>,
}
