//! Backup, restore and migration of a Postgres, the first two by its own programs.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use sqlx::{Connection, PgConnection, Row};

use super::client;
use crate::{
    error::{Result, StoreError},
    files::{NewFile, demand_absent},
    maintenance::PostgresTools,
    migrations,
};

pub(crate) async fn backup(url: &str, to: &Path, tools: &PostgresTools) -> Result<()> {
    demand_absent(to)?;
    if applied_migrations(url).await?.is_empty() {
        return Err(StoreError::Incompatible("there is no store in this database".to_owned()));
    }
    let new = NewFile::create(to)?;
    let mut command = client::command(tools, "pg_dump", url)?;
    command.args(["--format=custom", "--no-owner", "--no-privileges", "--no-password", "--file"]).arg(new.path());
    run(command, "pg_dump").await?;
    new.finish(to)
}

/// The extension is left as it is: it belongs to the database's administrator, and dropping it would need the right to.
pub(crate) async fn restore(url: &str, from: &Path, tools: &PostgresTools, clean: bool) -> Result<()> {
    File::open(from).map_err(|source| StoreError::Io { path: from.to_owned(), source })?;
    let mut list = client::command(tools, "pg_restore", url)?;
    list.arg("--list").arg(from);
    let contents = match run(list, "pg_restore").await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(StoreError::Incompatible(reason)) if reason.contains("valid archive") || reason.contains("header") => {
            return Err(foreign(from));
        }
        Err(other) => return Err(other),
    };
    if !contents.lines().any(|line| line.contains(" TABLE DATA ") && line.contains(" schema_migrations ")) {
        return Err(foreign(from));
    }
    let mut connection = super::connect_once(url).await?;
    if !clean && !is_empty(&mut connection).await? {
        return Err(StoreError::Incompatible(
            "the database is not empty; restore into an empty one, or add --clean to replace what this program's tables hold"
                .to_owned(),
        ));
    }
    super::extension::create(&mut connection).await?;
    connection.close().await.ok();

    let chosen = std::env::temp_dir().join(format!("facesocial-restore-{}", uuid::Uuid::now_v7()));
    let chosen_file = NewFile::create(&chosen)?;
    let kept: String =
        contents.lines().filter(|line| !line.contains(" EXTENSION ")).fold(String::new(), |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        });
    File::options()
        .write(true)
        .open(chosen_file.path())
        .and_then(|mut file| file.write_all(kept.as_bytes()))
        .map_err(|source| StoreError::Io { path: chosen_file.path().to_owned(), source })?;

    let mut command = client::command(tools, "pg_restore", url)?;
    command.args(["--no-owner", "--no-privileges", "--no-password", "--exit-on-error", "--single-transaction"]);
    if clean {
        command.args(["--clean", "--if-exists"]);
    }
    let database = client::database(url)?;
    command.arg("--use-list").arg(chosen_file.path()).arg("--dbname").arg(database).arg(from);
    run(command, "pg_restore").await?;
    match migrations::unknown(&applied_migrations(url).await?) {
        Some(unknown) => Err(migrations::newer(unknown)),
        None => Ok(()),
    }
}

pub(crate) async fn migrate(url: &str) -> Result<()> {
    let mut connection = super::connect_once(url).await?;
    let migrated = super::prepare(&mut connection, true).await;
    connection.close().await.ok();
    migrated
}

pub(crate) async fn applied_migrations(url: &str) -> Result<Vec<i64>> {
    let mut connection = super::connect_once(url).await?;
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('schema_migrations') IS NOT NULL").fetch_one(&mut connection).await?;
    let mut applied = Vec::new();
    if there {
        let rows = sqlx::query("SELECT version FROM schema_migrations ORDER BY version").fetch_all(&mut connection);
        for row in rows.await? {
            applied.push(row.try_get("version")?);
        }
    }
    connection.close().await.ok();
    Ok(applied)
}

/// Whether the database holds nothing but what its extensions brought.
async fn is_empty(connection: &mut PgConnection) -> Result<bool> {
    let something: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                        WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'S') \
                          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'))",
    )
    .fetch_one(connection)
    .await?;
    Ok(!something)
}

fn foreign(file: &Path) -> StoreError {
    StoreError::Incompatible(format!("{} is no backup of a store in Postgres", file.display()))
}

async fn run(mut command: Command, name: &'static str) -> Result<Output> {
    command.stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output())
        .await
        .map_err(|_| StoreError::Unavailable { reason: format!("{name} was cut off"), source: None })?;
    let output = ran.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Incompatible(format!(
            "{name} was not found; install Postgres's client programs in the server's version, or set PG_BIN to their folder"
        )),
        _ => StoreError::Io { path: name.into(), source },
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(StoreError::Incompatible(format!("{name} failed: {}", said.trim())));
    }
    Ok(output)
}
