//! Backup, restore and migration of a Postgres, the first two by its own programs.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    process::{Command, Output, Stdio},
};

use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::{client, former};
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

/// What is there is put aside in a schema of its own until the backup is in: `pg_restore` can neither replace partitions
/// nor undo what it replaced.
pub(crate) async fn restore(url: &str, from: &Path, tools: &PostgresTools, replace: bool) -> Result<()> {
    demand_archive(from)?;
    let mut list = client::command(tools, "pg_restore", url)?;
    list.arg("--list").arg(from);
    let contents = String::from_utf8_lossy(&run(list, "pg_restore").await?.stdout).into_owned();
    if !contents.lines().any(|line| line.contains(" TABLE DATA ") && line.contains(" schema_migrations ")) {
        return Err(foreign(from));
    }
    if let Some(unknown) = migrations::unknown(&archived_migrations(url, from, tools).await?) {
        return Err(migrations::newer(unknown));
    }
    let mut connection = super::connect_once(url).await?;
    if !replace && !is_empty(&mut connection).await? {
        return Err(StoreError::Incompatible(
            "the database is not empty; restore into an empty one, or give --replace: what this program's tables hold is \
             then lost"
                .to_owned(),
        ));
    }
    super::extension::create(&mut connection).await?;
    let former = if replace { Some(former::put_aside(&mut connection).await?) } else { None };
    let restored = run_restore(url, from, tools, &contents).await;
    let settled = match former {
        Some(former) if restored.is_ok() => former.discard(&mut connection).await,
        Some(former) => former.bring_back(&mut connection).await,
        None => Ok(()),
    };
    connection.close().await.ok();
    restored.and(settled)
}

/// The extension is left as it is: it belongs to the database's administrator, and making it anew would need the right to.
async fn run_restore(url: &str, from: &Path, tools: &PostgresTools, contents: &str) -> Result<()> {
    let chosen = NewFile::create(&std::env::temp_dir().join(format!("facesocial-restore-{}", Uuid::now_v7())))?;
    let kept: String =
        contents.lines().filter(|line| !line.contains(" EXTENSION ")).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(chosen.path(), kept).map_err(|source| StoreError::Io { path: chosen.path().to_owned(), source })?;
    let mut command = client::command(tools, "pg_restore", url)?;
    command
        .args(["--no-owner", "--no-privileges", "--no-password", "--exit-on-error", "--single-transaction"])
        .arg("--use-list")
        .arg(chosen.path())
        .arg("--dbname")
        .arg(client::database(url)?)
        .arg(from);
    run(command, "pg_restore").await.map(|_| ())
}

/// Which migrations the store had taken when it was backed up.
async fn archived_migrations(url: &str, from: &Path, tools: &PostgresTools) -> Result<Vec<i64>> {
    let mut script = client::command(tools, "pg_restore", url)?;
    script.args(["--data-only", "--table", migrations::TABLE, "--file=-"]).arg(from);
    let script = String::from_utf8_lossy(&run(script, "pg_restore").await?.stdout).into_owned();
    let rows = script.lines().skip_while(|line| !line.starts_with("COPY ")).skip(1).take_while(|line| *line != "\\.");
    // The version is the first column.
    let versions = rows.map(|row| row.split('\t').next().and_then(|version| version.parse().ok()));
    let versions: Option<Vec<i64>> = versions.collect();
    versions.filter(|versions| !versions.is_empty()).ok_or_else(|| foreign(from))
}

/// Refuses a file that does not begin as `pg_dump`'s custom format does.
fn demand_archive(file: &Path) -> Result<()> {
    let failed = |source| StoreError::Io { path: file.to_owned(), source };
    let mut beginning = Vec::new();
    File::open(file).map_err(failed)?.take(5).read_to_end(&mut beginning).map_err(failed)?;
    if beginning == b"PGDMP" { Ok(()) } else { Err(foreign(file)) }
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
