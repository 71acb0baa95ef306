//! Dynamic batching: what queued while the last batch ran is the next batch.
//!
//! Entries are single items, so that the faces of all photos in flight share batches. They wait in a [`FairQueue`] of
//! bounded length; one owner task per network takes as many as fit when the device is free, leaves out those that nobody
//! waits for any more, and hands each its own answer.

pub(crate) mod attempt;
mod fair;
mod pending;
mod stats;

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, oneshot},
    time::Instant,
};

pub use self::{
    fair::FairQueue,
    pending::Pending,
    stats::{BATCH_SIZES, BatchStats, TIME_CLASSES, Times},
};
use crate::{
    caller::Caller,
    error::{EngineError, Result},
};
use stats::Counters;

/// How a batcher gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most items of a batch.
    pub max_batch: usize,
    /// How long a batch waits for more items once the device is free; zero: not at all.
    pub max_wait: Duration,
    /// Items that may wait; further ones are refused.
    pub capacity: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_batch: 16, max_wait: Duration::ZERO, capacity: 4096 }
    }
}

/// An item that waits.
struct Entry<I, O> {
    item: I,
    caller: Caller,
    since: Instant,
    answer: oneshot::Sender<Result<O>>,
}

struct Shared<I, O> {
    network: &'static str,
    queue: Mutex<Queue<I, O>>,
    arrived: Notify,
    counters: Counters,
}

struct Queue<I, O> {
    waiting: FairQueue<Entry<I, O>>,
    limits: BatchLimits,
    closed: bool,
}

impl<I, O> Shared<I, O> {
    fn queue(&self) -> MutexGuard<'_, Queue<I, O>> {
        // Nothing that can panic runs while the line is locked.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers an entry without running it if its answer is of no use.
    fn of_use(&self, entry: &Entry<I, O>) -> Result<()> {
        let useful = if entry.answer.is_closed() { Err(EngineError::Cancelled) } else { entry.caller.check() };
        if let Err(reason) = &useful {
            self.counters.skipped(matches!(reason, EngineError::Expired));
        }
        useful
    }

    /// The next batch, of at most as many items as may run now.
    fn take(&self) -> Vec<Entry<I, O>> {
        let mut queue = self.queue();
        let most = queue.limits.max_batch.max(1);
        let mut batch = Vec::with_capacity(most.min(queue.waiting.len()));
        while batch.len() < most
            && let Some(entry) = queue.waiting.pop()
        {
            match self.of_use(&entry) {
                Ok(()) => batch.push(entry),
                Err(reason) => drop(entry.answer.send(Err(reason))),
            }
        }
        batch
    }

    /// How many items are still missing for a full batch, or `None` once the batcher is closed.
    fn missing(&self) -> Option<usize> {
        let queue = self.queue();
        (!queue.closed).then(|| queue.limits.max_batch.max(1).saturating_sub(queue.waiting.len()))
    }
}

/// The line in front of one network. Dropping it ends its owner once the batch under way is answered.
pub struct Batcher<I, O> {
    shared: Arc<Shared<I, O>>,
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts the owner on `runtime`. A batch runs when `device` has a permit for it; `run` answers each item of a batch,
    /// in their order.
    pub fn spawn<F, R>(
        network: &'static str,
        runtime: &Handle,
        device: Arc<Semaphore>,
        limits: BatchLimits,
        run: F,
    ) -> Self
    where
        F: Fn(Vec<I>) -> R + Send + Sync + 'static,
        R: Future<Output = Vec<Result<O>>> + Send + 'static,
    {
        let queue = Queue { waiting: FairQueue::default(), limits, closed: false };
        let counters = Counters::default();
        let shared = Arc::new(Shared { network, queue: Mutex::new(queue), arrived: Notify::new(), counters });
        runtime.spawn(own(Arc::clone(&shared), device, run));
        Self { shared }
    }

