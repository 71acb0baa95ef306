//! The folder of pulled networks: weight files, `weights.lock`, `sources.lock`.
//!
//! `weights.lock` has the form of that of the bundled weights. `sources.lock` says which files the weights were made
//! from, and which licences were accepted.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use facesocial_convert::{
    error::ConvertError,
    lock::{self, Entry, Lock},
};
use serde::{Deserialize, Serialize};

use crate::{
    disk::{Disk, write_whole},
    download::is_full,
    error::{HubError, Result},
    observe::{Event, Observer},
};

/// Name of the record of source files.
pub const SOURCES_FILE: &str = "sources.lock";
/// Subfolder of downloads that are under way or kept.
pub const SOURCES_FOLDER: &str = "sources";
/// Held by the process that writes into the folder.
const GUARD_FILE: &str = ".pull.lock";
/// The only version of `sources.lock`.
const VERSION: u32 = 1;

/// A folder of pulled networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledFolder(PathBuf);

/// `sources.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    version: u32,
    /// One entry per network, sorted by name.
    #[serde(rename = "network", default)]
    pub networks: Vec<SourceEntry>,
}

/// What one network was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceEntry {
    /// Name of the network.
    pub name: String,
    /// Its source, as in `weights.lock`. Digests hold for this source alone.
    pub source: String,
    /// Its licence at that time.
    pub licence: String,
    /// When that licence was accepted, if it had to be; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence_accepted: Option<String>,
    /// When it was pulled; RFC 3339.
    pub pulled: String,
    /// Commit that Hugging Face took the files from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The files.
    #[serde(rename = "file")]
    pub files: Vec<FileEntry>,
}

/// One source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path as the manifest writes it, or name of the archive.
    pub path: String,
    /// sha256, hex.
    pub sha256: String,
    /// Size.
    pub bytes: u64,
    /// Whether the manifest pins the digest; otherwise it was recorded here.
    pub pinned: bool,
    /// Address, file or archive that it was taken from.
    pub from: String,
}

impl Default for Sources {
    fn default() -> Self {
        Self { version: VERSION, networks: Vec::new() }
    }
}

impl Sources {
    /// The entry of a network.
    pub fn get(&self, name: &str) -> Option<&SourceEntry> {
        self.networks.iter().find(|n| n.name == name)
    }

    /// Puts an entry in its place, over one of the same name.
    pub(crate) fn insert(&mut self, entry: SourceEntry) {
        self.networks.retain(|e| e.name != entry.name);
        self.networks.push(entry);
        self.networks.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

impl PulledFolder {
    /// The folder at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder for a user's data: `~/.local/share/facesocial/models` on Linux (`XDG_DATA_HOME`),
    /// `~/Library/Application Support/facesocial/models` on macOS, `%LOCALAPPDATA%\facesocial\models` on Windows.
    ///
    /// # Errors
    /// [`HubError::NoDataFolder`].
    pub fn of_user() -> Result<Self> {
        let data = dirs::data_local_dir().ok_or(HubError::NoDataFolder)?;
        Ok(Self(data.join("facesocial").join("models")))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The pulled weights; none if the folder or its lock is absent.
    ///
    /// # Errors
    /// [`HubError::Lock`], [`HubError::Io`].
    pub fn lock(&self) -> Result<Lock> {
        open_lock(&self.0)
    }

    /// What the pulled weights were made from; none if the file is absent.
    ///
    /// # Errors
    /// [`HubError::Lock`], [`HubError::Io`].
    pub fn sources(&self) -> Result<Sources> {
        let path = self.0.join(SOURCES_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Sources::default()),
            Err(error) => return Err(HubError::io(path)(error)),
        };
        let sources: Sources =
            toml::from_str(&text).map_err(|e| HubError::Lock { path: path.clone(), reason: e.to_string() })?;
        if sources.version != VERSION {
            let reason = format!("version {} of the format, {VERSION} is known", sources.version);
            return Err(HubError::Lock { path, reason });
        }
        Ok(sources)
    }

    /// Folder of a network's downloads.
    pub fn sources_of(&self, network: &str) -> PathBuf {
        self.0.join(SOURCES_FOLDER).join(network)
    }

    /// Makes the folder and waits until no other process writes into it. The guard is released when it is dropped, or
    /// when the process ends, however it ends.
    pub(crate) fn guard(&self, observer: &dyn Observer) -> Result<File> {
        fs::create_dir_all(&self.0).map_err(HubError::io(&self.0))?;
        let path = self.0.join(GUARD_FILE);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(HubError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                observer.event(Event::WaitingForLock);
                file.lock().map_err(HubError::io(&path))?;
            }
            Err(TryLockError::Error(error)) => return Err(HubError::io(path)(error)),
        }
        Ok(file)
    }

    /// Writes a network's weights and both locks. At each moment a reader finds the network whole or not at all.
    pub(crate) fn store(&self, disk: &dyn Disk, entry: Entry, bytes: &[u8], source: SourceEntry) -> Result<()> {
        let mut sources = self.sources()?;
        sources.insert(source);
        self.write(disk, SOURCES_FILE, &text(&sources, &self.0.join(SOURCES_FILE))?)?;
        let mut lock = self.lock()?;
        let before = lock.networks.len();
        lock.networks.retain(|e| e.name != entry.name);
        if lock.networks.len() != before {
            self.write(disk, lock::FILE_NAME, &text(&lock, &self.0.join(lock::FILE_NAME))?)?;
        }
        self.write(disk, &entry.file, bytes)?;
        lock.insert(entry);
        self.write(disk, lock::FILE_NAME, &text(&lock, &self.0.join(lock::FILE_NAME))?)
    }

    fn write(&self, disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        write_whole(disk, &path, bytes).map_err(|error| {
            if is_full(&error) {
                let (needed, free) = (Some(bytes.len() as u64), disk.free(&self.0));
                let kept = "the downloaded files were kept".to_owned();
                HubError::NoSpace { folder: self.0.clone(), needed, free, kept }
            } else {
                HubError::io(path)(error)
            }
        })
    }
}

fn text(lock: &impl Serialize, path: &Path) -> Result<Vec<u8>> {
    let body = toml::to_string(lock).map_err(|e| HubError::Lock { path: path.to_owned(), reason: e.to_string() })?;
    Ok(format!("# Written by `facesocial models pull`; not edited by hand.\n{body}").into_bytes())
}

/// `weights.lock` of a folder; empty if it is absent.
pub(crate) fn open_lock(folder: &Path) -> Result<Lock> {
    Lock::open(folder).map_err(|error| match error {
        ConvertError::Io { path, source } => HubError::Io { path, source },
        ConvertError::Lock { path, reason } => HubError::Lock { path, reason },
        other => HubError::Lock { path: folder.join(lock::FILE_NAME), reason: other.to_string() },
    })
}
