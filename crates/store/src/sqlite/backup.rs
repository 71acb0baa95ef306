//! Backup, restore and migration of the embedded store.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    Connection, Row,
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode},
};
use time::OffsetDateTime;

use super::folder::{self, FILE};
use crate::{
    error::{Result, StoreError},
    files::{NewFile, demand_absent, flush_folder},
    maintenance::io_error,
    migrations,
};

/// Tables that every backup has, whatever its version.
const TABLES: [&str; 3] = ["schema_migrations", "collections", "faces"];

pub(crate) async fn backup(folder: &Path, to: &Path) -> Result<()> {
    demand_absent(to)?;
    let mut connection = open(&present(folder)?).await?;
    let new = NewFile::create(to)?;
    let path = new.path().to_str().ok_or_else(|| {
        StoreError::Invalid(format!("{}: SQLite takes only names that are UTF-8", new.path().display()))
    })?;
    // Reads one state of the database, whatever is written meanwhile, and leaves out what was deleted.
    sqlx::query("VACUUM INTO $1").bind(path).execute(&mut connection).await?;
    connection.close().await?;
    inspect(new.path()).await?;
    new.finish(to)
}

pub(crate) async fn restore(folder: &Path, from: &Path) -> Result<Option<PathBuf>> {
    folder::make(folder)?;
    let _lock = folder::lock(folder)?;
    let file = folder.join(FILE);
    // Under the lock, what another run left half-made is nobody's.
    let target = folder.join("restore");
    NewFile::clear(&target)?;
    let new = NewFile::create(&target)?;
    copy(from, new.path()).await?;
    if let Some(unknown) = migrations::unknown(&inspect(new.path()).await?) {
        return Err(migrations::newer(unknown));
    }
    let aside = put_aside(&file).await?;
    new.replace(&file)?;
    Ok(aside)
}

pub(crate) async fn migrate(folder: &Path) -> Result<()> {
    folder::make(folder)?;
    let _lock = folder::lock(folder)?;
    let file = folder.join(FILE);
    let connect = super::connect_options(&file);
    let mut connection = SqliteConnection::connect_with(&connect).await?;
    folder::protect(&file)?;
    migrations::run(&mut connection, |step| step.sqlite).await?;
    connection.close().await?;
    Ok(())
}

pub(crate) async fn applied_migrations(folder: &Path) -> Result<Vec<i64>> {
    let Ok(file) = present(folder) else { return Ok(Vec::new()) };
    let mut connection = open(&file).await?;
    let applied = applied(&mut connection).await?;
    connection.close().await?;
    Ok(applied)
}

fn present(folder: &Path) -> Result<PathBuf> {
    let file = folder.join(FILE);
    match file.try_exists() {
        Ok(true) => Ok(file),
        Ok(false) => Err(StoreError::Incompatible(format!("there is no store in {}", folder.display()))),
        Err(source) => Err(StoreError::Io { path: file, source }),
    }
}

/// A connection to a database that is there. Not for reading only: the write-ahead log of a store that was cut off has to
/// be read in first.
async fn open(file: &Path) -> Result<SqliteConnection> {
    let connect = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(5));
    Ok(SqliteConnection::connect_with(&connect).await?)
}

/// The migrations of a file that is a whole store.
async fn inspect(file: &Path) -> Result<Vec<i64>> {
    let foreign = || StoreError::Incompatible(format!("{} is no backup of an embedded store", file.display()));
    let connect = SqliteConnectOptions::new().filename(file).journal_mode(SqliteJournalMode::Delete);
    let mut connection = match SqliteConnection::connect_with(&connect).await.map_err(StoreError::from) {
        Ok(connection) => connection,
        // The first look into a file that is no database.
        Err(StoreError::Damaged(_)) => return Err(foreign()),
        Err(other) => return Err(other),
    };
    let damaged = |what: String| StoreError::Damaged(format!("{}: {what}", file.display()));
    let found: Vec<String> = match sqlx::query_scalar("PRAGMA integrity_check(10)").fetch_all(&mut connection).await {
        Ok(found) => found,
        Err(error) => match StoreError::from(error) {
            StoreError::Damaged(what) if what.contains("not a database") => return Err(foreign()),
            StoreError::Damaged(what) => return Err(damaged(what)),
            other => return Err(other),
        },
    };
    if found != ["ok"] {
        return Err(damaged(found.join(", ")));
    }
    for table in TABLES {
        let there = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1").bind(table);
        if there.fetch_optional(&mut connection).await?.is_none() {
            return Err(foreign());
        }
    }
    if !sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await?.is_empty() {
        return Err(damaged("it has rows whose other half is missing".to_owned()));
    }
    let applied = applied(&mut connection).await?;
    connection.close().await?;
    Ok(applied)
}

async fn applied(connection: &mut SqliteConnection) -> Result<Vec<i64>> {
    let there = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'");
    if there.fetch_optional(&mut *connection).await?.is_none() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("SELECT version FROM schema_migrations ORDER BY version").fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get("version")?)).collect()
}

/// Keeps the former database under another name, and under its own until the new one takes that.
async fn put_aside(file: &Path) -> Result<Option<PathBuf>> {
    if !file.try_exists().map_err(io_error(file))? {
        return Ok(None);
    }
    let aside = beside(file, &format!(".before-restore-{}", OffsetDateTime::now_utc().unix_timestamp()));
    demand_absent(&aside)?;
    // A write-ahead log left behind would be read into the new database.
    let emptied = async {
        let mut connection = open(file).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        connection.close().await?;
        Ok::<_, StoreError>(())
    };
    if let Err(error) = emptied.await {
        tracing::warn!(%error, "the former database cannot be read; it is kept as it is");
    }
    for suffix in ["-wal", "-shm"] {
        let left = beside(file, suffix);
        if left.try_exists().map_err(io_error(&left))? {
            fs::rename(&left, beside(&aside, suffix)).map_err(io_error(&left))?;
        }
    }
    if fs::hard_link(file, &aside).is_err() {
        // Some file systems know no links.
        copy(file, &aside).await?;
        folder::protect(&aside)?;
    }
    flush_folder(&aside)?;
    Ok(Some(aside))
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

async fn copy(from: &Path, to: &Path) -> Result<()> {
    let (source, target) = (from.to_owned(), to.to_owned());
    let copied = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let mut reader = fs::File::open(&source)?;
        let mut writer = fs::OpenOptions::new().write(true).create(true).truncate(true).open(&target)?;
        std::io::copy(&mut reader, &mut writer)?;
        writer.sync_all()
    });
    copied
        .await
        .map_err(|_| StoreError::Unavailable { reason: "the copy was cut off".to_owned(), source: None })?
        .map_err(io_error(from))
}
