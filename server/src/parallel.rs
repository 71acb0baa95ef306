//! Work on many files, results in their order.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// Number of threads unless told: one per core.
pub fn default_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Runs `work` over `items` on `threads` threads and hands each result to `each`, on the calling thread and in the
/// order of the items, as soon as it and all before it are there. When `each` fails, no further work is begun.
///
/// # Errors
/// The first failure of `each`.
pub fn ordered<T: Sync, R: Send, E>(
    items: &[T],
    threads: NonZeroUsize,
    work: impl Fn(&T) -> R + Sync,
    mut each: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.get().min(items.len()) {
            let (sender, work, next, stop) = (sender.clone(), &work, &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    if sender.send((index, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        // The loop below ends when the last worker drops its sender.
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (index, result) in results {
            early.insert(index, result);
            while let Some(result) = early.remove(&due) {
                if let Err(e) = each(due, result) {
                    stop.store(true, Ordering::Relaxed);
                    return Err(e);
                }
                due += 1;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FOUR: NonZeroUsize = NonZeroUsize::new(4).unwrap();

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..40).collect();
        let mut seen = Vec::new();
        let slow_first = |&i: &u64| {
            thread::sleep(Duration::from_millis(if i % 4 == 0 { 8 } else { 1 }));
            i * 2
        };
        ordered(&items, FOUR, slow_first, |index, result| {
            seen.push((index as u64, result));
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(seen, items.iter().map(|&i| (i, i * 2)).collect::<Vec<_>>());
    }

    #[test]
    fn a_failure_ends_the_work() {
        let begun = AtomicUsize::new(0);
        let items: Vec<usize> = (0..10_000).collect();
        let work = |&i: &usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_micros(200));
            i
        };
        let result = ordered(&items, FOUR, work, |_, i| if i == 3 { Err("three") } else { Ok(()) });
        assert_eq!(result, Err("three"));
        assert!(begun.into_inner() < items.len());
    }

    #[test]
    fn nothing_to_do_is_done() {
        assert_eq!(ordered(&[] as &[u8], FOUR, |_| (), |_, ()| Err(())), Ok(()));
    }
}