    /// Puts items into the line.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] if they do not all fit: then none is taken. [`EngineError::Cancelled`] and
    /// [`EngineError::Expired`] if nobody would wait for the answers.
    pub fn submit(&self, caller: &Caller, items: Vec<I>) -> Result<Pending<O>> {
        caller.check()?;
        let since = Instant::now();
        let mut answers = Vec::with_capacity(items.len());
        {
            let mut queue = self.shared.queue();
            if queue.closed {
                return Err(EngineError::Stopped);
            }
            if queue.waiting.len().saturating_add(items.len()) > queue.limits.capacity {
                self.shared.counters.refused(items.len());
                let retry_after = self.shared.counters.time_for(queue.waiting.len());
                return Err(EngineError::Overloaded { network: self.shared.network, retry_after });
            }
            for item in items {
                let (answer, receiver) = oneshot::channel();
                queue.waiting.push(caller.client(), Entry { item, caller: caller.clone(), since, answer });
                answers.push(receiver);
            }
        }
        self.shared.arrived.notify_one();
        Ok(Pending::new(answers))
    }
}

impl<I, O> Batcher<I, O> {
    /// Changes how many items a batch may have.
    pub fn set_max_batch(&self, max_batch: usize) {
        self.shared.queue().limits.max_batch = max_batch;
    }

    /// Counts a batch of one that ran beside the line, after it had waited for the device.
    pub(crate) fn ran_alone(&self, failed: bool, waited: Duration, took: Duration) {
        self.shared.counters.waited(waited);
        self.shared.counters.ran(1, usize::from(failed), took);
    }

    /// What happened so far.
    pub fn stats(&self) -> BatchStats {
        let (waiting, max_batch) = {
            let queue = self.shared.queue();
            (queue.waiting.len(), queue.limits.max_batch)
        };
        self.shared.counters.read(waiting, max_batch)
    }
}

impl<I, O> Drop for Batcher<I, O> {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.arrived.notify_one();
    }
}

/// The owner: one batch after the other, for as long as there is a [`Batcher`].
async fn own<I, O, F, R>(shared: Arc<Shared<I, O>>, device: Arc<Semaphore>, run: F)
where
    F: Fn(Vec<I>) -> R,
    R: Future<Output = Vec<Result<O>>>,
{
    loop {
        if !gather(&shared).await {
            break;
        }
        // What arrives while the device is busy belongs to this batch.
        let Ok(permit) = device.acquire().await else { break };
        let batch = shared.take();
        if batch.is_empty() {
            continue;
        }
        let started = Instant::now();
        let (mut items, mut replies) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for Entry { item, since, answer, .. } in batch {
            shared.counters.waited(started - since);
            items.push(item);
            replies.push(answer);
        }
        let answers = run(items).await;
        drop(permit);
        shared.counters.ran(replies.len(), answers.iter().filter(|a| a.is_err()).count(), started.elapsed());
        let mut answers = answers.into_iter();
        for reply in replies {
            // Whoever left meanwhile wants no answer.
            let _ = reply.send(answers.next().unwrap_or(Err(EngineError::Stopped)));
        }
    }
    let mut queue = shared.queue();
    queue.closed = true;
    while let Some(entry) = queue.waiting.pop() {
        let _ = entry.answer.send(Err(EngineError::Stopped));
    }
}

/// Waits until there is something to run, and then, where a batcher may wait, for a full batch. `false`: it is closed.
async fn gather<I, O>(shared: &Shared<I, O>) -> bool {
    let max_wait = loop {
        {
            let queue = shared.queue();
            if let Some(next) = queue.waiting.peek() {
                break (next.since + queue.limits.max_wait).saturating_duration_since(Instant::now());
            }
            if queue.closed {
                return false;
            }
        }
        shared.arrived.notified().await;
    };
    if !max_wait.is_zero() {
        let full = async {
            while shared.missing().is_some_and(|missing| missing > 0) {
                shared.arrived.notified().await;
            }
        };
        // Not full in time is no failure.
        let _ = tokio::time::timeout(max_wait, full).await;
    }
    true
}

#[cfg(test)]
mod tests;
