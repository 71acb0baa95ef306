//! Times one pass of each network: on the clock, and of the processor with all threads added.
//!
//! ```text
//! cargo run --release -p facesocial-models --example network_time -- [NETWORK ..] [--batch N] [--threads N] [--passes N]
//!     [--device cpu|cuda] [--whole] [--photo FILE]
//! ```
//!
//! A line of JSON for each network. A pass begins with a tensor on the device and ends when its outputs are there; with
//! `--whole` it begins with pixels and ends with what the network tells. With `--serve` it answers one request a line
//! instead, as `tests/peers/peer.py` does for the other runtimes: `{"network": .., "batch": .., "passes": ..}`, with
//! `"outputs": true` for a sample of the outputs and `"photo"` for the cascade's photo.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

mod networks;

use std::{
    error::Error,
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use candle::{DType, Device, Tensor};
use clap::Parser;
use facesocial_kernels::Instructions;
use networks::{Bench, NAMES, Pass};
use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Values of one output that an answer holds at most: enough to tell networks apart, few enough for a line.
const SAMPLE: usize = 512;

/// Times the networks.
#[derive(Parser)]
struct Args {
    /// Which; all unless told.
    networks: Vec<String>,
    /// Images a pass.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Passes that are timed.
    #[arg(long, default_value_t = 15)]
    passes: usize,
    /// Passes before those.
    #[arg(long, default_value_t = 2)]
    warm_up: usize,
    /// Threads on the processor; RAYON_NUM_THREADS or every core unless told.
    #[arg(long)]
    threads: Option<usize>,
    /// cpu or cuda (the first card, in a build with the feature).
    #[arg(long, default_value = "cpu")]
    device: String,
    /// From pixels to what the network tells.
    #[arg(long)]
    whole: bool,
    /// The cascade's photo; tests/images/group.jpg unless told.
    #[arg(long)]
    photo: Option<PathBuf>,
    /// Answers requests from standard input.
    #[arg(long, conflicts_with = "networks")]
    serve: bool,
    /// The top of the checkout.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))]
    root: PathBuf,
}

/// A line of standard input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    network: String,
    batch: usize,
    passes: usize,
    #[serde(default)]
    outputs: bool,
    #[serde(default)]
    photo: Option<PathBuf>,
}

/// What was measured, in milliseconds a pass.
#[derive(Serialize)]
struct Answer<'a> {
    network: &'a str,
    batch: usize,
    threads: usize,
    device: &'a str,
    instructions: &'static str,
    /// The middle one of `wall_ms`; absent if nothing was timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    median_ms: Option<f64>,
    wall_ms: Vec<f64>,
    /// The mean over the passes, of all threads; Linux alone tells it, in steps of some milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    processor_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Vec<Output>>,
}

/// A sample of one output: of all its values in a row, every which one.
#[derive(Serialize)]
struct Output {
    shape: Vec<usize>,
    step: usize,
    values: Vec<f32>,
}

/// Milliseconds that the threads of this process ran so far.
fn processor_time() -> Option<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += stat.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds / 1e6)
}

fn sample(output: &Tensor) -> Result<Output> {
    let all = output.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let step = all.len().div_ceil(SAMPLE).max(1);
    let values: Vec<f32> = all.into_iter().step_by(step).collect();
    match values.iter().find(|v| !v.is_finite()) {
        Some(v) => Err(format!("an output holds {v}").into()),
        None => Ok(Output { shape: output.dims().to_vec(), step, values }),
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    Some(if sorted.len().is_multiple_of(2) { (sorted[sorted.len() / 2 - 1] + upper) / 2.0 } else { *upper })
}

/// What [`time`] found.
struct Times {
    wall_ms: Vec<f64>,
    processor_ms: Option<f64>,
    outputs: Vec<Tensor>,
}

/// Times `passes`, and keeps the outputs of the last one before them.
fn time(pass: &Pass, device: &Device, warm_up: usize, passes: usize) -> Result<Times> {
    let run = || -> Result<Vec<Tensor>> {
        let outputs = pass()?;
        device.synchronize()?;
        Ok(outputs)
    };
    let mut outputs = run()?;
    for _ in 1..warm_up {
        outputs = run()?;
    }
    let before = processor_time();
    let mut wall_ms = Vec::with_capacity(passes);
    for _ in 0..passes {
        let start = Instant::now();
        // Freed after the clock was read.
        let _outputs = run()?;
        wall_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let ran = before.zip(processor_time()).map(|(before, after)| after - before);
    let processor_ms = ran.filter(|_| passes > 0).map(|ran| ran / passes as f64);
    Ok(Times { wall_ms, processor_ms, outputs })
}

struct Server {
    bench: Bench,
    device_name: String,
    warm_up: usize,
    /// The network of the last request, since rounds ask for the same again.
    loaded: Option<(String, usize, Option<PathBuf>, Pass)>,
}

impl Server {
    fn answer<'a>(&'a mut self, request: &'a Request) -> Result<Answer<'a>> {
        let Request { network, batch, passes, outputs, photo } = request;
        let (batch, same) =
            (*batch, |(n, b, p, _): &(String, usize, _, Pass)| n == network && b == batch && p == photo);
        let warm_up = if self.loaded.as_ref().is_some_and(same) {
            1
        } else {
            // The old one goes first: two large networks need not fit in memory.
            self.loaded = None;
            let pass = self.bench.load(network, batch, photo.clone())?;
            self.loaded = Some((network.clone(), batch, photo.clone(), pass));
            self.warm_up
        };
        let Some((.., pass)) = &self.loaded else { return Err("no network is loaded".into()) };
        let Times { wall_ms, processor_ms, outputs: answered } = time(pass, &self.bench.device, warm_up, *passes)?;
        Ok(Answer {
            network,
            batch,
            threads: rayon::current_num_threads(),
            device: &self.device_name,
            instructions: Instructions::chosen()?.name(),
            median_ms: median(&wall_ms),
            wall_ms,
            processor_ms,
            outputs: outputs.then(|| answered.iter().map(sample).collect()).transpose()?,
        })
    }

    /// The answer to a line, or an object with the member `error`.
    fn line(&mut self, line: &str) -> String {
        let mut answer = || -> Result<String> {
            let request = serde_json::from_str(line)?;
            Ok(serde_json::to_string(&self.answer(&request)?)?)
        };
        answer().unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }).to_string())
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let device = match args.device.as_str() {
        "cpu" => Device::Cpu,
        "cuda" => Device::new_cuda(0)?,
        other => return Err(format!("no device {other}; there are cpu and cuda").into()),
    };
    let bench = Bench { root: checkout(&args.root)?, device, whole: args.whole };
    let mut server = Server { bench, device_name: args.device, warm_up: args.warm_up.max(1), loaded: None };
    if args.serve {
        for line in io::stdin().lock().lines() {
            println!("{}", server.line(&line?));
            io::stdout().flush()?;
        }
        return Ok(());
    }
    let networks = if args.networks.is_empty() { NAMES.map(str::to_owned).to_vec() } else { args.networks };
    for network in networks {
        let photo = args.photo.clone();
        let request = Request { network, batch: args.batch, passes: args.passes, outputs: false, photo };
        println!("{}", serde_json::to_string(&server.answer(&request)?)?);
    }
    Ok(())
}

/// `root`, if it is the top of a checkout.
fn checkout(root: &Path) -> Result<PathBuf> {
    if root.join("weights/weights.lock").is_file() {
        return Ok(root.to_owned());
    }
    Err(format!("{} is not the top of a checkout; name one with --root", root.display()).into())
}
