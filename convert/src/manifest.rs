//! `models-src/<net>/manifest.toml`: where a network's weights come from and how their tensors are renamed.

use std::{fs, path::Path};

use serde::Deserialize;

use crate::{
    error::{ConvertError, Result},
    graph::{Map, Structure},
    layout::Layout,
    origin::{Format, Published, Source},
};

/// A network's manifest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    /// Licence of the weights, as whoever serves them states it.
    pub licence: String,
    /// Whether that licence allows commercial use; bundled weights all may be used so and need not say it.
    #[serde(default = "yes")]
    pub commercial_use: bool,
    /// The weights are random, for tests of everything around them; a release build refuses them.
    #[serde(default)]
    pub untrained: bool,
    /// Where the weights come from.
    pub source: Source,
    /// What the conversion must give.
    pub output: Output,
    /// Renaming rules, first match wins.
    #[serde(rename = "rule", default)]
    pub rules: Vec<Rule>,
    /// The layers of an ONNX graph, or that it tells them itself, in place of rules where names tell nothing.
    pub onnx: Option<Map>,
}

fn yes() -> bool {
    true
}

/// How a network's weights reach a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Committed under `weights/`.
    Bundled,
    /// Too large or too restrictively licensed to commit; a user fetches it.
    Full,
}

/// What the conversion must give.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// File under `weights/`.
    pub file: String,
    /// Number of tensors, without the companions of quantised ones; 0 where only the file tells it, see
    /// [`counts`](Self::counts).
    #[serde(default)]
    pub tensors: usize,
    /// Number of elements of those tensors; 0 as above.
    #[serde(default)]
    pub parameters: usize,
}

