//! What can go wrong before a kernel runs.

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// `FACESOCIAL_KERNELS` names nothing that is known.
    #[error("FACESOCIAL_KERNELS is {0:?}; known are portable, avx2, avx512, amx and neon")]
    UnknownInstructions(String),
    /// `FACESOCIAL_KERNELS`, or the caller, asks for instructions that this processor has not.
    #[error("this processor cannot run the {0} kernels; unset FACESOCIAL_KERNELS or set it to portable")]
    Unsupported(&'static str),
    /// Sizes that do not fit each other.
    #[error("{0}")]
    Shape(String),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, KernelError>;

/// [`KernelError::Shape`] from a format string.
macro_rules! shape_error {
    ($($part:tt)*) => { $crate::error::KernelError::Shape(format!($($part)*)) };
}
pub(crate) use shape_error;
