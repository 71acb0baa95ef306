//! `facesocial db`: schema, state, backup and check of the database.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use facesocial_store::{
    CheckResult, MigrationStatus, PostgresTools, StoreError, StoreOptions, StoreStatus, backup, migrate,
    migration_status, restore,
};
use serde_json::{Value, json};

use super::{database, table::TextTable};
use crate::config::StoreArgs;

const EXAMPLES: &str = "Examples:
  facesocial db status
  facesocial db backup /backup/faces-2026-01-31.db
  facesocial db restore /backup/faces-2026-01-31.db
  DATABASE_URL=postgres://faces:secret@db/faces facesocial db check --json

Environment:
  DATABASE_URL, FACESOCIAL_DATA_DIR     which database, as for `facesocial serve`
  PG_BIN                                folder of pg_dump and pg_restore; unless given, PATH is looked through

A backup of Postgres is made by pg_dump and is of its custom format. Whoever has a backup has everybody's faces: keep it
as you keep the database. What is encrypted in the embedded database is encrypted in its backup, too, and needs the key.";

/// Options of `facesocial db`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Brings the schema up to date; makes it if there is none. The server does so itself at its start.
    Migrate(PlainArgs),
    /// Tells the state of the database; exit code 1 if migrations are pending.
    Status(PlainArgs),
    /// Writes everything into a new file. Servers may go on meanwhile.
    Backup(BackupArgs),
    /// Takes over a backup. The embedded database needs its server stopped; the former one is kept aside.
    Restore(RestoreArgs),
    /// Looks for damage; exit code 1 if there is any.
    Check(PlainArgs),
}

#[derive(Debug, Args)]
struct PlainArgs {
    /// Writes JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct BackupArgs {
    /// New file.
    file: PathBuf,
    #[command(flatten)]
    plain: PlainArgs,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// File that `facesocial db backup` wrote.
    file: PathBuf,
    /// Replace what a Postgres holds. Without this, it must be empty.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    plain: PlainArgs,
}

/// Runs the command.
///
/// # Errors
/// A database that does not answer or is used by a server; files that cannot be read or written.
pub fn run(args: DbArgs) -> anyhow::Result<ExitCode> {
    database::block_on(async {
        match args.command {
            DbCommand::Migrate(args) => {
                let options = options(args.store)?;
                let status = migrate(&options).await.context("cannot migrate")?;
                print(args.json, migrations_json(&status), || migrations(&status))?;
                Ok(ExitCode::SUCCESS)
            }
            DbCommand::Status(args) => status(args).await,
            DbCommand::Backup(args) => {
                let options = options(args.plain.store)?;
                backup(&options, &args.file, &PostgresTools::from_env()).await.context("no backup was made")?;
                let bytes = std::fs::metadata(&args.file).map(|m| m.len()).context("the backup cannot be found")?;
                let file = args.file.display().to_string();
                print(args.plain.json, json!({ "file": file, "bytes": bytes }), || format!("{file}: {bytes} bytes\n"))?;
                Ok(ExitCode::SUCCESS)
            }
            DbCommand::Restore(args) => {
                let options = options(args.plain.store)?;
                let tools = PostgresTools::from_env();
                let former = restore(&options, &args.file, &tools, args.replace).await;
                let former = former.context("nothing was restored")?.map(|path| path.display().to_string());
                print(args.plain.json, json!({ "former": former }), || match &former {
                    Some(path) => format!("restored; the former database is {path}\n"),
                    None => "restored\n".to_owned(),
                })?;
                Ok(ExitCode::SUCCESS)
            }
            DbCommand::Check(args) => check(args).await,
        }
    })
}

fn options(args: StoreArgs) -> anyhow::Result<StoreOptions> {
    // None of these commands changes the schema but the one that says so.
    Ok(StoreOptions { migrate: false, ..args.config()?.options() })
}

