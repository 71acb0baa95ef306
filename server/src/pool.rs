//! The door in front of the networks: so many photos are worked on at a time, so many requests wait, and clients take
//! turns.
//!
//! A request is admitted once ([`ComputePool::admit`]), then runs one job per photo ([`Ticket::run`]). A job holds a thread
//! that mostly waits: what computes is the one pool of as many threads as there are cores, and the batches in which the
//! networks see the faces of all photos under way. A client that hangs up drops its future: a job that still waits is then
//! never started, one under way ends at the next network, and its place is free.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use facesocial_pipeline::{Caller, ClientId, FairQueue};
use tokio::{sync::oneshot, time::Instant};

use crate::error::{ApiError, ApiResult, Code};

tokio::task_local! {
    /// Whose request the task works on.
    static CLIENT: ClientId;
}

/// Runs `request` as `who`'s: it takes turns with the requests of others.
pub async fn on_behalf_of<F: Future>(who: &str, request: F) -> F::Output {
    CLIENT.scope(ClientId::of(who), request).await
}

/// [`on_behalf_of`] for a client that another server knows.
pub async fn on_behalf_of_client<F: Future>(client: ClientId, request: F) -> F::Output {
    CLIENT.scope(client, request).await
}

/// Longest time in a Retry-After.
const LONGEST: Duration = Duration::from_secs(60);
/// Weight of the newest photo in the mean time of one.
const NEWEST: f64 = 0.1;
/// How many times as many requests as planned there may be while those that were sent away are still leaving.
const LEAVING: usize = 2;

/// The places for photos, and the line in front of them.
#[derive(Clone)]
pub struct ComputePool(Arc<Shared>);

impl fmt::Debug for ComputePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputePool").field("at_once", &self.0.at_once).finish_non_exhaustive()
    }
}

struct Shared {
    line: Mutex<Line>,
    /// Photos at a time.
    at_once: usize,
    /// Requests at a time, waiting ones included.
    places: usize,
    per_photo: Duration,
}

struct Line {
    /// Photos that could start now.
    free: usize,
    /// Requests that were admitted and not answered yet.
    admitted: usize,
    waiting: FairQueue<oneshot::Sender<Turn>>,
    /// Requests that were turned away or sent away.
    refused: u64,
    /// Mean seconds of a photo, without its wait.
    mean: f64,
}

/// The line as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineStatus {
    /// Photos that may be worked on at a time.
    pub at_once: usize,
    /// Photos that are worked on.
    pub busy: usize,
    /// Photos that wait.
    pub waiting: usize,
    /// Requests that were admitted and not answered yet.
    pub admitted: usize,
    /// Requests that may be admitted at a time.
    pub places: usize,
    /// Requests that were turned away or sent away since the start.
    pub refused: u64,
}

/// What a waiting photo is told.
enum Turn {
    Start(Place),
    /// Somebody who holds less of the line needs the room.
    GiveWay,
}

/// The right of one request to compute.
pub struct Ticket {
    shared: Arc<Shared>,
    client: ClientId,
    deadline: Instant,
}

/// One of the photos that are worked on; its place goes to the next one when dropped.
struct Place {
    shared: Arc<Shared>,
    since: Instant,
}

impl ComputePool {
    /// `at_once` photos at a time, `waiting` further requests in line, `per_photo` for each photo with its wait.
    pub fn new(at_once: usize, waiting: usize, per_photo: Duration) -> Self {
        let line = Line { free: at_once, admitted: 0, waiting: FairQueue::default(), refused: 0, mean: 0.0 };
        Self(Arc::new(Shared { line: Mutex::new(line), at_once, places: at_once.saturating_add(waiting), per_photo }))
    }

    /// Admits a request with `photos` photos. If the line is full, the newest request of whoever holds most of it gives way
    /// to a client that holds less.
    ///
    /// # Errors
    /// [`Code::Overloaded`] if the line is full and the client's share of it used up.
    pub fn admit(&self, photos: usize) -> ApiResult<Ticket> {
        let photos = u32::try_from(photos).unwrap_or(u32::MAX).max(1);
        self.admit_for(self.0.per_photo.saturating_mul(photos))
    }

