//! From a manifest's source to the addresses that are asked, and to copies that need no asking.

use std::path::PathBuf;

use facesocial_convert::origin::{Download, Origin, Published};
use hf_hub::{Cache, Repo, RepoType};
use url::Url;

use crate::{
    download::Remote,
    error::{HubError, Result},
    settings::Settings,
};

/// The publishers' own addresses, as [`Published::downloads`] writes them.
const HUGGING_FACE: &str = "https://huggingface.co/";
const GITHUB: &str = "https://github.com/";
const GITHUB_RAW: &str = "https://raw.githubusercontent.com/";

/// Where a download of `published` is asked for.
pub(crate) fn remote(settings: &Settings, published: &Published, download: &Download<'_>) -> Result<Remote> {
    let servers =
        [(HUGGING_FACE, &settings.huggingface), (GITHUB, &settings.github), (GITHUB_RAW, &settings.github_raw)];
    let moved = servers.iter().find_map(|(own, base)| Some((base, download.url.strip_prefix(own)?)));
    let url = match moved {
        Some((base, rest)) => base.join(rest),
        None => Url::parse(&download.url),
    };
    let url = url.map_err(|e| HubError::Answer { url: download.url.clone(), reason: e.to_string() })?;
    let (token, advice) = match &published.origin {
        Origin::HuggingFace { repository, .. } => {
            if settings.offline {
                return Err(HubError::Offline { url: url.into(), file: download.file_name.to_owned() });
            }
            let page = settings.huggingface.join(repository).map_or_else(|_| repository.clone(), String::from);
            let advice = if settings.token.is_some() {
                format!(
                    "either the token (HF_TOKEN, or that of `hf auth login`) has expired, or its owner has not accepted \
                     the terms at {page}"
                )
            } else {
                format!("accept the terms at {page} if it has any, then set HF_TOKEN to a token with read access")
            };
            (settings.token.clone(), advice)
        }
        _ => {
            let advice = "the server may limit how often it is asked: try again later, or fetch the file by other means \
                          and pass --from DIR";
            (None, advice.to_owned())
        }
    };
    Ok(Remote { url, token, bytes: download.bytes, advice })
}

/// The copy that Hugging Face's own programs keep, if there is one.
pub(crate) fn in_cache(cache: Option<&Cache>, published: &Published, path: &str) -> Option<PathBuf> {
    let Origin::HuggingFace { repository, revision } = &published.origin else { return None };
    let repo = cache?.repo(Repo::with_revision(repository.clone(), RepoType::Model, revision.clone()));
    // `get` knows branches; a commit is a folder.
    repo.get(path).or_else(|| Some(repo.pointer_path(revision).join(path)).filter(|p| p.is_file()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{catalog::Catalog, settings::Token};

    fn published(name: &str) -> Published {
        Catalog::embedded().unwrap().get(name).unwrap().source.published().unwrap().clone()
    }

    fn urls(settings: &Settings, name: &str) -> Vec<(String, bool)> {
        let published = published(name);
        let remote = |d: &Download<'_>| remote(settings, &published, d).map(|r| (r.url.into(), r.token.is_some()));
        published.downloads().iter().map(|d| remote(d).unwrap()).collect()
    }

    #[test]
    fn every_pulled_network_has_addresses_and_only_hugging_face_sees_the_token() {
        let settings = Settings { token: Token::new("hf_x"), ..Settings::bare().unwrap() };
        let release = "https://github.com/deepinsight/insightface/releases/download/v0.7/antelopev2.zip";
        assert_eq!(urls(&settings, "arcface-iresnet100"), [(release.to_owned(), false)]);
        let vit = urls(&settings, "vit-deepfake");
        assert!(vit[0].0.starts_with("https://huggingface.co/prithivMLmods/"), "{vit:?}");
        assert!(vit[0].1);
        let raw = urls(&settings, "minifasnet-v2");
        assert!(raw[0].0.starts_with("https://raw.githubusercontent.com/minivision-ai/"), "{raw:?}");
    }

    #[test]
    fn another_endpoint_takes_the_place_of_hugging_face() {
        let huggingface = Url::parse("https://hub.example/hf/").unwrap();
        let settings = Settings { huggingface, ..Settings::bare().unwrap() };
        let vit = urls(&settings, "vit-deepfake");
        assert!(vit[0].0.starts_with("https://hub.example/hf/prithivMLmods/"), "{vit:?}");
        let offline = Settings { offline: true, ..settings };
        let published = published("vit-deepfake");
        let error = remote(&offline, &published, &published.downloads()[0]).unwrap_err().to_string();
        assert!(error.contains("HF_HUB_OFFLINE") && error.contains("--from DIR with model.safetensors"), "{error}");
    }

    #[test]
    fn the_cache_of_hugging_face_is_known_by_branch_and_by_commit() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().to_owned());
        let mut published = published("vit-deepfake");
        let Origin::HuggingFace { repository, revision } = &mut published.origin else { panic!() };
        "main".clone_into(revision);
        let repo = dir.path().join(format!("models--{}", repository.replace('/', "--")));
        assert_eq!(in_cache(Some(&cache), &published, "model.safetensors"), None);
        let commit = "a".repeat(40);
        fs::create_dir_all(repo.join("refs")).unwrap();
        fs::write(repo.join("refs/main"), &commit).unwrap();
        let file = repo.join("snapshots").join(&commit).join("model.safetensors");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "x").unwrap();
        assert_eq!(in_cache(Some(&cache), &published, "model.safetensors"), Some(file.clone()));
        let Origin::HuggingFace { revision, .. } = &mut published.origin else { panic!() };
        *revision = commit;
        assert_eq!(in_cache(Some(&cache), &published, "model.safetensors"), Some(file));
        assert_eq!(in_cache(None, &published, "model.safetensors"), None);
    }
}
