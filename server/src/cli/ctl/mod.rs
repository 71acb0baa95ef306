//! `facesocial ctl`: looks after the machine that the server runs on.

mod gpu;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Options of `facesocial ctl`.
#[derive(Debug, Args)]
pub struct CtlArgs {
    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// Tells memory, load, temperature and power of the NVIDIA cards; exit code 1 if there are no figures.
    Gpu(gpu::GpuArgs),
}

/// Runs the command.
///
/// # Errors
/// What keeps the command from its answer.
pub fn run(args: &CtlArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        CtlCommand::Gpu(args) => gpu::run(args),
    }
}
