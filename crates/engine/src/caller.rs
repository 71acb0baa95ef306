//! On whose behalf networks run, and until when an answer is of use.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::Instant;

use crate::error::{EngineError, Result};

/// Who shares the networks with others: whoever has the same id shares one place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// The id of whoever is called `name`; names are not kept.
    pub fn of(name: impl Hash) -> Self {
        Self(BuildHasherDefault::<DefaultHasher>::default().hash_one(name))
    }

    /// The client with this number in another process.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Its number, by which another process of this system knows the same client.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// One request: its client, its deadline, and whether anybody still waits for it. Clones are the same request.
#[derive(Debug, Clone)]
pub struct Caller {
    client: ClientId,
    deadline: Option<Instant>,
    gone: Arc<AtomicBool>,
}

impl Caller {
    /// A request of `client` that is of no use after `deadline`.
    pub fn new(client: ClientId, deadline: Option<Instant>) -> Self {
        Self { client, deadline, gone: Arc::new(AtomicBool::new(false)) }
    }

    /// The only client of its networks, with all the time it needs.
    pub fn alone() -> Self {
        Self::new(ClientId::of("alone"), None)
    }

    /// Whose request it is.
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// When an answer is of no use any more.
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Nobody waits any more: what has not begun is never begun.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Whether an answer is still of use.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`] or [`EngineError::Expired`].
    pub fn check(&self) -> Result<()> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(EngineError::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(EngineError::Expired),
            _ => Ok(()),
        }
    }
}
