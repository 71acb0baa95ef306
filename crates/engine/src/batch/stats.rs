//! What a batcher counts.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper ends of the classes in which batch sizes are counted; larger ones are in one class more.
pub const BATCH_SIZES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Upper ends, in microseconds, of the classes in which times are counted; longer ones are in one class more.
pub const TIME_CLASSES: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Times by their length: up to each of [`TIME_CLASSES`], then longer.
pub type Times = [u64; TIME_CLASSES.len() + 1];

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
    /// Items by the time that they waited in line.
    pub waits: Times,
    /// Batches by the time that they ran.
    pub runs: Times,
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
    waits: [AtomicU64; TIME_CLASSES.len() + 1],
    runs: [AtomicU64; TIME_CLASSES.len() + 1],
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
        add(&self.waits[class(&TIME_CLASSES, micros(time))], 1);
    }

    pub(super) fn ran(&self, items: usize, failed: usize, took: Duration) {
        add(&self.batches, 1);
        add(&self.items, items as u64);
        add(&self.failed, failed as u64);
        add(&self.ran_us, micros(took));
        add(&self.by_size[class(&BATCH_SIZES, items)], 1);
        add(&self.runs[class(&TIME_CLASSES, micros(took))], 1);
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
            waits: std::array::from_fn(|i| get(&self.waits[i])),
            runs: std::array::from_fn(|i| get(&self.runs[i])),
        }
    }
}

/// The first class that holds `value`; the one beyond the last if none does.
fn class<T: PartialOrd>(upper_ends: &[T], value: T) -> usize {
    upper_ends.iter().position(|end| value <= *end).unwrap_or(upper_ends.len())
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_fall_into_the_class_that_ends_with_or_after_them() {
        let counters = Counters::default();
        counters.waited(Duration::from_micros(500));
        counters.waited(Duration::from_micros(501));
        counters.ran(3, 1, Duration::from_secs(60));
        let stats = counters.read(0, 16);
        assert_eq!((stats.waits[0], stats.waits[1], stats.waits.iter().sum::<u64>()), (1, 1, 2));
        assert_eq!((stats.runs[TIME_CLASSES.len()], stats.by_size[2]), (1, 1));
        assert_eq!((stats.items, stats.failed, stats.batches), (3, 1, 1));
    }
}
