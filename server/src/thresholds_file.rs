//! The file of thresholds that were measured at the place of use: `--thresholds-file`, written by `facesocial eval --apply`.
//!
//! ```toml
//! [[recognition]]
//! model = "ensemble@0f9b1c2d"
//! thresholds = "1e-2=0.772,1e-3=0.805"
//! measured = "2026-11-27, 1709 pairs of strangers of pairs.csv"
//!
//! [[antispoof]]
//! model = "face-antispoofing@dce4e648"
//! spoof = 0.3
//! live = 0.7
//!
//! [[deepfake]]
//! model = "deepfake-efficientnet-lite@6094eacd"
//! real = 0.18
//! fake = 0.93
//! ```
//!
//! An entry counts for the network it names and no other: scores of another one mean something else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use facesocial_pipeline::{Band, BandError, ChosenThresholds};
use facesocial_types::ModelId;
use serde::{Deserialize, Serialize};

/// A file of thresholds that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThresholdsFileError {
    /// It cannot be read.
    #[error("cannot read the thresholds {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is not of the form that the module shows.
    #[error("{} is no file of thresholds", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The reader's reason, with the line.
        source: Box<toml::de::Error>,
    },
    /// Similarities that cannot be.
    #[error("{}: thresholds of {model}: {reason}", path.display())]
    Similarities {
        /// The file.
        path: PathBuf,
        /// The network.
        model: ModelId,
        /// What is wrong.
        reason: String,
    },
    /// Two thresholds that bound nothing.
    #[error("{}: thresholds of {model}", path.display())]
    Band {
        /// The file.
        path: PathBuf,
        /// The network.
        model: ModelId,
        /// What is wrong.
        source: BandError,
    },
    /// Two entries for one network.
    #[error("{} has two entries for {model}", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The network.
        model: ModelId,
    },
    /// It cannot be written.
    #[error("cannot write the thresholds to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdsFile {
    /// Of recognition ensembles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recognition: Vec<RecognitionEntry>,
    /// Of liveness networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub antispoof: Vec<AntispoofEntry>,
    /// Of deepfake networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deepfake: Vec<DeepfakeEntry>,
}

/// Similarities of one ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecognitionEntry {
    /// The ensemble.
    pub model: ModelId,
    /// As `--thresholds` takes them.
    pub thresholds: String,
    /// When and on what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
}

/// Scores of one liveness network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AntispoofEntry {
    /// The network.
    pub model: ModelId,
    /// Below it, an attack.
    pub spoof: f32,
    /// From it on, live.
    pub live: f32,
    /// When and on what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
}

/// Probabilities of one deepfake network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepfakeEntry {
    /// The network.
    pub model: ModelId,
    /// Below it, a photograph.
    pub real: f32,
    /// From it on, a fake.
    pub fake: f32,
    /// When and on what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
}

