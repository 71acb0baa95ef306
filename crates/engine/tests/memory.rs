//! Weights that come and go, budgets, and nothing left behind: with the networks that ship.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use facesocial_engine::{
    Budgets, Caller, ClientId, Engine, EngineError, EngineOptions, EngineSettings, Letterboxed, MB, Meter,
    NetworkReport, Selection,
};
use facesocial_types::Service;
use image::{Rgb, RgbImage};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const METER: Meter = Meter {
    allocated: || ALLOCATOR.current_usage(),
    peak: || ALLOCATOR.peak_usage(),
    reset_peak: || ALLOCATOR.reset_peak_usage(),
};

/// Tests that look at the process's memory must not run beside others.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn engine(services: &[Service], settings: EngineSettings) -> Engine {
    Engine::load(&EngineOptions {
        weights: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../weights"),
        pulled: None,
        services: services.to_vec(),
        on_demand: Vec::new(),
        remotes: BTreeMap::new(),
        selection: Selection::default(),
        settings: EngineSettings { meter: Some(METER), ..settings },
    })
    .unwrap()
}

fn report(engine: &Engine, name: &str) -> NetworkReport {
    engine.networks().into_iter().find(|n| n.id.name() == name).unwrap_or_else(|| panic!("no network {name}"))
}

fn noise(side: u32, rng: &mut fastrand::Rng) -> RgbImage {
    RgbImage::from_fn(side, side, |_, _| Rgb([rng.u8(..), rng.u8(..), rng.u8(..)]))
}

fn look(rng: &mut fastrand::Rng) -> Letterboxed {
    Letterboxed { image: noise(128, rng), min_score: if rng.bool() { 0.5 } else { 0.7 } }
}

#[test]
fn a_budget_that_is_too_small_is_an_error_at_start_that_says_how_much_is_needed() {
    let _alone = alone();
    let mut budgets = Budgets::default();
    budgets.set(Service::Recognition, 20 * MB);
    let refused = engine(&[Service::Recognition], EngineSettings { budgets, ..EngineSettings::default() }).warm_up();
    let Err(EngineError::Budget { service: Service::Recognition, needs, limit }) = refused else {
        panic!("{refused:?}");
    };
    assert!(needs > limit && limit == 20 * MB, "{needs}");

    // What it said is needed is enough, for all of its networks together.
    let everything = engine(&[Service::Recognition], EngineSettings::default());
    everything.warm_up().unwrap();
    let own = |r: &&NetworkReport| r.services.first() == Some(&Service::Recognition);
    let least: usize = everything.networks().iter().filter(own).map(|r| r.footprint.least()).sum();
    everything.set_budget(Service::Recognition, least).unwrap();
    assert!(everything.networks().iter().filter(own).all(|r| r.batches.max_batch == 1));
    assert!(matches!(everything.set_budget(Service::Recognition, least - 1), Err(EngineError::Budget { .. })));
    assert_eq!(everything.budgets().of(Service::Recognition), least, "a refused budget changes nothing");
    everything.set_budget(Service::Recognition, 1536 * MB).unwrap();
    assert!(everything.networks().iter().filter(own).all(|r| r.batches.max_batch == 16));
}

#[test]
fn what_a_network_needs_is_measured() {
    let _alone = alone();
    let engine = engine(&[], EngineSettings::default());
    engine.warm_up().unwrap();
    for name in ["blazeface-short", "yolov10n-face", "mtcnn"] {
        let footprint = report(&engine, name).footprint;
        assert!(footprint.weights > 100_000, "{name}: {footprint:?}");
        assert_eq!(footprint.batches.iter().map(|b| b.0).collect::<Vec<_>>(), [1, 2], "{name}");
        assert!(footprint.batches.iter().all(|b| b.1 > 100_000), "{name}: {footprint:?}");
    }
    // 2.3 million weights of 4 bytes, some of them in the larger form that fast convolution takes.
    let yolo = report(&engine, "yolov10n-face").footprint;
    assert!((9 * MB..30 * MB).contains(&yolo.weights), "{yolo:?}");
}

