//! Why the engine could not start or run.

use std::path::PathBuf;

use facesocial_models::ModelError;

/// Failure to load or to run networks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// There is no lock file where weights were looked for.
    #[error(
        "no weights found: {path} cannot be read; run from the project's folder, or name the folder that holds \
         weights.lock with --weights or FACESOCIAL_WEIGHTS"
    )]
    NoLock {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The lock file is damaged.
    #[error("{path} is not a weights lock file")]
    BadLock {
        /// The lock file.
        path: PathBuf,
        /// What the parser says.
        source: toml::de::Error,
    },
    /// A network's weights are there and cannot be used; starting without them would hide the damage.
    #[error("cannot load {network}")]
    Load {
        /// The network's name.
        network: &'static str,
        /// Why.
        source: ModelError,
    },
    /// The networks that were chosen cannot be had.
    #[error("{reason}")]
    Selection {
        /// Which, why, and what to do.
        reason: String,
    },
    /// The weights were made up for tests.
    #[error("the weights of {network} are untrained: they exist for tests, and this build does not run them")]
    Untrained {
        /// The network's name.
        network: &'static str,
    },
    /// A network has no weights here.
    #[error("{network}: {reason}")]
    Absent {
        /// The network's name.
        network: &'static str,
        /// Why, and the command that brings them.
        reason: String,
    },
    /// A network's code panicked; the cause is in the log.
    #[error("{network} failed unexpectedly")]
    Panicked {
        /// The network's name.
        network: &'static str,
    },
    /// A network failed while running.
    #[error("{network} failed")]
    Run {
        /// The network's name.
        network: &'static str,
        /// Why.
        source: ModelError,
    },
}

/// Result of this crate.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;
