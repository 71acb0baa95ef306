//! A place that is asked instead of the publishers: a folder, or a web server of one's own.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use url::Url;

use crate::{
    error::{HubError, Result},
    settings::base,
};

/// Where the files of networks are taken from without asking their publishers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mirror {
    /// A folder; then nothing goes over the network.
    Folder(PathBuf),
    /// The base address of a web server.
    Server(Url),
}

impl Mirror {
    /// A path, a `file://` address, or the `https://` (or `http://`) address of a server.
    ///
    /// # Errors
    /// [`HubError::Setting`].
    pub fn parse(text: &str) -> Result<Self> {
        const NAME: &str = "the mirror (--from or FACESOCIAL_MODELS_MIRROR)";
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let fault = |reason: &str| HubError::Setting { name: NAME, value: text.to_owned(), reason: reason.to_owned() };
        match scheme.as_deref() {
            None => Ok(Self::Folder(text.into())),
            Some("file") => {
                let path = Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
                path.map(Self::Folder).ok_or_else(|| fault("not the address of a folder on this machine"))
            }
            Some("http" | "https") => base(NAME, text).map(Self::Server),
            Some(_) => Err(fault("a folder, a file:// or an https:// address is needed")),
        }
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Server(url) => url.fmt(f),
        }
    }
}

/// Relative paths under which a mirror may have a file of a network, the most telling first.
pub(crate) fn places(network: &str, path: &str) -> Vec<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut places = vec![format!("{network}/{name}"), format!("{network}/{path}"), path.to_owned(), name.to_owned()];
    // A plain name has fewer forms.
    let mut seen = BTreeSet::new();
    places.retain(|place| seen.insert(place.clone()));
    places
}

/// The first of those places that a folder has.
pub(crate) fn find(folder: &Path, network: &str, path: &str) -> Option<PathBuf> {
    places(network, path).into_iter().map(|place| folder.join(place)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_folder_or_a_server() {
        let parse = |text: &str| Mirror::parse(text).unwrap();
        assert_eq!(parse("some/folder"), Mirror::Folder("some/folder".into()));
        #[cfg(unix)]
        assert_eq!(parse("file:///some/folder"), Mirror::Folder("/some/folder".into()));
        assert_eq!(parse("https://own.example/m").to_string(), "https://own.example/m/");
        assert!(Mirror::parse("ftp://own.example").unwrap_err().to_string().contains("--from"));
    }

    #[test]
    fn places_go_from_the_networks_folder_to_the_bare_name() {
        assert_eq!(places("net", "a/b.onnx"), ["net/b.onnx", "net/a/b.onnx", "a/b.onnx", "b.onnx"]);
        assert_eq!(places("net", "b.onnx"), ["net/b.onnx", "b.onnx"]);
    }
}
