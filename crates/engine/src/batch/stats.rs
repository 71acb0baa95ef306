//! What a batcher counts.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper ends of the classes in which batch sizes are counted; larger ones are in one class more.
pub const BATCH_SIZES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// What happened to a network's items since it was set up, and how it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchStats {
    /// Items that wait.
    pub waiting: usize,
    /// Most items that a batch may have.
    pub max_batch: usize,
    /// Batches run.
    pub batches: u64,
    /// Items run.
    pub items: u64,
    /// Items that failed.
    pub failed: u64,
    /// Items that were not run because their time was over.
    pub expired: u64,
    /// Items that were not run because nobody waited any more.
    pub cancelled: u64,
    /// Items that found the line full.
    pub refused: u64,
    /// Time that all items together waited in line.
    pub waited: Duration,
    /// Time that all batches together ran.
    pub ran: Duration,
    /// Batches by size: up to each of [`BATCH_SIZES`], then larger.
    pub by_size: [u64; BATCH_SIZES.len() + 1],
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    batches: AtomicU64,
    items: AtomicU64,
    failed: AtomicU64,
    expired: AtomicU64,
    cancelled: AtomicU64,
    refused: AtomicU64,
    waited_us: AtomicU64,
    ran_us: AtomicU64,
    by_size: [AtomicU64; BATCH_SIZES.len() + 1],
}

impl Counters {
    pub(super) fn skipped(&self, expired: bool) {
        add(if expired { &self.expired } else { &self.cancelled }, 1);
    }

    pub(super) fn refused(&self, items: usize) {
        add(&self.refused, items as u64);
    }

    pub(super) fn waited(&self, time: Duration) {
        add(&self.waited_us, micros(time));
    }

    pub(super) fn ran(&self, items: usize, failed: usize, took: Duration) {
        add(&self.batches, 1);
        add(&self.items, items as u64);
        add(&self.failed, failed as u64);
        add(&self.ran_us, micros(took));
        let class = BATCH_SIZES.iter().position(|size| items <= *size).unwrap_or(BATCH_SIZES.len());
        add(&self.by_size[class], 1);
    }

    /// The time that `items` take at the mean pace so far.
    pub(super) fn time_for(&self, items: usize) -> Duration {
        let (ran, done) = (self.ran_us.load(Ordering::Relaxed), self.items.load(Ordering::Relaxed));
        Duration::from_micros(ran.saturating_mul(items as u64).checked_div(done).unwrap_or(0))
    }

    pub(super) fn read(&self, waiting: usize, max_batch: usize) -> BatchStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BatchStats {
            waiting,
            max_batch,
            batches: get(&self.batches),
            items: get(&self.items),
            failed: get(&self.failed),
            expired: get(&self.expired),
            cancelled: get(&self.cancelled),
            refused: get(&self.refused),
            waited: Duration::from_micros(get(&self.waited_us)),
            ran: Duration::from_micros(get(&self.ran_us)),
            by_size: std::array::from_fn(|i| get(&self.by_size[i])),
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