async fn status(args: PlainArgs) -> anyhow::Result<ExitCode> {
    let options = options(args.store)?;
    let steps = migration_status(&options).await.context("the database's state cannot be told")?;
    let mut figures = None;
    let mut note = None;
    if !steps.pending.is_empty() {
        note = Some("figures are told once all migrations are applied: facesocial db migrate".to_owned());
    } else {
        match facesocial_store::open(&options).await {
            Ok(store) => {
                figures = Some((store.status().await, store.gallery_stats().await));
                store.close().await;
            }
            Err(StoreError::Locked(_)) => {
                note = Some("a server uses the database: GET /api/v1/stats tells its figures".to_owned());
            }
            Err(error) => return Err(error).context("cannot open the database"),
        }
    }
    let figures = figures.map(|(status, stats)| anyhow::Ok((status?, stats?))).transpose()?;
    let mut told = migrations_json(&steps);
    told["note"] = json!(note);
    if let Some((status, stats)) = &figures {
        told["database"] = serde_json::to_value(status)?;
        told["gallery"] = serde_json::to_value(stats)?;
    }
    print(args.json, told, || {
        let mut text = migrations(&steps);
        if let Some((status, stats)) = &figures {
            text += &state(status);
            text += &format!("  {} collections, {} persons, {} faces\n", stats.collections, stats.persons, stats.faces);
            for (model, count) in &stats.embeddings {
                text += &format!("  {count} embeddings by {model}\n");
            }
        }
        text + &note.map(|note| format!("{note}\n")).unwrap_or_default()
    })?;
    Ok(if steps.pending.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check(args: PlainArgs) -> anyhow::Result<ExitCode> {
    let store = facesocial_store::open(&options(args.store)?).await.context("cannot open the database")?;
    let found = store.check().await;
    store.close().await;
    let found = found.context("the check did not come to its end")?;
    let fine = found.iter().all(|result| result.ok);
    print(args.json, json!({ "ok": fine, "checks": found }), || checks(&found))?;
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(as_json: bool, value: Value, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    let mut out = io::stdout();
    if as_json {
        writeln!(out, "{}", serde_json::to_string_pretty(&value)?)?;
    } else {
        out.write_all(text().as_bytes())?;
    }
    Ok(())
}

fn migrations_json(status: &MigrationStatus) -> Value {
    let list = |steps: &[(i64, String)]| -> Vec<Value> {
        steps.iter().map(|(version, name)| json!({ "version": version, "name": name })).collect()
    };
    json!({ "applied": list(&status.applied), "pending": list(&status.pending) })
}

fn migrations(status: &MigrationStatus) -> String {
    let mut table = TextTable::new(["migration", "state"]);
    for (_, name) in &status.applied {
        table.row([name.as_str(), "applied"]);
    }
    for (_, name) in &status.pending {
        table.row([name.as_str(), "pending"]);
    }
    table.render()
}

fn state(status: &StoreStatus) -> String {
    let StoreStatus { backend, version, bytes, .. } = status;
    format!("  {backend} {version}, {bytes} bytes\n")
}

fn checks(found: &[CheckResult]) -> String {
    let mut table = TextTable::new(["check", "", "found"]);
    for result in found {
        table.row([result.check, if result.ok { "ok" } else { "BAD" }, &result.detail]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_seen_at_a_glance() {
        let result = |ok| CheckResult { check: "integrity", ok, detail: "3 rows".to_owned() };
        assert!(checks(&[result(true)]).contains("ok"));
        assert!(checks(&[result(true), result(false)]).contains("BAD"));
    }

    #[test]
    fn pending_migrations_are_told() {
        let status = MigrationStatus {
            applied: vec![(1, "0001_gallery".to_owned())],
            pending: vec![(2, "0002_accounts".to_owned())],
        };
        let text = migrations(&status);
        assert!(text.contains("0001_gallery   applied") && text.contains("0002_accounts  pending"), "{text}");
        let expected = json!({ "version": 2, "name": "0002_accounts" });
        assert_eq!(migrations_json(&status)["pending"], json!([expected]));
    }
}
