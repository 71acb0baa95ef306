//! The client: one for hosts of the public internet, one for hosts of private networks.

use std::{
    io::Read,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ureq::{
    Agent, Body,
    config::Config,
    http::{Response, Uri, header},
    tls::{Certificate, RootCerts, TlsConfig},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use crate::{OutboundError, Target, address};

/// Redirects that are followed within one origin.
const MAX_REDIRECTS: usize = 3;
/// Time for name, connection and handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most of an answer's head.
const MAX_HEAD: usize = 64 * 1024;
/// Most bytes of an answer that is read only so that the connection can be used again.
const MAX_UNREAD: u64 = 64 * 1024;

/// What one file may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes: u64,
    /// Time for all of it, redirects included.
    pub time: Duration,
}

/// Asks for files, and tells receivers. Blocks.
#[derive(Debug, Clone)]
pub struct Client {
    public: Agent,
    private: Agent,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client that trusts the certificates that the system trusts.
    pub fn new() -> Self {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            tracing::warn!("the system has no certificates to trust; https hosts cannot be asked");
        }
        let roots = found.certs.iter().map(|c| Certificate::from_der(c).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = |allowed| {
            let checked = Checked { names: DefaultResolver::default(), allowed };
            Agent::with_parts(config(tls.clone()), DefaultConnector::default(), checked)
        };
        Self { public: agent(address::is_public), private: agent(address::is_private) }
    }

    /// The file at an address.
    ///
    /// # Errors
    /// An address of its host that must not be asked; no answer, another than a file, one that is too large or too slow; a
    /// redirect to another origin.
    pub fn get(&self, target: &Target, limits: &Limits) -> Result<Vec<u8>, OutboundError> {
        let (begun, host) = (Instant::now(), target.host());
        let mut url = target.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let left = limits.time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
            let left = left.ok_or_else(|| OutboundError::Timeout { host: host.clone() })?;
            let request = self.agent(target).get(url.as_str()).config().timeout_global(Some(left)).build();
            // What is counted is what arrives: nothing may unpack on the way.
            let answer = request.header(header::ACCEPT_ENCODING, "identity").call().map_err(|e| fault(e, &host))?;
            let status = answer.status().as_u16();
            match status {
                200 => return read(answer, limits.bytes, &host),
                301 | 302 | 303 | 307 | 308 => {
                    let elsewhere = || OutboundError::Redirect { host: host.clone() };
                    let to = answer.headers().get(header::LOCATION).and_then(|to| url.join(to.to_str().ok()?).ok());
                    let same = |to: &url::Url| to.origin() == target.url.origin() && to.username().is_empty();
                    url = to.filter(same).ok_or_else(elsewhere)?;
                }
                status => return Err(OutboundError::Status { host, status }),
            }
        }
        Err(OutboundError::Redirect { host })
    }

    /// Tells a receiver something. Only 2xx is a success; redirects are not followed.
    ///
    /// # Errors
    /// An address of its host that must not be asked; no answer, or another.
    pub fn post(
        &self,
        target: &Target,
        headers: &[(&str, &str)],
        body: &[u8],
        time: Duration,
    ) -> Result<(), OutboundError> {
        let host = target.host();
        let request = self.agent(target).post(target.url.as_str()).config().timeout_global(Some(time)).build();
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send(body).map_err(|e| fault(e, &host))?;
        let status = answer.status().as_u16();
        // Read, so that the connection can be used again; what it says is of no interest.
        answer.into_body().into_reader().take(MAX_UNREAD).read_to_end(&mut Vec::new()).ok();
        match status {
            200..=299 => Ok(()),
            300..=399 => Err(OutboundError::Redirect { host }),
            status => Err(OutboundError::Status { host, status }),
        }
    }

    fn agent(&self, target: &Target) -> &Agent {
        if target.private { &self.private } else { &self.public }
    }
}

