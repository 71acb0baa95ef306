//! The embedded store's folder and files.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::Path,
};

use sqlx::{Row, SqlitePool};

use crate::error::{Result, StoreError};

/// The database.
pub(crate) const FILE: &str = "facesocial.db";
const LOCK: &str = "facesocial.lock";

/// Makes the folder, for its user only.
pub(super) fn make(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| io_error(folder, source))
}

/// Takes the folder for this process, until the file is closed.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| io_error(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(io_error(&path, source)),
    }
}

/// Lets only the user read the database. SQLite gives the files next to it the same permissions.
pub(super) fn protect(file: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).map_err(|source| io_error(file, source))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Writes the log into the database and cuts it to nothing, so that what was erased is not left in it; whether it did.
/// Readers that are in the way are waited for shortly: other changes wait meanwhile.
pub(super) async fn empty_log(writer: &SqlitePool) -> bool {
    let emptied = async {
        let mut connection = writer.acquire().await?;
        sqlx::query("PRAGMA busy_timeout = 200").execute(&mut *connection).await?;
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
        sqlx::query("PRAGMA busy_timeout = 5000").execute(&mut *connection).await?;
        row?.try_get::<i64, _>("busy")
    };
    match emptied.await {
        Ok(busy) => busy == 0,
        Err(error) => {
            tracing::warn!(%error, "the write-ahead log could not be emptied after an erasure");
            false
        }
    }
}

fn io_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source }
}
