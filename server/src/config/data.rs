//! Where people, faces and history are kept, and what of them.

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use facesocial_store::{EncryptionKey, StoreOptions};

use super::Secret;

/// Name of this program's folder in the user's data folder.
const FOLDER: &str = "facesocial";
/// Most of what pgvector looks at.
const MAX_EF_SEARCH: u32 = 1000;

/// Where people, faces and history are kept; the same for every command that needs them.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// A Postgres with pgvector, as postgres://user:password@host/database. Unless given, an embedded database in the data
    /// folder.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<Secret>,
    /// File with that URL, as container platforms mount secrets.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE", conflicts_with = "database_url")]
    pub database_url_file: Option<PathBuf>,
    /// Folder of the embedded database; facesocial in the user's data folder unless given.
    #[arg(long, env = "FACESOCIAL_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Most connections to the database at a time.
    #[arg(long, env = "FACESOCIAL_DATABASE_MAX_CONNECTIONS", value_name = "N", default_value = "16")]
    pub database_max_connections: NonZeroU32,
    /// How many candidates Postgres looks at in a search, 1 to 1000: more find more of the most similar faces, and take
    /// longer. The embedded database searches exactly.
    #[arg(long, env = "FACESOCIAL_EF_SEARCH", value_name = "N", default_value = "200",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_EF_SEARCH)))]
    pub ef_search: u32,
    /// File with the key that embeddings are encrypted with at rest. The key itself can be given in
    /// FACESOCIAL_ENCRYPTION_KEY. Who loses it loses the embeddings.
    #[arg(long, env = "FACESOCIAL_ENCRYPTION_KEY_FILE", value_name = "FILE")]
    pub encryption_key_file: Option<PathBuf>,
}

/// What of analyses and faces is kept.
#[derive(Debug, Clone, Args)]
pub struct KeepArgs {
    /// Store analyses as sessions unless a request says store=false. Without this, only those whose request says
    /// store=true.
    #[arg(long, env = "FACESOCIAL_STORE_SESSIONS")]
    pub store_sessions: bool,
    /// Keep the photo of a stored analysis.
    #[arg(long, env = "FACESOCIAL_STORE_IMAGES")]
    pub store_images: bool,
    /// Quality from which a face can be enrolled, 0 to 1.
    #[arg(long, env = "FACESOCIAL_ENROL_QUALITY", value_name = "SCORE", default_value = "0.4", value_parser = unit)]
    pub enrol_quality: f32,
}

/// Where people, faces and history are kept.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Address of a Postgres; `None` for the embedded database.
    pub database_url: Option<Secret>,
    /// Folder of the embedded database.
    pub data_dir: PathBuf,
    /// Most connections to the database at a time.
    pub max_connections: u32,
    /// How many candidates Postgres looks at in a search.
    pub ef_search: u32,
    /// What embeddings are encrypted with at rest.
    pub encryption_key: Option<EncryptionKey>,
}

impl StoreConfig {
    /// How the store is opened by a server: its schema brought up to date.
    pub fn options(&self) -> StoreOptions {
        StoreOptions {
            url: self.database_url.as_ref().map(|url| url.expose().to_owned()),
            max_connections: self.max_connections,
            ef_search: self.ef_search,
            encryption: self.encryption_key.clone(),
            ..StoreOptions::embedded(self.data_dir.clone())
        }
    }
}

/// What of analyses and faces is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keeping {
    /// Whether analyses are stored unless a request says otherwise.
    pub sessions: bool,
    /// Whether the photo of a stored analysis is kept.
    pub images: bool,
    /// Quality from which a face can be enrolled, 0..=1.
    pub enrol_quality: f32,
}

impl StoreArgs {
    /// Puts defaults and choices together.
    ///
    /// # Errors
    /// A key that is none or whose file cannot be read; a system without a folder for data.
    pub fn config(self) -> anyhow::Result<StoreConfig> {
        let database_url = match self.database_url_file.filter(|file| !file.as_os_str().is_empty()) {
            Some(file) => Some(secret_in(&file)?),
            None => self.database_url.and_then(Secret::given),
        };
        let data_dir = match self.data_dir {
            Some(folder) => folder,
            None => dirs::data_dir()
                .context("this system has no folder for data; name one with --data-dir or FACESOCIAL_DATA_DIR")?
                .join(FOLDER),
        };
        Ok(StoreConfig {
            database_url,
            data_dir,
            max_connections: self.database_max_connections.get(),
            ef_search: self.ef_search,
            encryption_key: secret(self.encryption_key_file.as_deref(), "FACESOCIAL_ENCRYPTION_KEY")?
                .map(|key| key.expose().parse())
                .transpose()?,
        })
    }
}

impl From<KeepArgs> for Keeping {
    fn from(args: KeepArgs) -> Self {
        Self { sessions: args.store_sessions, images: args.store_images, enrol_quality: args.enrol_quality }
    }
}

/// A secret from a file or else from an environment variable: as a flag it would stand in the list of processes.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn secret(file: Option<&Path>, variable: &str) -> anyhow::Result<Option<Secret>> {
    match file {
        Some(file) => secret_in(file).map(Some),
        None => Ok(std::env::var(variable).ok().and_then(|text| Secret::new(text.trim()).given())),
    }
}

/// A secret from a file.
///
/// # Errors
/// It cannot be read, or is empty.
pub(super) fn secret_in(file: &Path) -> anyhow::Result<Secret> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Secret::new(text.trim()).given().with_context(|| format!("{} is empty", file.display()))
}

fn unit(s: &str) -> Result<f32, String> {
    let number = s.trim().parse().ok().filter(|n| (0.0..=1.0).contains(n));
    number.ok_or_else(|| format!("\"{s}\" is not a number from 0 to 1"))
}
