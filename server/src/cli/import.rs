//! `facesocial import`: enrols a folder of `person/photo.jpg` without a server in between.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::{Args, Parser};
use facesocial_store::{CollectionId, NewCollection, Store, StoreError, Write as Change};
use facesocial_types::Service;

use super::{database, progress::Progress, table::TextTable};
use crate::{
    config::{Config, KeepArgs, ServeArgs, StoreArgs},
    error::{ApiError, ApiResult, Code},
    jobs::import::{
        enrol_photo,
        place::{self, Place},
        report::{FileStatus, ImportReport},
    },
    networks::NetworkArgs,
    state::{Loaded, State},
};

const EXAMPLES: &str = "Examples:
  facesocial import photos --collection staff --create
  facesocial import photos --collection staff --json > report.json

The folder holds one folder for each person, named as the person is (external_id), with photos of that person alone:

  photos/ann/1.jpg
  photos/ann/2.jpg
  photos/bob/portrait.png

Enrolled is what the server would enrol, by the same rules. What was enrolled before is told as a duplicate, so that an
import that was cut off is simply started again. With the embedded database the server must be stopped; while it runs,
send the folder as a ZIP archive: POST /api/v1/collections/NAME/imports. With Postgres the server may run.";

/// Memory for the cache, which nothing is kept in here.
const CACHE_BYTES: usize = 1 << 20;

/// Options of `facesocial import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// Folder with one folder for each person.
    folder: PathBuf,
    /// Collection that the faces are enrolled in.
    #[arg(long, value_name = "NAME", default_value = facesocial_store::DEFAULT_COLLECTION)]
    collection: String,
    /// Make the collection if there is none of the name.
    #[arg(long)]
    create: bool,
    /// Writes the whole report as JSON.
    #[arg(long)]
    json: bool,
    /// Which networks run.
    #[command(flatten)]
    networks: NetworkArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

/// The options of the server, for those that an import shares with it.
#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Runs the command. Exit code 1 if any photo was rejected.
///
/// # Errors
/// No such folder, no such collection, a database that cannot be opened, networks that cannot be loaded.
pub fn run(args: ImportArgs) -> anyhow::Result<ExitCode> {
    database::block_on(import(args))
}

