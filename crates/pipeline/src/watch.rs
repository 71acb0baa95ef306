//! What whoever runs the pipeline may be told of it: how long the stages take, what was found and decided. Numbers and
//! decisions alone; no image, no place in it, no embedding.

use std::time::Duration;

use facesocial_types::{AnalyzerSet, Detector, FaceAnalysis, Service};

/// A part of the work on a photo, as it is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From the photo to its faces, with the time that the detectors' networks wait and run.
    Detect,
    /// Cutting and aligning the crops for one analysis of all faces.
    Align,
    /// Rating the quality of all faces, which no network does.
    Quality,
    /// From one network's scores to the answers about all faces.
    Post,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 4] = [Self::Detect, Self::Align, Self::Quality, Self::Post];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Align => "align",
            Self::Quality => "quality",
            Self::Post => "post",
        }
    }
}

/// Is told what happens, on the threads where it happens: it must not wait.
pub trait Watch: Send + Sync {
    /// A stage took so long.
    fn stage(&self, stage: Stage, took: Duration);
    /// A photo was searched for faces by the networks of `services`: the scores of those that were found, or `None` if the
    /// search failed.
    fn searched(&self, detector: Detector, services: &[Service], scores: Option<&[f32]>);
    /// The faces of a photo were analysed.
    fn analysed(&self, wanted: AnalyzerSet, faces: &[FaceAnalysis]);
    /// Two photos were compared.
    fn compared(&self, same_person: bool);
}
