//! The command line.

pub mod admin;
pub mod analyze;
pub mod annotate;
pub mod bench;
pub mod compare;
pub mod ctl;
mod database;
pub mod db;
pub mod import;
pub mod inputs;
pub mod json;
pub mod models;
pub mod progress;
pub mod table;
pub mod video;

use std::{num::NonZeroUsize, process::ExitCode, str::FromStr};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use facesocial_pipeline::Pipeline;
use facesocial_types::{Analyzer, AnalyzerSet, Service};

use crate::{
    eval,
    networks::NetworkArgs,
    serve::{ServeArgs, serve},
    telemetry,
};

/// One photo in, every answer out: finds faces and says who is alike, how old they look, whether they are live.
#[derive(Debug, Parser)]
#[command(name = "facesocial", version, propagate_version = true)]
pub struct Cli {
    /// Form of the log lines on standard error.
    #[arg(long, value_enum, default_value_t, global = true, value_name = "FORMAT")]
    pub log_format: telemetry::LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes accounts and gives them other passwords, on the server's own machine.
    Admin(admin::AdminArgs),
    /// Tells what is to be told of each face in photos and folders of photos.
    Analyze(analyze::AnalyzeArgs),
    /// Times the networks on this machine, and photos from their files to the answers.
    Bench(bench::BenchArgs),
    /// Tells whether the largest faces of two photos are the same person's.
    Compare(compare::CompareArgs),
    /// Looks after servers: deploy, start, stop, status, logs, scale, backup, restore, update, test.
    Ctl(Box<ctl::CtlArgs>),
    /// Looks after the database: schema, state, backup, restore, check.
    Db(db::DbArgs),
    /// Measures accuracy on labelled photos.
    Eval(eval::EvalArgs),
    /// Enrols a folder of photos, person/photo.jpg.
    Import(Box<import::ImportArgs>),
    /// Lists, brings and checks networks.
    Models(models::ModelsArgs),
    /// Answers over HTTP: the gateway and the seven services, each on its port.
    Serve(Box<ServeArgs>),
    /// Follows the faces of a video and tells of each what its frames together say.
    Video(Box<video::VideoArgs>),
}

impl Cli {
    /// The log level unless the environment names another.
    pub fn default_log_level(&self) -> &'static str {
        match self.command {
            Command::Serve(_) => "info,actix_server=warn",
            _ => "warn",
        }
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// What keeps the whole command from its answer; a photo that fails among others is told and only sets the exit
    /// code.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Admin(args) => admin::run(args),
            Command::Analyze(args) => analyze::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Compare(args) => compare::run(&args),
            Command::Ctl(args) => ctl::run(*args),
            Command::Db(args) => db::run(args),
            Command::Eval(args) => eval::run(&args),
            Command::Import(args) => import::run(*args),
            Command::Models(args) => models::run(&args),
            Command::Serve(args) => {
                let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
                runtime.block_on(serve(*args)).map(|()| ExitCode::SUCCESS)
            }
            Command::Video(args) => video::run(&args),
        }
    }
}

/// Which networks run and how many threads compute; the same for every command.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Which networks run.
    #[command(flatten)]
    pub networks: NetworkArgs,
}

/// Photos worked on at the same time for each thread that computes: while one waits, another is cut or decoded.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(2).expect("above 0");

impl RunArgs {
    /// Photos worked on at the same time.
    pub fn at_once(&self) -> NonZeroUsize {
        self.networks.engine.threads().saturating_mul(AT_ONCE)
    }

    /// Loads the networks that `analyzers` need.
    ///
    /// # Errors
    /// No weights folder, damaged weights, a chosen network without weights.
    pub fn load(&self, analyzers: AnalyzerSet) -> anyhow::Result<Pipeline> {
        self.networks.load(services(analyzers))
    }
}

/// The detectors, and the services that answer `analyzers`.
fn services(analyzers: AnalyzerSet) -> Vec<Service> {
    let answering = analyzers.iter().filter_map(|analyzer| match analyzer {
        Analyzer::Quality => None,
        Analyzer::Recognition => Some(Service::Recognition),
        Analyzer::Antispoof => Some(Service::Antispoof),
        Analyzer::GenderAge => Some(Service::GenderAge),
        Analyzer::Deepfake => Some(Service::Deepfake),
    });
    [Service::Mediapipe, Service::Yolo, Service::Mtcnn].into_iter().chain(answering).collect()
}

/// A share between 0 and 1, for clap.
pub(crate) fn share<F: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<F, String> {
    match text.parse::<F>() {
        Ok(value) if (F::from(0)..=F::from(1)).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 1 is needed".to_owned()),
    }
}

/// A length in pixels, for clap.
pub(crate) fn length(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("a number of pixels, 0 or more, is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn detectors_are_always_loaded() {
        assert_eq!(services(AnalyzerSet::NONE).len(), 3);
        let set: AnalyzerSet = [Analyzer::Quality, Analyzer::GenderAge].into_iter().collect();
        assert_eq!(services(set), [Service::Mediapipe, Service::Yolo, Service::Mtcnn, Service::GenderAge]);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(share("0.25"), Ok(0.25_f32));
        for bad in ["-0.1", "1.1", "NaN", "x"] {
            assert!(share::<f64>(bad).is_err(), "{bad}");
        }
        assert!(length("inf").is_err() && length("-1").is_err());
        assert_eq!(length("20"), Ok(20.0));
    }
}
