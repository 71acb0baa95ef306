//! The walk of a pulled network: licence, source files, conversion, weight file.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use facesocial_convert::{
    convert::convert,
    error::ConvertError,
    lock::Entry,
    manifest::{Manifest, Profile},
    origin::{Contents, Download, Published, SourceFile},
    package::Files,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    catalog::Restriction,
    disk::{self, Disk, RealDisk},
    download::{Downloader, Expected, Remote, digest},
    error::{HubError, Result},
    folder::{FileEntry, SOURCES_FOLDER, SourceEntry, Sources},
    http::{Client, plain},
    mirror::{self, Mirror},
    observe::{Event, Observer, Silent},
    settings::Settings,
    source::{in_cache, remote},
    status::{Places, absent, digest_fault, size_fault},
};

/// Brings networks into the pulled folder.
pub struct Puller<'a> {
    /// The folders.
    pub places: &'a Places,
    /// Servers and limits.
    pub settings: &'a Settings,
    /// The file system.
    pub disk: &'a dyn Disk,
    /// Who is told.
    pub observer: &'a dyn Observer,
    /// What is wanted beside the networks.
    pub options: PullOptions,
}

/// What a pull may do.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Networks whose licence is accepted.
    pub accepted: BTreeSet<String>,
    /// Every licence is accepted.
    pub accept_all: bool,
    /// Leaves the downloaded files in `sources/` of the folder.
    pub keep_sources: bool,
    /// Pulls what is there already.
    pub force: bool,
    /// Takes a file that differs from the recorded one, and records it anew.
    pub accept_changed: bool,
}

/// What became of one network.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Its weights, or why there are none.
    pub result: Result<Pulled>,
}

/// The weights of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// How they came.
    pub how: How,
    /// The weight file.
    pub file: PathBuf,
    /// Its entry in the lock.
    pub entry: Entry,
}

/// How weights came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// They came with the program.
    Bundled,
    /// They were there and are whole.
    Already,
    /// They were pulled now.
    Pulled,
}

/// A source file that was brought.
struct Brought {
    /// Where its bytes are.
    path: PathBuf,
    entry: FileEntry,
    commit: Option<String>,
}

impl<'a> Puller<'a> {
    /// A puller for the file system of the machine that tells nobody.
    pub fn new(places: &'a Places, settings: &'a Settings) -> Self {
        Self { places, settings, disk: &RealDisk, observer: &Silent, options: PullOptions::default() }
    }

