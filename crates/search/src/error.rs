//! Why a vector is refused.

use crate::MAX_DIMENSION;

/// Why a vector is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The vector has another length than the matrix' rows.
    #[error("vector has {actual} components, this gallery holds vectors of {expected}")]
    Dimension {
        /// Components of the rows.
        expected: usize,
        /// Components of the vector given.
        actual: usize,
    },
    /// The matrix was made for rows longer than the kernels can sum without overflow.
    #[error("vectors of {0} components are not searchable, the most is {MAX_DIMENSION}")]
    TooWide(usize),
    /// A component is infinite or not a number.
    #[error("component {0} of the vector is not a finite number")]
    NotFinite(usize),
    /// Every component is zero, so the vector has no direction and no cosine.
    #[error("vector is zero and has no direction")]
    Zero,
    /// Rows are counted in 32 bits.
    #[error("gallery is full: at most {} vectors", u32::MAX)]
    Full,
}
