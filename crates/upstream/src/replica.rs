//! One replica: its connections, its health, and what its answers mean.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use facesocial_types::ModelId;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::{Body, Incoming},
    header,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    CLIENT, NETWORKS, Origin, ReplicaReport, ReplicaState, TIME_LEFT,
    connect::{Connector, Tls},
    health::Health,
};

/// Connections are closed before the other side does so, or a question could meet a closing one.
const IDLE: Duration = Duration::from_secs(3);
/// Most bytes of an answer about networks: embeddings of all faces of a question fit in many times.
const ANSWER: usize = 32 << 20;
/// Most bytes of anything else.
const TALK: usize = 64 << 10;
/// Most characters that are kept of what a replica says about a failure.
const SENTENCE: usize = 300;

/// A server that runs networks.
pub(crate) struct Replica {
    pub origin: Origin,
    pub address: SocketAddr,
    client: Client<Connector, Full<Bytes>>,
    outstanding: AtomicUsize,
    answered: AtomicU64,
    failed: AtomicU64,
    health: Mutex<Health>,
    probing: AtomicBool,
}

/// Why a replica did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is not there, or what it says is no answer: another one may be.
    Broken(String),
    /// It has too much to do.
    Busy(Duration),
    /// It does not know the secret, or has none.
    Refuses(String),
    /// It runs other networks, or other weights.
    OtherVersion(String),
    /// It was too late.
    Late,
    /// It failed because of what it was asked: another one would as well.
    Asked(String),
}

/// A question under way; counted until dropped.
pub(crate) struct Outstanding(Arc<Replica>);

impl Outstanding {
    pub fn new(replica: Arc<Replica>) -> Self {
        replica.outstanding.fetch_add(1, Ordering::Relaxed);
        Self(replica)
    }

    pub const fn replica(&self) -> &Arc<Replica> {
        &self.0
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a question carries beside its bytes.
pub(crate) struct Headers<'a> {
    pub token: &'a str,
    pub time_left: Duration,
    pub client: u64,
}

impl Replica {
    /// `None` if its name cannot be in a certificate.
    pub fn new(origin: Origin, address: SocketAddr, tls: &Tls) -> Option<Self> {
        let connector = Connector::new(&origin, address, tls)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Some(Self {
            origin,
            address,
            client,
            outstanding: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            health: Mutex::new(Health::new()),
            probing: AtomicBool::new(false),
        })
    }

    pub fn health(&self) -> MutexGuard<'_, Health> {
        // Nothing that can panic runs while it is locked.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub fn count(&self, answered: bool) {
        if answered { &self.answered } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the caller is to probe it now; it must [`end_probe`](Self::end_probe).
    pub fn begin_probe(&self, now: Instant) -> bool {
        self.health().probe_due(now) && !self.probing.swap(true, Ordering::Relaxed)
    }

    pub fn end_probe(&self) {
        self.probing.store(false, Ordering::Relaxed);
    }

    /// Where it is, as people read it.
    pub fn written(&self) -> String {
        match self.origin.ip {
            Some(_) => self.origin.to_string(),
            None => format!("{} ({})", self.origin, self.address.ip()),
        }
    }

    pub fn report(&self, now: Instant, clock: SystemTime) -> ReplicaReport {
        let health = self.health();
        let out = health.out();
        ReplicaReport {
            address: self.written(),
            state: match (out, health.is_known()) {
                (Some(_), _) => ReplicaState::Ejected,
                (None, true) => ReplicaState::Healthy,
                (None, false) => ReplicaState::Unknown,
            },
            outstanding: self.outstanding(),
            ejected_until: out.map(|out| clock + out.until.saturating_duration_since(now)),
            reason: out.map(|out| out.reason.clone()),
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Asks a question about the network called `name`.
    pub async fn ask(&self, name: &str, headers: Headers<'_>, body: Bytes) -> Result<Bytes, Failure> {
        let left = u64::try_from(headers.time_left.as_millis()).unwrap_or(u64::MAX);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{NETWORKS}/{name}", self.origin))
            .header(header::AUTHORIZATION, format!("Bearer {}", headers.token))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(TIME_LEFT, left)
            .header(CLIENT, format!("{:x}", headers.client))
            .body(Full::new(body));
        self.send(request, ANSWER).await
    }

    /// The networks that it runs.
    pub async fn networks(&self, token: &str) -> Result<Vec<ModelId>, Failure> {
        let request = Request::builder()
            .uri(format!("{}{NETWORKS}", self.origin))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::default());
        let answer = self.send(request, TALK).await?;
        let list: Networks = serde_json::from_slice(&answer)
            .map_err(|_| Failure::Broken("it does not say which networks it runs".to_owned()))?;
        Ok(list.networks.into_iter().map(|n| ModelId::new(n.name, n.version)).collect())
    }

    async fn send(&self, request: hyper::http::Result<Request<Full<Bytes>>>, most: usize) -> Result<Bytes, Failure> {
        let request = request.map_err(|e| Failure::Asked(e.to_string()))?;
        let answer = self.client.request(request).await.map_err(|e| Failure::Broken(why(&e)))?;
        let status = answer.status();
        if status == StatusCode::OK {
            return read(answer.into_body(), most).await;
        }
        let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let said = read(answer.into_body(), TALK).await.unwrap_or_default();
        let said = serde_json::from_slice::<Problem>(&said).map_or_else(|_| format!("{status}"), |p| p.detail);
        let said: String = said.chars().take(SENTENCE).collect();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Failure::Refuses(format!("it refuses this server's token; are the internal secrets the same? ({said})"))
            }
            StatusCode::NOT_FOUND => Failure::Refuses(
                "it answers no other servers there; is it the right address, and has it an internal secret?".to_owned(),
            ),
            StatusCode::CONFLICT => Failure::OtherVersion(said),
            StatusCode::TOO_MANY_REQUESTS => Failure::Busy(Duration::from_secs(retry_after.unwrap_or(1))),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Failure::Broken(said),
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Failure::Late,
            _ => Failure::Asked(said),
        })
    }
}

#[derive(Deserialize)]
struct Networks {
    networks: Vec<Network>,
}

#[derive(Deserialize)]
struct Network {
    name: String,
    version: String,
}

/// What is read of a problem document.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// An error with its causes, which say more than it does.
fn why(error: &hyper_util::client::legacy::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    if error.is_connect() { format!("no connection: {last}") } else { last.to_string() }
}

/// The body, if it is no larger than it may be.
async fn read(mut body: Incoming, most: usize) -> Result<Bytes, Failure> {
    let too_large = || Failure::Broken("it answers more than was asked".to_owned());
    // Only what it says it sends is set aside, within the limit.
    let hint = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if hint > most {
        return Err(too_large());
    }
    let mut bytes = BytesMut::with_capacity(hint);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failure::Broken(format!("its answer ends early: {e}")))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > most {
                return Err(too_large());
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes.freeze())
}
