//! `facesocial models list`.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::Args;
use facesocial_hub::{
    Manifest, Places, Profile, State,
    status::{self, Listed, Plan},
};
use facesocial_pipeline::{Choice, Ensemble, Folders};
use facesocial_types::Service;
use indicatif::DecimalBytes;
use serde::Serialize;

use super::PlaceArgs;
use crate::{
    cli::{json::VERSION, table::TextTable},
    networks::NetworkArgs,
};

/// Options of `facesocial models list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: PlaceArgs,
    /// The network of a service that has several, as for the other commands; decides what is listed as running.
    #[arg(long, value_name = "SERVICE=NAME", env = "FACESOCIAL_NETWORKS", value_delimiter = ',')]
    network: Vec<Choice>,
    /// Members of the recognition ensemble, as for the other commands; decides what is listed as running.
    #[arg(long, value_name = "NAME:WEIGHT,...", env = "FACESOCIAL_ENSEMBLE")]
    ensemble: Option<Ensemble>,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    dir: &'a Path,
    weights: Option<&'a Path>,
    networks: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    title: &'a str,
    service: &'a str,
    profile: &'static str,
    licence: &'a str,
    restriction: Option<&'static str>,
    state: &'static str,
    damage: Option<String>,
    bytes: Option<u64>,
    /// Null where the network's layers are read from its file.
    parameters: Option<usize>,
    file: Option<&'a Path>,
    /// Services that would run it now; null if that cannot be told.
    runs_in: Option<&'a [String]>,
    source: String,
}

/// Runs the command.
pub fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let (places, catalog) = (args.places.places()?, args.places.catalog()?);
    let plan = plan(args, &places);
    let mut listed = status::list(&catalog, &places, plan.as_ref().ok())?;
    let rank = |service: &str| Service::ALL.iter().position(|s| s.as_str() == service).unwrap_or(usize::MAX);
    listed.sort_by_key(|l| rank(&l.manifest.service));
    let mut out = io::stdout().lock();
    if args.json {
        let networks = listed.iter().map(entry).collect();
        let (dir, weights) = (places.pulled.path(), places.bundled.as_deref());
        serde_json::to_writer(&mut out, &Document { version: VERSION, dir, weights, networks })?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    out.write_all(text(&listed).as_bytes())?;
    writeln!(out, "pulled networks: {}", places.pulled.path().display())?;
    match &places.bundled {
        Some(dir) => writeln!(out, "bundled networks: {}", dir.display())?,
        None => writeln!(out, "bundled networks: not found; name their folder with --weights DIR")?,
    }
    if let Err(reason) = &plan {
        writeln!(out, "which networks run cannot be told: {reason:#}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Which services would run which network.
fn plan(args: &ListArgs, places: &Places) -> anyhow::Result<Plan> {
    let pulled = places.pulled.path();
    let networks = NetworkArgs {
        weights: places.bundled.clone(),
        models_dir: Some(pulled.to_owned()),
        network: args.network.clone(),
        ensemble: args.ensemble.clone(),
        ..NetworkArgs::default()
    };
    let options = networks.options(Vec::new())?;
    let folders = Folders::open(&options.weights, Some(pulled))?;
    let mut plan = Plan::new();
    for (service, networks) in facesocial_pipeline::plan(&folders, &options.selection)? {
        // A service without networks runs none.
        for network in networks.unwrap_or_default() {
            plan.entry(network).or_default().push(service.as_str().to_owned());
        }
    }
    Ok(plan)
}

fn entry<'a>(listed: &'a Listed<'_>) -> Entry<'a> {
    let manifest = listed.manifest;
    Entry {
        name: &manifest.name,
        title: &manifest.title,
        service: &manifest.service,
        profile: profile(manifest),
        licence: &manifest.licence,
        restriction: listed.restriction.map(|r| r.word()),
        state: state(listed),
        damage: match &listed.state {
            State::Damaged(damage) => Some(damage.to_string()),
            _ => None,
        },
        bytes: listed.bytes,
        parameters: manifest.output.counts().map(|(_, parameters)| parameters),
        file: listed.file.as_deref(),
        runs_in: listed.runs_in.as_deref(),
        source: manifest.source_line(),
    }
}

const fn profile(manifest: &Manifest) -> &'static str {
    match manifest.profile {
        Profile::Bundled => "bundled",
        Profile::Full => "full",
    }
}

const fn state(listed: &Listed<'_>) -> &'static str {
    match (&listed.state, listed.manifest.profile) {
        (State::Present, Profile::Bundled) => "bundled",
        (State::Present, Profile::Full) => "pulled",
        (State::Absent, Profile::Bundled) => "absent",
        (State::Absent, Profile::Full) => "not pulled",
        (State::Damaged(_), _) => "damaged",
    }
}

/// One table per service.
fn text(listed: &[Listed<'_>]) -> String {
    let mut out = String::new();
    for group in listed.chunk_by(|a, b| a.manifest.service == b.manifest.service) {
        let mut table = TextTable::new(["name", "state", "runs", "size", "licence", "title", "from"]);
        for one in group {
            let manifest = one.manifest;
            let licence = match one.restriction {
                Some(restriction) if !manifest.licence.contains(restriction.word()) => {
                    format!("{} ({})", manifest.licence, restriction.word())
                }
                _ => manifest.licence.clone(),
            };
            table.row([
                manifest.name.clone(),
                state(one).to_owned(),
                runs(one),
                size(one),
                licence,
                manifest.title.clone(),
                from(manifest),
            ]);
        }
        out += &format!("{}\n{}\n", group[0].manifest.service, table.render());
    }
    out
}

/// Whether it runs: in its own service, or in others by their names.
fn runs(listed: &Listed<'_>) -> String {
    match listed.runs_in.as_deref() {
        None => "?".to_owned(),
        Some([]) => "no".to_owned(),
        Some([own]) if *own == listed.manifest.service => "yes".to_owned(),
        Some(services) => services.join(", "),
    }
}

/// Size of the weights; estimated from the number of parameters where they are not there.
fn size(listed: &Listed<'_>) -> String {
    match listed.bytes {
        Some(bytes) => DecimalBytes(bytes).to_string(),
        None => {
            let published = listed.manifest.source.published();
            let file = || published?.files.iter().map(|f| f.bytes).sum::<Option<u64>>();
            let counted = listed.manifest.output.counts().map(|(_, parameters)| 4 * parameters as u64);
            counted.or_else(file).map_or("?".to_owned(), |bytes| format!("~{}", DecimalBytes(bytes)))
        }
    }
}

/// The source without its files.
fn from(manifest: &Manifest) -> String {
    let line = manifest.source_line();
    let files: Vec<_> = manifest.source.published().into_iter().flat_map(|p| &p.files).map(|f| &*f.path).collect();
    line.strip_suffix(&files.join(", ")).unwrap_or(&line).trim_end().to_owned()
}
