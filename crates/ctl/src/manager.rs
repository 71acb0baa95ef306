//! One face for both ways to run servers.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{CtlError, Result, Unit, compose::Compose, local::Local, topology::Topology};

/// How a part of a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It answers requests.
    Ready,
    /// It runs, and does not answer yet, or not now.
    NotReady,
    /// It was started and has ended by itself.
    Ended,
    /// It does not run, and is not to.
    Stopped,
}

impl State {
    /// As it is written in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Ended => "ended",
            Self::Stopped => "stopped",
        }
    }
}

/// One process or container.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Which part of the deployment it is.
    pub unit: String,
    /// From 1.
    pub replica: u16,
    /// How it is.
    pub state: State,
    /// Where it listens; `None` where that is not to be reached from here.
    pub address: Option<String>,
    /// Number of the process.
    pub pid: Option<u32>,
    /// Resident memory in MiB.
    pub memory_mb: Option<u64>,
    /// Share of one core in percent.
    pub cpu_percent: Option<f32>,
    /// Seconds since its start.
    pub uptime_seconds: Option<u64>,
}

/// Starts, stops and looks after a deployment.
#[derive(Debug)]
pub enum Manager {
    /// Processes of this machine.
    Local(Local),
    /// Containers through `docker compose`.
    Compose(Compose),
}

impl Manager {
    /// What is deployed: processes if `folder` tells of some, else containers if there is a compose file and
    /// `docker compose` answers, else processes that are still to be deployed.
    pub fn find(folder: &Path, files: Vec<PathBuf>) -> Self {
        if matches!(Topology::read(folder), Err(CtlError::NotDeployed(_))) && files.iter().all(|file| file.is_file()) {
            let compose = Compose::new(files);
            if compose.answers() {
                return Self::Compose(compose);
            }
        }
        Self::Local(Local::new(folder.to_owned()))
    }

    /// Starts what is named, or all, and waits until it is ready.
    ///
    /// # Errors
    /// Something named that there is not; something that does not become ready.
    pub async fn start(&self, named: &[String]) -> Result<()> {
        match self {
            Self::Local(local) => local.start(&units(named)?).await,
            Self::Compose(compose) => compose.start(named).await,
        }
    }

    /// Stops what is named, or all: requests under way are finished.
    ///
    /// # Errors
    /// Something named that there is not; something that does not end.
    pub async fn stop(&self, named: &[String]) -> Result<()> {
        match self {
            Self::Local(local) => local.stop(&units(named)?).await,
            Self::Compose(compose) => compose.stop(named).await,
        }
    }

    /// What runs and how it is.
    ///
    /// # Errors
    /// Nothing is deployed; docker does not answer.
    pub async fn rows(&self) -> Result<Vec<Row>> {
        match self {
            Self::Local(local) => local.rows().await,
            Self::Compose(compose) => compose.rows().await,
        }
    }

    /// Writes the last `lines` lines of the logs of what is named, or of all; then what is added, if `follow` is set.
    ///
    /// # Errors
    /// Something named that there is not; logs that cannot be read.
    pub async fn logs(
        &self,
        named: &[String],
        lines: usize,
        follow: bool,
        out: &mut (impl Write + Send),
    ) -> Result<()> {
        match self {
            Self::Local(local) => local.logs(&units(named)?, lines, follow, out).await,
            Self::Compose(compose) => compose.logs(named, lines, follow).await,
        }
    }

    /// Runs `replicas` of a service.
    ///
    /// # Errors
    /// A part that cannot be multiplied; replicas that do not become ready.
    pub async fn scale(&self, unit: &str, replicas: u16) -> Result<()> {
        match self {
            Self::Local(local) => local.scale(self::unit(unit)?, replicas).await,
            Self::Compose(compose) => compose.scale(unit, replicas).await,
        }
    }
}

fn units(named: &[String]) -> Result<Vec<Unit>> {
    named.iter().map(|name| unit(name)).collect()
}

fn unit(name: &str) -> Result<Unit> {
    name.parse().map_err(|has| CtlError::NoSuchUnit { unit: name.to_owned(), has })
}
