//! The batcher with a network of which only the time is real, and that time is tokio's paused clock.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::time::sleep;

use super::*;
use crate::caller::ClientId;

const FORWARD: Duration = Duration::from_millis(10);

/// What the fake network saw.
#[derive(Default)]
struct Seen {
    batches: Mutex<Vec<Vec<u32>>>,
    running: AtomicUsize,
}

impl Seen {
    fn batches(&self) -> Vec<Vec<u32>> {
        self.batches.lock().unwrap().clone()
    }
}

/// Doubles its items in [`FORWARD`]; 13 fails.
fn doubling(limits: BatchLimits, device: &Arc<Semaphore>) -> (Batcher<u32, u32>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let witness = Arc::clone(&seen);
    let run = move |items: Vec<u32>| {
        let witness = Arc::clone(&witness);
        async move {
            assert_eq!(witness.running.fetch_add(1, Ordering::SeqCst), 0, "two batches of one network at once");
            sleep(FORWARD).await;
            witness.running.fetch_sub(1, Ordering::SeqCst);
            let forward = |i: &u32| if *i == 13 { Err(EngineError::Stopped) } else { Ok(i * 2) };
            let answers = items.iter().map(forward).collect();
            witness.batches.lock().unwrap().push(items);
            answers
        }
    };
    (Batcher::spawn("double", &Handle::current(), Arc::clone(device), limits, run), seen)
}

fn one_at_a_time() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

fn caller(client: u64) -> Caller {
    Caller::new(ClientId::of(client), None)
}

#[tokio::test(start_paused = true)]
async fn what_queued_while_a_batch_ran_is_the_next_batch() {
    let (batcher, seen) = doubling(BatchLimits::default(), &one_at_a_time());
    let first = batcher.submit(&caller(0), vec![1]).unwrap();
    sleep(FORWARD / 2).await;
    let second = batcher.submit(&caller(1), vec![2, 3]).unwrap();
    let third = batcher.submit(&caller(2), vec![4]).unwrap();
    assert_eq!(first.answers().await, [Ok(2)]);
    assert_eq!(second.answers().await, [Ok(4), Ok(6)]);
    assert_eq!(third.answers().await, [Ok(8)]);
    assert_eq!(seen.batches(), [vec![1], vec![2, 4, 3]]);
}

