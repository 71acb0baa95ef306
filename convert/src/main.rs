//! `facesocial-convert`: fetches the published networks and converts their weights to safetensors.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use facesocial_convert::read;

/// Fetches the published networks and converts their weights to safetensors.
#[derive(Parser)]
#[command(name = "facesocial-convert", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the tensors of a source file: name, shape, type.
    Inspect {
        /// A .tflite, .pt, .pth, TensorFlow.js .json (with its shards beside it) or .safetensors file.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Inspect { file } => {
            let tensors = read::read_file(&file)?;
            let width = tensors.iter().map(|t| t.name.len()).max().unwrap_or(0);
            let mut out = io::stdout().lock();
            for tensor in &tensors {
                let shape = format!("{:?}", tensor.shape);
                writeln!(out, "{:width$}  {shape:18}  {}", tensor.name, tensor.dtype)?;
            }
            let elements: usize = tensors.iter().map(|t| t.elements()).sum();
            writeln!(out, "{} tensors, {elements} elements", tensors.len())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
