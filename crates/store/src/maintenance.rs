//! Backup, restore and migration, for the command line. None of them opens the store.

use std::path::{Path, PathBuf};

use crate::{
    error::{Result, StoreError},
    options::StoreOptions,
    postgres, sqlite,
};

/// Where `pg_dump` and `pg_restore` are.
#[derive(Debug, Clone, Default)]
pub struct PostgresTools {
    /// Their folder; `None` looks in PATH.
    pub folder: Option<PathBuf>,
}

impl PostgresTools {
    /// The folder that the environment variable `PG_BIN` names, or PATH.
    pub fn from_env() -> Self {
        Self { folder: std::env::var_os("PG_BIN").filter(|folder| !folder.is_empty()).map(PathBuf::from) }
    }
}

/// Which migrations a database has, by number and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Those that are applied.
    pub applied: Vec<(i64, String)>,
    /// Those that are not yet.
    pub pending: Vec<(i64, String)>,
}

/// Writes everything into the new file `to`, readable by its user only. Servers may go on meanwhile; the file holds the
/// state of one moment.
///
/// The embedded store gives a SQLite database, sealed values still sealed; Postgres the custom format of `pg_dump`.
///
/// # Errors
/// [`StoreError::Io`] if `to` exists or cannot be written, [`StoreError::Incompatible`] if there is nothing to back up or
/// `pg_dump` is not there or refuses, [`StoreError::Damaged`] if what was written does not pass SQLite's own check.
pub async fn backup(options: &StoreOptions, to: &Path, tools: &PostgresTools) -> Result<()> {
    match &options.url {
        Some(url) => postgres::backup(url, to, tools).await,
        None => sqlite::backup(&options.folder, to).await,
    }
}

/// Takes over a backup.
///
/// The embedded store: checks the file first, replaces the database in one step and keeps the former one aside; gives its
/// path. Postgres: into an empty database, or, if `replace`, in place of this program's tables, which come back if it fails.
///
/// # Errors
/// [`StoreError::Locked`] while a server uses the folder, [`StoreError::Incompatible`] if the file is no backup of this
/// kind of store, or of a newer version, or the Postgres is not empty, or `pg_restore` is not there or refuses,
/// [`StoreError::Damaged`] if the file does not pass SQLite's own check. Then nothing was changed.
pub async fn restore(
    options: &StoreOptions,
    from: &Path,
    tools: &PostgresTools,
    replace: bool,
) -> Result<Option<PathBuf>> {
    match &options.url {
        Some(url) => postgres::restore(url, from, tools, replace).await.map(|()| None),
        None => sqlite::restore(&options.folder, from).await,
    }
}

/// Brings the schema up to date; makes it if there is none.
///
/// # Errors
/// [`StoreError::Locked`] while a server uses the folder, [`StoreError::Incompatible`] if a newer version migrated it.
pub async fn migrate(options: &StoreOptions) -> Result<MigrationStatus> {
    match &options.url {
        Some(url) => postgres::migrate(url).await?,
        None => sqlite::migrate(&options.folder).await?,
    }
    migration_status(options).await
}

/// Which migrations are applied. Changes nothing; a database that is not there has none.
///
/// # Errors
/// [`StoreError::Unavailable`] if the database does not answer.
pub async fn migration_status(options: &StoreOptions) -> Result<MigrationStatus> {
    let applied = match &options.url {
        Some(url) => postgres::applied_migrations(url).await?,
        None => sqlite::applied_migrations(&options.folder).await?,
    };
    if let Some(unknown) = crate::migrations::unknown(&applied) {
        return Err(crate::migrations::newer(unknown));
    }
    let (applied, pending) = crate::migrations::split(&applied);
    Ok(MigrationStatus { applied, pending })
}

pub(crate) fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + '_ {
    move |source| StoreError::Io { path: path.to_owned(), source }
}
