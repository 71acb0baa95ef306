//! One job at work: what is noted of it, and patience with a database or a compute pool that is busy.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use facesocial_store::{Actor, ActorKind, CollectionId, Job, JobProgress, NewJobResult, Write};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

use crate::{
    error::{ApiError, ApiResult, Code},
    jobs::SharedState,
};

/// Time between two notes of a job's progress.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// Longest pause before something that failed for the moment is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a photo may come too late before that is taken as its answer.
const LATE: u32 = 3;

/// One job at work.
pub(super) struct Run {
    /// What all requests share.
    pub state: SharedState,
    /// The job as it was claimed.
    pub job: Job,
    /// The worker that has it.
    worker: String,
    storing: AtomicBool,
    noted: Mutex<(JobProgress, Option<Instant>)>,
}

impl Run {
    /// A job that `worker` claimed.
    pub(super) fn new(state: SharedState, job: Job, worker: &str) -> Self {
        let progress = JobProgress {
            total_items: job.total_items,
            processed_items: job.processed_items,
            failed_items: job.failed_items,
            results: job.results.clone(),
        };
        Self {
            state,
            job,
            worker: worker.to_owned(),
            storing: AtomicBool::new(false),
            noted: Mutex::new((progress, None)),
        }
    }

    /// The gallery it works on.
    pub(super) fn collection(&self) -> ApiResult<CollectionId> {
        let none = || ApiError::new(Code::CollectionNotFound, "the job names no collection");
        self.job.collection_id.ok_or_else(none)
    }

    /// What the job was asked to do.
    pub(super) fn input<T: DeserializeOwned>(&self) -> ApiResult<T> {
        serde_json::from_value(self.job.input.clone()).map_err(|e| ApiError::internal(&e))
    }

    /// What an earlier worker noted, or the beginning.
    pub(super) fn resumed<T: DeserializeOwned + Default>(&self) -> T {
        serde_json::from_value(self.job.results.clone()).unwrap_or_default()
    }

    /// What a change for this job carries: it is made in the name of whoever asked for the job.
    pub(super) fn write(&self) -> Write {
        let actor = match self.job.user_id {
            Some(user) => Actor { kind: ActorKind::User, id: Some(user.0), address: None },
            None => Actor::system(),
        };
        Write { actor, request_id: format!("job_{}", self.job.id.0.simple()), idempotency: None }
    }

    /// Notes progress now and then; what is noted is what a later worker goes on from.
    pub(super) fn note<T: Serialize>(&self, total: u64, processed: u64, failed: u64, results: &T) {
        let due = self.noted().1.is_none_or(|last| last.elapsed() >= NOTE_EVERY);
        if due {
            self.note_now(total, processed, failed, results);
        }
    }

    /// Notes progress.
    pub(super) fn note_now<T: Serialize>(&self, total: u64, processed: u64, failed: u64, results: &T) {
        match serde_json::to_value(results) {
            Ok(results) => {
                let progress =
                    JobProgress { total_items: total, processed_items: processed, failed_items: failed, results };
                *self.noted() = (progress, Some(Instant::now()));
            }
            // A result that cannot be written down: the job goes on, and is begun again if it is cut off.
            Err(error) => tracing::error!(%error, "a job's progress cannot be noted"),
        }
    }

    /// Stores what was found, and the progress with it; only then the progress counts as noted.
    ///
    /// # Errors
    /// The store does not take it. One that does not answer is waited for.
    pub(super) async fn store_results<T: Serialize>(
        &self,
        total: u64,
        (processed, failed): (u64, u64),
        progress: &T,
        results: &[NewJobResult],
    ) -> ApiResult<()> {
        let results_noted = serde_json::to_value(progress).map_err(|e| ApiError::internal(&e))?;
        let progress = JobProgress {
            total_items: total.max(processed),
            processed_items: processed,
            failed_items: failed,
            results: results_noted,
        };
        let told = &progress;
        self.storing.store(true, Ordering::Relaxed);
        let stored = patiently(|| async move {
            Ok::<_, ApiError>(self.state.store()?.add_job_results(self.job.id, &self.worker, told, results).await?)
        });
        let stored = stored.await;
        self.storing.store(false, Ordering::Relaxed);
        if !stored? {
            // The next sign of life finds out why, and ends this.
            std::future::pending::<()>().await;
        }
        *self.noted() = (progress, Some(Instant::now()));
        Ok(())
    }

    /// Whether the job's row is being changed at this moment: what was noted before must not be written over it.
    pub(super) fn is_storing(&self) -> bool {
        self.storing.load(Ordering::Relaxed)
    }

    /// What was noted last.
    pub(super) fn progress(&self) -> JobProgress {
        self.noted().0.clone()
    }

    fn noted(&self) -> MutexGuard<'_, (JobProgress, Option<Instant>)> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls again, after longer and longer pauses, while the answer is one that may change by itself.
pub(super) async fn patiently<T, E, F>(call: impl FnMut() -> F) -> ApiResult<T>
where
    E: Into<ApiError>,
    F: Future<Output = Result<T, E>>,
{
    again(Duration::from_secs(1), call).await
}

async fn again<T, E, F>(mut pause: Duration, mut call: impl FnMut() -> F) -> ApiResult<T>
where
    E: Into<ApiError>,
    F: Future<Output = Result<T, E>>,
{
    let mut late = 0;
    loop {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error.into(),
        };
        late += u32::from(error.code == Code::DeadlineExceeded);
        if error.code.retry_after().is_none() || late >= LATE {
            return Err(error);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;

    #[tokio::test]
    async fn what_may_change_by_itself_is_tried_again_and_the_rest_is_not() {
        let calls = Cell::new(0);
        let answer = again(Duration::ZERO, || {
            calls.set(calls.get() + 1);
            let away = calls.get() < 4;
            ready(if away { Err(ApiError::new(Code::StoreUnavailable, "away")) } else { Ok(calls.get()) })
        });
        assert_eq!(answer.await, Ok(4));
        for (code, expected) in [(Code::NoFace, 1), (Code::DeadlineExceeded, LATE)] {
            let calls = Cell::new(0);
            let answer = again(Duration::ZERO, || {
                calls.set(calls.get() + 1);
                ready(Err::<(), _>(ApiError::new(code, "x")))
            });
            assert_eq!((answer.await.unwrap_err().code, calls.get()), (code, expected));
        }
    }
}
