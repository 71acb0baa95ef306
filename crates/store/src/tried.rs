//! Whether a backup can be used: it is restored aside, checked and taken away again.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::{
    error::Result,
    maintenance::{PostgresTools, io_error, restore},
    options::{StoreOptions, open},
    postgres,
    types::{CheckResult, GalleryStats},
};

/// What a restored backup holds.
#[derive(Debug, Clone)]
pub struct TriedBackup {
    /// The same checks as of a database in use.
    pub checks: Vec<CheckResult>,
    /// How much is in it.
    pub gallery: GalleryStats,
}

impl TriedBackup {
    /// Whether nothing wrong was found.
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// Restores a backup into a folder or a database of its own, looks for damage, and removes what it made. The database in use
/// is not touched. In Postgres the user needs the right to create databases.
///
/// # Errors
/// As [`restore`]; no room, or no right, for the second copy.
pub async fn try_backup(options: &StoreOptions, backup: &Path, tools: &PostgresTools) -> Result<TriedBackup> {
    match &options.url {
        Some(url) => {
            let scratch = postgres::Scratch::create(url).await?;
            let tried = try_in(StoreOptions { url: Some(scratch.url().to_owned()), ..options.clone() }, backup, tools);
            let tried = tried.await;
            let removed = scratch.remove().await;
            let tried = tried?;
            removed.map(|()| tried)
        }
        None => {
            let scratch = ScratchFolder::create(backup)?;
            try_in(StoreOptions { folder: scratch.0.clone(), ..options.clone() }, backup, tools).await
        }
    }
}

async fn try_in(options: StoreOptions, backup: &Path, tools: &PostgresTools) -> Result<TriedBackup> {
    restore(&options, backup, tools, false).await?;
    // An older version's backup is brought up to date, as its restoring would be.
    let store = open(&StoreOptions { migrate: true, ..options }).await?;
    let tried = async { Ok(TriedBackup { checks: store.check().await?, gallery: store.gallery_stats().await? }) }.await;
    store.close().await;
    tried
}

/// A folder beside the backup, where there is room for one more if there was for that.
struct ScratchFolder(PathBuf);

impl ScratchFolder {
    fn create(backup: &Path) -> Result<Self> {
        let name = format!(".tried-{}", Uuid::new_v4().simple());
        let folder = backup.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).join(name);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(io_error(&folder))?;
        Ok(Self(folder))
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a tried backup is left");
        }
    }
}
