//! How work is shared between the threads of rayon's current pool.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::aligned::Aligned;
use crate::kernel::MatrixMut;
use crate::map::Map;

/// Multiplications that a part has at least: handing over less costs more than it saves.
const GRAIN: usize = 1 << 18;
/// How long a thread stays awake without work while a network runs elsewhere. To wake it takes about half of this.
const PATIENCE: Duration = Duration::from_micros(100);

/// Networks that run at the moment.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Runs `f`, a network, on a thread of the pool, so that each layer inside need not hand its work over and wait.
///
/// Where no other network runs, the other threads of the pool stay awake for its layers, each of which takes less time than
/// to wake a thread. With one thread `f` is called as it is.
pub fn run<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    if rayon::current_num_threads() == 1 {
        return f();
    }
    rayon::scope(|_| {
        let running = Running::start();
        let result = f();
        drop(running);
        result
    })
}

/// A network that runs; it has ended when this is dropped, by a panic too.
struct Running(Option<Arc<AtomicBool>>);

impl Running {
    /// On a thread of the pool.
    fn start() -> Self {
        // With several networks there is work for all threads anyway.
        if RUNNING.fetch_add(1, Ordering::Relaxed) > 0 {
            return Self(None);
        }
        let (over, owner) = (Arc::new(AtomicBool::new(false)), rayon::current_thread_index());
        let seen = Arc::clone(&over);
        rayon::spawn_broadcast(move |context| {
            if owner != Some(context.index()) {
                attend(&seen);
            }
        });
        Self(Some(over))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        if let Some(over) = &self.0 {
            over.store(true, Ordering::Relaxed);
        }
    }
}

/// Takes work of the pool until the network is over, or there was none for a while.
fn attend(over: &AtomicBool) {
    let mut since = Instant::now();
    while !over.load(Ordering::Relaxed) {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            since = Instant::now();
        } else if since.elapsed() > PATIENCE {
            return;
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Into how many parts to divide so many multiplications: one, one for each thread, or two, so that a thread that was held up
/// leaves some to the others.
pub(crate) fn parts(work: usize) -> usize {
    let threads = rayon::current_num_threads();
    match work / GRAIN {
        _ if threads == 1 => 1,
        grains if grains < threads => grains.max(1),
        grains if grains < 16 * threads => threads,
        _ => 2 * threads,
    }
}

/// Calls `f` with parts of `units` and their rows of `out`; unit `i` starts at row `start(i)`.
pub(crate) fn by_rows(
    out: MatrixMut<'_>,
    units: Range<usize>,
    parts: usize,
    start: &(impl Fn(usize) -> usize + Sync),
    f: &(impl Fn(Range<usize>, MatrixMut<'_>) + Sync),
) {
    let parts = parts.min(units.len());
    if parts <= 1 {
        return f(units, out);
    }
    let middle = units.start + units.len() * (parts / 2) / parts;
    let (upper, lower) = out.split_rows(start(middle) - start(units.start));
    rayon::join(
        || by_rows(upper, units.start..middle, parts / 2, start, f),
        || by_rows(lower, middle..units.end, parts - parts / 2, start, f),
    );
}

/// Calls `f` with the first column and the columns of parts of `out`, each but the last a multiple of `panel` wide.
pub(crate) fn by_cols(
    out: MatrixMut<'_>,
    first: usize,
    panel: usize,
    parts: usize,
    f: &(impl Fn(usize, MatrixMut<'_>) + Sync),
) {
    let panels = out.cols().div_ceil(panel);
    let parts = parts.min(panels);
    if parts <= 1 {
        return f(first, out);
    }
    let middle = panels * (parts / 2) / parts * panel;
    let (left, right) = out.split_cols(middle);
    rayon::join(
        || by_cols(left, first, panel, parts / 2, f),
        || by_cols(right, first + middle, panel, parts - parts / 2, f),
    );
}

/// Calls `f` with each row of pixels of `out`, `w * c` values; `work` are the operations for each of them.
///
/// A dry map has none.
pub(crate) fn lines(out: &mut Map, work: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let [n, h, w, c] = out.shape();
    if out.is_dry() || n * h * w * c == 0 {
        return;
    }
    // An operation on memory takes the time of several multiplications in a register.
    let parts = parts(n * h * w * c * work * 4);
    let rows = MatrixMut::new(out.values_mut(), n * h, w * c, w * c);
    by_rows(rows, 0..n * h, parts, &|line| line, &|range, mut part| {
        for (i, line) in range.enumerate() {
            f(line, part.row(i));
        }
    });
}

/// Calls `f` with room for `len` values of which nothing is known; each thread keeps its room for the next time.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) };
    }
    // Taken out: if `f` comes here again it finds the next. They come back in the order in which they will be asked for.
    let mut scratch = SCRATCH.with_borrow_mut(|kept| kept.pop().unwrap_or_default());
    if scratch.len() < len {
        scratch.resize(len);
    }
    let result = f(&mut scratch[..len]);
    SCRATCH.with_borrow_mut(|kept| kept.push(scratch));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_column_is_somebodys() {
        for parts in 1..9 {
            for (units, per_unit, cols) in [(1, 3, 40), (7, 2, 5), (16, 1, 33)] {
                let mut values = vec![0.0; units * per_unit * cols];
                let out = MatrixMut::new(&mut values, units * per_unit, cols, cols);
                by_rows(out, 0..units, parts, &|unit| unit * per_unit, &|range, part| {
                    assert_eq!(part.rows(), range.len() * per_unit);
                    by_cols(part, 0, 8, parts, &|first, mut part| {
                        for row in 0..part.rows() {
                            for (i, v) in part.row(row).iter_mut().enumerate() {
                                *v += (1 + (first + i) * 100 + range.start * per_unit + row) as f32;
                            }
                        }
                    });
                });
                for (i, v) in values.iter().enumerate() {
                    assert_eq!(
                        *v,
                        (1 + i % cols * 100 + i / cols) as f32,
                        "{parts} parts, {units} x {per_unit} x {cols}"
                    );
                }
            }
        }
    }

    #[test]
    fn little_work_is_not_divided() {
        assert_eq!(parts(GRAIN - 1), 1);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        assert_eq!(pool.install(|| (parts(100), parts(2 * GRAIN), parts(3 * GRAIN), parts(usize::MAX))), (1, 2, 2, 4));
    }

    #[test]
    fn networks_run_side_by_side_in_pools_of_any_size() {
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let network = || pool.install(|| run(|| rayon::join(|| run(|| 1), || 2)));
            std::thread::scope(|scope| {
                let all: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| (0..50).map(|_| network()).collect::<Vec<_>>())).collect();
                for thread in all {
                    assert!(thread.join().unwrap().iter().all(|sum| *sum == (1, 2)));
                }
            });
            let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                pool.install(|| run(|| -> i32 { panic!("a network") }))
            }));
            assert!(broken.is_err() && network() == (1, 2));
        }
    }

    #[test]
    fn scratch_can_be_asked_for_twice() {
        let inner = |outer: &mut [f32]| {
            outer.fill(1.0);
            with_scratch(5, |inner| inner.fill(2.0));
            outer.iter().sum::<f32>()
        };
        assert_eq!(with_scratch(10, inner), 10.0);
    }
}
