//! Why the engine could not start or run.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use facesocial_models::ModelError;
use facesocial_types::Service;

use crate::{device::DeviceError, wire::WireError};

/// Failure to load or to run networks. Clones are the same failure: a network that cannot be loaded fails for all who
/// wait for it.
#[derive(Debug, Clone, thiserror::Error)]
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
        source: Arc<io::Error>,
    },
    /// The lock file is damaged.
    #[error("{path} is not a weights lock file")]
    BadLock {
        /// The lock file.
        path: PathBuf,
        /// What the parser says.
        source: Arc<toml::de::Error>,
    },
    /// A network's weights are there and cannot be used; starting without them would hide the damage.
    #[error("cannot load {network}")]
    Load {
        /// The network's name.
        network: &'static str,
        /// Why.
        source: Arc<ModelError>,
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
        source: Arc<ModelError>,
    },
    /// The device has too little memory left for a single item.
    #[error("{network} finds too little memory on its device")]
    OutOfMemory {
        /// The network's name.
        network: &'static str,
        /// The device's words.
        source: Arc<ModelError>,
    },
    /// A budget is smaller than what its service needs for one item.
    #[error(
        "{service} needs {} MB for one face, but its memory budget is {} MB; raise it with --memory {service}={}",
        mb(.needs), .limit / MB, mb(.needs)
    )]
    Budget {
        /// The service.
        service: Service,
        /// Bytes that its networks need with one item each.
        needs: usize,
        /// Bytes that they may use.
        limit: usize,
    },
    /// All networks together may hold too little memory for this one beside those that are pinned or running.
    #[error(
        "{network} needs {} MB, but {} MB of the {} MB for all networks are in use by networks that are pinned or running",
        mb(.needs), mb(.used), .limit / MB
    )]
    NoRoom {
        /// The network's name.
        network: &'static str,
        /// Bytes that it needs.
        needs: usize,
        /// Bytes that cannot be freed.
        used: usize,
        /// Bytes that all networks may use.
        limit: usize,
    },
    /// As many items wait for a network as may.
    #[error("too many faces wait for {network}")]
    Overloaded {
        /// The network's name.
        network: &'static str,
        /// When the line should be gone.
        retry_after: Duration,
    },
    /// Another process runs the network, and nobody there can be asked.
    #[error("{network} cannot be asked: {reason}")]
    Unreachable {
        /// The network's name.
        network: &'static str,
        /// Sentence that says why.
        reason: String,
        /// When asking again may help.
        retry_after: Duration,
    },
    /// A network failed in the process that runs it.
    #[error("{network} failed in the process that runs it: {reason}")]
    Elsewhere {
        /// The network's name.
        network: &'static str,
        /// What that process said.
        reason: String,
    },
    /// What another process sent is no question to a network.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Nobody waited for the answer any more.
    #[error("nobody waits for the answer any more")]
    Cancelled,
    /// The time for the answer was over before its turn came.
    #[error("the time for the answer was over before its turn came")]
    Expired,
    /// The engine is being shut down.
    #[error("the engine has stopped")]
    Stopped,
    /// A thread that computes was about to wait for what it may have to compute itself.
    #[error("a thread of the compute pool must not wait for a network")]
    OnPool,
    /// The chosen device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The system refuses a thread.
    #[error("cannot start the thread that owns the device")]
    Thread {
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// A pinned network is not unloaded.
    #[error("{network} is pinned; unpin it first")]
    Pinned {
        /// The network's name.
        network: &'static str,
    },
    /// No network of this name runs here.
    #[error("no network called \"{name}\" runs here")]
    Unknown {
        /// The name asked for.
        name: String,
    },
}

/// Bytes of a megabyte, as in the table of budgets.
pub const MB: usize = 1_000_000;

/// Megabytes, rounded up.
const fn mb(bytes: &usize) -> usize {
    (*bytes).div_ceil(MB)
}

/// What CUDA says when memory is short, in candle's words.
const OUT_OF_MEMORY: [&str; 2] = ["OUT_OF_MEMORY", "out of memory"];

impl EngineError {
    /// A failed forward pass.
    pub(crate) fn run(network: &'static str, source: ModelError) -> Self {
        let source = Arc::new(source);
        let says = source.to_string();
        if OUT_OF_MEMORY.iter().any(|words| says.contains(words)) {
            return Self::OutOfMemory { network, source };
        }
        Self::Run { network, source }
    }
}

/// Result of this crate.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;
