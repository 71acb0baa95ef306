//! What can go wrong with a network.

use std::path::PathBuf;

/// Failure to load a network's weights or to run it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The weight file cannot be read.
    #[error("cannot read the weights {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file's sha256 is not the one in the lock file.
    #[error("{path} has sha256 {found}, but the lock says {expected}; fetch it again")]
    Digest {
        /// The file.
        path: PathBuf,
        /// From the lock.
        expected: String,
        /// Computed.
        found: String,
    },
    /// The file is no safetensors file, or holds a dtype that no network uses.
    #[error("{path} cannot be used as weights: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Tensors of the file that the network did not read: file and code do not belong together.
    #[error("the network left {} tensors of {path} unread: {}", .names.len(), .names.join(", "))]
    Unread {
        /// The file.
        path: PathBuf,
        /// The keys, sorted.
        names: Vec<String>,
    },
    /// An input image has not the size the network takes.
    #[error("input image {index} is {width} x {height}, the network takes {expected} x {expected}")]
    InputSize {
        /// Position in the batch.
        index: usize,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// Side of the square input.
        expected: u32,
    },
    /// The network's output holds NaN or infinity.
    #[error("the output of {0} is not finite")]
    NotFinite(&'static str),
    /// A tensor operation failed: shape, dtype, memory or device.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

/// Result of this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;