#[test]
fn networks_that_nobody_uses_go_and_come_back_without_losing_a_request() {
    let _alone = alone();
    let idle = Some(Duration::from_millis(150));
    let engine = engine(&[], EngineSettings { idle, ..EngineSettings::default() });
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in 0..6 {
            let (engine, asked) = (&engine, &asked);
            scope.spawn(move || {
                let (caller, mut rng) = (Caller::new(ClientId::of(client), None), fastrand::Rng::with_seed(client));
                for _ in 0..5 {
                    for _ in 0..4 {
                        let answers = engine.blazeface_short.submit(&caller, vec![look(&mut rng)]).unwrap().wait();
                        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_millis(450));
                }
            });
        }
    });
    let seen = report(&engine, "blazeface-short");
    assert_eq!(seen.batches.items as usize, asked.into_inner());
    assert!(seen.loads >= 3, "it was loaded {} times", seen.loads);
    let gone = Instant::now() + Duration::from_secs(10);
    while report(&engine, "blazeface-short").loaded {
        assert!(Instant::now() < gone, "still loaded");
        thread::sleep(Duration::from_millis(50));
    }
    engine.pin_network("blazeface-short", true).unwrap();
    thread::sleep(Duration::from_millis(600));
    assert!(report(&engine, "blazeface-short").loaded, "a pinned network stays");
    assert!(matches!(engine.unload_network("blazeface-short"), Err(EngineError::Pinned { .. })));
    assert!(matches!(engine.unload_network("none"), Err(EngineError::Unknown { .. })));
}

#[test]
fn the_least_recently_used_network_makes_room() {
    let _alone = alone();
    let mut budgets = Budgets::default();
    // Room for YOLOv10n (9 MB) and one small network, not for MobileFaceNet (4 MB) and dlib's ResNet (22 MB) beside it.
    budgets.set_total(26 * MB);
    let engine = engine(&[Service::Recognition], EngineSettings { budgets, ..EngineSettings::default() });
    let loaded = || {
        let mut names: Vec<_> = engine.networks().iter().filter(|n| n.loaded).map(|n| n.id.name().to_owned()).collect();
        names.sort();
        names
    };
    engine.load_network("yolov10n-face").unwrap();
    engine.load_network("mobilefacenet").unwrap();
    assert_eq!(loaded(), ["mobilefacenet", "yolov10n-face"]);
    engine.load_network("dlib-resnet").unwrap();
    assert_eq!(loaded(), ["dlib-resnet"]);
    engine.pin_network("dlib-resnet", true).unwrap();
    let refused = engine.load_network("yolov10n-face");
    assert!(matches!(refused, Err(EngineError::NoRoom { network: "yolov10n-face", .. })), "{refused:?}");
    engine.pin_network("dlib-resnet", false).unwrap();
    engine.load_network("yolov10n-face").unwrap();
    assert_eq!(loaded(), ["yolov10n-face"]);
}

#[test]
fn ten_thousand_requests_with_random_cancellations_leave_nothing_behind() {
    let _alone = alone();
    const REQUESTS: usize = 10_000;
    let engine = engine(&[Service::Recognition], EngineSettings::default());
    engine.warm_up().unwrap();
    let storm = |requests: usize, seed: u64| {
        let left = AtomicUsize::new(requests);
        thread::scope(|scope| {
            for client in 0..16 {
                let (engine, left) = (&engine, &left);
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed + client);
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                        request(engine, client, &mut rng);
                    }
                });
            }
        });
    };
    // Networks keep the memory of the largest batch that they saw, until they are unloaded.
    let settled = || {
        for network in engine.networks() {
            while report(&engine, network.id.name()).batches.waiting > 0 {
                thread::sleep(Duration::from_millis(10));
            }
            engine.unload_network(network.id.name()).unwrap();
        }
        // A batch under way whose callers have all left holds its network until it ends.
        thread::sleep(Duration::from_millis(500));
        (METER.allocated)()
    };
    storm(1_000, 1);
    let before = settled();
    storm(REQUESTS, 2);
    let after = settled();
    // Lists that grow with the number of requests would show; those that keep their capacity may differ a little.
    assert!(after < before + MB, "{before} bytes before, {after} after");
    for network in engine.networks() {
        assert_eq!(network.batches.waiting, 0, "{}", network.id);
    }
    let seen = report(&engine, "blazeface-short").batches;
    assert!(seen.cancelled > 500 && seen.expired > 100 && seen.items > 2_000, "{seen:?}");
}

/// A request that may be cancelled at once, a little later or never, may have hardly any time, and may drop its answers.
fn request(engine: &Engine, client: u64, rng: &mut fastrand::Rng) {
    let deadline = (rng.u8(..) < 80).then(|| tokio::time::Instant::now() + Duration::from_millis(rng.u64(0..20)));
    let caller = Caller::new(ClientId::of(client), deadline);
    let looks = (0..rng.usize(1..3)).map(|_| look(rng)).collect();
    let Ok(pending) = engine.blazeface_short.submit(&caller, looks) else { return };
    let faces = (rng.u8(..) < 10).then(|| {
        let member = &engine.members[rng.usize(..engine.members.len())].network;
        let side = member.crop().unwrap().side();
        member.submit(&caller, vec![noise(side, rng)])
    });
    match rng.u8(0..4) {
        0 => drop(pending),
        1 => {
            caller.leave();
            pending.wait();
        }
        _ => {
            pending.wait();
        }
    }
    if let Some(Ok(faces)) = faces {
        faces.wait();
    }
}
