//! All networks: the manifests of `models-src`, part of the program.

use std::path::Path;

use facesocial_convert::{
    error::ConvertError,
    manifest::{Manifest, Profile},
};

use crate::error::{HubError, Result};

/// Folder and text of each manifest, sorted; written by the build script.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/manifests.rs"));

/// The known networks.
#[derive(Debug, Clone)]
pub struct Catalog(Vec<Manifest>);

impl Catalog {
    /// The networks of this version.
    ///
    /// # Errors
    /// [`HubError::Manifest`]; a test keeps that from happening.
    pub fn embedded() -> Result<Self> {
        let parse = |(name, text): &(&str, &str)| {
            let fault = |e: ConvertError| HubError::Manifest { name: (*name).to_owned(), reason: e.to_string() };
            Manifest::parse(name, text).map_err(fault)
        };
        EMBEDDED.iter().map(parse).collect::<Result<_>>().map(Self)
    }

    /// A catalog of these manifests.
    pub fn new(manifests: Vec<Manifest>) -> Self {
        Self(manifests)
    }

    /// The networks of a folder of manifests, `<dir>/<network>/manifest.toml`.
    ///
    /// # Errors
    /// [`HubError::Manifest`].
    pub fn open(dir: &Path) -> Result<Self> {
        let fault = |e: ConvertError| HubError::Manifest { name: dir.display().to_string(), reason: e.to_string() };
        Manifest::open_all(dir).map(Self).map_err(fault)
    }

    /// All manifests.
    pub fn iter(&self) -> impl Iterator<Item = &Manifest> {
        self.0.iter()
    }

    /// The manifest of a network.
    ///
    /// # Errors
    /// [`HubError::UnknownNetwork`].
    pub fn get(&self, name: &str) -> Result<&Manifest> {
        let known = || self.iter().map(|m| m.name.clone()).collect();
        self.iter()
            .find(|m| m.name == name)
            .ok_or_else(|| HubError::UnknownNetwork { name: name.to_owned(), known: known() })
    }

    /// The named networks and those of `profile`, each once.
    ///
    /// # Errors
    /// [`HubError::UnknownNetwork`].
    pub fn select(&self, names: &[String], profile: Option<Profile>) -> Result<Vec<&Manifest>> {
        for name in names {
            self.get(name)?;
        }
        Ok(self.iter().filter(|m| names.contains(&m.name) || profile == Some(m.profile)).collect())
    }
}

/// A licence that not every use agrees with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// Not for commercial use.
    NonCommercial,
    /// What is built on the weights has to be given under the same terms.
    Copyleft,
}

impl Restriction {
    /// Of a network's weights; `None` for permissive licences.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        if !manifest.commercial_use {
            return Some(Self::NonCommercial);
        }
        let mut words = manifest.licence.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| matches!(word, "GPL" | "AGPL")).then_some(Self::Copyleft)
    }

    /// The restriction in a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NonCommercial => "non-commercial",
            Self::Copyleft => "copyleft",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_manifest_of_the_repository_is_embedded() {
        let models_src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models-src");
        let mut folders: Vec<String> = fs::read_dir(models_src)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("manifest.toml").is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        folders.sort();
        let embedded: Vec<_> = EMBEDDED.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(embedded, folders);
        let catalog = Catalog::embedded().unwrap();
        Manifest::check_all(&catalog.0).unwrap();
    }

    #[test]
    fn networks_are_selected_by_name_and_profile_once_each() {
        let catalog = Catalog::embedded().unwrap();
        let names = |names: &[&str], profile| {
            let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
            catalog.select(&names, profile).map(|found| found.iter().map(|m| m.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(names(&["vit-deepfake", "mtcnn"], None).unwrap(), ["mtcnn", "vit-deepfake"]);
        let full = names(&["vit-deepfake"], Some(Profile::Full)).unwrap();
        assert_eq!(full.iter().filter(|n| *n == "vit-deepfake").count(), 1);
        assert!(full.len() > 1 && !full.contains(&"mtcnn".to_owned()));
        let error = names(&["vit"], None).unwrap_err().to_string();
        assert!(error.starts_with("no network is called vit; known are adaface-ir101, "), "{error}");
    }

    #[test]
    fn restricted_licences_are_recognised() {
        let catalog = Catalog::embedded().unwrap();
        let of = |licence: &str, commercial_use| {
            let any = catalog.get("vit-deepfake").unwrap().clone();
            Restriction::of(&Manifest { licence: licence.to_owned(), commercial_use, ..any })
        };
        assert_eq!(of("GPL-3.0", true), Some(Restriction::Copyleft));
        assert_eq!(of("AGPL-3.0-or-later", true), Some(Restriction::Copyleft));
        assert_eq!(of("research only", false), Some(Restriction::NonCommercial));
        for free in ["MIT", "Apache-2.0", "BSD-3-Clause"] {
            assert_eq!(of(free, true), None);
        }
    }
}