    /// [`Self::admit`] for a request that must be answered within `time`.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_for(&self, time: Duration) -> ApiResult<Ticket> {
        let client = CLIENT.try_with(|client| *client).unwrap_or_else(|_| ClientId::of("nobody"));
        let shared = &self.0;
        let mut line = shared.line();
        if line.admitted >= shared.places {
            let room = line.admitted < shared.places.saturating_mul(LEAVING);
            line.refused += 1;
            let Some(last) = room.then(|| line.waiting.make_room_for(client)).flatten() else {
                return Err(shared.overloaded(&line));
            };
            // Whoever left by itself has given way already.
            let _ = last.send(Turn::GiveWay);
        }
        line.admitted += 1;
        let deadline = Instant::now() + time;
        Ok(Ticket { shared: Arc::clone(shared), client, deadline })
    }

    /// The line as it is now.
    pub fn status(&self) -> LineStatus {
        let (Shared { at_once, places, .. }, line) = (&*self.0, self.0.line());
        LineStatus {
            at_once: *at_once,
            busy: at_once - line.free,
            waiting: line.waiting.len(),
            admitted: line.admitted,
            places: *places,
            refused: line.refused,
        }
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing that can panic runs while the line is locked.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refusal, with the time that the line needs at its present pace.
    fn overloaded(&self, line: &Line) -> ApiError {
        let ahead = (self.at_once - line.free + line.waiting.len()) as f64;
        let seconds = (ahead * line.mean / self.at_once.max(1) as f64).ceil();
        let seconds = (seconds as u32).clamp(1, LONGEST.as_secs() as u32);
        let detail = format!("as many requests wait as may; try again in {seconds} seconds");
        ApiError::new(Code::Overloaded, detail).after(seconds)
    }
}

impl Ticket {
    /// Runs `job` when it is this client's turn. A job that has begun keeps its place until it ends, even if nobody waits
    /// any more.
    ///
    /// # Errors
    /// The job's own error; [`Code::DeadlineExceeded`]; [`Code::Overloaded`] if others need the room more;
    /// [`Code::Internal`] if the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(Caller) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<T> {
        let work = async {
            let place = self.place().await?;
            let left = LeaveOnDrop(Caller::new(self.client, Some(self.deadline)));
            let caller = left.0.clone();
            let span = tracing::Span::current();
            let running = tokio::task::spawn_blocking(move || {
                let _place = place;
                span.in_scope(|| job(caller))
            });
            running.await.map_err(|e| ApiError::internal(&e))?
        };
        tokio::time::timeout_at(self.deadline, work)
            .await
            .map_err(|_| ApiError::new(Code::DeadlineExceeded, "the answer was not ready in time"))?
    }

    async fn place(&self) -> ApiResult<Place> {
        let turn = {
            let mut line = self.shared.line();
            if line.free > 0 {
                line.free -= 1;
                return Ok(Place { shared: Arc::clone(&self.shared), since: Instant::now() });
            }
            let (sender, turn) = oneshot::channel();
            line.waiting.push(self.client, sender);
            turn
        };
        match turn.await {
            Ok(Turn::Start(place)) => Ok(place),
            Ok(Turn::GiveWay) | Err(_) => Err(self.shared.overloaded(&self.shared.line())),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.line().admitted -= 1;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut line = self.shared.line();
            let took = self.since.elapsed().as_secs_f64();
            line.mean = if line.mean == 0.0 { took } else { line.mean * (1.0 - NEWEST) + took * NEWEST };
            let next = std::iter::from_fn(|| line.waiting.pop()).find(|waiting| !waiting.is_closed());
            if next.is_none() {
                line.free += 1;
            }
            next
        };
        if let Some(next) = next {
            let place = Self { shared: Arc::clone(&self.shared), since: Instant::now() };
            // One that leaves just now drops the place, which passes it on.
            let _ = next.send(Turn::Start(place));
        }
    }
}

