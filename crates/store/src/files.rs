//! New files that appear whole or not at all, and that only their user may read.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use crate::error::{Result, StoreError};

/// A file in the making, next to where it will be. Removed when dropped before it is finished.
pub(crate) struct NewFile {
    partial: PathBuf,
    finished: bool,
}

impl NewFile {
    /// An empty file `<name>.partial`, for its user only.
    pub(crate) fn create(to: &Path) -> Result<Self> {
        let partial = partial(to);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&partial) {
            // What another run left, or is writing: told apart by the person, not guessed.
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Err(failed(
                &partial,
                io::Error::new(source.kind(), "is there from another run; remove it if that one is over"),
            )),
            Err(source) => Err(failed(&partial, source)),
            Ok(_) => Ok(Self { partial, finished: false }),
        }
    }

    /// Removes what another run left half-made, where it is known to be over.
    pub(crate) fn clear(to: &Path) -> Result<()> {
        let partial = partial(to);
        match fs::remove_file(&partial) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed(&partial, source)),
            _ => Ok(()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives the file its name, unless something has it already.
    pub(crate) fn finish(mut self, to: &Path) -> Result<()> {
        self.flush()?;
        // Unlike a rename, a link never replaces anything.
        match fs::hard_link(&self.partial, to) {
            Ok(()) => {}
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => return Err(failed(to, source)),
            // Some file systems know no links.
            Err(_) => {
                demand_absent(to)?;
                fs::rename(&self.partial, to).map_err(|source| failed(to, source))?;
                self.finished = true;
            }
        }
        flush_folder(to)
    }

    /// Gives the file its name in place of what has it.
    pub(crate) fn replace(mut self, to: &Path) -> Result<()> {
        self.flush()?;
        fs::rename(&self.partial, to).map_err(|source| failed(to, source))?;
        self.finished = true;
        flush_folder(to)
    }

    fn flush(&self) -> Result<()> {
        File::open(&self.partial).and_then(|file| file.sync_all()).map_err(|source| failed(&self.partial, source))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_file(&self.partial)
        {
            tracing::warn!(%error, file = %self.partial.display(), "an unfinished file is left");
        }
    }
}

fn partial(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Refuses a path that something has.
pub(crate) fn demand_absent(path: &Path) -> Result<()> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(failed(path, io::Error::new(io::ErrorKind::AlreadyExists, "exists already; name a new file"))),
        Err(source) => Err(failed(path, source)),
    }
}

/// Makes the names in the folder of `path` survive a loss of power.
pub(crate) fn flush_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| failed(folder, source))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_finished_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("backup");
        let file = NewFile::create(&to).unwrap();
        fs::write(file.path(), "first").unwrap();
        assert!(!to.exists());
        file.finish(&to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"first");

        let second = NewFile::create(&to).unwrap();
        assert!(matches!(second.finish(&to), Err(StoreError::Io { .. })));
        assert_eq!(fs::read(&to).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left of the second");
        assert!(demand_absent(&to).is_err());
    }

    #[test]
    fn two_runs_do_not_write_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("backup");
        let first = NewFile::create(&to).unwrap();
        let error = NewFile::create(&to).err().unwrap();
        assert!(error.to_string().contains("another run"), "{error}");
        std::mem::forget(first);
        NewFile::clear(&to).unwrap();
        NewFile::clear(&to).unwrap();
        assert!(NewFile::create(&to).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_user_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = NewFile::create(&folder.path().join("backup")).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
