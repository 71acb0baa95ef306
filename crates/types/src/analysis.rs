//! What is said about the faces of a photo.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BBox, Embedding, Face, Landmarks, ModelId};

/// An answer, or why there is none. Absence is never filled with a made-up value.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T> {
    /// The answer.
    Done(T),
    /// The network's weights are not installed; `reason` names the command that brings them.
    Unavailable {
        /// Sentence for a person.
        reason: String,
    },
    /// The network gave none about this face.
    Error {
        /// Sentence for a person.
        reason: String,
        /// Whether asking again may help.
        failure: Failure,
    },
}

/// What kept a network from an answer about a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The face, or what the network makes of it: asked again, it fails again.
    Lasting,
    /// As many faces waited for the network as may.
    Overloaded {
        /// When the line should be gone.
        retry_after: Duration,
    },
    /// There was too little memory.
    OutOfMemory,
    /// The time for the answer was over.
    Late,
    /// The networks are being stopped.
    Stopped,
}

impl<T> Outcome<T> {
    /// The answer, if there is one.
    pub fn done(&self) -> Option<&T> {
        match self {
            Self::Done(value) => Some(value),
            _ => None,
        }
    }
}

/// Faces of one photo, and which detector found them.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// The detector, or the chain of them (`blazeface@..+mtcnn@..`).
    pub detector: String,
    /// Largest first.
    pub faces: Vec<Face>,
}

/// Everything said about one photo.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// Width of the upright image in pixels.
    pub width: u32,
    /// Height of the upright image in pixels.
    pub height: u32,
    /// See [`Detection::detector`].
    pub detector: String,
    /// Largest face first; `faces[i].index == i`.
    pub faces: Vec<FaceAnalysis>,
}

/// Everything said about one face. A field is `None` where that analysis was not asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct FaceAnalysis {
    /// Position in [`Analysis::faces`]; every service speaks of the same face by it.
    pub index: usize,
    /// Where the face is.
    pub bbox: BBox,
    /// The detector's confidence, 0..=1.
    pub score: f32,
    /// Named points.
    pub landmarks: Landmarks,
    /// Fitness for recognition.
    pub quality: Option<Outcome<Quality>>,
    /// Embedding.
    pub recognition: Option<Outcome<Recognition>>,
    /// Liveness.
    pub antispoof: Option<Outcome<AntiSpoof>>,
    /// Age and gender.
    pub gender_age: Option<Outcome<GenderAge>>,
    /// Generated or swapped face.
    pub deepfake: Option<Outcome<Deepfake>>,
}

/// Why a face is less fit for recognition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QualityReason {
    /// Too few pixels.
    SmallFace,
    /// Out of focus or moved.
    Blurred,
    /// Under-exposed.
    TooDark,
    /// Over-exposed.
    TooBright,
    /// Little difference between light and dark.
    LowContrast,
    /// Sensor or compression noise.
    Noisy,
    /// Turned or tilted away.
    ExtremePose,
    /// Something seems to cover a part of the face.
    Occluded,
    /// The face reaches over the edge of the photo.
    CutOff,
}

impl QualityReason {
    /// A sentence for a person who retakes the photo.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::SmallFace => "move closer: the face has too few pixels",
            Self::Blurred => "hold still and focus: the face is blurred",
            Self::TooDark => "add light: the face is too dark",
            Self::TooBright => "reduce the light: the face is over-exposed",
            Self::LowContrast => "use even, brighter light: the face has little contrast",
            Self::Noisy => "add light or compress less: the face is noisy",
            Self::ExtremePose => "look into the camera: the head is turned too far",
            Self::Occluded => "uncover the face: a part of it seems hidden",
            Self::CutOff => "centre the face: it reaches over the edge of the photo",
        }
    }
}

/// Rotation of the head in degrees, estimated from five landmarks; 0 is frontal.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct HeadPose {
    /// Turn to the side; positive towards the image's right.
    pub yaw: f32,
    /// Nod; positive downwards.
    pub pitch: f32,
    /// Tilt in the image plane; positive clockwise.
    pub roll: f32,
}

/// The measurements behind a quality score; each 0..=1, higher is better, except the pose.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct QualityMetrics {
    /// Variance of the Laplacian, scaled.
    pub sharpness: f32,
    /// Closeness of the mean to mid-grey.
    pub brightness: f32,
    /// Standard deviation, scaled.
    pub contrast: f32,
    /// Laplacian and Sobel energy together, scaled.
    pub blur_score: f32,
    /// One minus the residual of a Gaussian blur.
    pub noise_level: f32,
    /// One minus the share of crushed shadows and blown highlights.
    pub illumination_quality: f32,
    /// Pixels of the face against what recognition needs.
    pub resolution_adequacy: f32,
    /// Head pose, `None` without landmarks.
    pub pose: Option<HeadPose>,
    /// Likelihood hints, 0..=1, that left eye, right eye, nose and mouth are covered; `None` without landmarks.
    pub occlusion: Option<[f32; 4]>,
}

/// Fitness of a face for recognition.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// 0 (useless) to 1 (ideal).
    pub score: f32,
    /// What lowers the score, worst first; empty for a good picture.
    pub reasons: Vec<QualityReason>,
    /// The measurements.
    pub metrics: QualityMetrics,
}

/// An embedding of one face.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognition {
    /// Unit-norm vector and its model.
    pub embedding: Embedding,
}

/// Live person or presentation attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LivenessDecision {
    /// A live person.
    Live,
    /// A print, a screen or a mask.
    Spoof,
    /// The score lies between the two thresholds; treat as not live.
    Uncertain,
}

/// Answer of passive liveness.
#[derive(Debug, Clone, PartialEq)]
pub struct AntiSpoof {
    /// The network.
    pub model: ModelId,
    /// 0 (attack) to 1 (live).
    pub score: f32,
    /// Decision at the shipped thresholds.
    pub decision: LivenessDecision,
}

/// Gender as the network's training labels knew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gender {
    /// Labelled female.
    Female,
    /// Labelled male.
    Male,
}

/// Estimated age and gender.
#[derive(Debug, Clone, PartialEq)]
pub struct GenderAge {
    /// The network.
    pub model: ModelId,
    /// Years.
    pub age: f32,
    /// Lowest and highest year of the central interval that holds about 80 % of the network's probability; `None` of a
    /// network that gives a number alone.
    pub age_range: Option<[u8; 2]>,
    /// The likelier gender.
    pub gender: Gender,
    /// Probability of [`Self::gender`], 0.5..=1.
    pub gender_score: f32,
}

/// Photograph or fake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeepfakeDecision {
    /// A photograph.
    Real,
    /// Generated or swapped.
    Fake,
    /// The score lies between the two thresholds.
    Uncertain,
}

/// Answer of deepfake detection.
#[derive(Debug, Clone, PartialEq)]
pub struct Deepfake {
    /// The network.
    pub model: ModelId,
    /// 0 (photograph) to 1 (fake).
    pub score: f32,
    /// Decision at the shipped thresholds.
    pub decision: DeepfakeDecision,
}

/// Whether two photos show the same person: the largest face of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The model both embeddings come from.
    pub model: ModelId,
    /// Cosine similarity, -1..=1.
    pub similarity: f32,
    /// The decision's threshold, chosen for `far`.
    pub threshold: f32,
    /// The false accept rate the threshold was chosen for.
    pub far: f32,
    /// `similarity >= threshold`.
    pub same_person: bool,
    /// The two faces compared.
    pub faces: [Face; 2],
}
