//! Networks that another process runs: what is asked of it, and what may become of that. How it is reached is for whoever
//! implements [`Remote`] to say; nothing here knows of connections.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use facesocial_types::ModelId;
use tokio::sync::oneshot;

use crate::{
    batch::Pending,
    caller::Caller,
    error::{EngineError, Result},
    network::Task,
    wire::{self, Wire, WireError},
};

/// Most items of one question: a crowd's faces are shared by the processes that answer.
const CHUNK: usize = 64;

/// The processes that run a service's networks for this one.
pub trait Remote: fmt::Debug + Send + Sync + 'static {
    /// Tells that questions about this network will come; before the first of them.
    fn expect(&self, id: &ModelId);

    /// Whether anybody can be asked now.
    ///
    /// # Errors
    /// Nobody can.
    fn reachable(&self) -> Result<(), Outage>;

    /// Asks, and gives what comes of it to the question's [`Reply`]. Never blocks.
    fn ask(&self, question: Question);
}

/// Nobody can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Sentence that says so.
    pub reason: String,
    /// When asking again may help.
    pub retry_after: Duration,
}

/// One question to a network.
pub struct Question {
    /// The network.
    pub id: ModelId,
    /// What is asked, to be handed on as it is.
    pub body: Vec<u8>,
    /// On whose behalf, and until when.
    pub caller: Caller,
    /// Who waits.
    pub reply: Arc<dyn Reply>,
}

/// Whoever waits for an answer.
pub trait Reply: Send + Sync {
    /// Takes the answer.
    ///
    /// # Errors
    /// The bytes are none; somebody else may be asked.
    fn accept(&self, bytes: &[u8]) -> Result<(), WireError>;

    /// There will be no answer.
    fn fail(&self, error: RemoteError);

    /// Whether anybody still waits.
    fn wanted(&self) -> bool;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteError {
    /// Nobody could be asked.
    Unreachable(Outage),
    /// All who could be asked have too much to do.
    Overloaded {
        /// When that should be over.
        retry_after: Duration,
    },
    /// The time for the answer is over.
    Expired,
    /// The network failed there, or refuses what it was asked.
    Failed {
        /// What was said.
        reason: String,
    },
}

/// A network that runs elsewhere.
pub(crate) struct Elsewhere<M: Task> {
    name: &'static str,
    pub id: ModelId,
    pub spec: M::Spec,
    remote: Arc<dyn Remote>,
}

impl<M: Task> Elsewhere<M> {
    pub fn new(name: &'static str, id: ModelId, spec: M::Spec, remote: Arc<dyn Remote>) -> Self {
        remote.expect(&id);
        Self { name, id, spec, remote }
    }

    /// Asks about `items`, in questions of a bounded size.
    ///
    /// # Errors
    /// Nobody waits, or nobody can be asked.
    pub fn ask<I: Wire>(&self, caller: &Caller, items: &[I]) -> Result<Pending<M::Output>> {
        caller.check()?;
        self.remote.reachable().map_err(|outage| unreachable(self.name, outage))?;
        let ask = |chunk: &[I]| {
            let (sender, receiver) = oneshot::channel();
            let slot = Slot { network: self.name, id: self.id.clone(), count: chunk.len(), sender: sender.into() };
            self.remote.ask(Question {
                id: self.id.clone(),
                body: wire::question(&self.id, chunk),
                caller: caller.clone(),
                reply: Arc::new(slot),
            });
            (chunk.len(), receiver)
        };
        Ok(Pending::elsewhere(items.chunks(CHUNK).map(ask).collect()))
    }
}

/// What is answered to the items of one question.
type Answers<O> = Result<Vec<Result<O>>>;

/// The place for one question's answers.
struct Slot<O> {
    network: &'static str,
    id: ModelId,
    /// Items that were asked about.
    count: usize,
    sender: Sender<O>,
}

/// Given away with the answers.
struct Sender<O>(Mutex<Option<oneshot::Sender<Answers<O>>>>);

impl<O> From<oneshot::Sender<Answers<O>>> for Sender<O> {
    fn from(sender: oneshot::Sender<Answers<O>>) -> Self {
        Self(Mutex::new(Some(sender)))
    }
}

impl<O> Sender<O> {
    fn send(&self, answers: Answers<O>) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever left meanwhile wants no answer.
            let _ = sender.send(answers);
        }
    }

    fn is_open(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|sender| !sender.is_closed())
    }
}

impl<O: Wire + Send> Reply for Slot<O> {
    fn accept(&self, bytes: &[u8]) -> Result<(), WireError> {
        let failed = |reason| EngineError::Elsewhere { network: self.network, reason };
        let answers = wire::read_answer::<O>(&self.id, self.count, bytes)?;
        self.sender.send(Ok(answers.into_iter().map(|answer| answer.map_err(failed)).collect()));
        Ok(())
    }

    fn fail(&self, error: RemoteError) {
        let network = self.network;
        self.sender.send(Err(match error {
            RemoteError::Unreachable(outage) => unreachable(network, outage),
            RemoteError::Overloaded { retry_after } => EngineError::Overloaded { network, retry_after },
            RemoteError::Expired => EngineError::Expired,
            RemoteError::Failed { reason } => EngineError::Elsewhere { network, reason },
        }));
    }

    fn wanted(&self) -> bool {
        self.sender.is_open()
    }
}

fn unreachable(network: &'static str, Outage { reason, retry_after }: Outage) -> EngineError {
    EngineError::Unreachable { network, reason, retry_after }
}
