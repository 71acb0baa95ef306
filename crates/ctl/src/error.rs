//! What can go wrong while servers are looked after.

use std::{io, path::PathBuf};

use crate::Unit;

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, CtlError>;

/// Why a server could not be started, stopped, asked or told of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CtlError {
    /// Nothing has been deployed in this folder.
    #[error("nothing is deployed in {}; `facesocial ctl deploy` starts a server there", .0.display())]
    NotDeployed(PathBuf),
    /// A unit that this deployment does not have.
    #[error("this deployment has no {unit}; it has {has}")]
    NoSuchUnit {
        /// What was asked for.
        unit: String,
        /// What there is.
        has: String,
    },
    /// One process holds everything, so that no part of it can be multiplied.
    #[error("everything runs in one process here; `facesocial ctl deploy --distributed` makes one process per service")]
    OneProcess,
    /// There is one gateway.
    #[error("the gateway cannot be scaled here; run further ones behind a load balancer of your own")]
    OneGateway,
    /// A process ended before it could answer.
    #[error("{unit} ended before it was ready; the end of its log ({}):\n{tail}", log.display())]
    Ended {
        /// Which.
        unit: Unit,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A process runs and does not become ready.
    #[error("{unit} is not ready after {seconds} s; look at `facesocial ctl logs {unit}`")]
    NotReady {
        /// Which.
        unit: Unit,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A process that does not end.
    #[error("process {pid} of {unit} does not end")]
    DoesNotEnd {
        /// Which.
        unit: Unit,
        /// Its number.
        pid: u32,
    },
    /// No secret can be made.
    #[error("the system gives no random numbers: {0}")]
    NoRandom(String),
    /// The system does not tell of its processes.
    #[error("the processes of this machine cannot be looked at: {0}")]
    Processes(String),
    /// A number of replicas that cannot be.
    #[error("{0} replicas: from 1 to {most} are possible", most = crate::topology::MOST_REPLICAS)]
    Replicas(u16),
    /// A program that could not be run, or that failed.
    #[error("`{command}` {what}")]
    Program {
        /// The command line.
        command: String,
        /// What became of it.
        what: String,
    },
    /// A file that could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that says something else than it should.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A server that cannot be asked.
    #[error("{url}: {what}")]
    Server {
        /// What was asked.
        url: String,
        /// What is wrong.
        what: String,
    },
}

impl CtlError {
    /// A file that could not be read or written.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
