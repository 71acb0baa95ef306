//! What is told of the server, and to whom.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::Args;

use super::{Secret, Switch, data::secret};

/// Fewest characters of the token that opens the figures.
const MIN_TOKEN: usize = 16;

/// What is told of the server, and to whom.
#[derive(Debug, Clone, Args)]
pub struct ObserveArgs {
    /// Address on which /metrics and /healthz are answered, and nothing else, without a token: for a Prometheus on the same
    /// machine or network, as 127.0.0.1:9100. Whoever reaches it reads all figures.
    #[arg(long, env = "FACESOCIAL_METRICS_LISTEN", value_name = "HOST:PORT")]
    pub metrics_listen: Option<String>,
    /// File with a token that opens /metrics on every listener and nothing else, at least 16 characters; or the token in
    /// FACESOCIAL_METRICS_TOKEN. Operators' own tokens and keys open it as well.
    #[arg(long, env = "FACESOCIAL_METRICS_TOKEN_FILE", value_name = "FILE")]
    pub metrics_token_file: Option<PathBuf>,
    /// Whether each request is one line of the log (its target is facesocial::access).
    #[arg(long, env = "FACESOCIAL_ACCESS_LOG", value_enum, default_value = "on")]
    pub access_log: Switch,
}

/// What is told of the server, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserveConfig {
    /// Where the figures are open.
    pub metrics_listen: Option<SocketAddr>,
    /// What opens them elsewhere.
    pub metrics_token: Option<Secret>,
    /// Whether each request is one line of the log.
    pub access_log: bool,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        Self { metrics_listen: None, metrics_token: None, access_log: true }
    }
}

impl TryFrom<ObserveArgs> for ObserveConfig {
    type Error = anyhow::Error;

    /// Puts defaults and choices together.
    ///
    /// # Errors
    /// An address that is none; a token that is too short or cannot be read.
    fn try_from(args: ObserveArgs) -> anyhow::Result<Self> {
        let metrics_listen = args.metrics_listen.as_deref().filter(|address| !address.is_empty()).map(address);
        let metrics_token = secret(args.metrics_token_file.as_deref(), "FACESOCIAL_METRICS_TOKEN")?;
        if metrics_token.as_ref().is_some_and(|token| token.expose().len() < MIN_TOKEN) {
            bail!(
                "the token for metrics has fewer than {MIN_TOKEN} characters; `openssl rand -hex 32` makes a good one"
            );
        }
        Ok(Self {
            metrics_listen: metrics_listen.transpose()?,
            metrics_token,
            access_log: args.access_log == Switch::On,
        })
    }
}

fn address(text: &str) -> anyhow::Result<SocketAddr> {
    let told = || format!("--metrics-listen is \"{text}\", which is not HOST:PORT, such as 127.0.0.1:9100");
    text.to_socket_addrs().with_context(told)?.next().with_context(told)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        observe: ObserveArgs,
    }

    fn read(args: &[&str]) -> anyhow::Result<ObserveConfig> {
        Cli::try_parse_from([&["serve"], args].concat())?.observe.try_into()
    }

    #[test]
    fn the_defaults_of_flags_and_code_agree() {
        assert_eq!(read(&[]).unwrap(), ObserveConfig::default());
        let given = read(&["--metrics-listen", "127.0.0.1:9100", "--access-log", "off"]).unwrap();
        assert_eq!(given.metrics_listen, Some(SocketAddr::from(([127, 0, 0, 1], 9100))));
        assert!(!given.access_log);
    }

    #[test]
    fn a_short_token_and_no_address_are_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "short\n").unwrap();
        let path = file.to_str().unwrap();
        assert!(read(&["--metrics-token-file", path]).unwrap_err().to_string().contains("openssl rand"));
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = read(&["--metrics-token-file", path]).unwrap().metrics_token;
        assert_eq!(token, Some(Secret::new("0123456789abcdef")));
        assert!(read(&["--metrics-listen", "9100"]).unwrap_err().to_string().contains("HOST:PORT"));
    }
}
