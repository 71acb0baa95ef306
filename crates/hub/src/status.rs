//! Which networks there are, which are present, and whether their files are whole.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use facesocial_convert::{
    lock::{self, Entry, Lock},
    manifest::{Manifest, Profile},
};

use crate::{
    catalog::{Catalog, Restriction},
    download::digest,
    error::{HubError, Result},
    folder::{PulledFolder, open_lock},
};

/// The two folders that networks are loaded from.
#[derive(Debug, Clone)]
pub struct Places {
    /// The bundled weights, if their folder was found.
    pub bundled: Option<PathBuf>,
    /// The pulled ones.
    pub pulled: PulledFolder,
}

/// What there is of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The file is there and has the size that its lock says.
    Present,
    /// Never brought, or not part of this installation.
    Absent,
    /// The lock has it, the file is not what the lock says.
    Damaged(Damage),
}

/// How a file differs from its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// It is gone.
    Gone,
    /// It has another size.
    Size {
        /// Bytes of the file.
        found: u64,
        /// Bytes in the lock.
        expected: u64,
    },
    /// It has another digest.
    Digest {
        /// sha256 of the file.
        found: String,
        /// sha256 in the lock.
        expected: String,
    },
    /// No lock lists it.
    Unlisted,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the lock lists it, the file is gone"),
            Self::Size { found, expected } => write!(f, "it has {found} bytes, the lock says {expected}"),
            Self::Digest { found, expected } => write!(f, "it has sha256 {found}, the lock says {expected}"),
            Self::Unlisted => write!(f, "{} does not list it", lock::FILE_NAME),
        }
    }
}

/// One network of a list.
#[derive(Debug, Clone)]
pub struct Listed<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// What its licence forbids.
    pub restriction: Option<Restriction>,
    /// What there is of it; only sizes are compared, [`verify`] reads the files.
    pub state: State,
    /// Its weight file, if the lock lists it.
    pub file: Option<PathBuf>,
    /// Size of the weight file, if it was made already.
    pub bytes: Option<u64>,
    /// The services that would run it now; `None` if there was no plan.
    pub runs_in: Option<Vec<String>>,
}

/// The services that would run a network, by its name.
pub type Plan = BTreeMap<String, Vec<String>>;

/// Lists all networks, those of a service together. `plan` gives for each network the services that would run it now; it
/// is the engine's to know.
///
/// # Errors
/// [`HubError::Lock`], [`HubError::Io`].
pub fn list<'a>(catalog: &'a Catalog, places: &Places, plan: Option<&Plan>) -> Result<Vec<Listed<'a>>> {
    let locks = places.locks()?;
    let mut services: Vec<&str> = Vec::new();
    for manifest in catalog.iter() {
        if !services.contains(&manifest.service.as_str()) {
            services.push(&manifest.service);
        }
    }
    let mut all = Vec::new();
    for service in services {
        for manifest in catalog.iter().filter(|m| m.service == service) {
            let found = locks.find(places, manifest);
            let state = match &found {
                None => State::Absent,
                Some((entry, file)) => match size_fault(entry, file)? {
                    None => State::Present,
                    Some(damage) => State::Damaged(damage),
                },
            };
            all.push(Listed {
                manifest,
                restriction: Restriction::of(manifest),
                state,
                bytes: found.as_ref().map(|(entry, _)| entry.bytes),
                file: found.map(|(_, file)| file),
                runs_in: plan.map(|plan| plan.get(&manifest.name).cloned().unwrap_or_default()),
            });
        }
    }
    Ok(all)
}

/// A file that was compared with its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The network, if the lock knows the file.
    pub network: Option<String>,
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub damage: Option<Damage>,
}

