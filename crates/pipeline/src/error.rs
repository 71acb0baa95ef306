//! Why a use case gave no answer.

use facesocial_engine::EngineError;
use facesocial_types::{EmbeddingError, ModelId, Service};

/// Failure of a whole request; what fails for one face or one service alone is told in that place of the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The service asked for has no weights here; `reason` names the command that brings them.
    #[error("{service} is unavailable: {reason}")]
    Unavailable {
        /// The service.
        service: Service,
        /// Why, and what to do.
        reason: String,
    },
    /// An image that must show a face shows none; `image` counts from 0.
    #[error("no face found in image {image}; the largest face must be at least 20 pixels high and not turned away")]
    NoFace {
        /// Which of the images.
        image: usize,
    },
    /// A face without landmarks cannot be aligned.
    #[error("no landmarks were found on the face, so it cannot be aligned")]
    NoLandmarks,
    /// No similarity is known from which two faces count as the same person's.
    #[error(
        "no decision threshold was measured for {model} at a false accept rate of {far}; measure it with \
         `facesocial eval verification` and set it with --thresholds"
    )]
    NoThreshold {
        /// The ensemble.
        model: ModelId,
        /// The false accept rate asked for.
        far: f32,
    },
    /// A network failed.
    #[error("inference failed")]
    Engine(#[from] EngineError),
    /// The embedding cannot be used.
    #[error(transparent)]
    Embedding(#[from] EmbeddingError),
}

/// Result of this crate.
pub type Result<T, E = PipelineError> = std::result::Result<T, E>;
