//! `facesocial ctl`: an operator's day. Deploys, starts, stops, watches, scales, backs up and tries servers: processes of this
//! machine, or containers through `docker compose`.

mod backup;
mod deploy;
mod gpu;
mod monitor;
mod place;
mod restore;
mod status;
mod test;
mod update;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use self::place::PlaceArgs;
use super::database::block_on;

const EXAMPLES: &str = "Examples:
  facesocial ctl deploy -- --auth off           one process on this machine, for itself
  facesocial ctl deploy --distributed           a gateway and a process for each service
  facesocial ctl status
  facesocial ctl logs gateway --follow
  facesocial ctl scale recognition 2
  facesocial ctl backup --keep 7
  facesocial ctl test --photo people.jpg --load

Where docker compose and deploy/compose.yaml are found and nothing is deployed as processes, the same commands drive the
containers.";

/// Options of `facesocial ctl`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CtlArgs {
    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// Puts a server in place and starts it; in place of the one that was deployed before.
    Deploy(deploy::DeployArgs),
    /// Makes the secrets that containers need, where they are missing: random, each in a file of its own.
    Secrets(SecretsArgs),
    /// Starts what is deployed, or parts of it, and waits until it is ready.
    Start(PartsArgs),
    /// Stops what is deployed, or parts of it; requests under way are finished.
    Stop(PartsArgs),
    /// Tells what runs and how it is; exit code 1 unless all of it is ready.
    Status(status::StatusArgs),
    /// Shows the ends of the logs, and with --follow what is added.
    Logs(LogsArgs),
    /// Runs so many replicas of a service.
    Scale(ScaleArgs),
    /// Tells memory, load, temperature and power of the NVIDIA cards; exit code 1 if there are no figures.
    Gpu(gpu::GpuArgs),
    /// Writes database, configuration and the list of weights into a new folder, and tries whether it can be restored.
    Backup(backup::BackupArgs),
    /// Takes over the database of a backup.
    Restore(restore::RestoreArgs),
    /// Shows the state again and again; tells where the dashboards are.
    Monitor(monitor::MonitorArgs),
    /// Starts everything anew with this program, or with newer images.
    Update(update::UpdateArgs),
    /// Asks every service of a running server, and with --load many times at once.
    Test(test::TestArgs),
}

#[derive(Debug, Args)]
struct SecretsArgs {
    /// Folder for them.
    #[arg(default_value = "deploy/secrets")]
    folder: PathBuf,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PartsArgs {
    /// gateway or services; everything unless given.
    parts: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct LogsArgs {
    /// gateway or services; everything unless given.
    parts: Vec<String>,
    /// Lines of each log.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    tail: usize,
    /// Goes on with what is added.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct ScaleArgs {
    /// The service.
    service: String,
    /// How many processes or containers.
    replicas: u16,
    #[command(flatten)]
    place: PlaceArgs,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// What keeps the command from its answer.
pub fn run(args: CtlArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        CtlCommand::Gpu(args) => gpu::run(&args),
        command => block_on(dispatch(command)),
    }
}

async fn dispatch(command: CtlCommand) -> anyhow::Result<ExitCode> {
    match command {
        CtlCommand::Deploy(args) => deploy::run(args).await,
        CtlCommand::Secrets(args) => {
            let made = facesocial_ctl::secrets::make(&args.folder, deploy::random)?;
            let line = match args.json {
                true => json!({ "folder": args.folder, "made": made }).to_string(),
                false if made.is_empty() => "nothing was missing".to_owned(),
                false => format!("made in {}: {}", args.folder.display(), made.join(", ")),
            };
            writeln!(io::stdout(), "{line}").context("cannot write")?;
            Ok(ExitCode::SUCCESS)
        }
        CtlCommand::Start(args) => {
            let manager = args.place.manager()?;
            manager.start(&args.parts).await?;
            status::print(&manager.rows().await?, args.json)
        }
        CtlCommand::Stop(args) => {
            args.place.manager()?.stop(&args.parts).await?;
            say(args.json, "stopped")
        }
        CtlCommand::Status(args) => status::run(args).await,
        CtlCommand::Logs(args) => {
            let manager = args.place.manager()?;
            manager.logs(&args.parts, args.tail, args.follow, &mut io::stdout()).await?;
            Ok(ExitCode::SUCCESS)
        }
        CtlCommand::Scale(args) => {
            let manager = args.place.manager()?;
            manager.scale(&args.service, args.replicas).await?;
            status::print(&manager.rows().await?, args.json)
        }
        CtlCommand::Gpu(args) => gpu::run(&args),
        CtlCommand::Backup(args) => backup::run(args).await,
        CtlCommand::Restore(args) => restore::run(args).await,
        CtlCommand::Monitor(args) => monitor::run(args).await,
        CtlCommand::Update(args) => update::run(args).await,
        CtlCommand::Test(args) => test::run(args).await,
    }
}

/// A word that everything went well.
fn say(as_json: bool, word: &str) -> anyhow::Result<ExitCode> {
    let line = if as_json { json!({ "status": word }).to_string() } else { word.to_owned() };
    writeln!(io::stdout(), "{line}").context("cannot write")?;
    Ok(ExitCode::SUCCESS)
}