fn config(tls: TlsConfig) -> Config {
    Agent::config_builder()
        .tls_config(tls)
        // A proxy looks names up by itself.
        .proxy(None)
        .user_agent(concat!("facesocial/", env!("CARGO_PKG_VERSION")))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_response_header_size(MAX_HEAD)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .build()
}

fn read(answer: Response<Body>, limit: u64, host: &str) -> Result<Vec<u8>, OutboundError> {
    let declared = answer.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > limit) {
        return Err(OutboundError::TooLarge { limit });
    }
    let mut bytes = Vec::new();
    let body = answer.into_body().into_reader();
    body.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| fault(e.into(), host))?;
    if bytes.len() as u64 > limit { Err(OutboundError::TooLarge { limit }) } else { Ok(bytes) }
}

/// Looks names up, and gives addresses only if each may be asked. What it gives is what is connected to.
#[derive(Debug)]
struct Checked<R> {
    names: R,
    allowed: fn(IpAddr) -> bool,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
#[error("an address that must not be asked")]
struct Forbidden;

impl<R: Resolver> Resolver for Checked<R> {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        // One that is not allowed among others speaks of a name that is made to lead astray.
        if found.iter().all(|place| (self.allowed)(place.ip())) {
            Ok(found)
        } else {
            Err(ureq::Error::Other(Box::new(Forbidden)))
        }
    }
}

fn fault(error: ureq::Error, host: &str) -> OutboundError {
    let host = host.to_owned();
    match error {
        ureq::Error::Other(other) if other.is::<Forbidden>() => OutboundError::Address { host },
        ureq::Error::Timeout(_) => OutboundError::Timeout { host },
        ureq::Error::HostNotFound => OutboundError::Unreachable { host, reason: "no address is known".to_owned() },
        other => OutboundError::Unreachable { host, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// A name server that answers something else each time.
    #[derive(Debug)]
    struct Rebinding {
        answers: Vec<Vec<SocketAddr>>,
        asked: AtomicUsize,
    }

    impl Resolver for Rebinding {
        fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
            let mut found = self.empty();
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            self.answers[asked.min(self.answers.len() - 1)].iter().for_each(|place| found.push(*place));
            Ok(found)
        }
    }

    fn resolve(allowed: fn(IpAddr) -> bool, answers: &[&[&str]]) -> Vec<Result<Vec<String>, OutboundError>> {
        let places = |answer: &&[&str]| answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 443)).collect();
        let names = Rebinding { answers: answers.iter().map(places).collect(), asked: AtomicUsize::new(0) };
        let checked = Checked { names, allowed };
        let timeout = || NextTimeout {
            after: Duration::from_secs(1).into(),
            reason: ureq::Timeout::Global,
            ..NextTimeout::default()
        };
        let uri: Uri = "https://images.example.org/".parse().unwrap();
        let config = Agent::config_builder().build();
        let one = |_| {
            let found = checked.resolve(&uri, &config, timeout()).map_err(|e| fault(e, "images.example.org"))?;
            Ok(found.iter().map(|place| place.ip().to_string()).collect())
        };
        answers.iter().map(one).collect()
    }

    #[test]
    fn every_look_up_is_checked_and_one_bad_address_spoils_it() {
        let refused = Err(OutboundError::Address { host: "images.example.org".to_owned() });
        let told =
            resolve(address::is_public, &[&["1.1.1.1", "2606:4700::1111"], &["127.0.0.1"], &["1.1.1.1", "10.0.0.1"]]);
        assert_eq!(
            told,
            [Ok(vec!["1.1.1.1".to_owned(), "2606:4700::1111".to_owned()]), refused.clone(), refused.clone()]
        );
        let told = resolve(address::is_private, &[&["10.0.0.1"], &["169.254.169.254"], &["1.1.1.1"]]);
        assert_eq!(told, [Ok(vec!["10.0.0.1".to_owned()]), refused.clone(), refused]);
    }
}
