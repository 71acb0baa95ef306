//! `facesocial ctl update`.

use std::{env, process::ExitCode};

use anyhow::Context;
use clap::Args;
use facesocial_ctl::Manager;

use super::{PlaceArgs, status};

/// Options of `facesocial ctl update`.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// Containers: build the image instead of bringing it.
    #[arg(long)]
    build: bool,
    #[command(flatten)]
    place: PlaceArgs,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// Starts everything anew: processes with the program that this is, one after the other; containers with newer images. The
/// schema of the database is brought up to date by the server's start.
///
/// # Errors
/// Nothing is deployed; a process that does not become ready: those after it still run as before.
pub(super) async fn run(args: UpdateArgs) -> anyhow::Result<ExitCode> {
    let manager = args.place.manager()?;
    match &manager {
        Manager::Local(local) => {
            local.update(env::current_exe().context("this program's own path cannot be told")?).await?;
        }
        Manager::Compose(compose) => compose.update(args.build).await?,
    }
    status::print(&manager.rows().await?, args.json)
}
