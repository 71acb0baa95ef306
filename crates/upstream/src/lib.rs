//! Asks other servers of this system for what their networks say, so that a service can run elsewhere, several times over.
//!
//! Each service has a [group](Upstreams) of replicas: the addresses that were given, and every address of a name. A question
//! goes to the replica with the fewest questions under way; what fails because of the replica goes to another one, within a
//! budget and within the question's time. A replica that keeps failing is left alone for a while and then probed. A replica
//! that refuses the secret, or runs another version of a network, is left alone at once, and said so.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod budget;
mod connect;
mod error;
mod group;
mod health;
mod origin;
mod probe;
mod replica;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

pub use error::UpstreamError;
use facesocial_engine::Remote;
use facesocial_types::Service;
pub use origin::{Origin, ParseOriginError};
use tokio::runtime::Runtime;

use crate::{connect::Tls, group::Group};

/// Path of the networks of a server, below its address.
pub const NETWORKS: &str = "/internal/v1/networks";
/// Header of a question: milliseconds within which its answer is of use.
pub const TIME_LEFT: &str = "x-facesocial-time-left";
/// Header of a question: the number of the client on whose behalf it is asked, hex.
pub const CLIENT: &str = "x-facesocial-client";

/// Makes the token that a question shows, anew for each; `None` if it cannot be made.
pub type Credentials = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The servers that run services for this one. Dropping it ends what is under way.
#[derive(Debug)]
pub struct Upstreams {
    groups: BTreeMap<Service, Arc<Group>>,
    /// Where questions are under way; taken when dropped.
    runtime: Option<Runtime>,
}

/// How one replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaReport {
    /// Where it is.
    pub address: String,
    /// Whether it is asked.
    pub state: ReplicaState,
    /// Questions under way.
    pub outstanding: usize,
    /// Until when it is left alone.
    pub ejected_until: Option<SystemTime>,
    /// Why it is left alone.
    pub reason: Option<String>,
    /// Questions that it answered.
    pub answered: u64,
    /// Questions that it failed.
    pub failed: u64,
}

/// Whether a replica is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaState {
    /// It has not been heard of yet, and may be asked.
    Unknown,
    /// It answers.
    Healthy,
    /// It is left alone for a while, then probed.
    Ejected,
}

impl ReplicaState {
    /// Stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Ejected => "ejected",
        }
    }
}

impl Upstreams {
    /// Begins to look names up and to probe.
    ///
    /// # Errors
    /// The system refuses a thread, or has no certificates to trust where one is needed.
    pub fn start(origins: BTreeMap<Service, Vec<Origin>>, credentials: &Credentials) -> Result<Self, UpstreamError> {
        // Questions mostly wait; networks run elsewhere.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("facesocial-upstream")
            .enable_all()
            .build()
            .map_err(|source| UpstreamError::Thread { source })?;
        let tls = Tls::for_origins(origins.values().flatten())?;
        let start = |(service, origins): (Service, Vec<Origin>)| {
            let group = Group::new(service, origins, Arc::clone(credentials), tls.clone(), runtime.handle().clone());
            let group = Arc::new(group);
            runtime.spawn(probe::look_after(Arc::downgrade(&group)));
            (service, group)
        };
        let groups = origins.into_iter().map(start).collect();
        Ok(Self { groups, runtime: Some(runtime) })
    }

    /// What the engine asks instead of networks of its own.
    pub fn remotes(&self) -> BTreeMap<Service, Arc<dyn Remote>> {
        let remote = |group: &Arc<Group>| Arc::new(group::Handle(Arc::clone(group))) as Arc<dyn Remote>;
        self.groups.iter().map(|(service, group)| (*service, remote(group))).collect()
    }

    /// The replicas of `service`; `None` if it has no upstreams.
    pub fn replicas(&self, service: Service) -> Option<Vec<ReplicaReport>> {
        Some(self.groups.get(&service)?.reports())
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped where nothing may block.
            runtime.shutdown_background();
        }
    }
}
