//! One request and what became of it.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::Context;
use reqwest::{
    Client, RequestBuilder,
    header::{CACHE_CONTROL, RETRY_AFTER},
    multipart::{Form, Part},
};
use serde_json::{Value, json};

/// How long a client waits for an answer. All limits of a server together are shorter.
const PATIENCE: Duration = Duration::from_secs(120);
/// Idle connections are dropped before the server, which keeps them for five seconds, does so.
const IDLE: Duration = Duration::from_secs(2);

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status, or why there is none.
    pub status: Result<u16, String>,
    /// The problem's code, if it is one.
    pub code: Option<String>,
    /// Seconds of `Retry-After`, if there is one.
    pub retry_after: Option<u64>,
    /// The body, where it is JSON.
    pub body: Value,
    /// From sending to the last byte.
    pub took: Duration,
}

impl Answer {
    /// Whether the status is this one.
    pub fn is(&self, status: u16) -> bool {
        self.status == Ok(status)
    }

    /// Status and code, or the reason, for a table.
    pub fn label(&self) -> String {
        match (&self.status, &self.code) {
            (Ok(status), Some(code)) => format!("{status} {code}"),
            (Ok(status), None) => status.to_string(),
            (Err(reason), _) => reason.clone(),
        }
    }
}

/// Somebody who asks a server.
#[derive(Debug, Clone)]
pub struct Asker {
    client: Client,
    base: String,
    key: Option<String>,
}

impl Asker {
    /// Somebody who asks the server at `base` without any key.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(base: impl Into<String>) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(PATIENCE).pool_idle_timeout(IDLE).build().context("no HTTP client")?;
        Ok(Self { client, base: base.into(), key: None })
    }

    /// The same from another address of this machine, `127.0.1.n`.
    ///
    /// # Errors
    /// No client can be made.
    pub fn at_address(&self, n: u8) -> anyhow::Result<Self> {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 1, n));
        let client = Client::builder().timeout(PATIENCE).pool_idle_timeout(IDLE).local_address(address).build()?;
        Ok(Self { client, ..self.clone() })
    }

    /// The same with a token or key.
    #[must_use]
    pub fn with_key(&self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self.clone() }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path))).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.client.delete(self.url(path))).await
    }

    /// `POST` of JSON, under an idempotency key if one is given.
    pub async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Answer {
        self.send(keyed(self.client.post(self.url(path)).json(body), key)).await
    }

    /// `POST` of a photo with fields. Answers that the server remembers are not to be used unless `cached`.
    pub async fn photo(&self, path: &str, photo: Vec<u8>, fields: &[(&str, &str)], how: How<'_>) -> Answer {
        let form =
            fields.iter().fold(Form::new(), |form, (name, value)| form.text((*name).to_owned(), (*value).to_owned()));
        let form = form.part("file", Part::bytes(photo).file_name("photo.jpg"));
        let mut request = keyed(self.client.post(self.url(path)).multipart(form), how.key);
        if !how.cached {
            request = request.header(CACHE_CONTROL, "no-cache");
        }
        self.send(request).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send(&self, mut request: RequestBuilder) -> Answer {
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let begun = Instant::now();
        let nothing = |reason: String, took| Answer {
            status: Err(reason),
            code: None,
            retry_after: None,
            body: Value::Null,
            took,
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return nothing(reason(&error), begun.elapsed()),
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let Ok(bytes) = answer.bytes().await else { return nothing("cut off".to_owned(), begun.elapsed()) };
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status: Ok(status),
            code: (status >= 400).then(|| body["code"].as_str().map(str::to_owned)).flatten(),
            retry_after: headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok()),
            body,
            took: begun.elapsed(),
        }
    }
}

/// How a photo is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct How<'a> {
    /// The idempotency key.
    pub key: Option<&'a str>,
    /// Whether answers that the server remembers may be used.
    pub cached: bool,
}

fn keyed(request: RequestBuilder, key: Option<&str>) -> RequestBuilder {
    match key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    }
}

fn reason(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "connection lost"
    };
    kind.to_owned()
}

/// Somebody with an account.
pub struct Account {
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: String,
}

impl Account {
    /// What it logs in with.
    pub fn login(&self) -> Value {
        json!({ "username": self.username, "password": self.password })
    }
}

/// Logs in and makes a key that does not end.
///
/// # Errors
/// The server refuses.
pub async fn key_of(asker: &Asker, account: &Account, scopes: &[&str]) -> anyhow::Result<String> {
    let login = asker.post("/api/v1/auth/login", &account.login(), None).await;
    let token = login.body["access_token"].as_str().with_context(|| format!("login: {}", login.label()))?;
    let asked = json!({ "name": "load", "scopes": scopes });
    let made = asker.with_key(token).post("/api/v1/keys", &asked, None).await;
    Ok(made.body["key"].as_str().with_context(|| format!("key: {} {}", made.label(), made.body))?.to_owned())
}
