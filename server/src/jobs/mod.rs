//! Work that goes on after its request was answered: imports, analyses, embedding a gallery again, grouping, duplicates; and
//! what the server does by the hour.
//!
//! A job is a row of the store. The worker of any server on that store claims it, notes its progress, and so keeps it; a job
//! whose worker is not heard of for a minute is claimed again and goes on from what was noted last.

mod analyze;
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
mod webhook;
mod worker;

use actix_web::web;
use facesocial_store::Job;
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

pub use self::{api::configure, queue::JobQueue};
use crate::{config::UpkeepConfig, state::State};

/// What all requests share, beyond a request.
type SharedState = web::Data<State>;

/// Kinds of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Analyses many photos.
    Analyze,
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
    const ALL: [Self; 5] = [Self::Analyze, Self::Import, Self::Reembed, Self::Group, Self::Duplicates];

    /// The stored name.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Analyze => "analyze",
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

/// Jobs of one lane are done one after the other: those on galleries do not wait for analyses of a hundred thousand photos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Jobs on galleries.
    Galleries,
    /// Analyses.
    Analyses,
}

impl Lane {
    const ALL: [Self; 2] = [Self::Galleries, Self::Analyses];

    /// Stored names of its kinds.
    fn kinds(self) -> Vec<&'static str> {
        let ours = |kind: &Kind| (*kind == Kind::Analyze) == (self == Self::Analyses);
        Kind::ALL.into_iter().filter(ours).map(Kind::as_str).collect()
    }
}

/// Stored names of all kinds.
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().map(Kind::as_str)
}

/// The archive that a job works through, if it has one.
fn archive_of(job: &Job) -> Option<Uuid> {
    import::archive_of(job).or_else(|| analyze::archive_of(job))
}

/// The tasks beside the requests.
#[derive(Debug)]
pub struct Upkeep {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts the workers, the messenger and the hourly tasks. They wait for the store and the networks themselves.
    pub fn start(state: &web::Data<State>, config: &UpkeepConfig) -> Self {
        let (stop, stopping) = watch::channel(false);
        let worker = |lane| tokio::spawn(worker::work(state.clone(), lane, stopping.clone()));
        let mut tasks: Vec<_> = Lane::ALL.map(worker).into();
        tasks.push(tokio::spawn(webhook::tell(state.clone(), stopping.clone())));
        tasks.push(tokio::spawn(retention::keep_house(state.clone(), config.retention, stopping)));
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
