//! An hour of mixed load on one server, and whether it is afterwards as it was before.

mod drawing;
mod plan;
mod report;
mod world;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use clap::{Args, ValueEnum};
use facesocial_testkit::Postgres;
use serde::Serialize;
use tokio::task::JoinSet;

use self::{
    plan::{Kind, Planned, plan},
    report::Report,
    world::{World, is_expected},
};
use crate::server::{Server, Start, answers, how, trouble};

/// Time between two looks at the process.
const LOOK: Duration = Duration::from_secs(10);
/// Clients of the measurement of the capacity.
const CLIENTS: usize = 8;
/// Time of the plan before anything is counted.
const WARM_UP: Duration = Duration::from_secs(120);
/// The plan repeats itself after this time.
const CYCLE: Duration = Duration::from_secs(600);
/// Seed of the plan.
const SEED: u64 = 1;
/// How long the server may take to end when it is told to: its own limit, and a little.
const END: Duration = Duration::from_secs(40);

/// Options of the soak.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// The server's program.
    #[arg(long, value_name = "FILE", default_value = "target/release/facesocial")]
    binary: PathBuf,
    /// Minutes of load that count.
    #[arg(long, value_name = "N", default_value_t = 60)]
    minutes: u64,
    /// Where the server keeps what it keeps. Postgres needs FACESOCIAL_TEST_PG_BIN.
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// Share of the measured capacity.
    #[arg(long, value_name = "SHARE", default_value_t = 0.7)]
    share: f64,
    /// Requests a second, in place of a share of the capacity.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Seconds in which the capacity is measured.
    #[arg(long, value_name = "N", default_value_t = 60)]
    measure: u64,
    /// Cores that the server is bound to, as taskset writes them; all unless given.
    #[arg(long, value_name = "LIST")]
    server_cpus: Option<String>,
    /// Threads of the server that compute.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Folder of the reports, the server's log and its data.
    #[arg(long, value_name = "DIR", default_value = "target/soak")]
    out: PathBuf,
}

/// Where the server keeps what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// The embedded database.
    Sqlite,
    /// A Postgres with pgvector.
    Postgres,
}

/// One request that was made.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    kind: Kind,
    /// When it was to be made, from the start of what counts; `None` before.
    at: Option<Duration>,
    /// From then to the last byte of the answer.
    took: Duration,
    /// How much later than planned it was sent.
    late: Duration,
    expected: bool,
}

/// What the process looked like at a time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Seconds from the start of what counts.
    pub at: f64,
    /// Bytes in use.
    pub resident: f64,
    /// Of these, bytes that belong to no file.
    pub anonymous: f64,
    /// Threads.
    pub threads: f64,
    /// Open files and connections.
    pub descriptors: f64,
    /// Tasks on the server's runtimes.
    pub tasks: f64,
    /// Requests that are being answered.
    pub in_flight: f64,
    /// Bytes of the database.
    pub database: f64,
    /// Persons in the gallery, as far as answers tell.
    pub persons: f64,
    /// Seconds that all cores together have computed for the process.
    pub cpu: f64,
}

#[derive(Default)]
struct Record {
    seen: Vec<Seen>,
    /// Answers that a server that works does not give, with the first few of each kind.
    unexpected: Vec<String>,
}

type Shared = Arc<(World, Mutex<Record>)>;

/// Runs the soak; whether everything stayed as it was.
///
/// # Errors
/// The server cannot be started or ends; files cannot be written.
pub async fn soak(args: SoakArgs) -> anyhow::Result<bool> {
    fs::create_dir_all(&args.out)?;
    let folder = args.out.join("server");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let threads = format!("--threads={}", args.threads);
    let mut start = Start::new(&args.binary, &folder).with(&[&threads, "--rate-limit=0", "--upload-rate-limit=0"]);
    if let Some(cpus) = &args.server_cpus {
        start.wrapper = vec!["taskset".to_owned(), "-c".to_owned(), cpus.clone()];
    }
    let postgres = match args.store {
        Store::Sqlite => None,
        Store::Postgres => match Postgres::start() {
            Some(postgres) => Some(postgres),
            None => bail!("the soak with Postgres needs FACESOCIAL_TEST_PG_BIN"),
        },
    };
    if let Some(postgres) = &postgres {
        start = start.set("DATABASE_URL", postgres.create_database("soak"));
    }
    world::make_admin(&start)?;
    let mut server = start.ready().await?;
    let world = World::new(&server.url("")).await?;
    let shared: Shared = Arc::new((world, Mutex::default()));

    let capacity = measure(&shared, Duration::from_secs(args.measure)).await;
    let rate = args.rate.unwrap_or(capacity * args.share);
    println!("capacity {capacity:.2} requests/s with {CLIENTS} clients; the load is {rate:.2} requests/s");
    let unexpected_before = std::mem::take(&mut *record(&shared));

    let counted = Duration::from_secs(args.minutes * 60);
    let cycle = CYCLE.min(counted);
    let planned = plan(rate, cycle, SEED);
    let schedule = schedule(&planned, cycle, counted);
    let load = tokio::spawn(load(Arc::clone(&shared), schedule, Instant::now()));
    let begun = Instant::now() + WARM_UP;
    let begun_on_the_clock = since_1970() + WARM_UP.as_secs_f64();
    let mut samples = Vec::new();
    let stops = begun + counted;
    // At the same moments of each cycle.
    let mut next = begun - WARM_UP + LOOK;
    while next < stops {
        tokio::time::sleep_until(next.into()).await;
        next += LOOK;
        if let Some(status) = server.ended()? {
            bail!("the server ended ({status}); its log is {}", start.log().display());
        }
        if let Some(sample) = look(&server, &shared.0, begun).await {
            samples.push(sample);
        }
        report_progress(&samples);
    }
    load.await?;

    // What nobody uses any more is to be gone.
    tokio::time::sleep(LOOK).await;
    let quiet = look(&server, &shared.0, begun).await;
    server.signal("TERM");
    let told = Instant::now();
    let ended = server.wait_end(END).await?;
    let (trouble, _) = trouble(&start.log(), 0)?;
    let record = std::mem::take(&mut *record(&shared));
    let report = Report {
        store: args.store,
        threads: args.threads,
        server_cpus: args.server_cpus.clone(),
        minutes: args.minutes,
        capacity,
        rate,
        clients: CLIENTS,
        seen: &record.seen,
        logged: answers(&start.log())?.into_iter().map(|(at, took)| (at - begun_on_the_clock, took)).collect(),
        unexpected: [unexpected_before.unexpected, record.unexpected].concat(),
        samples,
        quiet,
        ended: ended.map_or_else(|| "not at all".to_owned(), how),
        ended_after: told.elapsed(),
        trouble,
    };
    report.write(&args.out)
}