impl Output {
    /// Tensors and parameters; `None` for a chain of layers whose depth and widths are known from its file alone, so that
    /// no count could be written down before the file was seen.
    pub const fn counts(&self) -> Option<(usize, usize)> {
        match (self.tensors, self.parameters) {
            (0, 0) => None,
            counts => Some(counts),
        }
    }
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
        let folder = path.parent().and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or_default();
        Self::parse(folder, &text).map_err(|error| match error {
            ConvertError::Manifest { reason, .. } => ConvertError::Manifest { path: path.to_owned(), reason },
            other => other,
        })
    }

    /// Reads and checks the text of a manifest, for instance one that is part of a binary; `folder` is the name of the
    /// folder it came from.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`].
    pub fn parse(folder: &str, text: &str) -> Result<Self> {
        let fault = |reason| ConvertError::Manifest { path: Path::new(folder).join("manifest.toml"), reason };
        let manifest: Self = toml::from_str(text).map_err(|e| fault(e.to_string()))?;
        if manifest.name != folder {
            return Err(fault(format!("name is {:?}, the folder is {folder:?}", manifest.name)));
        }
        manifest.check().map_err(fault)?;
        Ok(manifest)
    }

    /// Reads every `<models_src>/*/manifest.toml`, of both profiles, sorted by name.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::check_all`].
    pub fn open_all(models_src: &Path) -> Result<Vec<Self>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(models_src).map_err(ConvertError::io(models_src))? {
            let path = entry.map_err(ConvertError::io(models_src))?.path().join("manifest.toml");
            if path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        let manifests: Vec<Self> = paths.iter().map(|path| Self::open(path)).collect::<Result<_>>()?;
        Self::check_all(&manifests)?;
        Ok(manifests)
    }

    /// Whether manifests go together: each writes a file of its own.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] if two write the same file.
    pub fn check_all(manifests: &[Self]) -> Result<()> {
        for (i, manifest) in manifests.iter().enumerate() {
            let file = &manifest.output.file;
            if let Some(other) = manifests[..i].iter().find(|m| m.output.file == *file) {
                let path = Path::new(&manifest.name).join("manifest.toml");
                let reason = format!("output.file {file:?} is also that of {}", other.name);
                return Err(ConvertError::Manifest { path, reason });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let output = &self.output.file;
        if !output.ends_with(".safetensors") || output.contains(['/', '\\']) {
            return Err(format!("output.file {output:?} is not a plain name that ends in .safetensors"));
        }
        let chain = self.onnx.as_ref().is_some_and(|map| map.structure == Structure::Chain);
        if (self.output.tensors == 0 || self.output.parameters == 0) && !(chain && self.output.counts().is_none()) {
            return Err(
                "output.tensors and output.parameters are missing; only an [onnx] chain goes without".to_owned()
            );
        }
        self.onnx.as_ref().map_or(Ok(()), Map::check)?;
        self.source.check(self.profile == Profile::Bundled)?;
        if self.profile == Profile::Bundled && !self.commercial_use {
            return Err("weights that may not be used commercially are not bundled".to_owned());
        }
        match &self.source {
            Source::Published(_) if self.untrained => Err("published weights are not untrained".to_owned()),
            Source::Project { .. } if !self.rules.is_empty() || self.onnx.is_some() => {
                Err("weights trained by this project are not converted, so they have no rules".to_owned())
            }
            Source::Published(Published { format, .. }) if self.onnx.is_some() => match format {
                Format::Onnx if self.rules.is_empty() => Ok(()),
                Format::Onnx => Err("an onnx source has either [onnx] layers or rules".to_owned()),
                _ => Err("[onnx] is for sources of that format".to_owned()),
            },
            _ => Ok(()),
        }
    }

    /// The source as `weights.lock` names it.
    pub fn source_line(&self) -> String {
        self.source.line()
    }
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
    fn both_profiles_are_opened_by_one_strict_type() {
        let dir = tempfile::tempdir().unwrap();
        let full = manifest_text("")
            .replace("\"tiny\"", "\"big\"")
            .replace("\"bundled\"", "\"full\"")
            .replace("licence = \"MIT\"", "licence = \"research only\"\ncommercial_use = false")
            .replace("tiny.safetensors", "big.safetensors");
        for (name, text) in [("tiny", manifest_text("")), ("big", full.clone())] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("manifest.toml"), text).unwrap();
        }
        let manifests = Manifest::open_all(dir.path()).unwrap();
        let found: Vec<_> = manifests.iter().map(|m| (m.name.as_str(), m.profile, m.commercial_use)).collect();
        assert_eq!(found, [("big", Profile::Full, false), ("tiny", Profile::Bundled, true)]);

        fs::write(dir.path().join("big/manifest.toml"), full.replace("big.safetensors", "tiny.safetensors")).unwrap();
        let error = Manifest::open_all(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is also that of big"), "{error}");
        fs::write(dir.path().join("big/manifest.toml"), format!("colour = 1\n{full}")).unwrap();
        assert!(Manifest::open_all(dir.path()).unwrap_err().to_string().contains("colour"));
    }

    #[test]
    fn only_a_chain_goes_without_its_counts() {
        let onnx = manifest_text("[onnx]\nstructure = \"chain\"").replace("\"tflite\"", "\"onnx\"");
        assert_eq!(open(&onnx).unwrap().output.counts(), Some((1, 2)));
        let uncounted = onnx.replace("tensors = 1\nparameters = 2", "");
        assert_eq!(open(&uncounted).unwrap().output.counts(), None);
        assert!(open(&onnx.replace("tensors = 1", "")).unwrap_err().to_string().contains("are missing"));
    }

    #[test]
    fn only_weights_trained_here_may_be_untrained() {
        let text = manifest_text("");
        let error = open(&text.replace("licence =", "untrained = true\nlicence =")).unwrap_err().to_string();
        assert!(error.contains("published weights are not untrained"), "{error}");
        let (before, after) = (text.split("[source]").next().unwrap(), text.split("[output]").nth(1).unwrap());
        let project = "[source]\nregistry = \"project\"\nrecipe = \"models-src/tiny/train.py\"\n";
        let text = format!("untrained = true\n{before}{project}[output]{after}");
        let manifest = open(&text).unwrap();
        assert!(manifest.untrained && manifest.source.published().is_none());
        let error = open(&format!("{text}\n[[rule]]\nfrom = \"a\"\nto = \"b\"")).unwrap_err().to_string();
        assert!(error.contains("have no rules"), "{error}");
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
            (manifest_text("").replacen("archive_sha256 = ", "# ", 1), "archive_sha256 is missing"),
            (manifest_text("").replace("\nsha256 = \"0", "\nbytes = 1 #"), "has no sha256"),
            (manifest_text("").replace("licence =", "commercial_use = false\nlicence ="), "are not bundled"),
            (manifest_text("").replace("tiny.safetensors", "../tiny.safetensors"), "not a plain name"),
            (manifest_text("").replace("\"tflite\"", "\"tfjs\""), "its manifest (.json)"),
            (manifest_text("").replace("parameters = 2", ""), "are missing"),
            (manifest_text("").replace("tensors = 1\nparameters = 2", ""), "are missing"),
            (manifest_text("[onnx]\noperators = [\"Add\"]"), "names no layers"),
            (manifest_text("[onnx]\nstructure = \"chain\"\nepsilon = 1e-3"), "nothing but its structure"),
        ];
        for (text, expected) in cases {
            let error = open(&text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
