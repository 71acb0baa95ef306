//! Servers, proxy, certificates and limits: read from the environment once, then passed on.

use std::{env, fmt, fs, path::PathBuf, time::Duration};

use hf_hub::Cache;
use url::Url;

use crate::{
    error::{HubError, Result},
    mirror::Mirror,
    retry::Retry,
};

/// Largest file that is downloaded unless a manifest says how large it is.
const MAX_BYTES: u64 = 4 << 30;
/// A connection that is silent for so long is given up and made anew.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How networks are brought.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Hugging Face (`HF_ENDPOINT`).
    pub huggingface: Url,
    /// GitHub, for the assets of releases.
    pub github: Url,
    /// GitHub, for files at a commit.
    pub github_raw: Url,
    /// Token for Hugging Face and for no other host.
    pub token: Option<Token>,
    /// Never ask Hugging Face (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Cache of Hugging Face's own programs, looked into before a download.
    pub huggingface_cache: Option<Cache>,
    /// Proxy.
    pub proxy: Proxy,
    /// PEM file of the root certificates (`SSL_CERT_FILE`); the platform's unless given.
    pub ca_file: Option<PathBuf>,
    /// Permits plain http to other machines.
    pub allow_http: bool,
    /// Asked instead of the publishers.
    pub mirror: Option<Mirror>,
    /// When requests are repeated.
    pub retry: Retry,
    /// Longest silence of a connection.
    pub read_timeout: Duration,
    /// Largest file that is downloaded.
    pub max_bytes: u64,
}

/// Which proxy is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// That of `HTTPS_PROXY`, `ALL_PROXY`, `HTTP_PROXY`, unless `NO_PROXY` excepts the host.
    Environment,
    /// This one, for every host.
    Url(String),
    /// None.
    None,
}

/// A secret that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a secret; `None` if it is blank.
    pub fn new(secret: &str) -> Option<Self> {
        Some(secret.trim()).filter(|s| !s.is_empty()).map(|s| Self(s.to_owned()))
    }

    /// The value of the `Authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl Settings {
    /// Reads the environment: `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`, `HF_HUB_OFFLINE`,
    /// `FACESOCIAL_MODELS_MIRROR`, `SSL_CERT_FILE`, and the proxy variables.
    ///
    /// # Errors
    /// [`HubError::Setting`].
    pub fn from_env() -> Result<Self> {
        Self::from_vars(|name| env::var(name).ok())
    }

    /// As [`Self::from_env`], with the variables that `get` gives (the proxy's excepted).
    ///
    /// # Errors
    /// [`HubError::Setting`].
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let cache = match get("HF_HOME") {
            Some(home) => Some(Cache::new(PathBuf::from(home).join("hub"))),
            // The crate panics where there is no home folder.
            None => dirs::home_dir().map(|_| Cache::default()),
        };
        let token = || {
            let named = get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN"));
            let file = || get("HF_TOKEN_PATH").and_then(|path| fs::read_to_string(path).ok());
            let secret = named.or_else(file).or_else(|| cache.as_ref().and_then(Cache::token))?;
            Token::new(&secret)
        };
        let mirror = get("FACESOCIAL_MODELS_MIRROR").map(|value| Mirror::parse(&value)).transpose()?;
        Ok(Self {
            huggingface: base("HF_ENDPOINT", &endpoint)?,
            token: token(),
            offline: get("HF_HUB_OFFLINE")
                .is_some_and(|v| matches!(v.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")),
            huggingface_cache: cache,
            proxy: Proxy::Environment,
            ca_file: get("SSL_CERT_FILE").map(PathBuf::from),
            mirror,
            ..Self::bare()?
        })
    }

    /// The publishers' servers and nothing of the environment: no token, cache, proxy or mirror.
    ///
    /// # Errors
    /// None in practice: the addresses are constants.
    pub fn bare() -> Result<Self> {
        Ok(Self {
            huggingface: base("HF_ENDPOINT", "https://huggingface.co")?,
            github: base("GitHub", "https://github.com")?,
            github_raw: base("GitHub", "https://raw.githubusercontent.com")?,
            token: None,
            offline: false,
            huggingface_cache: None,
            proxy: Proxy::None,
            ca_file: None,
            allow_http: false,
            mirror: None,
            retry: Retry::default(),
            read_timeout: READ_TIMEOUT,
            max_bytes: MAX_BYTES,
        })
    }
}

/// Parses a base address; its path ends in a slash, so that it can be joined.
pub(crate) fn base(name: &'static str, text: &str) -> Result<Url> {
    let fault = |reason: String| HubError::Setting { name, value: text.to_owned(), reason };
    let mut url = Url::parse(text).map_err(|e| fault(e.to_string()))?;
    if url.host_str().is_none() {
        return Err(fault("an address with a host is needed, as https://example.org".to_owned()));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<Settings> {
        Settings::from_vars(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_token_is_looked_for_where_hugging_face_keeps_it_and_never_shown() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_cached\n").unwrap();
        let home = home.path().to_str().unwrap();
        let cached = with(&[("HF_HOME", home)]).unwrap();
        assert_eq!(cached.token, Token::new("hf_cached"));
        let named = with(&[("HF_HOME", home), ("HF_TOKEN", "hf_named")]).unwrap();
        assert_eq!(named.token, Token::new("hf_named"));
        assert!(!format!("{named:?}").contains("hf_named"));
        assert_eq!(with(&[("HF_HOME", "/nonexistent"), ("HF_TOKEN", " ")]).unwrap().token, None);
    }

    #[test]
    fn the_endpoint_may_have_a_path_and_must_be_an_address() {
        let settings = with(&[("HF_ENDPOINT", "https://mirror.example/hf"), ("HF_HUB_OFFLINE", "1")]).unwrap();
        assert_eq!(settings.huggingface.as_str(), "https://mirror.example/hf/");
        assert!(settings.offline);
        let error = with(&[("HF_ENDPOINT", "mirror")]).unwrap_err().to_string();
        assert!(error.starts_with("HF_ENDPOINT is \"mirror\""), "{error}");
    }
}
