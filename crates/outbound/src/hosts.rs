//! The list of hosts that may be asked.

use std::{fmt, str::FromStr};

use url::Url;

use crate::OutboundError;

/// Ends an entry whose host may have private addresses.
const PRIVATE: &str = "=private";

/// One host that may be asked: `images.example.org`, `images.example.org:8443`, `http://nas.local:8080=private`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its address, without anything but scheme, host and port.
    origin: Url,
    /// Whether its addresses may be private ones, and no others then.
    private: bool,
}

/// An entry is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a host; write it as images.example.org or images.example.org:8443, begin with http:// for one without \
     TLS, and end with =private if its address is on a private network"
)]
pub struct ParseHostError(String);

impl FromStr for Listed {
    type Err = ParseHostError;

    fn from_str(s: &str) -> Result<Self, ParseHostError> {
        let wrong = || ParseHostError(s.to_owned());
        let text = s.trim();
        let (text, private) = text.strip_suffix(PRIVATE).map_or((text, false), |host| (host, true));
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let origin = Url::parse(&full).map_err(|_| wrong())?;
        let bare = matches!(origin.scheme(), "https" | "http")
            && origin.host().is_some()
            && origin.path() == "/"
            && !full.ends_with('/')
            && origin.query().is_none()
            && origin.fragment().is_none()
            && origin.username().is_empty()
            && origin.password().is_none();
        if bare && !text.contains(['*', '=']) { Ok(Self { origin, private }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin.as_str().trim_end_matches('/');
        write!(f, "{origin}{}", if self.private { PRIVATE } else { "" })
    }
}

/// The hosts that may be asked; none unless listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<Listed>);

/// An address that may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(crate) url: Url,
    pub(crate) private: bool,
}

impl Hosts {
    /// These hosts and no others.
    pub fn new(listed: Vec<Listed>) -> Self {
        Self(listed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An address, if it is one of a listed host: with the same scheme and the same port.
    ///
    /// # Errors
    /// Not an address, one with a password in it, another host.
    pub fn target(&self, address: &str) -> Result<Target, OutboundError> {
        let mut url = Url::parse(address.trim()).map_err(|_| OutboundError::Malformed)?;
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
            return Err(OutboundError::Malformed);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutboundError::Credentials);
        }
        url.set_fragment(None);
        let listed = self.0.iter().find(|listed| listed.origin.origin() == url.origin());
        let origin = || url.origin().ascii_serialization();
        let private = listed.ok_or_else(|| OutboundError::NotListed { origin: origin() })?.private;
        Ok(Target { url, private })
    }
}

impl Target {
    /// The address without its query, which may be a signature.
    pub fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.into()
    }

    /// The whole address, as it is asked for.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn host(&self) -> String {
        self.url.host_str().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(list: &[&str]) -> Hosts {
        Hosts::new(list.iter().map(|entry| entry.parse().unwrap()).collect())
    }

    #[test]
    fn an_entry_is_a_host_and_nothing_more() {
        for (written, shown) in [
            ("images.example.org", "https://images.example.org"),
            (" IMAGES.example.org:443 ", "https://images.example.org"),
            ("https://images.example.org:8443", "https://images.example.org:8443"),
            ("http://nas.local:8080=private", "http://nas.local:8080=private"),
            ("10.0.0.7=private", "https://10.0.0.7=private"),
            ("[fd00::7]:8443=private", "https://[fd00::7]:8443=private"),
        ] {
            assert_eq!(written.parse::<Listed>().unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "*",
            "*.example.org",
            "https://",
            "a.example/path",
            "a.example/",
            "a.example?x",
            "u:p@a.example",
            "ftp://a.example",
            "a b",
            "=private",
            "a.example=public",
        ] {
            assert!(wrong.parse::<Listed>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_listed_hosts_are_asked_with_their_scheme_and_port() {
        let hosts = hosts(&["images.example.org", "http://plain.example.org", "nas.local:8443=private"]);
        for fine in
            ["https://images.example.org/a.jpg?s=1", "https://IMAGES.example.org:443/", "http://plain.example.org/x"]
        {
            assert!(!hosts.target(fine).unwrap().private, "{fine}");
        }
        assert!(hosts.target("https://nas.local:8443/1.jpg").unwrap().private);
        for other in [
            "http://images.example.org/a.jpg",
            "https://plain.example.org/",
            "https://images.example.org:8443/",
            "https://images.example.org.evil.example/",
            "https://evil.example/images.example.org",
            "https://127.0.0.1/",
        ] {
            assert!(matches!(hosts.target(other), Err(OutboundError::NotListed { .. })), "{other}");
        }
        for odd in ["file:///etc/passwd", "gopher://images.example.org/", "images.example.org/a.jpg", "", "https://"] {
            assert_eq!(hosts.target(odd), Err(OutboundError::Malformed), "{odd}");
        }
        // What looks like the host and is a user name.
        let disguised = hosts.target("https://images.example.org@evil.example/");
        assert_eq!(disguised, Err(OutboundError::Credentials));
    }

    #[test]
    fn what_is_shown_of_an_address_has_no_query() {
        let target = hosts(&["images.example.org"]).target("https://images.example.org/a%20b.jpg?signature=secret#x");
        assert_eq!(target.unwrap().shown(), "https://images.example.org/a%20b.jpg");
    }
}
