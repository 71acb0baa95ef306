//! The replicas of one service: whom a question goes to, and what is done when that one fails.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use facesocial_engine::{Outage, Question, Remote, RemoteError, WireError};
use facesocial_types::{ModelId, Service};
use tokio::{runtime, time::Instant};

use crate::{
    Credentials, Origin, ReplicaReport,
    budget::Budget,
    connect::Tls,
    health::{Out, Why},
    replica::{Failure, Headers, Outstanding, Replica},
};

/// Times that a question is asked at most.
const ATTEMPTS: usize = 3;
/// Time for an answer that nobody set a time for.
const PATIENCE: Duration = Duration::from_secs(60);
/// A replica that did not answer within this time has failed, whatever time the question had left.
const SLOW: Duration = Duration::from_secs(5);
/// How often a question looks whether anybody still waits.
const LOOK: Duration = Duration::from_millis(50);

/// The replicas of one service.
pub(crate) struct Group {
    pub service: Service,
    pub origins: Vec<Origin>,
    replicas: RwLock<Vec<Arc<Replica>>>,
    /// The networks that are asked for.
    expected: Mutex<Vec<ModelId>>,
    budget: Budget,
    /// Where the next choice among equals begins.
    turn: AtomicUsize,
    credentials: Credentials,
    tls: Tls,
    runtime: runtime::Handle,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("service", &self.service).field("origins", &self.origins).finish_non_exhaustive()
    }
}

/// The group as the engine asks it.
#[derive(Debug)]
pub(crate) struct Handle(pub Arc<Group>);

impl Group {
    pub fn new(
        service: Service,
        origins: Vec<Origin>,
        credentials: Credentials,
        tls: Tls,
        runtime: runtime::Handle,
    ) -> Self {
        let group = Self {
            service,
            replicas: RwLock::default(),
            expected: Mutex::default(),
            budget: Budget::new(Instant::now()),
            turn: AtomicUsize::new(0),
            credentials,
            tls,
            runtime,
            origins,
        };
        for origin in &group.origins {
            if let Some(ip) = origin.ip {
                group.found(origin, &[SocketAddr::new(ip, origin.port)]);
            }
        }
        group
    }

    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of all addresses that an origin's name leads to: new ones are replicas from now on, others are none any
    /// more, though questions under way go on.
    pub fn found(&self, origin: &Origin, addresses: &[SocketAddr]) {
        let mut replicas = self.replicas.write().unwrap_or_else(PoisonError::into_inner);
        replicas.retain(|replica| replica.origin != *origin || addresses.contains(&replica.address));
        for address in addresses {
            if replicas.iter().any(|replica| replica.origin == *origin && replica.address == *address) {
                continue;
            }
            match Replica::new(origin.clone(), *address, &self.tls) {
                Some(replica) => replicas.push(Arc::new(replica)),
                None => tracing::error!(service = %self.service, %origin, "no certificate can be for this name"),
            }
        }
    }

    pub fn reports(&self) -> Vec<ReplicaReport> {
        let (now, clock) = (Instant::now(), SystemTime::now());
        self.replicas().iter().map(|replica| replica.report(now, clock)).collect()
    }

    /// A token, new each time.
    pub fn token(&self) -> Result<String, Failure> {
        (self.credentials)().ok_or_else(|| Failure::Asked("no token can be made".to_owned()))
    }

    /// Whether a replica runs what is asked for.
    pub fn check(&self, runs: &[ModelId]) -> Result<(), Failure> {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        match expected.iter().find(|id| !runs.contains(id)) {
            None => Ok(()),
            Some(id) => {
                let runs: Vec<String> = runs.iter().map(ModelId::to_string).collect();
                let runs = if runs.is_empty() { "none of its networks".to_owned() } else { runs.join(", ") };
                Err(Failure::OtherVersion(format!("this server wants {id}, and that one runs {runs}")))
            }
        }
    }

    /// The replica that is asked next: one that was not `tried` before one that was, then the one with the fewest questions
    /// under way.
    fn pick(&self, tried: &[Arc<Replica>], again: bool) -> Option<Outstanding> {
        let replicas = self.replicas();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let order = (0..replicas.len()).map(|i| &replicas[(turn + i) % replicas.len()]);
        let usable = order.filter(|replica| replica.health().out().is_none());
        let was_tried = |replica: &Arc<Replica>| tried.iter().any(|t| Arc::ptr_eq(t, replica));
        let least = usable.filter(|r| again || !was_tried(r)).min_by_key(|r| (was_tried(r), r.outstanding()))?;
        Some(Outstanding::new(Arc::clone(least)))
    }

