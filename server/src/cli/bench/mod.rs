//! `facesocial bench`: how long the networks take on this machine, and a photo from its file to the answers.

mod networks;
mod photos;
mod spread;
mod told;

use std::{
    fs,
    io::{self, Write},
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use facesocial_pipeline::Pipeline;
use facesocial_types::Service;

use self::told::BenchReport;
use super::{RunArgs, json::VERSION};
use crate::meter::METER;

/// Options of `facesocial bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Networks to time, separated by commas; unless given, all that answer here. Which those are, --network and --ensemble say.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    networks: Vec<String>,
    /// Sizes of the batches, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,8")]
    batch: Vec<NonZeroUsize>,
    /// Timed passes of each network and batch. Fewer than 100 make p99 the slowest pass.
    #[arg(long, value_name = "N", default_value = "100")]
    passes: NonZeroUsize,
    /// Also time the whole way of the photos in this folder: reading, decoding, finding faces, everything about them.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Write the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs the command.
///
/// # Errors
/// No weights, a network that does not run here, a network that fails, a folder without photos, a file that cannot be written.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let engine = &args.run.networks.engine;
    engine.start_pool();
    let mut options = args.run.networks.options(Service::ALL.to_vec())?;
    options.settings.meter = Some(METER);
    let pipeline = Pipeline::load(&options)
        .with_context(|| format!("cannot load the networks from {}", options.weights.display()))?;
    let networks = networks::time(&pipeline, args)?;
    let photos = args.images.as_deref().map(|dir| photos::time(&pipeline, dir, args.run.at_once())).transpose()?;
    let report = BenchReport {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION"),
        processor: processor(),
        device: if pipeline.engine().runs_on_cpu() { "cpu" } else { "cuda" },
        threads: engine.threads().get(),
        passes: args.passes.get(),
        networks,
        photos,
    };
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write the figures to {}", path.display()))?;
    }
    io::stdout().write_all(report.text().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The processor's name, where the system tells it.
fn processor() -> Option<String> {
    let told = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = told.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
