//! HTTPS requests: trust, redirects, and which failures pass.
//!
//! The `hf-hub` crate knows Hugging Face's token and cache ([`crate::settings`], [`crate::source`]), but its downloader
//! is not used: it asks with its own client, resumes without `If-Range` (so a file replaced meanwhile is glued to the
//! part of the old one), knows no `Retry-After`, and checks neither size nor digest. One downloader serves all
//! publishers alike.

use std::{io, sync::Arc, time::Duration};

use rustls_native_certs::CertificateResult;
use ureq::{
    Agent, BodyReader,
    http::{HeaderMap, header},
    tls::{Certificate, RootCerts, TlsConfig},
};
use url::{Host, Url};

use crate::{
    error::{HubError, Result},
    settings::{Proxy, Settings, Token},
};

/// Redirects that are followed: GitHub and Hugging Face need one or two.
const MAX_REDIRECTS: usize = 10;
/// Time for name, connection and handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A client for all publishers.
pub(crate) struct Client {
    agent: Agent,
    allow_http: bool,
    /// " through the proxy HOST", for messages.
    via: String,
}

/// What is asked for.
pub(crate) struct Ask<'a> {
    pub url: &'a Url,
    /// Sent to the host of `url` and to no other that it may lead to.
    pub token: Option<&'a Token>,
    /// First byte that is wanted, and the validator of the part that is there.
    pub resume: Option<(u64, &'a str)>,
}

/// What the last server answered.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: BodyReader<'static>,
    /// Commit that Hugging Face took the file from.
    pub commit: Option<String>,
}

/// Why there is no answer.
pub(crate) enum Fault {
    /// Another attempt may succeed.
    Passing(String),
    /// No attempt will.
    Lasting(HubError),
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots(settings)?)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let proxy = match &settings.proxy {
            Proxy::Environment => ureq::Proxy::try_from_env(),
            Proxy::Url(url) => Some(ureq::Proxy::new(url).map_err(|e| HubError::Setting {
                name: "the proxy",
                value: url.clone(),
                reason: e.to_string(),
            })?),
            Proxy::None => None,
        };
        let via = proxy.as_ref().map_or_else(String::new, |p| format!(" through the proxy {}", p.host()));
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy)
            .user_agent(concat!("facesocial/", env!("CARGO_PKG_VERSION")))
            // Redirects are followed here, where each hop is checked.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(settings.read_timeout))
            .timeout_per_write(Some(settings.read_timeout))
            .timeout_recv_response(Some(settings.read_timeout))
            .build()
            .new_agent();
        Ok(Self { agent, allow_http: settings.allow_http, via })
    }

    /// Asks, and follows redirects.
    pub(crate) fn get(&self, ask: &Ask<'_>) -> Result<Answer, Fault> {
        let mut url = ask.url.clone();
        let mut commit = None;
        for _ in 0..=MAX_REDIRECTS {
            self.check_scheme(&url, ask.url).map_err(Fault::Lasting)?;
            let mut request = self.agent.get(url.as_str()).header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = ask.token
                && url.origin() == ask.url.origin()
            {
                request = request.header(header::AUTHORIZATION, token.bearer());
            }
            if let Some((offset, validator)) = ask.resume {
                request = request.header(header::RANGE, format!("bytes={offset}-"));
                request = request.header(header::IF_RANGE, validator);
            }
            let response = request.call().map_err(|error| self.fault(error, &url))?;
            let (parts, body) = response.into_parts();
            commit = commit.or_else(|| text(&parts.headers, "x-repo-commit"));
            let status = parts.status.as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer { status, headers: parts.headers, body: body.into_reader(), commit });
            }
            url = text(&parts.headers, "location").and_then(|to| url.join(&to).ok()).ok_or_else(|| {
                let reason = format!("HTTP {status} without an address to go to");
                Fault::Lasting(HubError::Answer { url: plain(&url), reason })
            })?;
        }
        let reason = format!("more than {MAX_REDIRECTS} redirects");
        Err(Fault::Lasting(HubError::Answer { url: ask.url.to_string(), reason }))
    }

    fn check_scheme(&self, url: &Url, first: &Url) -> Result<()> {
        let permitted = match url.scheme() {
            "https" => true,
            // An https server must not lead to an address that anybody on the way can answer for.
            "http" => self.allow_http || (is_loopback(url) && first.scheme() == "http"),
            _ => false,
        };
        if permitted { Ok(()) } else { Err(HubError::Insecure { url: plain(url) }) }
    }

    fn fault(&self, error: ureq::Error, url: &Url) -> Fault {
        let via = &self.via;
        let host = url.host_str().unwrap_or_default().to_owned();
        let answer = |reason: String| Fault::Lasting(HubError::Answer { url: plain(url), reason });
        match error {
            ureq::Error::Io(error) => match tls_fault(&error) {
                Some(reason) => Fault::Lasting(HubError::Certificate { host, reason }),
                None => Fault::Passing(format!("{host}{via}: {error}")),
            },
            ureq::Error::Rustls(rustls::Error::InvalidCertificate(reason)) => {
                Fault::Lasting(HubError::Certificate { host, reason: reason.to_string() })
            }
            ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => {
                Fault::Passing(format!("{host}{via}: {error}"))
            }
            ureq::Error::HostNotFound => answer(format!(
                "no address of {host} is known; is there a connection? Without one pass --from DIR, behind a proxy set \
                 HTTPS_PROXY"
            )),
            ureq::Error::ConnectProxyFailed(reason) => {
                answer(format!("the proxy of HTTPS_PROXY or ALL_PROXY: {reason}"))
            }
            other => answer(other.to_string()),
        }
    }
}

