//! Services that other servers run, and what servers of one system know each other by.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use anyhow::{Context, bail};
use clap::Args;
use facesocial_types::Service;
use facesocial_upstream::Origin;

use super::{MIN_SECRET, Secret, data::secret};

/// Services that other servers run, and what servers know each other by.
#[derive(Debug, Clone, Default, Args)]
pub struct DistributedArgs {
    /// Where other servers run a service, as recognition=http://a:8004,http://b:8004; may be given several times. Each
    /// address of a name is a server. The gateway then loads none of its networks, and asks those servers, which need
    /// --internal-secret-file as well.
    #[arg(long, value_name = "SERVICE=URL,...", env = "FACESOCIAL_UPSTREAM", value_delimiter = ',')]
    pub upstream: Vec<Upstream>,
    /// File with the secret that the servers of one system know each other by, at least 32 bytes; or the secret in
    /// FACESOCIAL_INTERNAL_SECRET. Without it, no other server is answered.
    #[arg(long, value_name = "FILE", env = "FACESOCIAL_INTERNAL_SECRET_FILE")]
    pub internal_secret_file: Option<PathBuf>,
    /// Answer other servers and probes alone, with --no-gateway: no database is opened, there are no accounts and no paths for
    /// clients.
    #[arg(long, env = "FACESOCIAL_INTERNAL_ONLY")]
    pub internal_only: bool,
}

/// Whom a server answers, beside probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Audience {
    /// Clients.
    #[default]
    Clients,
    /// Clients, and the other servers of its system.
    All,
    /// The other servers of its system.
    Servers,
}

/// A server that runs a service: `SERVICE=URL`, or `URL` alone for the service that was named last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    service: Option<Service>,
    origin: Origin,
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (service, url) = match s.split_once('=') {
            Some((service, url)) => {
                let service: Service =
                    service.trim().parse().map_err(|e: facesocial_types::ParseNameError| e.to_string())?;
                (Some(service), url)
            }
            None => (None, s),
        };
        let origin = url.parse().map_err(|e: facesocial_upstream::ParseOriginError| e.to_string())?;
        Ok(Self { service, origin })
    }
}

/// Services that other servers run, and what servers know each other by; neither by default.
#[derive(Debug, Clone, Default)]
pub struct DistributedConfig {
    /// Where each of these services runs.
    pub upstreams: BTreeMap<Service, Vec<Origin>>,
    /// What tokens between servers are signed with.
    pub secret: Option<Secret>,
    /// Whom this server answers.
    pub audience: Audience,
}

impl TryFrom<DistributedArgs> for DistributedConfig {
    type Error = anyhow::Error;

    /// Puts the list together.
    ///
    /// # Errors
    /// An address without a service; upstreams, or a server for others alone, without a secret; a secret that is too short or
    /// cannot be read.
    fn try_from(args: DistributedArgs) -> anyhow::Result<Self> {
        let mut upstreams: BTreeMap<Service, Vec<Origin>> = BTreeMap::new();
        let mut last = None;
        for Upstream { service, origin } in args.upstream {
            last = service.or(last);
            let service = last.with_context(|| {
                format!("--upstream names no service for {origin}; write it as recognition={origin}")
            })?;
            let origins = upstreams.entry(service).or_default();
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        let secret = secret(args.internal_secret_file.as_deref(), "FACESOCIAL_INTERNAL_SECRET")?;
        if secret.as_ref().is_some_and(|s| s.expose().len() < MIN_SECRET) {
            bail!("the internal secret has fewer than {MIN_SECRET} bytes; `openssl rand -base64 48` makes a good one");
        }
        if !upstreams.is_empty() && secret.is_none() {
            bail!(
                "--upstream needs the secret that the servers know each other by; name its file with \
                 --internal-secret-file"
            );
        }
        let audience = match (&secret, args.internal_only) {
            (Some(_), true) => Audience::Servers,
            (Some(_), false) => Audience::All,
            (None, false) => Audience::Clients,
            (None, true) => bail!("--internal-only needs --internal-secret-file: without it there is nobody to answer"),
        };
        Ok(Self { upstreams, secret, audience })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(upstream: &[&str], secret: Option<&str>) -> anyhow::Result<DistributedConfig> {
        let dir = tempfile::tempdir().unwrap();
        let file = secret.map(|secret| {
            let path = dir.path().join("secret");
            std::fs::write(&path, secret).unwrap();
            path
        });
        let upstream = upstream.iter().map(|u| u.parse()).collect::<Result<_, String>>().map_err(anyhow::Error::msg)?;
        DistributedArgs { upstream, internal_secret_file: file, internal_only: false }.try_into()
    }

    #[test]
    fn addresses_without_a_service_belong_to_the_one_named_last() {
        let secret = "x".repeat(32);
        // As the flag's delimiter leaves them.
        let given = ["recognition=http://a:8004", "http://b:8004", "yolo=http://c:1", "recognition=http://a:8004"];
        let config = config(&given, Some(&secret)).unwrap();
        let written = |service| config.upstreams[&service].iter().map(Origin::to_string).collect::<Vec<_>>();
        assert_eq!(written(Service::Recognition), ["http://a:8004", "http://b:8004"]);
        assert_eq!(written(Service::Yolo), ["http://c:1"]);
        assert_eq!(config.secret.unwrap().expose(), secret);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let message = |upstream: &[&str], secret| config(upstream, secret).unwrap_err().to_string();
        let secret = "x".repeat(32);
        assert!(message(&["http://a:1"], Some(&secret)).contains("recognition=http://a:1"));
        assert!(message(&["yolo=http://a:1"], None).contains("--internal-secret-file"));
        assert!(message(&["yolo=http://a:1"], Some("short")).contains("32 bytes"));
        assert!(message(&["dog=http://a:1"], Some(&secret)).contains("allowed are"));
        assert!(message(&["yolo=a:1"], Some(&secret)).contains("scheme, host and port"));
    }
}
