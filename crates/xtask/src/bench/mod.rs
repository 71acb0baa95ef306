//! `cargo xtask bench`: this project's networks against other runtimes, on one machine in one run, taking turns.

mod busy;
mod child;
mod goals;
mod python;
mod report;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::{
    child::{Answer, Child, Request},
    goals::Pair,
    report::{Report, Row},
};
use crate::{cargo, root, say};

/// The turns of each side that a row has at least.
const ROUNDS: usize = 5;
/// Milliseconds that a turn takes at most, unless a single pass takes longer.
const TURN_MS: f64 = 400.0;
/// Milliseconds that the slower side's passes take together at least.
const LEAST_MS: f64 = 600.0;
/// Milliseconds that a row takes at most, unless its turns take longer.
const ROW_MS: f64 = 30_000.0;
/// How far an output may be from the other side's, as a part of the output's largest value.
const TOLERANCE: f32 = 1e-3;

/// What to compare, with what.
#[derive(Args)]
pub(crate) struct Bench {
    /// The other side: `onnxruntime` means for each network its peer, which for some is another (BlazeFace: LiteRT; the MTCNN
    /// cascade: facenet-pytorch; dlib's ResNet: dlib). `torch`: PyTorch for all.
    #[arg(long, value_enum, default_value_t = Vs::Onnxruntime)]
    vs: Vs,
    /// Networks by the names of `cargo run --example network_time`; all unless told.
    #[arg(long, value_delimiter = ',')]
    networks: Vec<String>,
    /// Images a pass.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    batches: Vec<usize>,
    /// Threads of either side.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Timed passes of either side; fewer where they would take more than half a minute, more where less than half a second.
    #[arg(long, default_value_t = 40)]
    passes: usize,
    /// Seconds that a row may wait for a quiet machine, and be measured again if others took more than 5 % of the processor's
    /// time meanwhile; the least disturbed measurement counts.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    quiet: u64,
    /// The instructions that this project's kernels use: amx, avx512, avx2 or portable. PyTorch is held to AVX2 with the last two; ONNX
    /// Runtime, LiteRT and dlib have no switch and go on choosing their own.
    #[arg(long)]
    kernels: Option<String>,
    /// Where to write all figures.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the table in Markdown.
    #[arg(long, value_name = "FILE", conflicts_with = "pipeline")]
    markdown: Option<PathBuf>,
    /// The whole analysis of a photo against the same in Python, instead of single networks.
    #[arg(long, conflicts_with_all = ["vs", "networks", "batches", "kernels"])]
    pipeline: bool,
}

/// The other side.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Vs {
    Onnxruntime,
    Torch,
}

impl Vs {
    fn name(self) -> &'static str {
        match self {
            Self::Onnxruntime => "onnxruntime",
            Self::Torch => "torch",
        }
    }
}

/// Brings the other runtimes, exports the networks, and prints a row for each network, batch and number of threads.
pub(crate) fn bench(options: &Bench) -> anyhow::Result<()> {
    if options.pipeline {
        return pipeline(options);
    }
    let pairs = goals::pairs(options.vs == Vs::Torch, &options.networks)?;
    let python = python::ready(&networks(&pairs))?;
    let binary = example("facesocial-models", "network_time")?;
    let mut report = Report::begin(options.vs.name(), options.kernels.clone());
    for &threads in &options.threads {
        let mut ours = ours(&binary, threads, options.kernels.as_deref())?;
        let mut peers: BTreeMap<&str, Child> = BTreeMap::new();
        for &batch in &options.batches {
            for pair in pairs.iter().filter(|pair| batch == 1 || !pair.one_photo) {
                let peer = match peers.entry(pair.runtime) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        entry.insert(python::peer(&python, pair.runtime, threads, options.kernels.as_deref())?)
                    }
                };
                let deadline = Instant::now() + Duration::from_secs(options.quiet);
                let measured = quiet_row(pair, batch, threads, options.passes, deadline, [&mut ours, peer]);
                let row = measured.with_context(|| format!("{}, batch {batch}, {threads} threads", pair.network))?;
                report.add(row);
            }
        }
    }
    report.end();
    let write = |path: &Option<PathBuf>, text: String| match path {
        Some(path) => fs::write(path, text).with_context(|| path.display().to_string()),
        None => Ok(()),
    };
    write(&options.markdown, report.markdown())?;
    write(&options.json, serde_json::to_string_pretty(&report.json())? + "\n")
}

/// Both sides by turns, in a quiet machine if there is one before the deadline.
fn quiet_row(
    pair: &Pair,
    batch: usize,
    threads: usize,
    passes: usize,
    deadline: Instant,
    [ours, peer]: [&mut Child; 2],
) -> anyhow::Result<Row> {
    let mut best: Option<Row> = None;
    loop {
        busy::wait_until_quiet(deadline);
        let row = row(pair, batch, threads, passes, ours, peer)?;
        let others = |row: &Row| row.others.unwrap_or_default();
        let row = match best {
            Some(best) if others(&best) <= others(&row) => best,
            _ => row,
        };
        if others(&row) <= busy::QUIET || Instant::now() >= deadline {
            return Ok(row);
        }
        best = Some(row);
    }
}

