//! The k best lower bounds seen so far, shared by the threads of a scan.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// What a row's upper bound must reach to be among the k best.
pub(crate) struct Best {
    k: usize,
    /// Bits of the floor, a copy that is read without the lock. It may lag behind: then a row too many is looked at.
    floor: AtomicU64,
    heap: Mutex<BinaryHeap<Reverse<Bound>>>,
}

#[derive(PartialEq)]
struct Bound(f64);

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Best {
    /// For `k >= 1` rows with a cosine of `at_least`.
    pub(crate) fn new(k: usize, at_least: f64) -> Self {
        Self { k, floor: AtomicU64::new(at_least.to_bits()), heap: Mutex::default() }
    }

    /// No row whose cosine is below this one is among the k best.
    pub(crate) fn floor(&self) -> f64 {
        f64::from_bits(self.floor.load(Relaxed))
    }

    /// Takes lower bounds into account, each of another row.
    pub(crate) fn offer(&self, lows: &[f64]) {
        // A panic elsewhere cannot leave the heap half changed in a way that matters: it holds bounds of real rows.
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        for &low in lows {
            if heap.len() < self.k {
                heap.push(Reverse(Bound(low)));
            } else if let Some(mut least) = heap.peek_mut()
                && low > least.0.0
            {
                *least = Reverse(Bound(low));
            }
        }
        if heap.len() == self.k
            && let Some(least) = heap.peek()
            && least.0.0 > self.floor()
        {
            self.floor.store(least.0.0.to_bits(), Relaxed);
        }
    }
}
