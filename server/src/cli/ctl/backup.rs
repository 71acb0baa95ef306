//! `facesocial ctl backup`: database, configuration and list of weights in one folder, tried before it counts.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use anyhow::{Context, bail};
use clap::Args;
use facesocial_ctl::{Manager, compose::Compose};
use facesocial_store::{GalleryStats, PostgresTools, StoreOptions, backup, try_backup};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::{OffsetDateTime, macros::format_description};

use super::place::{self, PlaceArgs};
use crate::{config::StoreArgs, extract::hex, services::health::VERSION, weights_dir};

/// How the folders of backups are called; what comes after it is the time.
const PREFIX: &str = "facesocial-";
/// What a folder is called until its backup was tried.
const UNFINISHED: &str = ".unfinished";
/// Tells what is in a backup.
pub(super) const MANIFEST: &str = "manifest.json";
/// The list of weights.
const LOCK: &str = "weights.lock";
/// Where compose files keep database and user.
const CONTAINER: &str = "postgres";

/// Options of `facesocial ctl backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Folder that holds the backups; each is a folder in it.
    #[arg(default_value = "backups")]
    to: PathBuf,
    /// Backups that are kept; older ones are removed once the new one was tried.
    #[arg(long, value_name = "N", default_value = "7")]
    keep: std::num::NonZeroUsize,
    /// Folder with weights.lock; looked for as by `facesocial serve` unless given.
    #[arg(long, value_name = "DIR", env = "FACESOCIAL_WEIGHTS")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// What a backup holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of this document.
    pub version: u32,
    /// When, in UTC.
    pub created: String,
    /// Version of the program.
    pub program: String,
    /// `sqlite`, `postgres`, or `compose` for the Postgres of a compose file.
    pub database: String,
    /// What restoring it on trial brought back; `None` where that needs the containers' own Postgres.
    pub gallery: Option<GalleryStats>,
    /// The files, with the database's first.
    pub files: Vec<Filed>,
}

/// One file of a backup.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Filed {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest, hex.
    pub sha256: String,
}