/// Tells the networks that nobody waits any more.
struct LeaveOnDrop(Caller);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_full_line_turns_requests_away_until_one_leaves() {
        let pool = ComputePool::new(1, 1, LONG);
        let (first, _second) = (pool.admit(1).unwrap_or_else(|e| panic!("{e:?}")), pool.admit(1).ok().unwrap());
        let refused = pool.admit(1).err().unwrap();
        let LineStatus { admitted, places, refused: turned_away, .. } = pool.status();
        assert_eq!((admitted, places, turned_away), (2, 2, 1));
        assert_eq!((refused.code, refused.retry_after), (Code::Overloaded, Some(1)));
        drop(first);
        assert!(pool.admit(1).is_ok());
    }

    #[tokio::test]
    async fn a_panic_in_a_job_is_an_error_and_gives_its_place_back() {
        let pool = ComputePool::new(1, 1, LONG);
        let ticket = pool.admit(2).ok().unwrap();
        let panicked = ticket.run(|_| -> ApiResult<()> { panic!("on purpose") }).await;
        assert_eq!(panicked.unwrap_err().code, Code::Internal);
        assert_eq!(ticket.run(|_| Ok(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn a_late_answer_is_an_error_and_the_job_is_told() {
        let pool = ComputePool::new(1, 1, Duration::from_millis(20));
        let ticket = pool.admit(1).ok().unwrap();
        let (told, hears) = std::sync::mpsc::channel();
        let late = ticket.run(move |caller| {
            std::thread::sleep(Duration::from_millis(200));
            let _ = told.send(caller.check());
            Ok(())
        });
        assert_eq!(late.await.unwrap_err().code, Code::DeadlineExceeded);
        assert!(hears.recv().unwrap().is_err());
    }

    /// Occupies the only place until told to go on.
    fn busy(pool: &ComputePool) -> (tokio::task::JoinHandle<ApiResult<bool>>, std::sync::mpsc::Sender<()>) {
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let ticket = pool.admit(1).ok().unwrap();
        (tokio::spawn(async move { ticket.run(move |_| Ok(blocked.recv().is_ok())).await }), release)
    }

    #[tokio::test]
    async fn a_job_whose_client_left_is_never_started() {
        let pool = ComputePool::new(1, 4, LONG);
        let (busy, release) = busy(&pool);
        tokio::time::sleep(SHORT).await;
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        let gone = pool.admit(1).ok().unwrap();
        let gone = tokio::spawn(async move { gone.run(move |_| Ok(count.fetch_add(1, Ordering::SeqCst))).await });
        tokio::time::sleep(SHORT).await;
        gone.abort();
        release.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(true));
        assert_eq!(pool.admit(1).ok().unwrap().run(|_| Ok(1)).await, Ok(1));
        assert_eq!(started.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn who_floods_the_line_gives_way_to_others() {
        let pool = ComputePool::new(1, 3, LONG);
        let (busy, release) = busy(&pool);
        tokio::time::sleep(SHORT).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let ask = |who: &'static str| {
            let (pool, order) = (pool.clone(), Arc::clone(&order));
            tokio::spawn(on_behalf_of(who, async move {
                let ticket = pool.admit(1)?;
                ticket
                    .run(move |_| {
                        order.lock().unwrap().push(who);
                        Ok(())
                    })
                    .await
            }))
        };
        let mut flood = Vec::new();
        for _ in 0..3 {
            flood.push(ask("flood"));
            tokio::time::sleep(SHORT).await;
        }
        assert_eq!(ask("flood").await.unwrap().unwrap_err().code, Code::Overloaded);
        let other = ask("other");
        tokio::time::sleep(SHORT).await;
        // The newest of the three has given way.
        assert_eq!(flood.pop().unwrap().await.unwrap().unwrap_err().code, Code::Overloaded);
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        other.await.unwrap().unwrap();
        for one in flood {
            one.await.unwrap().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["flood", "other", "flood"]);
    }
}
