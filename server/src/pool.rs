//! Where decoding and inference run: as many at a time as there are cores, behind a line of bounded length.
//!
//! A request is admitted once ([`ComputePool::admit`]), then runs one job per photo ([`Ticket::run`]). A client that hangs
//! up drops its future: a job that still waits is then never started, and its place in the line is free.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::error::{ApiError, ApiResult, Code};

/// The pool's cores and its waiting line.
#[derive(Debug, Clone)]
pub struct ComputePool {
    cores: Arc<Semaphore>,
    line: Arc<Semaphore>,
    per_photo: Duration,
}

/// The right of one request to compute.
#[derive(Debug)]
pub struct Ticket {
    cores: Arc<Semaphore>,
    deadline: Instant,
    _place: OwnedSemaphorePermit,
}

impl ComputePool {
    /// `threads` jobs at a time, `waiting` further requests in line, `per_photo` for each photo with its wait.
    pub fn new(threads: usize, waiting: usize, per_photo: Duration) -> Self {
        let line = Semaphore::new(threads.saturating_add(waiting).min(Semaphore::MAX_PERMITS));
        Self { cores: Arc::new(Semaphore::new(threads)), line: Arc::new(line), per_photo }
    }

    /// Admits a request with `photos` photos.
    ///
    /// # Errors
    /// [`Code::Overloaded`] if the line is full.
    pub fn admit(&self, photos: usize) -> ApiResult<Ticket> {
        let place = Arc::clone(&self.line).try_acquire_owned().map_err(|_| {
            ApiError::new(Code::Overloaded, "as many requests wait as may; try again after the time in Retry-After")
        })?;
        let photos = u32::try_from(photos).unwrap_or(u32::MAX).max(1);
        let deadline = Instant::now() + self.per_photo.saturating_mul(photos);
        Ok(Ticket { cores: Arc::clone(&self.cores), deadline, _place: place })
    }
}

impl Ticket {
    /// Runs `job` on a core of the pool. A job that has begun keeps its core until it ends, even if nobody waits any more.
    ///
    /// # Errors
    /// The job's own error; [`Code::DeadlineExceeded`]; [`Code::Internal`] if the job panicked.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> ApiResult<T> + Send + 'static) -> ApiResult<T> {
        let work = async {
            let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|e| ApiError::internal(&e))?;
            let span = tracing::Span::current();
            let running = tokio::task::spawn_blocking(move || {
                let _core = core;
                span.in_scope(job)
            });
            running.await.map_err(|e| ApiError::internal(&e))?
        };
        tokio::time::timeout_at(self.deadline, work)
            .await
            .map_err(|_| ApiError::new(Code::DeadlineExceeded, "the answer was not ready in time"))?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_full_line_turns_requests_away_until_one_leaves() {
        let pool = ComputePool::new(1, 1, LONG);
        let (first, _second) = (pool.admit(1).unwrap(), pool.admit(1).unwrap());
        assert_eq!(pool.admit(1).unwrap_err().code, Code::Overloaded);
        drop(first);
        assert!(pool.admit(1).is_ok());
    }

    #[tokio::test]
    async fn a_panic_in_a_job_is_an_error_and_gives_its_core_back() {
        let pool = ComputePool::new(1, 1, LONG);
        let ticket = pool.admit(2).unwrap();
        let panicked = ticket.run(|| -> ApiResult<()> { panic!("on purpose") }).await;
        assert_eq!(panicked.unwrap_err().code, Code::Internal);
        assert_eq!(ticket.run(|| Ok(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn a_late_answer_is_an_error() {
        let pool = ComputePool::new(1, 1, Duration::from_millis(20));
        let ticket = pool.admit(1).unwrap();
        let late = ticket.run(|| {
            std::thread::sleep(Duration::from_millis(200));
            Ok(())
        });
        assert_eq!(late.await.unwrap_err().code, Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_job_whose_client_left_is_never_started() {
        let pool = ComputePool::new(1, 4, LONG);
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let busy = pool.admit(1).unwrap();
        let busy = tokio::spawn(async move { busy.run(move || Ok(blocked.recv().is_ok())).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        let gone = pool.admit(1).unwrap();
        let gone = tokio::spawn(async move { gone.run(move || Ok(count.fetch_add(1, Ordering::SeqCst))).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        gone.abort();
        release.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(true));
        assert_eq!(pool.admit(1).unwrap().run(|| Ok(1)).await, Ok(1));
        assert_eq!(started.load(Ordering::SeqCst), 0);
    }
}