/// Compares files with the locks of both folders, by size and sha256: the named networks', or all, and then also files
/// that no lock lists.
///
/// # Errors
/// [`HubError::UnknownNetwork`]; [`HubError::Absent`] or [`HubError::Bundled`] for a named network that no lock lists;
/// [`HubError::Lock`], [`HubError::Io`].
pub fn verify(catalog: &Catalog, places: &Places, names: &[String]) -> Result<Vec<Verified>> {
    let locks = places.locks()?;
    for name in names {
        let manifest = catalog.get(name)?;
        if locks.find(places, manifest).is_none() {
            return Err(absent(manifest, None));
        }
    }
    let mut all = Vec::new();
    let folders = [(places.bundled.as_deref(), &locks.bundled), (Some(places.pulled.path()), &locks.pulled)];
    for (folder, lock) in folders.into_iter().filter_map(|(folder, lock)| Some((folder?, lock))) {
        for entry in &lock.networks {
            if names.is_empty() || names.contains(&entry.name) {
                let file = folder.join(&entry.file);
                let damage = match size_fault(entry, &file)? {
                    None => digest_fault(entry, &file)?,
                    fault => fault,
                };
                all.push(Verified { network: Some(entry.name.clone()), file, damage });
            }
        }
        if names.is_empty() && folder.is_dir() {
            let files = lock::weight_files(folder)
                .map_err(|e| HubError::Lock { path: folder.to_owned(), reason: e.to_string() })?;
            let unlisted = files.into_iter().filter(|f| !lock.networks.iter().any(|e| e.file == *f));
            all.extend(unlisted.map(|f| Verified {
                network: None,
                file: folder.join(f),
                damage: Some(Damage::Unlisted),
            }));
        }
    }
    Ok(all)
}

/// Absolute path of a network's weight file, which is there and has the right size.
///
/// # Errors
/// [`HubError::UnknownNetwork`]; [`HubError::Absent`] or [`HubError::Bundled`] with what brings it; [`HubError::Lock`],
/// [`HubError::Io`].
pub fn path_of(catalog: &Catalog, places: &Places, name: &str) -> Result<PathBuf> {
    let manifest = catalog.get(name)?;
    let Some((entry, file)) = places.locks()?.find(places, manifest) else { return Err(absent(manifest, None)) };
    match size_fault(&entry, &file)? {
        None => std::path::absolute(&file).map_err(HubError::io(&file)),
        damage => Err(absent(manifest, damage.as_ref())),
    }
}

/// The error for a network whose weights cannot be used.
pub(crate) fn absent(manifest: &Manifest, damage: Option<&Damage>) -> HubError {
    let name = manifest.name.clone();
    if manifest.profile == Profile::Full {
        let found = damage.map_or_else(|| "not pulled".to_owned(), |damage| format!("damaged ({damage})"));
        return HubError::Absent { name, found };
    }
    let found =
        damage.map_or_else(|| "they were not found".to_owned(), |damage| format!("the file is damaged: {damage}"));
    let again = if manifest.source.published().is_some() {
        format!("make it again with `cargo run --release -p facesocial-convert -- fetch --only {name}`")
    } else {
        // The file is the original.
        format!("get weights/{} from version control", manifest.output.file)
    };
    HubError::Bundled { name, found, again }
}

impl Places {
    pub(crate) fn locks(&self) -> Result<Locks> {
        let bundled = self.bundled.as_deref().map(open_lock).transpose()?.unwrap_or_default();
        Ok(Locks { bundled, pulled: self.pulled.lock()? })
    }
}

/// The locks of both folders.
pub(crate) struct Locks {
    bundled: Lock,
    pulled: Lock,
}

impl Locks {
    /// Entry and file of a network: of a bundled one in the bundled folder, of another in the pulled one.
    pub(crate) fn find(&self, places: &Places, manifest: &Manifest) -> Option<(Entry, PathBuf)> {
        let (folder, lock) = match manifest.profile {
            Profile::Bundled => (places.bundled.as_deref()?, &self.bundled),
            Profile::Full => (places.pulled.path(), &self.pulled),
        };
        let entry = lock.networks.iter().find(|e| e.name == manifest.name)?;
        Some((entry.clone(), folder.join(&entry.file)))
    }
}

/// The difference in size, if there is one.
pub(crate) fn size_fault(entry: &Entry, file: &Path) -> Result<Option<Damage>> {
    match fs::metadata(file) {
        Ok(data) if data.len() == entry.bytes => Ok(None),
        Ok(data) => Ok(Some(Damage::Size { found: data.len(), expected: entry.bytes })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Damage::Gone)),
        Err(error) => Err(HubError::io(file)(error)),
    }
}

/// The difference in content, if there is one.
pub(crate) fn digest_fault(entry: &Entry, file: &Path) -> Result<Option<Damage>> {
    let (found, _) = digest(file).map_err(HubError::io(file))?;
    Ok((found != entry.sha256).then(|| Damage::Digest { found, expected: entry.sha256.clone() }))
}
