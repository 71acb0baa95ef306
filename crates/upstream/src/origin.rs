//! Where a server is: scheme, host and port.

use std::{fmt, net::IpAddr, str::FromStr};

use url::{Host, Url};

/// Where the replicas of a service are: one address, or a name whose every address is a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whether it is asked over TLS.
    pub https: bool,
    /// A name, or an address as in a URL.
    pub host: String,
    /// The host, where it is an address.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// A text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no address of a server; write scheme, host and port alone, such as http://recognition:8004")]
pub struct ParseOriginError {
    text: String,
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(s: &str) -> Result<Self, ParseOriginError> {
        let wrong = || ParseOriginError { text: s.to_owned() };
        let url = Url::parse(s.trim()).map_err(|_| wrong())?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let https = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong()),
        };
        let (ip, host) = match url.host().filter(|_| bare).ok_or_else(wrong)? {
            Host::Domain(name) => (None, name.to_owned()),
            Host::Ipv4(ip) => (Some(IpAddr::V4(ip)), ip.to_string()),
            Host::Ipv6(ip) => (Some(IpAddr::V6(ip)), format!("[{ip}]")),
        };
        let port = url.port_or_known_default().filter(|port| *port > 0).ok_or_else(wrong)?;
        Ok(Self { https, host, ip, port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", if self.https { "https" } else { "http" }, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_alone() {
        let written = |s: &str| s.parse::<Origin>().map(|o| o.to_string());
        assert_eq!(written("http://a:8004").unwrap(), "http://a:8004");
        assert_eq!(written(" http://10.0.0.1:8004/ ").unwrap(), "http://10.0.0.1:8004");
        assert_eq!(written("https://a.example").unwrap(), "https://a.example:443");
        assert_eq!(written("http://[::1]:8004").unwrap(), "http://[::1]:8004");
        assert!("http://[::1]:8004".parse::<Origin>().unwrap().ip.is_some());
        for wrong in ["", "a:8004", "ftp://a", "http://", "http://a/x", "http://a?x", "http://u:p@a", "http://a:0"] {
            assert!(written(wrong).is_err(), "{wrong}");
        }
    }
}
