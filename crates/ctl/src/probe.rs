//! What a running server says about itself.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::{CtlError, Result};

/// A server that takes longer is taken for one that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks one server.
#[derive(Debug, Clone)]
pub struct Probe {
    client: Client,
    base: String,
    token: Option<String>,
}

/// Whether a server answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It runs, but loads its networks, waits for its database or is about to stop.
    NotReady,
    /// Nobody answers there.
    Silent,
}

impl Probe {
    /// Asks the server at `base`, such as `http://127.0.0.1:8000`, with a token or key if one is given.
    ///
    /// # Errors
    /// An address that is none, or one of `https`: a proxy's business, which this program does not speak.
    pub fn new(base: &str, token: Option<String>) -> Result<Self> {
        let base = base.trim_end_matches('/');
        let wrong = |what: &str| CtlError::Server { url: base.to_owned(), what: what.to_owned() };
        if base.starts_with("https://") {
            return Err(wrong("is asked without TLS only; give the address behind the proxy, as http://HOST:PORT"));
        }
        if !base.starts_with("http://") || reqwest::Url::parse(base).is_err() {
            return Err(wrong("is no address; write http://HOST:PORT"));
        }
        let client = Client::builder().timeout(PATIENCE).build().map_err(|e| wrong(&e.to_string()))?;
        Ok(Self { client, base: base.to_owned(), token })
    }

    /// Where the server is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether it answers requests.
    pub async fn readiness(&self) -> Readiness {
        match self.client.get(format!("{}/readyz", self.base)).send().await {
            Ok(answer) if answer.status().is_success() => Readiness::Ready,
            Ok(_) => Readiness::NotReady,
            Err(_) => Readiness::Silent,
        }
    }

    /// What `GET path` answers: the status, and JSON if it is any.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, Value)> {
        let url = format!("{}{path}", self.base);
        let mut request = self.client.get(&url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let silent = |e: reqwest::Error| CtlError::Server { url: url.clone(), what: plain(&e) };
        let answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(silent)?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }
}

/// An error of the client without the address, which is told beside it.
pub(crate) fn plain(error: &reqwest::Error) -> String {
    match error {
        e if e.is_timeout() => "gives no answer in time".to_owned(),
        e if e.is_connect() => "nobody listens there".to_owned(),
        e => {
            let mut source: &dyn std::error::Error = e;
            while let Some(deeper) = source.source() {
                source = deeper;
            }
            source.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_asked_are_refused_with_a_hint() {
        let error = |base: &str| Probe::new(base, None).unwrap_err().to_string();
        assert!(error("https://faces.example.org").contains("behind the proxy"));
        assert!(error("localhost:8000").contains("http://HOST:PORT"));
        assert_eq!(Probe::new("http://localhost:8000/", None).unwrap().base(), "http://localhost:8000");
    }

    #[tokio::test]
    async fn where_nobody_listens_nobody_answers() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let probe = Probe::new(&format!("http://{free}"), None).unwrap();
        assert_eq!(probe.readiness().await, Readiness::Silent);
        assert!(probe.get("/health").await.unwrap_err().to_string().contains("nobody listens there"));
    }
}