#[tokio::test(start_paused = true)]
async fn a_lone_item_does_not_wait_for_company_unless_told() {
    let (batcher, _) = doubling(BatchLimits::default(), &one_at_a_time());
    let begun = Instant::now();
    batcher.submit(&caller(0), vec![1]).unwrap().answers().await;
    assert_eq!(begun.elapsed(), FORWARD);

    let wait = Duration::from_millis(30);
    let limits = BatchLimits { max_wait: wait, max_batch: 3, ..BatchLimits::default() };
    let (batcher, seen) = doubling(limits, &one_at_a_time());
    let begun = Instant::now();
    let lone = batcher.submit(&caller(0), vec![1]).unwrap();
    sleep(wait / 2).await;
    let late = batcher.submit(&caller(0), vec![2]).unwrap();
    join_all([lone.answers(), late.answers()]).await;
    assert_eq!(begun.elapsed(), wait + FORWARD);
    assert_eq!(seen.batches(), [vec![1, 2]]);

    let begun = Instant::now();
    batcher.submit(&caller(0), vec![1, 2, 3]).unwrap().answers().await;
    assert_eq!(begun.elapsed(), FORWARD, "a full batch waits for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_no_more_items_than_it_may_also_when_that_changes() {
    let limits = BatchLimits { max_batch: 3, ..BatchLimits::default() };
    let (batcher, seen) = doubling(limits, &one_at_a_time());
    batcher.submit(&caller(0), (0..8).collect()).unwrap().answers().await;
    batcher.set_max_batch(5);
    batcher.submit(&caller(0), (0..8).collect()).unwrap().answers().await;
    batcher.set_max_batch(0);
    batcher.submit(&caller(0), vec![1]).unwrap().answers().await;
    assert_eq!(seen.batches().iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2, 5, 3, 1]);
    let stats = batcher.stats();
    assert_eq!((stats.batches, stats.items, stats.waiting, stats.ran), (6, 17, 0, FORWARD * 6));
    assert_eq!(stats.by_size, [1, 1, 3, 1, 0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_not_run() {
    let (batcher, seen) = doubling(BatchLimits::default(), &one_at_a_time());
    let first = batcher.submit(&caller(0), vec![1]).unwrap();
    sleep(FORWARD / 2).await;
    let (gone, late) = (caller(1), Caller::new(ClientId::of(2), Some(Instant::now() + FORWARD / 4)));
    let cancelled = batcher.submit(&gone, vec![2]).unwrap();
    let expired = batcher.submit(&late, vec![3]).unwrap();
    drop(batcher.submit(&caller(3), vec![4]).unwrap());
    let kept = batcher.submit(&caller(4), vec![5]).unwrap();
    gone.leave();
    first.answers().await;
    assert_eq!(cancelled.answers().await, [Err(EngineError::Cancelled)]);
    assert_eq!(expired.answers().await, [Err(EngineError::Expired)]);
    assert_eq!(kept.answers().await, [Ok(10)]);
    assert_eq!(seen.batches(), [vec![1], vec![5]]);
    let stats = batcher.stats();
    assert_eq!((stats.cancelled, stats.expired, stats.items), (2, 1, 2));
    assert_eq!(batcher.submit(&gone, vec![6]).unwrap_err(), EngineError::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_full_line_refuses_and_says_when_to_come_back() {
    let limits = BatchLimits { max_batch: 2, capacity: 4, ..BatchLimits::default() };
    let (batcher, _) = doubling(limits, &one_at_a_time());
    batcher.submit(&caller(0), vec![1, 2]).unwrap().answers().await;
    let waiting = batcher.submit(&caller(0), vec![1, 2, 3, 4]).unwrap();
    let refused = batcher.submit(&caller(1), vec![5]).unwrap_err();
    // Two items took 10 ms, so four take 20.
    assert_eq!(refused, EngineError::Overloaded { network: "double", retry_after: FORWARD * 2 });
    waiting.answers().await;
    assert!(batcher.submit(&caller(1), vec![5]).is_ok());
    assert_eq!(batcher.stats().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn no_client_can_starve_another() {
    let limits = BatchLimits { max_batch: 4, ..BatchLimits::default() };
    let (batcher, _) = doubling(limits, &one_at_a_time());
    let flood = batcher.submit(&caller(0), (0..1000).collect()).unwrap();
    sleep(FORWARD / 2).await;
    let begun = Instant::now();
    batcher.submit(&caller(1), vec![1, 2]).unwrap().answers().await;
    assert!(begun.elapsed() < FORWARD * 2, "after the batch under way, in the next one: {:?}", begun.elapsed());
    flood.answers().await;
}

#[tokio::test(start_paused = true)]
async fn networks_share_a_device() {
    let device = one_at_a_time();
    let (first, _) = doubling(BatchLimits::default(), &device);
    let (second, _) = doubling(BatchLimits::default(), &device);
    let begun = Instant::now();
    let both = [first.submit(&caller(0), vec![1]).unwrap(), second.submit(&caller(0), vec![2]).unwrap()];
    join_all(both.map(Pending::answers)).await;
    assert_eq!(begun.elapsed(), FORWARD * 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_batcher_nobody_waits_for_ever() {
    let (batcher, _) = doubling(BatchLimits { max_batch: 1, ..BatchLimits::default() }, &one_at_a_time());
    let pending = batcher.submit(&caller(0), vec![1, 2]).unwrap();
    drop(batcher);
    // What was accepted is answered.
    assert_eq!(pending.answers().await, [Ok(2), Ok(4)]);
}

/// Random clients, sizes, deadlines, departures and pauses: every item is answered exactly once, by its own answer or by the
/// reason why there is none; nothing runs after its deadline; no batch is too large; the line is empty in the end.
#[tokio::test(start_paused = true)]
async fn every_item_is_answered_once_whatever_happens() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let limits = BatchLimits {
            max_batch: rng.usize(1..9),
            max_wait: Duration::from_millis(rng.u64(0..3) * 7),
            capacity: rng.usize(20..200),
        };
        let (batcher, seen) = doubling(limits, &one_at_a_time());
        let batcher = Arc::new(batcher);
        let requests = (0..500).map(|_| {
            let batcher = Arc::clone(&batcher);
            let start = Duration::from_millis(rng.u64(0..2000));
            let items: Vec<u32> = (0..rng.usize(0..6)).map(|_| rng.u32(0..50)).collect();
            let deadline = (rng.u8(..) < 60).then(|| Duration::from_millis(rng.u64(0..60)));
            let leaves = (rng.u8(..) < 60).then(|| Duration::from_millis(rng.u64(0..60)));
            let client = ClientId::of(rng.u8(0..6));
            async move {
                sleep(start).await;
                let caller = Caller::new(client, deadline.map(|d| Instant::now() + d));
                let pending = match batcher.submit(&caller, items.clone()) {
                    Ok(pending) => pending,
                    Err(EngineError::Overloaded { .. } | EngineError::Expired) => return 0,
                    Err(other) => panic!("{other}"),
                };
                if let Some(after) = leaves {
                    sleep(after).await;
                    caller.leave();
                }
                let answers = pending.answers().await;
                assert_eq!(answers.len(), items.len());
                for (item, answer) in items.iter().zip(&answers) {
                    match answer {
                        Ok(double) => assert_eq!(*double, item * 2),
                        Err(EngineError::Stopped) => assert_eq!(*item, 13),
                        Err(EngineError::Cancelled) => assert!(leaves.is_some()),
                        Err(EngineError::Expired) => assert!(deadline.is_some()),
                        Err(other) => panic!("{other}"),
                    }
                }
                answers.iter().filter(|a| matches!(a, Ok(_) | Err(EngineError::Stopped))).count()
            }
        });
        let ran: usize = join_all(requests.collect::<Vec<_>>()).await.into_iter().sum();
        let batches = seen.batches();
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), ran, "seed {seed}");
        assert!(batches.iter().all(|b| (1..=limits.max_batch).contains(&b.len())), "seed {seed}");
        let stats = batcher.stats();
        assert_eq!((stats.waiting, stats.items), (0, ran as u64), "seed {seed}");
    }
}

/// Only tests compare failures: their causes have no equality of their own.
impl PartialEq for EngineError {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}
