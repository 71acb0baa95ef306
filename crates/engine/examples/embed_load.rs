//! Closed-loop clients on the embedding networks alone: throughput, latencies and batches by the number of clients.
//!
//!     cargo run --release -p facesocial-engine --example embed_load -- --network mobilefacenet
//!
//! Each client hands in one crop of noise and waits for its embedding, then the next.

#![expect(clippy::print_stdout, reason = "a program whose output is its result")]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use facesocial_engine::{Caller, ClientId, Engine, EngineOptions, EngineSettings, Selection};
use facesocial_types::Service;
use image::RgbImage;

#[derive(Parser)]
struct Args {
    /// Folder with weights.lock.
    #[arg(long, default_value = "weights")]
    weights: PathBuf,
    /// One member of the ensemble; all of them when left out.
    #[arg(long)]
    network: Option<String>,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32")]
    clients: Vec<u64>,
    /// Seconds for each number.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Threads that compute.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let engine = Engine::load(&EngineOptions {
        weights: args.weights.clone(),
        pulled: None,
        services: vec![Service::Recognition],
        on_demand: Vec::new(),
        remotes: BTreeMap::new(),
        selection: Selection::default(),
        settings: EngineSettings::default(),
    })?;
    engine.warm_up()?;
    println!("{} threads, {}", rayon::current_num_threads(), args.network.as_deref().unwrap_or("whole ensemble"));
    println!("clients  embeddings/s  ratio to 1    p50 ms    p99 ms  crops a batch");
    let mut alone = None;
    for &clients in &args.clients {
        let before = batches(&engine, &args);
        let begun = Instant::now();
        let until = begun + Duration::from_secs_f64(args.seconds);
        let engine = &engine;
        let mut latencies: Vec<Duration> = thread::scope(|scope| {
            let args = &args;
            let running: Vec<_> = (0..clients).map(|c| scope.spawn(move || client(engine, args, c, until))).collect();
            running.into_iter().flat_map(|one| one.join().unwrap_or_default()).collect()
        });
        let rate = latencies.len() as f64 / begun.elapsed().as_secs_f64();
        let after = batches(engine, &args);
        latencies.sort_unstable();
        let at = |share: f64| {
            let index = ((latencies.len() as f64 * share).ceil() as usize).saturating_sub(1);
            latencies.get(index).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
        };
        println!(
            "{clients:7} {rate:13.1} {:11.2} {:9.1} {:9.1} {:14.1}",
            rate / *alone.get_or_insert(rate),
            at(0.50),
            at(0.99),
            (after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64,
        );
    }
    Ok(())
}

/// Asks until the time is over; the latencies.
fn client(engine: &Engine, args: &Args, number: u64, until: Instant) -> Vec<Duration> {
    let caller = Caller::new(ClientId::of(number), None);
    let mut rng = fastrand::Rng::with_seed(number);
    let mut latencies = Vec::new();
    let members: Vec<_> = engine.members.iter().filter(|m| wanted(m.network.id().map(|id| id.name()), args)).collect();
    while Instant::now() < until {
        let begun = Instant::now();
        let pending: Vec<_> = members
            .iter()
            .filter_map(|member| {
                let side = member.network.crop().ok()?.side();
                let crop = RgbImage::from_fn(side, side, |_, _| image::Rgb([rng.u8(..), rng.u8(..), rng.u8(..)]));
                member.network.submit(&caller, vec![crop]).ok()
            })
            .collect();
        if pending.len() == members.len() && pending.into_iter().all(|p| p.wait().iter().all(Result::is_ok)) {
            latencies.push(begun.elapsed());
        }
    }
    latencies
}

fn wanted<E>(name: Result<&str, E>, args: &Args) -> bool {
    name.is_ok_and(|name| args.network.as_deref().is_none_or(|network| network == name))
}

/// Batches and items so far.
fn batches(engine: &Engine, args: &Args) -> (u64, u64) {
    let reports = engine.networks();
    let own =
        reports.iter().filter(|r| r.services.contains(&Service::Recognition) && wanted(Ok::<_, ()>(r.id.name()), args));
    own.fold((0, 0), |(batches, items), r| (batches + r.batches.batches, items + r.batches.items))
}
