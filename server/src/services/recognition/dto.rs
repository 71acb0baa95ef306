//! The service's answers as clients of the original know them.

use facesocial_types::{Analysis, Comparison, FaceAnalysis, Recognition};
use serde::Serialize;

use crate::services::face::{Answer, BoxDto, FaceEntry, score};

/// Embeddings of every face of a photo.
#[derive(Debug, Serialize)]
pub struct Assessed {
    /// One entry per face, by the photo's index.
    pub faces: Vec<FaceEntry<Embedded>>,
    total_faces: usize,
    model_info: Option<String>,
}

/// Embedding of one face. The vector is biometric data: it is left out unless the client asks for it.
#[derive(Debug, Clone, Serialize)]
pub struct Embedded {
    model: String,
    embedding_dimension: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Vec<f32>>,
}

/// Embedding of one face, if it was asked for; with its vector only if `vectors`.
pub fn entry(face: &FaceAnalysis, vectors: bool) -> Option<FaceEntry<Embedded>> {
    let embedded = |r: &Recognition| Embedded {
        model: r.embedding.model().to_string(),
        embedding_dimension: r.embedding.as_slice().len(),
        embedding: vectors.then(|| r.embedding.as_slice().to_vec()),
    };
    let answer = Answer::of(face.recognition.as_ref()?, embedded);
    Some(FaceEntry { face_id: face.index, bbox: BoxDto::plain(&face.bbox), answer })
}

impl Assessed {
    /// From an analysis that recognition was asked of.
    pub fn of(analysis: &Analysis, vectors: bool) -> Self {
        let faces: Vec<_> = analysis.faces.iter().filter_map(|f| entry(f, vectors)).collect();
        let model_info = faces.iter().find_map(|f| f.answer.done()).map(|e| e.model.clone());
        Self { total_faces: faces.len(), faces, model_info }
    }
}

/// Answer of `/compare`.
#[derive(Debug, Serialize)]
pub struct Compared {
    success: bool,
    /// Cosine similarity, -1..=1.
    similarity: f64,
    is_same_person: bool,
    threshold: f64,
    /// The false accept rate that the threshold was chosen for.
    false_accept_rate: f64,
    model: String,
    /// The face compared in each photo: its largest.
    faces: [BoxDto; 2],
    processing_time: f64,
}

impl Compared {
    /// The answer for two photos that took `seconds`.
    pub fn of(comparison: &Comparison, seconds: f64) -> Self {
        let [a, b] = &comparison.faces;
        Self {
            success: true,
            similarity: score(comparison.similarity),
            is_same_person: comparison.same_person,
            threshold: score(comparison.threshold),
            false_accept_rate: score(comparison.far),
            model: comparison.model.to_string(),
            faces: [BoxDto::scored(&a.bbox, a.score), BoxDto::scored(&b.bbox, b.score)],
            processing_time: seconds,
        }
    }
}