    /// Why nobody can be asked, and until when.
    fn outage(&self) -> Outage {
        let (replicas, now) = (self.replicas(), Instant::now());
        let outs: Vec<Out> = replicas.iter().filter_map(|replica| replica.health().out().cloned()).collect();
        let next = outs.iter().map(|out| out.until.saturating_duration_since(now)).min().unwrap_or_default();
        let all = |why| !outs.is_empty() && outs.iter().all(|out| out.why == why);
        let service = self.service;
        let reason = if replicas.is_empty() {
            format!("{service} runs on other servers, whose names lead nowhere at present")
        } else if all(Why::OtherVersion) {
            format!("the servers for {service} run another version of its networks than is asked for here")
        } else if all(Why::Refusing) {
            format!("the servers for {service} refuse this one: their internal secret is another, or they have none")
        } else {
            format!("none of the servers for {service} answers ({} known)", replicas.len())
        };
        Outage { reason, retry_after: next.max(Duration::from_secs(1)) }
    }

    /// Leaves a replica alone if it must be, and says so.
    pub fn note(&self, replica: &Replica, failure: &Failure) {
        let now = Instant::now();
        let (service, address) = (self.service, replica.written());
        let left_alone = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match failure {
            Failure::Broken(reason) => {
                if let Some(time) = replica.health().failed(now, reason.as_str()) {
                    let left_alone_ms = left_alone(time);
                    tracing::warn!(%service, address, reason, left_alone_ms, "a replica does not answer");
                }
            }
            Failure::Refuses(reason) => {
                let left_alone_ms = left_alone(replica.health().eject(now, Why::Refusing, reason.as_str()));
                tracing::error!(%service, address, reason, left_alone_ms, "a replica refuses this server");
            }
            Failure::OtherVersion(reason) => {
                let left_alone_ms = left_alone(replica.health().eject(now, Why::OtherVersion, reason.as_str()));
                tracing::error!(%service, address, reason, left_alone_ms, "a replica runs another version");
            }
            Failure::Busy(_) | Failure::Late | Failure::Asked(_) => {}
        }
    }

    /// Asks until there is an answer, or no use in asking on.
    async fn answer(&self, question: &Question, body: Bytes) -> Result<(), RemoteError> {
        let deadline = question.caller.deadline().unwrap_or_else(|| Instant::now() + PATIENCE);
        self.budget.earn(Instant::now());
        let (mut tried, mut last) = (Vec::new(), None);
        for attempt in 0..ATTEMPTS {
            // The same one again may help if it hung up, not if it has too much to do.
            let again = !matches!(last, Some(Failure::Busy(_)));
            let Some(place) = self.pick(&tried, again) else { break };
            if attempt > 0 && !self.budget.spend(Instant::now()) {
                tracing::warn!(service = %self.service, "too much fails to ask again");
                break;
            }
            let replica = Arc::clone(place.replica());
            let failure = match self.once(question, &place, body.clone(), deadline).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            drop(place);
            match failure {
                Failure::Late => return Err(RemoteError::Expired),
                Failure::Asked(reason) => return Err(RemoteError::Failed { reason }),
                again => last = Some(again),
            }
            tried.push(replica);
        }
        Err(match last {
            Some(Failure::Busy(retry_after)) => RemoteError::Overloaded { retry_after },
            _ => RemoteError::Unreachable(self.outage()),
        })
    }

    async fn once(
        &self,
        question: &Question,
        place: &Outstanding,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let (replica, begun, token) = (place.replica(), Instant::now(), self.token()?);
        let headers = Headers {
            token: &token,
            time_left: deadline.saturating_duration_since(begun),
            client: question.caller.client().number(),
        };
        let asking = async {
            let bytes = replica.ask(question.id.name(), headers, body).await?;
            question.reply.accept(&bytes).map_err(|error| match error {
                WireError::OtherNetwork { .. } => Failure::OtherVersion(error.to_string()),
                other => Failure::Broken(other.to_string()),
            })
        };
        let outcome = tokio::time::timeout_at(deadline, asking).await.unwrap_or(Err(Failure::Late));
        replica.count(outcome.is_ok());
        match &outcome {
            Ok(()) => replica.health().answered(Instant::now()),
            Err(Failure::Late) if begun.elapsed() >= SLOW => {
                self.note(replica, &Failure::Broken("it does not answer in time".to_owned()));
            }
            Err(failure) => self.note(replica, failure),
        }
        outcome
    }
}

impl Remote for Handle {
    fn expect(&self, id: &ModelId) {
        let mut expected = self.0.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if !expected.contains(id) {
            expected.push(id.clone());
        }
    }

    fn reachable(&self) -> Result<(), Outage> {
        let usable = self.0.replicas().iter().any(|replica| replica.health().out().is_none());
        if usable { Ok(()) } else { Err(self.0.outage()) }
    }

    fn ask(&self, mut question: Question) {
        let group = Arc::clone(&self.0);
        self.0.runtime.spawn(async move {
            let body = Bytes::from(std::mem::take(&mut question.body));
            let unwanted = async {
                while question.caller.check().is_ok() && question.reply.wanted() {
                    tokio::time::sleep(LOOK).await;
                }
            };
            // Dropping the question's future closes its connection, by which the replica knows.
            tokio::select! {
                answered = group.answer(&question, body) => {
                    if let Err(error) = answered {
                        question.reply.fail(error);
                    }
                }
                () = unwanted => question.reply.fail(RemoteError::Expired),
            }
        });
    }
}
