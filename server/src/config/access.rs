//! Who may ask, and how often.

use std::{path::PathBuf, time::Duration};

use actix_web::http::Uri;
use anyhow::bail;
use clap::{Args, ValueEnum};

use super::{
    MIN_SECRET, Seconds, Secret,
    data::{secret, secret_in},
};

/// Requests a minute unless told otherwise.
const RATE: u32 = 600;
/// Uploads a minute unless told otherwise.
const UPLOAD_RATE: u32 = 120;
/// Attempts at the password of one account in a quarter of an hour.
const LOGIN_ATTEMPTS: u32 = 10;

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Who may ask, and how often.
#[derive(Debug, Clone, Args)]
pub struct AccessArgs {
    /// Whether requests need an account or a key. Off is possible only while every listener is on loopback.
    #[arg(long, env = "FACESOCIAL_AUTH", value_enum, default_value = "on")]
    pub auth: Switch,
    /// File with the secret that access tokens are signed with, at least 32 bytes; or the secret in FACESOCIAL_JWT_SECRET.
    /// Unless given, one is made on the first start and kept in the database.
    #[arg(long, env = "FACESOCIAL_JWT_SECRET_FILE", value_name = "FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// Seconds that an access token is good for.
    #[arg(long, env = "FACESOCIAL_ACCESS_TOKEN_TTL", value_name = "SECONDS", default_value = "900")]
    pub access_token_ttl: Seconds,
    /// Seconds within which a refresh token must be used.
    #[arg(long, env = "FACESOCIAL_REFRESH_TOKEN_TTL", value_name = "SECONDS", default_value = "2592000")]
    pub refresh_token_ttl: Seconds,
    /// Requests a minute of one account or key, and of one address without either; 0 for no limit. Unless given, 600; no
    /// limit with --auth off.
    #[arg(long, env = "FACESOCIAL_RATE_LIMIT", value_name = "N")]
    pub rate_limit: Option<u32>,
    /// Of these, requests with photos; 0 for no limit. Unless given, 120; no limit with --auth off.
    #[arg(long, env = "FACESOCIAL_UPLOAD_RATE_LIMIT", value_name = "N")]
    pub upload_rate_limit: Option<u32>,
    /// Refuse verifications that carry no challenge: a number for one use within a minute, and a photo that was not sent before.
    #[arg(long, env = "FACESOCIAL_REQUIRE_CHALLENGE")]
    pub require_challenge: bool,
    /// Origins whose pages may ask from a browser, such as `https://app.example.org`; none unless given.
    #[arg(long, env = "FACESOCIAL_CORS_ORIGIN", value_name = "LIST", value_delimiter = ',')]
    pub cors_origin: Vec<String>,
    /// Whether the gateway answers the console (/console), the document of the API (/openapi.json) and the page that shows it
    /// (/docs). They hold no data, need no account, and tell whoever asks which program and version runs.
    #[arg(long, env = "FACESOCIAL_PAGES", value_enum, default_value = "on")]
    pub pages: Switch,
    /// A Redis that several servers share counters and cached results through, as redis://host:6379/0. Unless given, each
    /// server has its own.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,
    /// File with that URL, as container platforms mount secrets.
    #[arg(long, env = "REDIS_URL_FILE", value_name = "FILE", conflicts_with = "redis_url")]
    pub redis_url_file: Option<PathBuf>,
}

/// Who may ask, and how often.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// Whether requests need an account or a key.
    pub auth: bool,
    /// What tokens are signed with; `None` for one that is kept in the database.
    pub jwt_secret: Option<Secret>,
    /// How long an access token is good for.
    pub access_token_ttl: Duration,
    /// Within which time a refresh token must be used.
    pub refresh_token_ttl: Duration,
    /// Attempts at the password of one account in a quarter of an hour.
    pub login_attempts: u32,
    /// Requests a minute.
    pub rate_limit: Option<u32>,
    /// Requests with photos a minute.
    pub upload_rate_limit: Option<u32>,
    /// Whether verifications without a challenge are refused.
    pub require_challenge: bool,
    /// Origins whose pages may ask from a browser.
    pub cors_origins: Vec<String>,
    /// Whether the gateway answers the console and the document of the API.
    pub pages: bool,
    /// What several servers share counters and cached results through.
    pub redis_url: Option<Secret>,
}

