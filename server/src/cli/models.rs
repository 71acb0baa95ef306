//! `facesocial models`: which networks there are, and bringing those that are not shipped.

mod list;
mod pull;
mod tell;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use facesocial_hub::{Catalog, Places, PulledFolder, status};

use crate::weights_dir;

const EXAMPLES: &str = "Examples:
  facesocial models list
  facesocial models pull --profile full --accept-licence all
  facesocial models pull vit-deepfake
  facesocial models verify
  sha256sum \"$(facesocial models path vit-deepfake)\"";

const PULL_EXAMPLES: &str = "Examples:
  facesocial models pull vit-deepfake minifasnet-v2
  facesocial models pull --profile full --accept-licence arcface-iresnet100,arcface-iresnet50
  facesocial models pull --profile full --from /mnt/usb/models
  HTTPS_PROXY=http://proxy.example:3128 facesocial models pull vit-deepfake

A mirror (--from) has each file as NETWORK/FILE, as the publisher's path, or under its bare name. With a folder nothing
goes over the network.

Environment:
  HF_TOKEN, HF_TOKEN_PATH, HF_HOME      token for Hugging Face, sent to no other host; its cache is looked into
  HF_ENDPOINT, HF_HUB_OFFLINE           another hub; never ask the hub
  HTTPS_PROXY, ALL_PROXY, NO_PROXY      proxy, and hosts asked without it
  SSL_CERT_FILE                         PEM file of the root certificates, in place of the system's
  FACESOCIAL_MODELS_MIRROR              as --from

An interrupted pull goes on where it ended. A file whose sha256 the program does not know is recorded at the first pull
(sources.lock in the folder) and must be the same afterwards.";

/// Options of `facesocial models`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Lists every network by service: what is there, its licence, which ones run.
    ///
    /// Sizes of files are compared with their locks; `models verify` reads the files.
    List(list::ListArgs),
    /// Downloads networks that are not shipped, checks and converts them.
    ///
    /// Exit code 1 if any network did not come; the others did.
    #[command(after_help = PULL_EXAMPLES)]
    Pull(pull::PullArgs),
    /// Compares weight files with their locks, by size and sha256; exit code 1 if any differs.
    Verify(VerifyArgs),
    /// Writes the absolute path of a network's weight file; exit code 1 if it is not there.
    Path(PathArgs),
}

/// The folders of networks; the same for every subcommand.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// Folder of pulled networks. Unless given: facesocial/models in the user's folder for data, on Linux
    /// ~/.local/share/facesocial/models.
    #[arg(long, value_name = "DIR", env = "FACESOCIAL_MODELS_DIR", alias = "models-dir")]
    dir: Option<PathBuf>,
    /// Folder of the bundled networks. Unless given: ./weights, else a folder weights beside or above the program.
    #[arg(long, value_name = "DIR", env = "FACESOCIAL_WEIGHTS")]
    weights: Option<PathBuf>,
    /// Folder of manifests (NETWORK/manifest.toml) in place of the program's own, for trying out a new network.
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

impl PlaceArgs {
    fn places(&self) -> anyhow::Result<Places> {
        let pulled = self.dir.clone().map_or_else(PulledFolder::of_user, |dir| Ok(PulledFolder::new(dir)))?;
        let bundled = match &self.weights {
            Some(dir) => Some(weights_dir::resolve(Some(dir))?),
            // Without the bundled networks the others can still be managed.
            None => weights_dir::resolve(None).ok(),
        };
        Ok(Places { bundled, pulled })
    }

    fn catalog(&self) -> anyhow::Result<Catalog> {
        Ok(match &self.manifests {
            Some(dir) => Catalog::open(dir)?,
            None => Catalog::embedded()?,
        })
    }
}

/// Options of `facesocial models verify`.
#[derive(Debug, Args)]
struct VerifyArgs {
    /// The networks; all unless given, and then also files that no lock lists.
    #[arg(value_name = "NETWORK")]
    networks: Vec<String>,
    #[command(flatten)]
    places: PlaceArgs,
}

/// Options of `facesocial models path`.
#[derive(Debug, Args)]
struct PathArgs {
    /// The network.
    #[arg(value_name = "NETWORK")]
    network: String,
    #[command(flatten)]
    places: PlaceArgs,
}

/// Runs the command.
///
/// # Errors
/// What keeps the whole command from its answer; networks that fail among others are told and only set the exit code.
pub fn run(args: &ModelsArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        ModelsCommand::List(args) => list::run(args),
        ModelsCommand::Pull(args) => pull::run(args),
        ModelsCommand::Verify(args) => verify(args),
        ModelsCommand::Path(args) => path(args),
    }
}

fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let places = args.places.places()?;
    let verified = status::verify(&args.places.catalog()?, &places, &args.networks)?;
    let mut out = io::stdout().lock();
    let mut damaged = 0;
    for file in &verified {
        if let Some(damage) = &file.damage {
            damaged += 1;
            writeln!(out, "{}: {damage}", file.file.display())?;
        }
    }
    if verified.is_empty() {
        bail!("no weight files found, neither bundled nor in {}", places.pulled.path().display());
    }
    if damaged > 0 {
        let total = verified.len();
        writeln!(out, "{damaged} of {total} files differ; `facesocial models pull NETWORK` brings a pulled one again")?;
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "{} files are as their locks say", verified.len())?;
    Ok(ExitCode::SUCCESS)
}

fn path(args: &PathArgs) -> anyhow::Result<ExitCode> {
    let path = status::path_of(&args.places.catalog()?, &args.places.places()?, &args.network)?;
    let text = path.to_str().with_context(|| format!("{} is not a name in Unicode", path.display()))?;
    writeln!(io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