/// A header as text.
pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

/// An address without what may be secret in it: the query (that of object storage is a signature) and a password.
pub(crate) fn plain(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // Both fail only for addresses without a host, which have neither.
    url.set_username("").ok();
    url.set_password(None).ok();
    url.into()
}

/// Whether an I/O failure of a body may pass.
pub(crate) fn body_fault(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection ended early".to_owned(),
        _ => error.to_string(),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// What rustls says inside of an I/O error about a certificate.
fn tls_fault(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(reason) => Some(reason.to_string()),
        _ => None,
    }
}

/// The certificates that servers are checked with: those of the named file alone, as OpenSSL takes `SSL_CERT_FILE`;
/// the platform's otherwise.
fn roots(settings: &Settings) -> Result<Vec<Certificate<'static>>> {
    let CertificateResult { certs, errors, .. } = match &settings.ca_file {
        Some(file) => rustls_native_certs::load_certs_from_paths(Some(file), None),
        None => rustls_native_certs::load_native_certs(),
    };
    if certs.is_empty() {
        let place = settings.ca_file.as_ref().map_or("the platform's".to_owned(), |f| f.display().to_string());
        let reason = errors.first().map_or(format!("{place}: none found"), ToString::to_string);
        return Err(HubError::NoRoots { reason });
    }
    Ok(certs.iter().map(|c| Certificate::from_der(c).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(allow_http: bool) -> Client {
        Client { agent: Agent::new_with_defaults(), allow_http, via: String::new() }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn plain_http_is_for_this_machine_unless_permitted() {
        let ok = |allow, u: &str, first: &str| client(allow).check_scheme(&url(u), &url(first)).is_ok();
        assert!(ok(false, "https://example.org/a", "https://example.org/a"));
        for own in ["http://localhost:1/a", "http://127.0.0.1/a", "http://[::1]/a"] {
            assert!(ok(false, own, own));
            assert!(!ok(false, own, "https://example.org/a"), "a redirect downwards");
        }
        assert!(!ok(false, "http://example.org/a", "http://example.org/a"));
        assert!(ok(true, "http://example.org/a", "http://example.org/a"));
        assert!(!ok(true, "ftp://example.org/a", "https://example.org/a"));
    }

    #[test]
    fn secrets_in_an_address_are_not_told() {
        assert_eq!(plain(&url("https://me:secret@s.example/f?sig=secret")), "https://s.example/f");
    }

    #[test]
    fn a_file_without_certificates_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let settings = Settings { ca_file: Some(file), ..Settings::bare().unwrap() };
        let error = roots(&settings).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("SSL_CERT_FILE"), "{error}");
    }
}