async fn import(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let files = files(&args.folder)?;
    if files.is_empty() {
        bail!("{} holds no photo at a path like person/photo.jpg", args.folder.display());
    }
    let defaults =
        Defaults::try_parse_from(["serve"]).context("the environment sets an option of the server wrongly")?;
    let config = Config::try_from(ServeArgs {
        networks: args.networks,
        store: args.store,
        keep: args.keep,
        services: vec![Service::Recognition],
        ..defaults.serve
    })?;
    let store = facesocial_store::open(&config.store.options()).await.context("cannot open the database")?;
    let imported = import_into(&config, &store, &args.collection, args.create, &args.folder, &files).await;
    store.close().await;
    let report = imported?;
    if args.json {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        io::stdout().write_all(told(&report).as_bytes())?;
    }
    Ok(if report.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn import_into(
    config: &Config,
    store: &Arc<dyn Store>,
    name: &str,
    create: bool,
    folder: &Path,
    files: &[String],
) -> anyhow::Result<ImportReport> {
    let collection = collection(store, name, create).await?;
    let options = config.networks.options(config.services.clone())?;
    let state = State::new(config, facesocial_cache::open(None, CACHE_BYTES)?);
    let loaded = tokio::task::spawn_blocking(move || Loaded::load(&options)).await.context("loading panicked")??;
    loaded.require(Service::Recognition).map_err(|e| anyhow::anyhow!(e.detail))?;
    state.set_loaded(loaded);
    state.set_store(Arc::clone(store));
    let write = Change { request_id: "cli_import".to_owned(), ..Change::system() };
    let (mut report, bar) = (ImportReport::default(), Progress::new(files.len(), "photos"));
    for path in files {
        let answer = match photo(folder, path, config.limits.image_bytes as u64) {
            Ok((person, bytes)) => enrol_photo(&state, &write, collection, &person, bytes).await,
            Err(error) => Err(error),
        };
        report.add(path.clone(), answer);
        bar.step();
    }
    Ok(report)
}

async fn collection(store: &Arc<dyn Store>, name: &str, create: bool) -> anyhow::Result<CollectionId> {
    match store.collection(name).await {
        Ok(collection) => Ok(collection.id),
        Err(StoreError::NotFound { .. }) if create => {
            crate::gallery::names::collection(name).map_err(|e| anyhow::anyhow!(e.detail))?;
            let new = NewCollection { name: name.to_owned(), description: String::new() };
            Ok(store.create_collection(&Change::system(), new).await?.value.id)
        }
        Err(StoreError::NotFound { .. }) => bail!("there is no collection \"{name}\"; --create makes it"),
        Err(error) => Err(error.into()),
    }
}

/// Paths below `folder`, with `/` between their parts, that are photos or have to be told of.
fn files(folder: &Path) -> anyhow::Result<Vec<String>> {
    let read = |folder: &Path| -> anyhow::Result<Vec<(String, bool)>> {
        let cannot = || format!("cannot read {}", folder.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            // Names that are no text cannot name a person; they are told as what they look like.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push((name, path.is_dir()));
        }
        found.sort();
        Ok(found)
    };
    let mut files = Vec::new();
    for (name, is_folder) in read(folder)? {
        if !is_folder {
            files.push(name);
            continue;
        }
        for (file, is_folder) in read(&folder.join(&name))? {
            files.push(if is_folder { format!("{name}/{file}/…") } else { format!("{name}/{file}") });
        }
    }
    files.retain(|path| place::of(path) != Place::Ignored);
    Ok(files)
}

fn photo(folder: &Path, path: &str, limit: u64) -> ApiResult<(String, Vec<u8>)> {
    let person = match place::of(path) {
        Place::Photo { person, .. } => person.to_owned(),
        Place::Refused(reason) => return Err(ApiError::invalid(reason)),
        Place::Ignored => return Err(ApiError::invalid("this is no photo")),
    };
    let file = folder.join(path);
    let cannot = |e: io::Error| ApiError::invalid(format!("the file cannot be read: {e}"));
    if fs::metadata(&file).map_err(cannot)?.len() > limit {
        let detail = format!("the file is larger than the {limit} bytes allowed for one image");
        return Err(ApiError::new(Code::PayloadTooLarge, detail));
    }
    Ok((person, fs::read(file).map_err(cannot)?))
}

fn told(report: &ImportReport) -> String {
    let mut out = String::new();
    let odd: Vec<_> = report.files.iter().filter(|file| file.status != FileStatus::Enrolled).collect();
    if !odd.is_empty() {
        let mut table = TextTable::new(["file", "", "why"]);
        for file in odd {
            table.row([file.path.as_str(), file.status.as_str(), file.reason.as_deref().unwrap_or_default()]);
        }
        out += &table.render();
        out.push('\n');
    }
    out += &format!(
        "{} enrolled, {} duplicates, {} rejected; {} new persons\n",
        report.enrolled, report.duplicates, report.rejected, report.persons_created
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_photos_and_what_has_to_be_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for person in ["bob", "ann", "ann/more", ".git"] {
            fs::create_dir_all(at(person)).unwrap();
        }
        for file in
            ["ann/2.jpg", "ann/1.jpg", "bob/1.jpg", ".git/config", "ann/.DS_Store", "stray.jpg", "ann/more/x.jpg"]
        {
            fs::write(at(file), "x").unwrap();
        }
        assert_eq!(files(folder.path()).unwrap(), ["ann/1.jpg", "ann/2.jpg", "ann/more/…", "bob/1.jpg", "stray.jpg"]);
        assert_eq!(photo(folder.path(), "ann/1.jpg", 10).unwrap(), ("ann".to_owned(), b"x".to_vec()));
        assert_eq!(photo(folder.path(), "ann/1.jpg", 0).unwrap_err().code, Code::PayloadTooLarge);
        for odd in ["stray.jpg", "ann/more/…", "ann/gone.jpg"] {
            assert!(photo(folder.path(), odd, 10).is_err(), "{odd}");
        }
        assert!(files(&at("nowhere")).is_err());
    }

    #[test]
    fn the_servers_defaults_can_be_read() {
        assert!(Defaults::try_parse_from(["serve"]).is_ok());
    }

    #[test]
    fn what_is_told_are_the_exceptions_and_the_sums() {
        let mut report = ImportReport::default();
        report.add("ann/1.jpg".to_owned(), Err(ApiError::new(Code::NoFace, "no face was found")));
        let text = told(&report);
        assert!(text.contains("ann/1.jpg") && text.contains("no face was found"), "{text}");
        assert!(text.ends_with("0 enrolled, 0 duplicates, 1 rejected; 0 new persons\n"));
    }
}
