//! `weights.lock`: what lies under `weights/`, by digest.

use std::{collections::BTreeSet, fs, io::ErrorKind, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::{ConvertError, Result},
    manifest::Manifest,
    output::{sha256, write_atomically},
};

/// Name of the lock file in the weights folder.
pub const FILE_NAME: &str = "weights.lock";
/// The only version of the format.
const VERSION: u32 = 1;

/// The lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// Entries, sorted by name.
    #[serde(rename = "network", default)]
    pub networks: Vec<Entry>,
}

/// One weight file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name of the network: its folder in `models-src`.
    pub name: String,
    /// File name under `weights/`.
    pub file: String,
    /// sha256 of the file, hex.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// Number of tensors, without the companions of quantised ones.
    pub tensors: usize,
    /// Number of elements of those tensors.
    pub parameters: usize,
    /// Registry, package, version and files it was converted from, or the recipe that trained it.
    pub source: String,
    /// Licence of the weights.
    pub licence: String,
    /// The weights are random; a release build refuses them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub untrained: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Entry {
    /// Whether the entry says of the network what the manifest says.
    pub fn agrees(&self, manifest: &Manifest) -> bool {
        let output = &manifest.output;
        self.file == output.file
            && output.counts().is_none_or(|counts| counts == (self.tensors, self.parameters))
            && self.source == manifest.source_line()
            && self.licence == manifest.licence
            && self.untrained == manifest.untrained
    }

    /// Compares the file in a folder with the entry; gives the difference, if there is one.
    ///
    /// # Errors
    /// [`ConvertError::Io`].
    pub fn check(&self, weights: &Path) -> Result<Option<String>> {
        let path = weights.join(&self.file);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(format!("{} is absent", self.file))),
            Err(error) => return Err(ConvertError::io(path)(error)),
        };
        if bytes.len() as u64 != self.bytes {
            return Ok(Some(format!("{} has {} bytes, {FILE_NAME} says {}", self.file, bytes.len(), self.bytes)));
        }
        let found = sha256(&bytes);
        if found != self.sha256 {
            return Ok(Some(format!("{} has sha256 {found}, {FILE_NAME} says {}", self.file, self.sha256)));
        }
        Ok(None)
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self { version: VERSION, networks: Vec::new() }
    }
}

impl Lock {
    /// Reads `<weights>/weights.lock`; an absent file is an empty lock.
    ///
    /// # Errors
    /// [`ConvertError::Io`], [`ConvertError::Lock`].
    pub fn open(weights: &Path) -> Result<Self> {
        let path = weights.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ConvertError::io(path)(error)),
        };
        let lock: Self =
            toml::from_str(&text).map_err(|e| ConvertError::Lock { path: path.clone(), reason: e.to_string() })?;
        if lock.version != VERSION {
            let reason = format!("version {} of the format, {VERSION} is known", lock.version);
            return Err(ConvertError::Lock { path, reason });
        }
        Ok(lock)
    }

    /// Puts an entry in its place, over one of the same name.
    pub fn insert(&mut self, entry: Entry) {
        self.networks.retain(|e| e.name != entry.name);
        self.networks.push(entry);
        self.networks.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`ConvertError::Lock`] if an entry cannot be written as TOML.
    pub fn to_text(&self) -> Result<String> {
        let body =
            toml::to_string(self).map_err(|e| ConvertError::Lock { path: FILE_NAME.into(), reason: e.to_string() })?;
        Ok(format!("# Written by `facesocial-convert fetch`; not edited by hand.\n{body}"))
    }

    /// Writes `<weights>/weights.lock`.
    ///
    /// # Errors
    /// [`ConvertError::Io`].
    pub fn save(&self, weights: &Path) -> Result<()> {
        write_atomically(&weights.join(FILE_NAME), self.to_text()?.as_bytes())
    }

    /// Compares the folder with the lock; gives one line per difference: a file that is absent, of another size or
    /// digest, or not listed.
    ///
    /// # Errors
    /// [`ConvertError::Io`].
    pub fn check(&self, weights: &Path) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        for entry in &self.networks {
            faults.extend(entry.check(weights)?);
        }
        let listed: BTreeSet<_> = self.networks.iter().map(|e| e.file.as_str()).collect();
        faults.extend(
            weight_files(weights)?
                .iter()
                .filter(|f| !listed.contains(f.as_str()))
                .map(|f| format!("{f} is not in {FILE_NAME}")),
        );
        Ok(faults)
    }
}

/// Names of the weight files in a folder, sorted.
///
/// # Errors
/// [`ConvertError::Io`].
pub fn weight_files(weights: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(weights).map_err(ConvertError::io(weights))? {
        let name = entry.map_err(ConvertError::io(weights))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, bytes: &[u8]) -> Entry {
        Entry {
            name: name.into(),
            file: format!("{name}.safetensors"),
            sha256: sha256(bytes),
            bytes: bytes.len() as u64,
            tensors: 2,
            parameters: 3,
            source: "npm @scope/tiny 1.0.0 package/a \"b\".tflite".into(),
            licence: "MIT".into(),
            untrained: false,
        }
    }

    #[test]
    fn comes_back_as_it_was_written_sorted_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Lock::open(dir.path()).unwrap(), Lock::default());
        let mut lock = Lock::default();
        lock.insert(entry("b", b"old"));
        lock.insert(entry("c", b"c"));
        lock.insert(entry("a", b"a"));
        lock.insert(entry("b", b"new"));
        lock.save(dir.path()).unwrap();
        let read = Lock::open(dir.path()).unwrap();
        assert_eq!(read, lock);
        assert_eq!(read.networks, [entry("a", b"a"), entry("b", b"new"), entry("c", b"c")]);
        let first = fs::read(dir.path().join(FILE_NAME)).unwrap();
        read.save(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), first);
    }

    #[test]
    fn untrained_weights_are_marked_and_only_they() {
        let mut lock = Lock::default();
        lock.insert(entry("trained", b""));
        assert!(!lock.to_text().unwrap().contains("untrained"));
        lock.insert(Entry { untrained: true, ..entry("random", b"") });
        let text = lock.to_text().unwrap();
        assert_eq!(text.matches("untrained = true").count(), 1);
        assert_eq!(toml::from_str::<Lock>(&text).unwrap(), lock);
    }

    #[test]
    fn another_version_or_an_unknown_field_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for (text, expected) in [("version = 2", "version 2"), ("version = 1\nfoo = 1", "foo")] {
            fs::write(dir.path().join(FILE_NAME), text).unwrap();
            let error = Lock::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn check_names_every_difference() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Lock::default();
        for name in ["good", "changed", "cut", "gone"] {
            lock.insert(entry(name, b"weights"));
        }
        for (file, bytes) in [("good", "weights"), ("changed", "Weights"), ("cut", "weig"), ("extra", "x")] {
            fs::write(dir.path().join(format!("{file}.safetensors")), bytes).unwrap();
        }
        let faults = lock.check(dir.path()).unwrap();
        let starts: Vec<_> = faults.iter().map(|f| f.split(" (").next().unwrap_or(f)).collect();
        assert_eq!(faults.len(), 4, "{starts:?}");
        assert!(faults[0].starts_with("changed.safetensors has sha256"));
        assert!(faults[1].starts_with("cut.safetensors has 4 bytes"));
        assert_eq!(faults[2..], ["gone.safetensors is absent", "extra.safetensors is not in weights.lock"]);
    }
}