/// Both sides by turns.
fn row(
    pair: &Pair,
    batch: usize,
    threads: usize,
    passes: usize,
    ours: &mut Child,
    peer: &mut Child,
) -> anyhow::Result<Row> {
    let photo = pair.one_photo.then(|| python::photo("eight"));
    let mut request = Request { network: pair.network, batch, passes: 1, outputs: true, photo };
    let (their, our) = (peer.ask(&request)?, ours.ask(&request)?);
    let difference = difference(&our, &their)?;

    let slower = our.wall_ms.iter().chain(&their.wall_ms).copied().fold(f64::MIN_POSITIVE, f64::max);
    let together = our.wall_ms.iter().chain(&their.wall_ms).sum::<f64>().max(f64::MIN_POSITIVE);
    let passes = passes.max((LEAST_MS / slower) as usize);
    let turn = ((TURN_MS / slower) as usize).clamp(1, passes.div_ceil(ROUNDS).max(1));
    // A turn begins with a pass that is not timed.
    let affordable = (ROW_MS / (together * (turn + 1) as f64)) as usize;
    let rounds = passes.div_ceil(turn).min(affordable).max(ROUNDS);
    request.passes = turn;
    request.outputs = false;
    let (mut peer_ms, mut our_ms) = (Vec::new(), Vec::new());
    let measured = [ours.id(), peer.id()];
    let before = busy::Ticks::now(&measured);
    for _ in 0..rounds {
        peer_ms.extend(peer.ask(&request)?.wall_ms);
        our_ms.extend(ours.ask(&request)?.wall_ms);
    }
    let ticks = before.zip(busy::Ticks::now(&measured));
    let others = ticks.as_ref().and_then(|(before, after)| before.others_until(after));
    // Both sides passed equally often, so their ticks compare as their passes do.
    let processor = ticks.map(|(before, after)| before.own_until(&after));
    Ok(Row {
        network: pair.network,
        batch,
        threads,
        runtime: pair.runtime,
        version: their.version.unwrap_or_default(),
        instructions: our.instructions.unwrap_or_default(),
        goal: pair.goal(threads),
        difference,
        golden_difference: their.golden_difference,
        others,
        processor,
        our_ms,
        peer_ms,
    })
}

/// The largest difference between the outputs, as a part of the largest value of its output; none where the other side was
/// not given the same numbers.
fn difference(our: &Answer, their: &Answer) -> anyhow::Result<Option<f32>> {
    let (Some(our), Some(their)) = (&our.outputs, &their.outputs) else { return Ok(None) };
    if our.len() != their.len() {
        bail!("{} outputs here, {} there", our.len(), their.len());
    }
    let mut worst = 0f32;
    for (our, their) in our.iter().zip(their) {
        if our.shape != their.shape {
            bail!("an output of {:?} here, of {:?} there", our.shape, their.shape);
        }
        let largest = their.values.iter().fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
        let apart = our.values.iter().zip(&their.values).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        worst = worst.max(apart / largest);
    }
    if worst > TOLERANCE {
        bail!("the outputs differ by {worst:.1e} of their largest value: the other side computes something else");
    }
    Ok(Some(worst))
}

/// This project's side.
fn ours(binary: &std::path::Path, threads: usize, kernels: Option<&str>) -> anyhow::Result<Child> {
    let mut command = std::process::Command::new(binary);
    command.args(["--serve", "--threads", &threads.to_string(), "--root"]).arg(root());
    if let Some(kernels) = kernels {
        command.env("FACESOCIAL_KERNELS", kernels);
    }
    Child::start("network_time", command)
}

/// The names of the networks of `pairs` that are exported, each once.
fn networks(pairs: &[Pair]) -> Vec<&'static str> {
    let mut names: Vec<&str> = pairs.iter().filter(|pair| !pair.one_photo).map(|pair| pair.network).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The analysis of photos on each number of threads, as `tests/peers/pipeline.py` measures and prints it.
fn pipeline(options: &Bench) -> anyhow::Result<()> {
    let python = python::ready(&goals::ANALYSIS)?;
    let binary = example("facesocial-pipeline", "analysis_time")?;
    for &threads in &options.threads {
        let json = options.json.as_deref().map(|path| path.with_extension(format!("{threads}.json")));
        python::pipeline(&python, &binary, threads, options.passes, json.as_deref())?;
    }
    Ok(())
}

/// Builds an example. Where cargo puts it, it alone knows.
fn example(package: &str, name: &str) -> anyhow::Result<PathBuf> {
    let args = ["build", "--release", "--locked", "--package", package, "--example", name];
    say(&format!("==> bench: cargo {}", args.join(" ")));
    let output = cargo()
        .args(args)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("{name} cannot be built ({})", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut executables = text.lines().filter_map(|line| {
        let artifact: Value = serde_json::from_str(line).ok()?;
        let named = artifact["target"]["name"] == json!(name);
        artifact["executable"].as_str().filter(|_| named).map(PathBuf::from)
    });
    executables.next_back().with_context(|| format!("cargo did not say where {name} is"))
}
