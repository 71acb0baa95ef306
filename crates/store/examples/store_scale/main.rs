//! Measures a store as the server uses it: time to open, to enrol and to identify, memory, and how many of the nearest
//! faces an answer holds.
//!
//! ```text
//! cargo run --release -p facesocial-store --example store_scale -- --faces 10000,100000,1000000
//! cargo run --release -p facesocial-store --example store_scale -- --faces 10000,100000 --url postgres://…
//! ```
//!
//! Without `--url` it makes an embedded store under `--folder` (2.5 KiB per face, removed afterwards); the database of
//! `--url` must be an empty one made for this. The faces are synthetic and filled in past the store's interface, all but
//! the last `--enroll`, which are enrolled one by one. In Postgres the first of these builds the index: its time depends on
//! `maintenance_work_mem`, which should hold the index (2.7 KiB per face). `--ef-search` says how many candidates the index
//! looks at, with several values one after the other; `--queries` how many searches are timed, `--check` how many are
//! compared with a look at all faces. Collections of an earlier run are searched again without being made again.
//!
//! Half of the probes are new faces of enrolled persons, half are of strangers. Beyond a person's own faces the nearest ones
//! are as good as random, all about equally far: the hardest case for an index. `matches` is the part of the nearest faces
//! found whose cosine is 0.4 or more, which are those that identification acts on.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is its result")]

mod faces;
mod fill;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use facesocial_store::{
    CollectionId, NewCollection, NewFace, NewPerson, PersonRef, SearchQuery, Store, StoreOptions, Write, open,
};
use facesocial_types::{BBox, Embedding, ModelId};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use faces::{DIMENSION, K, faces, nearest, probes};

type Failure = Box<dyn std::error::Error>;

struct Options {
    faces: Vec<usize>,
    url: Option<String>,
    folder: PathBuf,
    queries: usize,
    check: usize,
    enroll: usize,
    ef_search: Vec<u32>,
}

