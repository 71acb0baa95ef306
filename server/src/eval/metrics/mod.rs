//! Figures over labelled scores. Pure functions: no images, no files, no networks.

pub mod age;
pub mod ap;
pub mod bootstrap;
pub mod calibration;
pub mod differential;
pub mod folds;
pub mod identification;
pub mod interval;
pub mod pad;
pub mod roc;

/// Why a figure cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// There is nothing to measure.
    #[error("no samples to measure")]
    Empty,
    /// A rate needs both classes.
    #[error("all {count} samples are labelled {class}; both classes are needed")]
    OneClass {
        /// How many samples there are.
        count: usize,
        /// The class they all have.
        class: &'static str,
    },
    /// A score that is NaN or infinite has no place in an order.
    #[error("the score of sample {index} is {value}, which is no finite number")]
    NotFinite {
        /// Position of the sample, from 0.
        index: usize,
        /// Its score.
        value: f64,
    },
    /// A score outside 0..=1 is no probability.
    #[error("the score of sample {index} is {value}, which is no probability")]
    NoProbability {
        /// Position of the sample, from 0.
        index: usize,
        /// Its score.
        value: f64,
    },
    /// Cross-validation needs at least two folds.
    #[error("{given} fold(s) given; at least 2 are needed, each with samples")]
    TooFewFolds {
        /// How many there are.
        given: usize,
    },
}

/// The first score that is no finite number is an error.
pub(crate) fn all_finite(scores: impl IntoIterator<Item = f64>) -> Result<(), MetricError> {
    match scores.into_iter().enumerate().find(|(_, v)| !v.is_finite()) {
        Some((index, value)) => Err(MetricError::NotFinite { index, value }),
        None => Ok(()),
    }
}