/// Makes a backup, tries it, and removes those that are too old.
///
/// # Errors
/// The database does not answer; the backup cannot be written, or not be restored.
pub(super) async fn run(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let manager = args.place.manager()?;
    let options = place::store(&args.store, &manager)?;
    let now = OffsetDateTime::now_utc();
    let name = format!("{PREFIX}{}", now.format(format_description!("[year][month][day]T[hour][minute][second]Z"))?);
    let folder = args.to.join(format!("{name}{UNFINISHED}"));
    create(&args.to)?;
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let made = fill(&manager, &options, &args, &folder, now).await;
    let manifest = match made {
        Ok(manifest) => manifest,
        Err(error) => {
            fs::remove_dir_all(&folder).ok();
            return Err(error);
        }
    };
    let done = args.to.join(&name);
    fs::rename(&folder, &done).with_context(|| format!("cannot name {}", done.display()))?;
    let removed = rotate(&args.to, args.keep.get())?;
    let mut out = io::stdout();
    if args.json {
        let told =
            serde_json::json!({ "folder": done.display().to_string(), "manifest": manifest, "removed": removed });
        writeln!(out, "{told:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    writeln!(out, "{}: {} files, {bytes} bytes", done.display(), manifest.files.len())?;
    match &manifest.gallery {
        Some(GalleryStats { persons, faces, .. }) => {
            writeln!(out, "restored on trial and checked: {persons} persons, {faces} faces")?;
        }
        None => writeln!(out, "restored on trial in the containers' own Postgres")?,
    }
    for name in removed {
        writeln!(out, "removed {name}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A folder that its owner alone may look into: backups hold everybody's faces.
fn create(folder: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("cannot create {}", folder.display()))
}

async fn fill(
    manager: &Manager,
    options: &StoreOptions,
    args: &BackupArgs,
    folder: &Path,
    now: OffsetDateTime,
) -> anyhow::Result<Manifest> {
    let (database, name, gallery) = match manager {
        Manager::Compose(compose) if options.url.is_none() => {
            dump_container(compose, &folder.join("database.dump")).await?;
            ("compose", "database.dump", None)
        }
        _ => {
            let (database, name) = match &options.url {
                Some(_) => ("postgres", "database.dump"),
                None => ("sqlite", "database.db"),
            };
            let (file, tools) = (folder.join(name), PostgresTools::from_env());
            backup(options, &file, &tools).await.context("no backup was made")?;
            let tried = try_backup(options, &file, &tools).await.context("the backup cannot be restored")?;
            if let Some(bad) = tried.checks.iter().find(|check| !check.ok) {
                bail!("the restored backup is damaged: {}: {}", bad.check, bad.detail);
            }
            (database, name, Some(tried.gallery))
        }
    };
    let mut names = vec![name.to_owned()];
    for file in configuration(manager, args) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        fs::copy(&file, folder.join(&name)).with_context(|| format!("cannot copy {}", file.display()))?;
        names.push(name);
    }
    let files = names.into_iter().map(|name| filed(folder, name)).collect::<anyhow::Result<Vec<_>>>()?;
    let manifest = Manifest {
        version: 1,
        created: now.format(&time::format_description::well_known::Rfc3339)?,
        program: VERSION.to_owned(),
        database: database.to_owned(),
        gallery,
        files,
    };
    let path = folder.join(MANIFEST);
    fs::write(&path, serde_json::to_vec_pretty(&manifest)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(manifest)
}

/// What tells how the servers run, without secrets.
fn configuration(manager: &Manager, args: &BackupArgs) -> Vec<PathBuf> {
    let mut files = match manager {
        Manager::Local(local) => vec![local.folder().join("topology.json")],
        Manager::Compose(_) => args.place.compose_file.clone(),
    };
    if let Ok(weights) = weights_dir::resolve(args.weights.as_deref()) {
        files.push(weights.join(LOCK));
    }
    files.retain(|file| file.is_file());
    files
}

/// The Postgres of the compose file is reached by nobody outside of its network.
async fn dump_container(compose: &Compose, to: &Path) -> anyhow::Result<()> {
    let dump = "pg_dump --format=custom --no-owner --no-privileges -U \"$POSTGRES_USER\" \"$POSTGRES_DB\"";
    let file = private(to)?;
    compose.execute(CONTAINER, &["sh", "-c", dump], Stdio::null(), file.into()).await?;
    let trial = "set -e; d=facesocial_tried_$$; createdb -U \"$POSTGRES_USER\" $d; \
                 trap 'dropdb -U \"$POSTGRES_USER\" $d' EXIT; \
                 pg_restore -U \"$POSTGRES_USER\" --exit-on-error --no-owner -d $d";
    let again = fs::File::open(to).with_context(|| format!("cannot read {}", to.display()))?;
    compose.execute(CONTAINER, &["sh", "-c", trial], again.into(), Stdio::null()).await?;
    Ok(())
}

fn private(path: &Path) -> anyhow::Result<fs::File> {
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).with_context(|| format!("cannot write {}", path.display()))
}

/// A file with its digest.
pub(super) fn filed(folder: &Path, name: String) -> anyhow::Result<Filed> {
    let path = folder.join(&name);
    let read = || -> io::Result<(u64, String)> {
        let (mut file, mut digest, mut block) = (fs::File::open(&path)?, Sha256::new(), vec![0; 1 << 20]);
        let mut bytes = 0;
        loop {
            let n = file.read(&mut block)?;
            if n == 0 {
                return Ok((bytes, hex(&digest.finalize())));
            }
            digest.update(&block[..n]);
            bytes += n as u64;
        }
    };
    let (bytes, sha256) = read().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Filed { name, bytes, sha256 })
}

/// Removes the oldest backups until `keep` are left; gives their names.
fn rotate(folder: &Path, keep: usize) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Nothing else is touched: what has no manifest is no backup of this program.
        if name.starts_with(PREFIX) && !name.ends_with(UNFINISHED) && entry.path().join(MANIFEST).is_file() {
            names.push(name);
        }
    }
    // The time in their names sorts them.
    names.sort_unstable();
    let old = names.len().saturating_sub(keep);
    names.truncate(old);
    for name in &names {
        fs::remove_dir_all(folder.join(name)).with_context(|| format!("cannot remove {name}"))?;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_backups_stay_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, manifest: bool| {
            fs::create_dir(folder.path().join(name)).unwrap();
            if manifest {
                fs::write(folder.path().join(name).join(MANIFEST), "{}").unwrap();
            }
        };
        for day in 1..=4 {
            put(&format!("{PREFIX}2026010{day}T000000Z"), true);
        }
        put("facesocial-notes", false);
        put("photos", true);
        assert_eq!(rotate(folder.path(), 2).unwrap(), ["facesocial-20260101T000000Z", "facesocial-20260102T000000Z"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
        assert!(rotate(folder.path(), 2).unwrap().is_empty());
    }

    #[test]
    fn a_file_is_known_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "abc").unwrap();
        let filed = filed(folder.path(), "a".to_owned()).unwrap();
        assert_eq!(filed.bytes, 3);
        assert_eq!(filed.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
