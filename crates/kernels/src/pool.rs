//! Memory for activations, used again instead of allocated.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aligned::Aligned;

/// Bytes that a pool keeps for later unless told otherwise: enough for a single item of most networks. All networks together
/// are to stay small while they wait, and a large batch gains little from buffers at hand.
const KEPT: usize = 16 << 20;
/// No buffer has fewer values.
const LEAST: usize = 256;

/// A stock of buffers. Cloning it gives another handle on the same.
///
/// A buffer of a size that was needed before is taken from the stock, so a network that runs for the second time allocates
/// nothing. Sizes are rounded up, by an eighth at most, and a buffer serves its own size alone: which buffers there are
/// then depends on what the network needs at the same time, not on the order in which threads ask.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    limit: usize,
    dry: bool,
}

#[derive(Debug, Default)]
struct State {
    /// With the rounded size, which the values of a dry pool do not tell.
    free: Vec<(usize, Aligned)>,
    kept: usize,
    total: usize,
    peak: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self::with_limit(KEPT)
    }
}

impl Pool {
    /// A pool that keeps at most `limit` bytes of buffers that nobody uses.
    pub fn with_limit(limit: usize) -> Self {
        Self::new(limit, false)
    }

    /// A pool whose buffers hold nothing, for finding out beforehand what a network takes: layers given such activations
    /// compute shapes alone. [`Self::peak_bytes`] is then what it would be of a pool that holds something.
    pub fn dry() -> Self {
        Self::new(usize::MAX, true)
    }

    fn new(limit: usize, dry: bool) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), limit, dry }))
    }

    /// Most bytes of buffers that there were at a time, lent and kept.
    pub fn peak_bytes(&self) -> usize {
        self.state().peak
    }

    /// Whether its buffers hold nothing.
    pub fn is_dry(&self) -> bool {
        self.0.dry
    }

    /// `len` values, of what was there before.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let size = rounded(len);
        let mut state = self.state();
        let values = if let Some(i) = state.free.iter().rposition(|(s, _)| *s == size) {
            state.kept -= bytes(size);
            let mut values = state.free.remove(i).1;
            values.resize(if self.0.dry { 0 } else { len });
            values
        } else {
            state.total += bytes(size);
            state.peak = state.peak.max(state.total);
            drop(state);
            let mut values = Aligned::zeros(if self.0.dry { 0 } else { size });
            values.resize(if self.0.dry { 0 } else { len });
            values
        };
        Buffer { values, size, pool: self.clone() }
    }

    fn give(&self, size: usize, values: Aligned) {
        let mut state = self.state();
        state.kept += bytes(size);
        state.free.push((size, values));
        // What was not used for longest goes first.
        while state.kept > self.0.limit && !state.free.is_empty() {
            let (size, _) = state.free.remove(0);
            state.kept -= bytes(size);
            state.total -= bytes(size);
        }
    }

    /// A panic elsewhere leaves the counts as they were after a whole step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn bytes(size: usize) -> usize {
    size * size_of::<f32>()
}

/// Eight sizes between a power of two and the next.
const fn rounded(len: usize) -> usize {
    if len <= LEAST {
        return LEAST;
    }
    let step = 1 << (len.ilog2() - 3);
    len.next_multiple_of(step)
}

/// Values lent by a pool; they go back when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    values: Aligned,
    size: usize,
    pool: Pool,
}

impl Buffer {
    /// Where it came from.
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give(self.size, std::mem::take(&mut self.values));
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_by_its_own_size() {
        let pool = Pool::default();
        let first = pool.take(1000);
        let at = first.as_ptr();
        drop(first);
        assert_eq!(pool.take(1001).as_ptr(), at, "rounded to the same size");
        let (a, b) = (pool.take(990), pool.take(5000));
        assert_eq!((a.as_ptr(), a.len(), b.len()), (at, 990, 5000));
        assert_eq!(pool.peak_bytes(), bytes(rounded(1000) + rounded(5000)));
    }

    #[test]
    fn more_than_the_limit_is_not_kept() {
        let pool = Pool::with_limit(bytes(rounded(5000)));
        drop((pool.take(5000), pool.take(1000)));
        assert_eq!(pool.state().total, bytes(rounded(1000)), "the larger one came back first");
        drop(pool.take(100_000));
        assert_eq!(pool.state().total, 0);
    }

    #[test]
    fn a_dry_pool_counts_without_memory() {
        let (dry, wet) = (Pool::dry(), Pool::default());
        for pool in [&dry, &wet] {
            let a = pool.take(3000);
            drop((pool.take(70_000), a));
            drop(pool.take(70_001));
        }
        assert_eq!(dry.peak_bytes(), wet.peak_bytes());
        assert!(dry.take(10).is_empty());
    }

    #[test]
    fn sizes_waste_an_eighth_at_most() {
        for len in (1..3000).chain([1 << 20, (1 << 20) + 1]) {
            let size = rounded(len);
            assert!(size >= len && (size == LEAST || size * 8 <= len * 9 + 8), "{len} {size}");
        }
    }
}
