//! The folders that weights are looked for in: those that ship with the program, and those that a user pulled.

use std::path::{Path, PathBuf};

use crate::{
    error::Result,
    lock::{LOCK_FILE, LockedNetwork, WeightsLock},
};

/// The weights folders with their locks.
#[derive(Debug)]
pub struct Folders {
    /// In the order of precedence.
    folders: Vec<(PathBuf, WeightsLock)>,
}

/// A network's weights, present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'a> {
    /// What the lock says of them.
    pub locked: &'a LockedNetwork,
    /// The file.
    pub path: PathBuf,
}

impl Folders {
    /// Opens the folder of the shipped weights, and the one of pulled weights if something was pulled into it.
    ///
    /// # Errors
    /// The shipped weights have no lock, or a lock is damaged.
    pub fn open(shipped: &Path, pulled: Option<&Path>) -> Result<Self> {
        let mut folders = vec![(shipped.to_owned(), WeightsLock::read(shipped)?)];
        if let Some(dir) = pulled.filter(|dir| dir.join(LOCK_FILE).is_file()) {
            folders.push((dir.to_owned(), WeightsLock::read(dir)?));
        }
        Ok(Self { folders })
    }

    /// The weights of `name`, if a lock lists them and the file is there. Nothing is read: see
    /// [`Network`](crate::Network) for the check of the digest.
    pub fn find(&self, name: &str) -> Option<Found<'_>> {
        self.folders.iter().find_map(|(dir, lock)| {
            let locked = lock.get(name)?;
            let path = dir.join(&locked.file);
            path.is_file().then_some(Found { locked, path })
        })
    }

    /// What the locks say of `name`, whether its file is there or not: for networks that another process runs.
    pub fn listed(&self, name: &str) -> Option<&LockedNetwork> {
        self.folders.iter().find_map(|(_, lock)| lock.get(name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(names: &[&str], present: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let entry = |n: &&str| {
            format!(
                "[[network]]\nname = \"{n}\"\nfile = \"{n}.safetensors\"\nsha256 = \"00\"\nparameters = 1\nlicence = \"MIT\"\n"
            )
        };
        let entries: String = names.iter().map(entry).collect();
        fs::write(dir.path().join(LOCK_FILE), format!("version = 1\n{entries}")).unwrap();
        for name in present {
            fs::write(dir.path().join(format!("{name}.safetensors")), b"x").unwrap();
        }
        dir
    }

    #[test]
    fn what_is_listed_and_there_is_found_in_either_folder() {
        let (shipped, pulled) = (folder(&["a", "b"], &["a"]), folder(&["b", "c"], &["b", "c"]));
        let folders = Folders::open(shipped.path(), Some(pulled.path())).unwrap();
        let place = |name: &str| folders.find(name).map(|f| f.path.parent().unwrap().to_owned());
        assert_eq!(place("a").as_deref(), Some(shipped.path()));
        assert_eq!(place("b").as_deref(), Some(pulled.path()));
        assert_eq!(place("c").as_deref(), Some(pulled.path()));
        assert_eq!(place("d"), None);
        let (listed, found) = (folder(&["a"], &[]), |folders: &Folders| folders.find("a").is_some());
        let folders = Folders::open(listed.path(), None).unwrap();
        assert!(folders.listed("a").is_some() && folders.listed("b").is_none() && !found(&folders));
    }

    #[test]
    fn nothing_pulled_is_no_fault_but_a_damaged_lock_is() {
        let (shipped, pulled) = (folder(&["a"], &["a"]), tempfile::tempdir().unwrap());
        let absent = pulled.path().join("not there");
        assert!(Folders::open(shipped.path(), Some(&absent)).unwrap().find("a").is_some());
        assert!(Folders::open(shipped.path(), Some(pulled.path())).unwrap().find("a").is_some());
        fs::write(pulled.path().join(LOCK_FILE), "network = 3").unwrap();
        assert!(Folders::open(shipped.path(), Some(pulled.path())).is_err());
        assert!(Folders::open(&absent, None).is_err());
    }
}
