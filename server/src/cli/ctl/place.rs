//! Which deployment is meant.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser};
use facesocial_ctl::{Manager, local::Local};
use facesocial_store::StoreOptions;

use crate::config::{ServeArgs, StoreArgs};

/// Name of this program's folder in the user's data folder, and of the deployment's in it.
const FOLDER: [&str; 2] = ["facesocial", "ctl"];
const COMPOSE_FILE: &str = "deploy/compose.yaml";

/// Which deployment is meant.
#[derive(Debug, Clone, Args)]
pub(super) struct PlaceArgs {
    /// Folder of a deployment as processes: what runs, logs. facesocial/ctl in the user's data folder unless given.
    #[arg(long, env = "FACESOCIAL_CTL_DIR", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Compose file of a deployment as containers; may be given several times, later ones over earlier ones.
    #[arg(long, env = "FACESOCIAL_COMPOSE_FILES", value_name = "FILE", value_delimiter = ',', default_value = COMPOSE_FILE)]
    pub compose_file: Vec<PathBuf>,
}

impl PlaceArgs {
    /// What is deployed, or could be.
    ///
    /// # Errors
    /// A system without a folder for data.
    pub(super) fn manager(&self) -> anyhow::Result<Manager> {
        Ok(Manager::find(&self.folder()?, self.compose_file.clone()))
    }

    /// The deployment as processes.
    ///
    /// # Errors
    /// A system without a folder for data.
    pub(super) fn local(&self) -> anyhow::Result<Local> {
        Ok(Local::new(self.folder()?))
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        match &self.folder {
            // The processes of a deployment are started from wherever the command is given.
            Some(folder) => std::path::absolute(folder).context("the folder's path cannot be told"),
            None => {
                let data = dirs::data_dir()
                    .context("this system has no folder for data; name one with --folder or FACESOCIAL_CTL_DIR")?;
                Ok(FOLDER.iter().fold(data, |folder, name| folder.join(name)))
            }
        }
    }
}

/// The command line of a deployed server.
#[derive(Debug, Parser)]
struct Deployed {
    #[command(flatten)]
    serve: ServeArgs,
}

/// The database of a deployment: the one that is named, else the one that its server was told of, else the usual one.
///
/// # Errors
/// As [`StoreArgs::config`]; a server that was deployed with options that this program does not know.
pub(super) fn store(named: &StoreArgs, manager: &Manager) -> anyhow::Result<StoreOptions> {
    let mut options = StoreOptions { migrate: false, ..named.clone().config()?.options() };
    let is_named = named.database_url.is_some() || named.database_url_file.is_some() || named.data_dir.is_some();
    if let (false, Manager::Local(local)) = (is_named, manager)
        && let Ok(topology) = local.topology()
    {
        let line = ["serve".to_owned()].into_iter().chain(topology.arguments);
        let deployed = Deployed::try_parse_from(line).context("the deployed server's options cannot be read")?;
        let told = deployed.serve.store.config()?.options();
        options = StoreOptions { migrate: false, folder: topology.directory.join(&told.folder), ..told };
    }
    Ok(options)
}
