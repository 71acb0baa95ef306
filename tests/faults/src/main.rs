//! Faults under load, and a soak, of the real program with real databases. Not part of `cargo test`: both take minutes to hours.
//!
//! ```text
//! cargo build --release -p facesocial
//! cargo run --release -p facesocial-faults -- faults --binary target/release/facesocial
//! cargo run --release -p facesocial-faults -- soak --minutes 60 --binary target/release/facesocial
//! ```
#![cfg(unix)]
#![expect(clippy::print_stdout, reason = "a program whose output is its result")]

mod client;
mod faults;
mod photos;
mod proxy;
mod server;
mod soak;
mod statistics;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "facesocial-faults")]
enum Command {
    /// One fault at a time under a steady load: databases, caches and services away, slow or talking nonsense, no room, no memory,
    /// no descriptors, a wrong clock, the end.
    Faults(faults::FaultArgs),
    /// A mixed load at a share of the capacity, for an hour: whether memory, descriptors, threads, tasks and latencies stay.
    Soak(soak::SoakArgs),
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Faults(args) => faults::faults(args).await,
        Command::Soak(args) => soak::soak(args).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