    /// The networks among `wanted` whose licence has to be accepted before they can be pulled: restricted, not pulled
    /// yet, and not accepted by an option or at an earlier pull.
    ///
    /// # Errors
    /// [`HubError::Lock`], [`HubError::Io`].
    pub fn unaccepted<'m>(&self, wanted: &[&'m Manifest]) -> Result<Vec<&'m Manifest>> {
        let locks = self.places.locks()?;
        let sources = self.places.pulled.sources()?;
        let open = |manifest: &&&Manifest| {
            let named = self.options.accept_all || self.options.accepted.contains(&manifest.name);
            Restriction::of(manifest).is_some()
                && !named
                && accepted_before(&sources, manifest).is_none()
                && (self.options.force || locks.find(self.places, manifest).is_none())
        };
        Ok(wanted.iter().filter(open).copied().collect())
    }

    /// Brings every network; one that fails does not keep the others from coming.
    ///
    /// # Errors
    /// [`HubError::Licence`] if any licence is not accepted (then nothing is downloaded); what keeps every network from
    /// coming.
    pub fn pull(&self, wanted: &[&Manifest]) -> Result<Vec<Outcome>> {
        let unaccepted = self.unaccepted(wanted)?;
        if !unaccepted.is_empty() {
            let named = unaccepted.iter().map(|m| (m.name.clone(), m.licence.clone()));
            return Err(HubError::Licence(named.collect()));
        }
        let foreign = wanted.iter().any(|m| m.profile == Profile::Full);
        let _guard = foreign.then(|| self.places.pulled.guard(self.observer)).transpose()?;
        let mut client = None;
        let one = |manifest: &&Manifest| {
            let result = match manifest.profile {
                Profile::Bundled => self.bundled(manifest),
                Profile::Full => self.full(manifest, &mut client),
            };
            Outcome { name: manifest.name.clone(), result }
        };
        Ok(wanted.iter().map(one).collect())
    }

    fn bundled(&self, manifest: &Manifest) -> Result<Pulled> {
        let Some((entry, file)) = self.places.locks()?.find(self.places, manifest) else {
            return Err(absent(manifest, None));
        };
        match size_fault(&entry, &file)? {
            None => Ok(Pulled { how: How::Bundled, file, entry }),
            damage => Err(absent(manifest, damage.as_ref())),
        }
    }

    fn full(&self, manifest: &Manifest, client: &mut Option<Client>) -> Result<Pulled> {
        let folder = &self.places.pulled;
        // Read under the guard: another process may have pulled it while this one waited.
        if !self.options.force
            && let Some((entry, file)) = self.places.locks()?.find(self.places, manifest)
            && entry.agrees(manifest)
            && size_fault(&entry, &file)?.is_none()
            && digest_fault(&entry, &file)?.is_none()
        {
            return Ok(Pulled { how: How::Already, file, entry });
        }
        self.observer.event(Event::Network { name: &manifest.name, licence: &manifest.licence });
        let fault = |reason: &str| HubError::Manifest { name: manifest.name.clone(), reason: reason.to_owned() };
        let published = manifest.source.published();
        let published = published.ok_or_else(|| fault("weights trained by this project are not published anywhere"))?;
        let downloads = published.downloads();
        if downloads.is_empty() {
            return Err(fault("its package is brought by `facesocial-convert fetch`"));
        }
        let sources = folder.sources()?;
        let mut files = Files::new();
        let mut brought = Vec::new();
        for download in &downloads {
            brought.extend(self.bring(manifest, published, download, &sources, client, &mut files)?);
        }

        self.observer.event(Event::Converting { name: &manifest.name });
        let kept = brought[0].path.parent().unwrap_or(Path::new(".")).to_owned();
        let converted = convert(manifest, &files).map_err(|source| HubError::Convert {
            network: manifest.name.clone(),
            source: Box::new(source),
            kept,
        })?;
        let now = OffsetDateTime::now_utc();
        // Zero nanoseconds are always valid, and a date of this age has a form.
        let now = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default();
        let accepted = accepted_before(&sources, manifest);
        let source = SourceEntry {
            name: manifest.name.clone(),
            source: manifest.source_line(),
            licence: manifest.licence.clone(),
            licence_accepted: Restriction::of(manifest).map(|_| accepted.unwrap_or_else(|| now.clone())),
            pulled: now,
            commit: brought.iter().find_map(|b| b.commit.clone()),
            files: brought.into_iter().map(|b| b.entry).collect(),
        };
        folder.store(self.disk, converted.entry.clone(), &converted.bytes, source)?;
        if !self.options.keep_sources {
            self.clean(&manifest.name)?;
        }
        let file = folder.path().join(&converted.entry.file);
        Ok(Pulled { how: How::Pulled, file, entry: converted.entry })
    }

    /// Brings what one request gives, from the nearest place that has it, and takes it into `files`.
    fn bring(
        &self,
        manifest: &Manifest,
        published: &Published,
        download: &Download<'_>,
        sources: &Sources,
        client: &mut Option<Client>,
        files: &mut Files,
    ) -> Result<Vec<Brought>> {
        let path = match download.contents {
            Contents::File(file) => file.path.as_str(),
            Contents::Zip => download.file_name,
        };
        let expected = self.expected(manifest, sources, path, download.sha256);
        let kept = self.places.pulled.sources_of(&manifest.name).join(path);
        let mut brought = vec![match &self.settings.mirror {
            Some(Mirror::Folder(from)) => match mirror::find(from, &manifest.name, path) {
                Some(found) => self.found(&found, path, &expected, download.sha256.is_some())?,
                None if matches!(download.contents, Contents::Zip) => {
                    return self.bare(manifest, published, from, path, sources, files);
                }
                None => {
                    let tried = mirror::places(&manifest.name, path);
                    return Err(HubError::MirrorLacks { mirror: from.display().to_string(), tried });
                }
            },
            other => {
                let cached = || in_cache(self.settings.huggingface_cache.as_ref(), published, path);
                let here = [kept.clone()].into_iter().chain(cached());
                let mut usable = here.filter_map(|f| self.found(&f, path, &expected, download.sha256.is_some()).ok());
                match usable.next() {
                    Some(brought) => brought,
                    None => {
                        let client = match client {
                            Some(client) => client,
                            None => client.insert(Client::new(self.settings)?),
                        };
                        let server = match other {
                            Some(Mirror::Server(url)) => Some(url),
                            _ => None,
                        };
                        self.download(client, server, manifest, published, download, &expected, &kept)?
                    }
                }
            }
        }];
        let found = brought[0].path.clone();
        match self.take(manifest, published, download, sources, files, &found) {
            Ok(members) => brought.extend(members),
            Err(error) => {
                // An unfit download would be found again by the next pull.
                let own = found == kept;
                if own {
                    disk::remove(&kept).map_err(HubError::io(&kept))?;
                }
                return Err(error.removed(own));
            }
        }
        Ok(brought)
    }

    /// Takes a file, or what a zip holds, into `files`; gives the records of the zip's files.
    fn take(
        &self,
        manifest: &Manifest,
        published: &Published,
        download: &Download<'_>,
        sources: &Sources,
        files: &mut Files,
        found: &Path,
    ) -> Result<Vec<Brought>> {
        if let Contents::File(file) = download.contents {
            let bytes = fs::read(found).map_err(HubError::io(found))?;
            files.insert(published, &file.path, bytes).map_err(|e| unfit(found, e))?;
            return Ok(Vec::new());
        }
        let zip = File::open(found).map_err(HubError::io(found))?;
        files.insert_zip(published, BufReader::new(zip)).map_err(|e| unfit(found, e))?;
        let record = |file: &SourceFile| {
            let from = format!("{}:{}", download.file_name, file.path);
            self.member(manifest, published, &file.path, sources, files, found, from)
        };
        published.files.iter().map(record).collect()
    }

    /// The files of a zip, lying in a folder by themselves.
    fn bare(
        &self,
        manifest: &Manifest,
        published: &Published,
        from: &Path,
        zip: &str,
        sources: &Sources,
        files: &mut Files,
    ) -> Result<Vec<Brought>> {
        let mut brought = Vec::new();
        for file in &published.files {
            let Some(found) = mirror::find(from, &manifest.name, &file.path) else {
                let mut tried = mirror::places(&manifest.name, zip);
                tried.extend(mirror::places(&manifest.name, &file.path));
                return Err(HubError::MirrorLacks { mirror: from.display().to_string(), tried });
            };
            let bytes = fs::read(&found).map_err(HubError::io(&found))?;
            files.insert(published, &file.path, bytes).map_err(|e| unfit(&found, e))?;
            let place = found.display().to_string();
            self.observer.event(Event::Found { file: file.file_name(), place: &place });
            brought.push(self.member(manifest, published, &file.path, sources, files, &found, place)?);
        }
        Ok(brought)
    }

    /// The record of a file that `files` has already and has compared with the manifest.
    #[expect(clippy::too_many_arguments, reason = "the facts of one record")]
    fn member(
        &self,
        manifest: &Manifest,
        published: &Published,
        path: &str,
        sources: &Sources,
        files: &Files,
        place: &Path,
        from: String,
    ) -> Result<Brought> {
        let bytes = files.get(published, path).map_err(|e| unfit(place, e))?;
        let sha256 = facesocial_convert::output::sha256(bytes);
        let pinned = published.files.iter().find(|f| f.path == path).and_then(|f| f.sha256.as_deref());
        self.expected(manifest, sources, path, pinned).check(&from, &sha256, false)?;
        let pinned = pinned.is_some();
        let entry = FileEntry { path: path.to_owned(), sha256, bytes: bytes.len() as u64, pinned, from };
        Ok(Brought { path: place.to_owned(), entry, commit: None })
    }

    /// A file that is there already, if it is the right one.
    fn found(&self, found: &Path, path: &str, expected: &Expected, pinned: bool) -> Result<Brought> {
        let (sha256, bytes) = digest(found).map_err(HubError::io(found))?;
        let place = found.display().to_string();
        expected.check(&place, &sha256, false)?;
        self.observer.event(Event::Found { file: path, place: &place });
        let entry = FileEntry { path: path.to_owned(), sha256, bytes, pinned, from: place };
        Ok(Brought { path: found.to_owned(), entry, commit: None })
    }

    #[expect(clippy::too_many_arguments, reason = "the facts of one download")]
    fn download(
        &self,
        client: &Client,
        mirror: Option<&url::Url>,
        manifest: &Manifest,
        published: &Published,
        download: &Download<'_>,
        expected: &Expected,
        target: &Path,
    ) -> Result<Brought> {
        let path = match download.contents {
            Contents::File(file) => file.path.as_str(),
            Contents::Zip => download.file_name,
        };
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(HubError::io(folder))?;
        let downloader = Downloader {
            client,
            disk: self.disk,
            retry: &self.settings.retry,
            observer: self.observer,
            max_bytes: self.settings.max_bytes,
        };
        let brought = |remote: &Remote| {
            let fetched = downloader.fetch(remote, expected, target)?;
            let entry = FileEntry {
                path: path.to_owned(),
                sha256: fetched.sha256,
                bytes: fetched.bytes,
                pinned: download.sha256.is_some(),
                from: plain(&remote.url),
            };
            Ok(Brought { path: target.to_owned(), entry, commit: fetched.commit })
        };
        let Some(mirror) = mirror else { return brought(&remote(self.settings, published, download)?) };
        let tried = mirror::places(&manifest.name, path);
        for place in &tried {
            let url = mirror
                .join(place)
                .map_err(|e| HubError::Answer { url: format!("{mirror}{place}"), reason: e.to_string() })?;
            let advice = "the mirror refuses it".to_owned();
            match brought(&Remote { url, token: None, bytes: download.bytes, advice }) {
                Err(HubError::NotFound { .. }) => {}
                other => return other,
            }
        }
        Err(HubError::MirrorLacks { mirror: mirror.to_string(), tried })
    }

    /// The digest that a file must have: pinned, or recorded for the same source.
    fn expected(&self, manifest: &Manifest, sources: &Sources, path: &str, pinned: Option<&str>) -> Expected {
        if let Some(pinned) = pinned {
            return Expected::Pinned(pinned.to_owned());
        }
        let recorded = sources.get(&manifest.name).filter(|e| e.source == manifest.source_line());
        let file = recorded.and_then(|e| e.files.iter().find(|f| f.path == path));
        match file.filter(|_| !self.options.accept_changed) {
            Some(file) => Expected::Recorded { network: manifest.name.clone(), sha256: file.sha256.clone() },
            None => Expected::Unknown,
        }
    }

    /// Removes a network's downloads.
    fn clean(&self, network: &str) -> Result<()> {
        let folder = self.places.pulled.sources_of(network);
        if folder.is_dir() {
            fs::remove_dir_all(&folder).map_err(HubError::io(&folder))?;
        }
        // Fails if other downloads are kept there.
        fs::remove_dir(self.places.pulled.path().join(SOURCES_FOLDER)).ok();
        Ok(())
    }
}

/// When the licence was accepted at an earlier pull; a changed licence has not been.
fn accepted_before(sources: &Sources, manifest: &Manifest) -> Option<String> {
    let entry = sources.get(&manifest.name).filter(|e| e.licence == manifest.licence)?;
    entry.licence_accepted.clone()
}

/// A source file that is not what the manifest says.
fn unfit(place: &Path, error: ConvertError) -> HubError {
    match error {
        ConvertError::Digest { what, expected, found } => {
            let what = format!("{what} in {}", place.display());
            HubError::Digest { what, expected, found, removed: false }
        }
        ConvertError::Io { path, source } => HubError::Io { path, source },
        other => HubError::Archive { archive: place.display().to_string(), reason: other.to_string() },
    }
}
