//! The tasks that do jobs, each one at a time.

use std::{panic::AssertUnwindSafe, time::Duration};

use facesocial_store::{Job, JobProgress, JobStatus, StoreError};
use facesocial_types::Service;
use futures_util::FutureExt;
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use super::{
    Kind, Lane, SharedState, analyze, archive_of, duplicates, group, import, reembed,
    run::{Run, patiently},
};
use crate::error::{ApiError, ApiResult};

/// Seconds after which a job is another worker's if its own is not heard of.
const LEASE_SECONDS: u32 = 60;
/// Time between two signs of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Time between two looks for jobs that nobody announced here: other servers', and those of workers that ended.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Does the jobs of a lane until `stop` says so.
pub(super) async fn work(state: SharedState, lane: Lane, mut stop: watch::Receiver<bool>) {
    let name = format!("worker-{}", Uuid::new_v4().simple());
    while !*stop.borrow() {
        match claim(&state, lane, &name).await {
            Ok(Some(job)) => Worker { state: &state, name: &name }.take(job, &mut stop).await,
            Ok(None) => {
                tokio::select! {
                    () = state.jobs.announced(lane) => {}
                    () = sleep(LOOK_EVERY) => {}
                    _ = stop.changed() => {}
                }
            }
            Err(error) => {
                tracing::debug!(%error, "no jobs can be claimed now");
                tokio::select! { () = sleep(LOOK_EVERY) => {}, _ = stop.changed() => {} }
            }
        }
    }
}

/// The next job, once the networks that jobs need are there. Analyses say themselves which they need.
async fn claim(state: &SharedState, lane: Lane, name: &str) -> ApiResult<Option<Job>> {
    let loaded = state.ready()?;
    if lane == Lane::Galleries {
        loaded.require(Service::Recognition)?;
    }
    Ok(state.store()?.claim_job(name, &lane.kinds(), LEASE_SECONDS).await?)
}

struct Worker<'a> {
    state: &'a SharedState,
    name: &'a str,
}

/// How the work on a job ended.
enum Ended {
    Done,
    Failed(ApiError),
    /// It was cancelled, deleted, or is another worker's now.
    Lost,
    /// The server stops.
    Stopped,
}

impl Ended {
    /// Its name among the figures.
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Done => "completed",
            Self::Failed(_) => "failed",
            Self::Lost => "lost",
            Self::Stopped => "stopped",
        }
    }
}

impl Worker<'_> {
    async fn take(&self, job: Job, stop: &mut watch::Receiver<bool>) {
        let id = job.id;
        tracing::info!(job = %id, kind = job.kind, "job begins");
        let kind = Kind::parse(&job.kind).map_or("unknown", Kind::as_str);
        let run = Run::new(self.state.clone(), job, self.name);
        let under_way = self.state.metrics.job_begins(kind);
        let ended = self.drive(&run, stop).await;
        drop(under_way);
        self.state.metrics.job_ended(kind, ended.outcome());
        match ended {
            Ended::Done => {
                tracing::info!(job = %id, "job completed");
                self.finish(&run, None, stop).await;
            }
            Ended::Failed(error) => {
                tracing::warn!(job = %id, %error, "job failed");
                self.finish(&run, Some(&error.to_string()), stop).await;
            }
            Ended::Lost => {
                tracing::info!(job = %id, "job cancelled, or gone to another worker");
                self.clean_up_if_over(&run.job).await;
            }
            Ended::Stopped => {
                // The last note spares the next worker some work; without it nothing is lost.
                if let Ok(store) = self.state.store() {
                    store.progress_job(id, self.name, &run.progress()).await.ok();
                }
            }
        }
    }

    /// Does the job, with signs of life beside it.
    async fn drive(&self, run: &Run, stop: &mut watch::Receiver<bool>) -> Ended {
        let doing = AssertUnwindSafe(perform(run)).catch_unwind();
        tokio::pin!(doing);
        let mut signs = interval(SIGN_OF_LIFE);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut doing => return match done {
                    Ok(Ok(())) => Ended::Done,
                    Ok(Err(error)) => Ended::Failed(error),
                    Err(_) => Ended::Failed(ApiError::internal(&std::io::Error::other("the job panicked"))),
                },
                _ = signs.tick() => match self.sign(run).await {
                    Ok(true) => {}
                    Ok(false) => return Ended::Lost,
                    Err(error) => tracing::warn!(job = %run.job.id, %error, "a job's progress cannot be stored now"),
                },
                _ = stop.changed() => return Ended::Stopped,
            }
        }
    }

    async fn sign(&self, run: &Run) -> ApiResult<bool> {
        if run.is_storing() {
            return Ok(true);
        }
        Ok(self.state.store()?.progress_job(run.job.id, self.name, &run.progress()).await?)
    }

    async fn finish(&self, run: &Run, error: Option<&str>, stop: &mut watch::Receiver<bool>) {
        let outcome = run.progress();
        let outcome = &outcome;
        let finish = patiently(|| async move {
            Ok::<_, ApiError>(self.state.store()?.finish_job(run.job.id, self.name, outcome, error).await?)
        });
        tokio::select! {
            finished = finish => match finished {
                Ok(_) => {
                    self.state.jobs.announce_end();
                    self.clean_up_if_over(&run.job).await;
                }
                Err(error) => {
                    tracing::error!(job = %run.job.id, %error, "what a job found cannot be stored");
                    self.finish_empty(run).await;
                }
            },
            _ = stop.changed() => {}
        }
    }

    /// Ends a job whose results the store does not take: it must not be done again and again.
    async fn finish_empty(&self, run: &Run) {
        let empty = JobProgress { results: Value::Null, ..run.progress() };
        let reason = Some("what the job found cannot be stored; the log says why");
        let Ok(store) = self.state.store() else { return };
        match store.finish_job(run.job.id, self.name, &empty, reason).await {
            Ok(_) => self.clean_up_if_over(&run.job).await,
            Err(error) => tracing::error!(job = %run.job.id, %error, "a job's end cannot be stored"),
        }
    }

    /// Forgets what a job left on disk, unless another worker goes on with it.
    async fn clean_up_if_over(&self, job: &Job) {
        let Ok(store) = self.state.store() else { return };
        let over = match store.job(job.id).await {
            Ok(now) => !matches!(now.status, JobStatus::Pending | JobStatus::Processing),
            Err(StoreError::NotFound { .. }) => true,
            // The hourly look finds what is left.
            Err(_) => false,
        };
        if over {
            clean_up(self.state, job);
        }
    }
}

async fn perform(run: &Run) -> ApiResult<()> {
    match Kind::parse(&run.job.kind) {
        Some(Kind::Analyze) => analyze::perform(run).await,
        Some(Kind::Import) => import::perform(run).await,
        Some(Kind::Reembed) => reembed::perform(run).await,
        Some(Kind::Group) => group::perform(run).await,
        Some(Kind::Duplicates) => duplicates::perform(run).await,
        None => Err(ApiError::internal(&std::io::Error::other("a job of a kind that this version does not know"))),
    }
}

/// Forgets what a job that has ended left on disk.
pub(super) fn clean_up(state: &SharedState, job: &Job) {
    if let Some(archive) = archive_of(job) {
        state.jobs.remove_archive(archive);
    }
}
