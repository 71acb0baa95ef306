//! `facesocial models pull`.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use facesocial_hub::{
    Catalog, How, Manifest, Outcome, Profile, PullOptions, Puller, Restriction, Settings, disk::RealDisk,
    mirror::Mirror,
};
use indicatif::DecimalBytes;
use serde::Serialize;

use super::{PlaceArgs, tell::Teller};
use crate::cli::json::VERSION;

/// Options of `facesocial models pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// The networks, by their names in `models list`.
    #[arg(value_name = "NETWORK", required_unless_present = "profile")]
    networks: Vec<String>,
    /// Every network of a profile: `full` are those that are not shipped, `bundled` those that are.
    #[arg(long, value_enum, value_name = "PROFILE")]
    profile: Option<ProfileName>,
    /// Accepts the licence of a network whose licence is non-commercial or copyleft; `all` accepts every one. Needed once
    /// per network and licence; asked for on a terminal.
    #[arg(long, value_name = "NETWORK|all", value_delimiter = ',')]
    accept_licence: Vec<String>,
    /// A mirror: a folder (then nothing goes over the network) or the https:// address of a server.
    #[arg(long, value_name = "DIR|URL")]
    from: Option<String>,
    /// Permits plain http to other machines, for a mirror in one's own network.
    #[arg(long)]
    allow_http: bool,
    /// Leaves the downloaded files in the folder `sources` beside the weights.
    #[arg(long)]
    keep_sources: bool,
    /// Pulls networks again that are there and whole.
    #[arg(long)]
    force: bool,
    /// Takes files that differ from those of the first pull, after the publisher has replaced them; implies --force.
    #[arg(long)]
    accept_changed: bool,
    /// Write nothing but errors.
    #[arg(long, short)]
    quiet: bool,
    /// Write the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: PlaceArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProfileName {
    Bundled,
    Full,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Bundled => Self::Bundled,
            ProfileName::Full => Self::Full,
        }
    }
}

/// Accepts every licence.
const ALL: &str = "all";

#[derive(Serialize)]
struct Document {
    version: u32,
    dir: PathBuf,
    networks: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    Done {
        name: String,
        state: &'static str,
        file: PathBuf,
        bytes: u64,
        sha256: String,
        licence: String,
        source: String,
    },
    Failed {
        name: String,
        error: String,
    },
}

/// Runs the command.
pub fn run(args: &PullArgs) -> anyhow::Result<ExitCode> {
    let (places, catalog) = (args.places.places()?, args.places.catalog()?);
    let wanted = catalog.select(&args.networks, args.profile.map(Profile::from))?;
    let mut settings = Settings::from_env()?;
    settings.allow_http = args.allow_http;
    if let Some(from) = &args.from {
        settings.mirror = Some(Mirror::parse(from)?);
    }
    let teller = Teller::new(args.quiet || args.json);
    let options = PullOptions {
        accepted: accepted(args, &catalog)?,
        accept_all: args.accept_licence.iter().any(|n| n == ALL),
        keep_sources: args.keep_sources,
        force: args.force || args.accept_changed,
        accept_changed: args.accept_changed,
    };
    let mut puller = Puller { places: &places, settings: &settings, disk: &RealDisk, observer: &teller, options };
    let unaccepted = puller.unaccepted(&wanted)?;
    puller.options.accepted.extend(ask(&unaccepted)?);

    let outcomes = puller.pull(&wanted)?;
    teller.finish();
    let mut out = io::stdout().lock();
    for outcome in &outcomes {
        match &outcome.result {
            Ok(_) if args.quiet || args.json => {}
            Ok(pulled) => {
                let state = state(pulled.how);
                let size = DecimalBytes(pulled.entry.bytes);
                writeln!(out, "{}: {state}, {size}, {}", outcome.name, pulled.file.display())?;
            }
            Err(error) => teller.line(&format!("{}: {error}", outcome.name)),
        }
    }
    let failed = outcomes.iter().any(|o| o.result.is_err());
    if args.json {
        let networks = outcomes.into_iter().map(entry).collect();
        let document = Document { version: VERSION, dir: places.pulled.path().to_owned(), networks };
        serde_json::to_writer(&mut out, &document)?;
        writeln!(out)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The networks of `--accept-licence`; a wrong name would accept nothing and is an error.
fn accepted(args: &PullArgs, catalog: &Catalog) -> anyhow::Result<BTreeSet<String>> {
    let names = args.accept_licence.iter().filter(|n| *n != ALL);
    names.map(|name| Ok(catalog.get(name)?.name.clone())).collect()
}

/// Asks for each licence, if somebody is there to answer.
fn ask(unaccepted: &[&Manifest]) -> io::Result<Vec<String>> {
    let mut accepted = Vec::new();
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(accepted);
    }
    let mut err = io::stderr();
    for manifest in unaccepted {
        let word = Restriction::of(manifest).map_or("", Restriction::word);
        write!(
            err,
            "{} ({})\n  licence: {} ({word})\n  published at: {}\naccept this licence? [y/N] ",
            manifest.name, manifest.title, manifest.licence, manifest.reference,
        )?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            accepted.push(manifest.name.clone());
        }
    }
    Ok(accepted)
}

const fn state(how: How) -> &'static str {
    match how {
        How::Bundled => "bundled",
        How::Already => "already pulled",
        How::Pulled => "pulled",
    }
}

fn entry(outcome: Outcome) -> Entry {
    let name = outcome.name;
    match outcome.result {
        Ok(pulled) => Entry::Done {
            name,
            state: state(pulled.how),
            file: pulled.file,
            bytes: pulled.entry.bytes,
            sha256: pulled.entry.sha256,
            licence: pulled.entry.licence,
            source: pulled.entry.source,
        },
        Err(error) => Entry::Failed { name, error: error.to_string() },
    }
}
