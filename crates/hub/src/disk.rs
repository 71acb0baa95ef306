//! Where downloaded bytes go. A trait, so that tests can play a full disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// A file that is being written.
pub trait Sink: Write {
    /// Forces the bytes onto the medium.
    ///
    /// # Errors
    /// As the system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system.
pub trait Disk: Sync {
    /// Opens a file to append to it, empty if `fresh`.
    ///
    /// # Errors
    /// As the system says.
    fn append(&self, path: &Path, fresh: bool) -> io::Result<Box<dyn Sink>>;

    /// Bytes that this user may still write in the folder; `None` if the platform does not tell.
    fn free(&self, folder: &Path) -> Option<u64>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Disk for RealDisk {
    fn append(&self, path: &Path, fresh: bool) -> io::Result<Box<dyn Sink>> {
        // Truncated by hand: a file opened for appending cannot be asked to be truncated.
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        if fresh {
            file.set_len(0)?;
        }
        Ok(Box::new(file))
    }

    fn free(&self, folder: &Path) -> Option<u64> {
        fs4::available_space(folder).ok()
    }
}

/// Writes a file so that nobody ever sees half of it: into `<path>.part`, which the next writer overwrites, then a
/// rename. The caller holds the lock of the folder.
///
/// # Errors
/// As the system says; the file that was there before is then untouched.
pub(crate) fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = part_of(path);
    let write = || -> io::Result<()> {
        let mut sink = disk.append(&part, true)?;
        sink.write_all(bytes)?;
        sink.sync()
    };
    if let Err(error) = write() {
        // Gone already, or nothing can be done about it.
        fs::remove_file(&part).ok();
        return Err(error);
    }
    rename(&part, path)
}

/// Renames a finished file and makes the rename last.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    // Only Unix can sync a folder; elsewhere the rename is in the system's hands.
    if cfg!(unix)
        && let Some(folder) = to.parent()
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// `<path>.part`.
pub(crate) fn part_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        fs::write(dir.path().join("w.safetensors.part"), "left by a process that was killed").unwrap();
        write_whole(&RealDisk, &path, b"one").unwrap();
        write_whole(&RealDisk, &path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_platform_tells_the_free_space() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RealDisk.free(dir.path()).is_some_and(|bytes| bytes > 0));
        assert_eq!(RealDisk.free(&dir.path().join("absent")), None);
    }
}
