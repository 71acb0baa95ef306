//! Work that goes on after its request was answered: imports, embedding a gallery again, grouping, duplicates; and what the
//! server does by the hour.
//!
//! A job is a row of the store. The worker of any server on that store claims it, notes its progress, and so keeps it; a job
//! whose worker is not heard of for a minute is claimed again and goes on from what was noted last.

mod api;
mod cluster;
mod duplicates;
mod group;
pub mod import;
mod look;
mod options;
mod queue;
mod reembed;
mod retention;
mod run;
mod worker;

use actix_web::web;
use tokio::{sync::watch, task::JoinHandle};

pub use self::{api::configure, queue::JobQueue};
use crate::{config::UpkeepConfig, state::State};

/// What all requests share, beyond a request.
type SharedState = web::Data<State>;

/// Kinds of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Enrols the photos of an archive.
    Import,
    /// Embeds a gallery by the model that runs now.
    Reembed,
    /// Groups faces of nobody known.
    Group,
    /// Looks for persons that are one and the same.
    Duplicates,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Import, Self::Reembed, Self::Group, Self::Duplicates];

    /// The stored name.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Reembed => "reembed",
            Self::Group => "group",
            Self::Duplicates => "duplicates",
        }
    }

    fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == s)
    }
}

/// The tasks beside the requests.
#[derive(Debug)]
pub struct Upkeep {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts the worker and the hourly tasks. They wait for the store and the networks themselves.
    pub fn start(state: &web::Data<State>, config: &UpkeepConfig) -> Self {
        let (stop, stopping) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(worker::work(state.clone(), stopping.clone())),
            tokio::spawn(retention::keep_house(state.clone(), config.retention, stopping)),
        ];
        Self { stop, tasks }
    }

    /// Ends them. A job under way stays claimed until its minute is over, and then goes on elsewhere or after the next start.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task beside the requests ended badly");
            }
        }
    }
}
