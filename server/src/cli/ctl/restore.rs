//! `facesocial ctl restore`.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::{ExitCode, Stdio},
};

use anyhow::{Context, bail};
use clap::Args;
use facesocial_ctl::{CtlError, Manager};
use facesocial_store::{PostgresTools, restore};
use serde_json::json;

use super::{
    backup::{MANIFEST, Manifest, filed},
    place::{self, PlaceArgs},
};
use crate::config::StoreArgs;

/// Options of `facesocial ctl restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Folder that `facesocial ctl backup` made.
    from: PathBuf,
    /// Replace what a Postgres holds. Without this, it must be empty.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// Checks the backup, stops the servers of this deployment, takes over the database and starts them again.
///
/// # Errors
/// A file that is not the one that was written; a database of another kind or in use by another server.
pub(super) async fn run(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    let path = args.from.join(MANIFEST);
    let text = fs::read(&path)
        .with_context(|| format!("{} is no backup: its {MANIFEST} cannot be read", args.from.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    for file in &manifest.files {
        let found = filed(&args.from, file.name.clone())?;
        if found.sha256 != file.sha256 {
            bail!("{} is not the file that was backed up: its digest differs", args.from.join(&file.name).display());
        }
    }
    let database = args.from.join(&manifest.files.first().context("the backup names no files")?.name);
    let manager = args.place.manager()?;
    let options = place::store(&args.store, &manager)?;
    let kind = match (&manager, &options.url) {
        (_, Some(_)) => "postgres",
        (Manager::Compose(_), None) => "compose",
        (Manager::Local(_), None) => "sqlite",
    };
    // Both are dumps of Postgres.
    let same = manifest.database == kind || (manifest.database != "sqlite" && kind != "sqlite");
    if !same {
        bail!(
            "the backup is of {}, and this deployment keeps its data in {kind}; give the database with --database-url or \
             --data-dir",
            manifest.database
        );
    }
    let stopped = stop(&manager).await?;
    let restored = match (&manager, &options.url) {
        (Manager::Compose(compose), None) => {
            if !args.replace {
                bail!("the containers' Postgres is not empty; --replace gives up what it holds");
            }
            let load = "pg_restore -U \"$POSTGRES_USER\" --clean --if-exists --no-owner --exit-on-error \
                        --single-transaction -d \"$POSTGRES_DB\"";
            let file = fs::File::open(&database).with_context(|| format!("cannot read {}", database.display()))?;
            compose.start(&["postgres".to_owned()]).await?;
            compose.execute("postgres", &["sh", "-c", load], file.into(), Stdio::null()).await.map(|()| None)?
        }
        _ => restore(&options, &database, &PostgresTools::from_env(), args.replace)
            .await
            .context("nothing was restored")?,
    };
    if stopped {
        manager.start(&[]).await.context("restored, but the servers do not start")?;
    }
    let former = restored.map(|path| path.display().to_string());
    let line = match (args.json, &former) {
        (true, _) => json!({ "former": former, "gallery": manifest.gallery }).to_string(),
        (false, Some(path)) => format!("restored; the former database is {path}"),
        (false, None) => "restored".to_owned(),
    };
    writeln!(io::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}

/// Stops what is deployed; false if nothing is.
async fn stop(manager: &Manager) -> anyhow::Result<bool> {
    match manager.stop(&[]).await {
        Ok(()) => Ok(true),
        Err(CtlError::NotDeployed(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