impl ThresholdsFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is of another form.
    pub fn read(path: &Path) -> Result<Self, ThresholdsFileError> {
        let read = |source| ThresholdsFileError::Read { path: path.to_owned(), source };
        let form = |source| ThresholdsFileError::Form { path: path.to_owned(), source: Box::new(source) };
        toml::from_str(&fs::read_to_string(path).map_err(read)?).map_err(form)
    }

    /// As [`read`](Self::read), but a file that is not there is empty.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_or_empty(path: &Path) -> Result<Self, ThresholdsFileError> {
        match Self::read(path) {
            Err(ThresholdsFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            read => read,
        }
    }

    /// Writes the file: a new one that takes the place of the old one whole.
    ///
    /// # Errors
    /// [`ThresholdsFileError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), ThresholdsFileError> {
        let failed = |source| ThresholdsFileError::Write { path: path.to_owned(), source };
        let text = toml::to_string(self).map_err(|e| failed(io::Error::other(e)))?;
        let beside = path.with_extension("toml.new");
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).map_err(failed)
    }

    /// Puts an entry in the place of the one for the same network.
    pub fn set_recognition(&mut self, entry: RecognitionEntry) {
        self.recognition.retain(|e| e.model != entry.model);
        self.recognition.push(entry);
    }

    /// Puts an entry in the place of the one for the same network.
    pub fn set_antispoof(&mut self, entry: AntispoofEntry) {
        self.antispoof.retain(|e| e.model != entry.model);
        self.antispoof.push(entry);
    }

    /// Puts an entry in the place of the one for the same network.
    pub fn set_deepfake(&mut self, entry: DeepfakeEntry) {
        self.deepfake.retain(|e| e.model != entry.model);
        self.deepfake.push(entry);
    }

    /// The thresholds as the pipeline takes them; `path` names the file in errors.
    ///
    /// # Errors
    /// Numbers that can be no thresholds, a network named twice.
    pub fn chosen(&self, path: &Path) -> Result<ChosenThresholds, ThresholdsFileError> {
        let mut chosen = ChosenThresholds::default();
        let twice = |model: &ModelId| ThresholdsFileError::Twice { path: path.to_owned(), model: model.clone() };
        let band = |model: &ModelId, low, high| {
            let named = |source| ThresholdsFileError::Band { path: path.to_owned(), model: model.clone(), source };
            Band::new(low, high).map_err(named)
        };
        for RecognitionEntry { model, thresholds, .. } in &self.recognition {
            let named =
                |reason| ThresholdsFileError::Similarities { path: path.to_owned(), model: model.clone(), reason };
            let thresholds = thresholds.parse().map_err(named)?;
            if chosen.recognition.insert(model.clone(), thresholds).is_some() {
                return Err(twice(model));
            }
        }
        for AntispoofEntry { model, spoof, live, .. } in &self.antispoof {
            if chosen.antispoof.insert(model.clone(), band(model, *spoof, *live)?).is_some() {
                return Err(twice(model));
            }
        }
        for DeepfakeEntry { model, real, fake, .. } in &self.deepfake {
            if chosen.deepfake.insert(model.clone(), band(model, *real, *fake)?).is_some() {
                return Err(twice(model));
            }
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use facesocial_pipeline::FarTarget;

    use super::*;

    fn antispoof(model: &str, spoof: f32, live: f32) -> AntispoofEntry {
        AntispoofEntry { model: ModelId::parse(model).unwrap(), spoof, live, measured: None }
    }

    #[test]
    fn what_is_written_is_read_and_an_entry_takes_the_place_of_its_networks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thresholds.toml");
        assert_eq!(ThresholdsFile::read_or_empty(&path).unwrap(), ThresholdsFile::default());
        assert!(matches!(ThresholdsFile::read(&path), Err(ThresholdsFileError::Read { .. })));
        let mut file = ThresholdsFile::default();
        file.set_antispoof(antispoof("tree@1", 0.3, 0.7));
        file.set_antispoof(antispoof("other@1", 0.1, 0.2));
        file.set_antispoof(antispoof("tree@1", 0.25, 0.5));
        let measured = Some("2026-11-27, a set".to_owned());
        let model = ModelId::new("ensemble", "1");
        file.set_recognition(RecognitionEntry {
            model: model.clone(),
            thresholds: "1e-2=0.3,1e-3=0.4".into(),
            measured,
        });
        file.write(&path).unwrap();
        let read = ThresholdsFile::read(&path).unwrap();
        assert_eq!(read, file);
        let chosen = read.chosen(&path).unwrap();
        assert_eq!(chosen.antispoof[&ModelId::new("tree", "1")], Band::new(0.25, 0.5).unwrap());
        assert_eq!(chosen.recognition[&model].at(FarTarget::PerMille1), Some(0.4));
        assert_eq!((chosen.antispoof.len(), chosen.deepfake.len()), (2, 0));
    }

    #[test]
    fn faults_are_named_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thresholds.toml");
        let message = |text: &str| {
            fs::write(&path, text).unwrap();
            let read = ThresholdsFile::read(&path).and_then(|file| file.chosen(&path));
            format!("{:#}", anyhow::Error::from(read.unwrap_err()))
        };
        let entry = "[[antispoof]]\nmodel = \"tree@1\"\nspoof = 0.3\nlive = 0.7\n";
        for (text, fault) in [
            ("[[antispoof]]\nmodel = \"tree\"\nspoof = 0.3\nlive = 0.7\n".to_owned(), "name@version"),
            ("[[liveness]]\n".to_owned(), "unknown field"),
            (entry.repeat(2), "two entries for tree@1"),
            (entry.replace("0.7", "0.2"), "0.3 and 0.2 bound no scores"),
            ("[[recognition]]\nmodel = \"e@1\"\nthresholds = \"0.4\"\n".to_owned(), "write 1e-2="),
        ] {
            let message = message(&text);
            assert!(message.contains(fault) && message.contains("thresholds.toml"), "{message}");
        }
    }
}