fn options() -> Result<Options, Failure> {
    let mut options = Options {
        faces: vec![10_000, 100_000],
        url: None,
        folder: std::env::temp_dir(),
        queries: 300,
        check: 100,
        enroll: 100,
        ef_search: vec![100],
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--faces" => options.faces = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--url" => options.url = Some(value),
            "--folder" => options.folder = value.into(),
            "--queries" => options.queries = value.parse()?,
            "--check" => options.check = value.parse()?,
            "--enroll" => options.enroll = value.parse()?,
            "--ef-search" => options.ef_search = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            _ => {
                let known = "--faces, --url, --folder, --queries, --check, --enroll, --ef-search";
                return Err(format!("{name} is not one of {known}").into());
            }
        }
    }
    if options.url.is_none() {
        options.ef_search.truncate(1);
    }
    if options.queries == 0 || options.enroll == 0 || options.faces.iter().any(|&faces| faces <= options.enroll) {
        return Err("--queries and --enroll must be at least 1, and --faces more than --enroll".into());
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match options() {
        Ok(options) => run(&options).await,
        Err(failure) => Err(failure),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    println!("processor: {}", processor());
    println!("load of the machine before: {}", read("/proc/loadavg").split(' ').next().unwrap_or("unknown"));
    match &options.url {
        Some(url) => println!("store: {}", settings(url).await?),
        None => println!("store: embedded"),
    }
    println!("CPU ms: processor time of this process per search, on all cores");
    println!();
    println!(
        "| faces | fill s | open s | first enrol s | enrol p50 ms | p99 ms | ef_search | identify p50 ms | p99 ms | max ms \
         | CPU ms | RSS MiB | recall@{K} | matches |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for &count in &options.faces {
        let folder = options.folder.join(format!("facesocial-scale-{}", Uuid::now_v7()));
        let measured = measure(options, count, folder.clone()).await;
        if options.url.is_none() {
            std::fs::remove_dir_all(&folder)?;
        }
        measured?;
    }
    Ok(())
}

async fn measure(options: &Options, count: usize, folder: PathBuf) -> Result<(), Failure> {
    let mut how = match &options.url {
        Some(url) => StoreOptions::postgres(url),
        None => StoreOptions::embedded(&folder),
    };
    let model = ModelId::new("scale", count.to_string());
    let (collection, ids, made) = make(options, &how, &model, count).await?;

    let probes = probes(count, options.queries);
    let check = options.check.min(probes.len());
    let exact = nearest(count, &probes[..check]);
    for &ef_search in &options.ef_search {
        how.ef_search = ef_search;
        let store = open(&how).await?;
        // Once for all that has to be read first.
        identify_all(&store, collection, &model, &probes).await?;
        let cpu = cpu_seconds();
        let (answers, mut times) = identify_all(&store, collection, &model, &probes).await?;
        let cpu = 1e3 * (cpu_seconds() - cpu) / probes.len() as f64;
        let rss = resident();
        store.close().await;
        println!(
            "| {count} | {made} | {} | {:.1} | {:.1} | {:.1} | {cpu:.1} | {rss:.0} | {} | {} |",
            options.url.as_ref().map_or("-".to_owned(), |_| ef_search.to_string()),
            percentile(&mut times, 0.50),
            percentile(&mut times, 0.99),
            percentile(&mut times, 1.0),
            recall(&exact, &answers, &ids, -1.0),
            recall(&exact, &answers, &ids, 0.4),
        );
    }
    Ok(())
}

/// Fills a new collection and enrols the last faces; with all faces' identifiers and the columns that tell how long it took.
async fn make(
    options: &Options,
    how: &StoreOptions,
    model: &ModelId,
    count: usize,
) -> Result<(CollectionId, Vec<Uuid>, String), Failure> {
    let filled = count - options.enroll;
    let store = open(how).await?;
    if let (Some(url), Ok(collection)) = (&how.url, store.collection(&format!("scale-{count}")).await) {
        let mut database = PgConnection::connect(url).await?;
        // The hash is the face's place.
        let ids = sqlx::query_scalar("SELECT id FROM faces WHERE collection_id = $1 ORDER BY face_hash")
            .bind(collection.id.0)
            .fetch_all(&mut database)
            .await?;
        return Ok((collection.id, ids, "- | - | - | - | -".to_owned()));
    }
    let new = NewCollection { name: format!("scale-{count}"), description: String::new() };
    let collection = store.create_collection(&Write::system(), new).await?.value.id;
    store.close().await;
    drop(store);
    let start = Instant::now();
    match &how.url {
        Some(url) => fill::postgres(url, collection, &model.to_string(), filled).await?,
        None => fill::sqlite(&how.folder, collection, &model.to_string(), filled).await?,
    }
    let filling = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let store = open(how).await?;
    let opening = start.elapsed().as_secs_f64();
    let mut ids: Vec<Uuid> = (0..filled).map(fill::face_id).collect();
    let mut times = Vec::new();
    for (place, (person, vector)) in faces(count).enumerate().skip(filled) {
        let face = face(place, person, Embedding::new(model.clone(), vector)?);
        let start = Instant::now();
        ids.push(store.enroll(&Write::system(), collection, face).await?.value.face.id.0);
        times.push(start.elapsed());
    }
    store.close().await;
    let first = times.remove(0).as_secs_f64();
    let (p50, p99) = (percentile(&mut times, 0.50), percentile(&mut times, 0.99));
    Ok((collection, ids, format!("{filling:.1} | {opening:.1} | {first:.2} | {p50:.1} | {p99:.1}")))
}

/// Which part of the nearest faces of a cosine of `at_least` the answers hold.
fn recall(exact: &[Vec<(f64, usize)>], answers: &[Vec<Uuid>], ids: &[Uuid], at_least: f64) -> String {
    let (mut found, mut expected) = (0_u32, 0_u32);
    for (exact, answer) in exact.iter().zip(answers) {
        for (_, place) in exact.iter().filter(|(score, _)| *score >= at_least) {
            expected += 1;
            found += u32::from(answer.contains(&ids[*place]));
        }
    }
    format!("{:.4} ({found}/{expected})", f64::from(found) / f64::from(expected))
}

/// The faces found for each probe, and the times.
async fn identify_all(
    store: &Arc<dyn Store>,
    collection: CollectionId,
    model: &ModelId,
    probes: &[Vec<f32>],
) -> Result<(Vec<Vec<Uuid>>, Vec<Duration>), Failure> {
    let (mut answers, mut times) = (Vec::new(), Vec::new());
    for probe in probes {
        let query = SearchQuery {
            collection,
            probe: Embedding::new(model.clone(), probe.clone())?,
            limit: K,
            min_similarity: -1.0,
            groups: Vec::new(),
            person: None,
        };
        let start = Instant::now();
        let result = store.search(&query).await?;
        times.push(start.elapsed());
        answers.push(result.matches.into_iter().map(|hit| hit.face_id.0).collect());
    }
    Ok((answers, times))
}

fn face(place: usize, person: usize, embedding: Embedding) -> NewFace {
    let person = NewPerson { external_id: format!("scale-{person}"), ..NewPerson::default() };
    NewFace {
        person: Some(PersonRef::GetOrCreate(person)),
        face_hash: format!("{place:064x}"),
        bbox: BBox { x: 0.0, y: 0.0, width: 112.0, height: 112.0 },
        detection_score: 1.0,
        quality_score: 1.0,
        face_group: "primary".to_owned(),
        searchable: true,
        metadata: serde_json::json!({}),
        embeddings: vec![embedding],
        crop: None,
    }
}

/// What decides how fast a Postgres builds and searches.
async fn settings(url: &str) -> Result<String, Failure> {
    let mut database = PgConnection::connect(url).await?;
    let (version, buffers, memory, workers): (String, String, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version'), current_setting('shared_buffers'),
                current_setting('maintenance_work_mem'), current_setting('max_parallel_maintenance_workers')",
    )
    .fetch_one(&mut database)
    .await?;
    database.close().await?;
    Ok(format!(
        "Postgres {version}, shared_buffers {buffers}, maintenance_work_mem {memory}, {workers} maintenance workers, \
         {DIMENSION} components"
    ))
}

/// The time within which `share` of the calls were done, in milliseconds; 0 for no calls.
fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = (times.len() as f64 * share).ceil() as usize;
    times.get(at.saturating_sub(1)).map_or(0.0, |time| 1e3 * time.as_secs_f64())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{name}, {cores} cores")
}

/// Memory of this process that is resident, in MiB; 0 where the system does not tell.
fn resident() -> f64 {
    let text = read("/proc/self/status");
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.trim().split(' ').next());
    kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Processor time that this process has used on all cores, in seconds; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let text = read("/proc/self/stat");
    // After the name in parentheses, user and system time are the 12th and 13th field, in hundredths of a second.
    let fields: Vec<f64> = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect())
        .unwrap_or_default();
    fields.get(11..13).map_or(0.0, |times| (times[0] + times[1]) / 100.0)
}