impl AccessConfig {
    /// No authentication and no limits: for tests, and for one person's own machine.
    pub fn open() -> Self {
        Self {
            auth: false,
            jwt_secret: None,
            access_token_ttl: Duration::from_secs(900),
            refresh_token_ttl: Duration::from_secs(30 * 24 * 3600),
            login_attempts: LOGIN_ATTEMPTS,
            rate_limit: None,
            upload_rate_limit: None,
            require_challenge: false,
            cors_origins: Vec::new(),
            pages: true,
            redis_url: None,
        }
    }
}

impl TryFrom<AccessArgs> for AccessConfig {
    type Error = anyhow::Error;

    /// Puts defaults and choices together.
    ///
    /// # Errors
    /// A secret that is too short or cannot be read; something that is no origin.
    fn try_from(args: AccessArgs) -> anyhow::Result<Self> {
        let auth = args.auth == Switch::On;
        let rate = |given: Option<u32>, default| match given {
            Some(0) => None,
            Some(n) => Some(n),
            None => auth.then_some(default),
        };
        let jwt_secret = secret(args.jwt_secret_file.as_deref(), "FACESOCIAL_JWT_SECRET")?;
        if jwt_secret.as_ref().is_some_and(|s| s.expose().len() < MIN_SECRET) {
            bail!(
                "the secret for tokens has fewer than {MIN_SECRET} bytes; `openssl rand -base64 48` makes a good one"
            );
        }
        Ok(Self {
            auth,
            jwt_secret,
            access_token_ttl: args.access_token_ttl.into(),
            refresh_token_ttl: args.refresh_token_ttl.into(),
            login_attempts: LOGIN_ATTEMPTS,
            rate_limit: rate(args.rate_limit, RATE),
            upload_rate_limit: rate(args.upload_rate_limit, UPLOAD_RATE),
            require_challenge: args.require_challenge,
            cors_origins: args.cors_origin.iter().map(|o| origin(o)).collect::<anyhow::Result<_>>()?,
            pages: args.pages == Switch::On,
            redis_url: match args.redis_url_file.filter(|file| !file.as_os_str().is_empty()) {
                Some(file) => Some(secret_in(&file)?),
                None => args.redis_url.and_then(Secret::given),
            },
        })
    }
}

/// Scheme, host and, where it is not the scheme's own, port.
fn origin(s: &str) -> anyhow::Result<String> {
    let s = s.trim();
    let uri = s.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some()
            && uri.path_and_query().is_none_or(|p| p.as_str() == "/")
    });
    if uri.is_none() || s.ends_with('/') {
        bail!("\"{s}\" is not an origin; write scheme and host alone, such as https://app.example.org");
    }
    Ok(s.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        access: AccessArgs,
    }

    fn config(args: &[&str]) -> anyhow::Result<AccessConfig> {
        Cli::try_parse_from([&["serve"], args].concat())?.access.try_into()
    }

    #[test]
    fn the_address_of_redis_may_stand_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, empty) = (folder.path().join("redis_url"), folder.path().join("empty"));
        std::fs::write(&file, "redis://:secret@redis:6379/0\n").unwrap();
        std::fs::write(&empty, "").unwrap();
        let config = |file: &std::path::Path| config(&["--redis-url-file", file.to_str().unwrap()]);
        assert_eq!(config(&file).unwrap().redis_url.unwrap().expose(), "redis://:secret@redis:6379/0");
        assert!(config(&empty).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn pages_are_answered_unless_they_are_switched_off() {
        assert!(config(&[]).unwrap().pages && AccessConfig::open().pages);
        assert!(!config(&["--pages", "off"]).unwrap().pages);
        assert!(config(&["--pages", "sometimes"]).is_err());
    }

    #[test]
    fn an_origin_is_scheme_and_host_alone() {
        assert!(origin("https://app.example.org").is_ok() && origin("http://localhost:3000").is_ok());
        for wrong in
            ["*", "null", "app.example.org", "https://a.example/", "https://a.example/x", "ftp://a.example", ""]
        {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