fn since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn record(shared: &Shared) -> std::sync::MutexGuard<'_, Record> {
    shared.1.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests a second that the server answers, asked by a few clients without a pause. The first sixth is not counted.
async fn measure(shared: &Shared, time: Duration) -> f64 {
    let begun = Instant::now();
    let from = begun + time / 6;
    let kinds: Vec<Kind> = plan(50.0, Duration::from_secs(20), SEED + 1).into_iter().map(|p| p.kind).collect();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (shared, kinds) = (Arc::clone(shared), kinds.clone());
        clients.spawn(async move {
            let mut answered = 0_usize;
            for kind in kinds.iter().cycle().skip(client * kinds.len() / CLIENTS) {
                if begun.elapsed() >= time {
                    break;
                }
                let sent = Instant::now();
                ask(&shared, *kind, None, sent).await;
                answered += usize::from(sent >= from && begun.elapsed() < time);
            }
            answered
        });
    }
    let answered: usize = clients.join_all().await.into_iter().sum();
    answered as f64 / (time - time / 6).as_secs_f64()
}

/// When each request of the soak is to be made: the beginning of the plan once more before anything counts, then the plan again
/// and again.
fn schedule(planned: &[Planned], cycle: Duration, counted: Duration) -> Vec<(Option<Duration>, Duration, Kind)> {
    let mut all = Vec::new();
    all.extend(planned.iter().filter(|p| p.at < WARM_UP).map(|p| (None, p.at, p.kind)));
    let mut start = Duration::ZERO;
    while start < counted {
        let once = planned.iter().map(|p| (start + p.at, p.kind)).filter(|(at, _)| *at < counted);
        all.extend(once.map(|(at, kind)| (Some(at), WARM_UP + at, kind)));
        start += cycle;
    }
    all
}

/// Makes requests at their times, whether the former ones are answered or not.
async fn load(shared: Shared, schedule: Vec<(Option<Duration>, Duration, Kind)>, begun: Instant) {
    let mut asking = JoinSet::new();
    for (at, after, kind) in schedule {
        let when = begun + after;
        tokio::time::sleep_until(when.into()).await;
        let shared = Arc::clone(&shared);
        asking.spawn(async move { ask(&shared, kind, at, when).await });
        while asking.try_join_next().is_some() {}
    }
    asking.join_all().await;
}

async fn ask(shared: &Shared, kind: Kind, at: Option<Duration>, when: Instant) {
    let late = when.elapsed();
    let answer = shared.0.ask(kind).await;
    let took = when.elapsed();
    let expected = is_expected(kind, &answer);
    let mut record = record(shared);
    if !expected && record.unexpected.len() < 1000 {
        let at = at.map_or_else(|| "before".to_owned(), |at| format!("at {:.0} s", at.as_secs_f64()));
        record.unexpected.push(format!("{}: {} {at}", kind.name(), answer.label()));
    }
    record.seen.push(Seen { kind, at, took, late, expected });
}

async fn look(server: &Server, world: &World, begun: Instant) -> Option<Sample> {
    let now = Instant::now();
    let at = now.saturating_duration_since(begun).as_secs_f64() - begun.saturating_duration_since(now).as_secs_f64();
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().ok()?;
    let figures = server.figures(&client).await?;
    drop(client);
    let process = server.process()?;
    Some(Sample {
        at,
        resident: process.resident as f64,
        anonymous: process.anonymous as f64,
        threads: process.threads as f64,
        descriptors: process.descriptors as f64,
        tasks: figures.get("process_tasks"),
        in_flight: figures.get("http_requests_in_flight"),
        database: figures.get("database_size_bytes"),
        persons: world.persons() as f64,
        cpu: figures.get("process_cpu_seconds_total"),
    })
}

fn report_progress(samples: &[Sample]) {
    let Some(last) = samples.last().filter(|_| samples.len().is_multiple_of(6)) else { return };
    println!(
        "{:5.0} s: {:.1} MiB resident, {:.1} anonymous, {} descriptors, {} threads, {} tasks, {} persons",
        last.at,
        last.resident / 1048576.0,
        last.anonymous / 1048576.0,
        last.descriptors,
        last.threads,
        last.tasks,
        last.persons,
    );
}
