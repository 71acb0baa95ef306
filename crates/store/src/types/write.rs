//! What every change carries: who makes it, in which request, and the key that makes a repetition harmless.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What the identifier names.
    pub kind: ActorKind,
    /// The user's or key's identifier.
    pub id: Option<Uuid>,
    /// Address of the client, if known.
    pub address: Option<String>,
}

impl Actor {
    /// The server itself: retention, jobs, the command line.
    pub fn system() -> Self {
        Self { kind: ActorKind::System, id: None, address: None }
    }

    /// The name under which idempotency keys of this actor are kept apart from others'.
    pub fn principal(&self) -> String {
        self.id.map_or_else(|| self.kind.as_str().to_owned(), |id| format!("{}:{id}", self.kind.as_str()))
    }
}

/// Kinds of actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// Somebody who logged in.
    User,
    /// A program with a key.
    ApiKey,
    /// Another service of this system.
    Service,
    /// Anybody, where authentication is off.
    Anonymous,
    /// The server itself.
    System,
}

impl ActorKind {
    /// The name in the audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ApiKey => "api_key",
            Self::Service => "service",
            Self::Anonymous => "anonymous",
            Self::System => "system",
        }
    }
}

/// A client's key for one change. The same key with the same request changes nothing and gives the first answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, 1..=255 characters.
    pub key: String,
    /// sha256 of method, path and body, hex: the same key with another request is refused.
    pub fingerprint: String,
}

/// What every change carries.
#[derive(Debug, Clone)]
pub struct Write {
    /// Who makes the change.
    pub actor: Actor,
    /// The request that it is made in.
    pub request_id: String,
    /// Makes a repetition harmless.
    pub idempotency: Option<Idempotency>,
}

impl Write {
    /// A change by the server itself.
    pub fn system() -> Self {
        Self { actor: Actor::system(), request_id: String::new(), idempotency: None }
    }

    /// The same without its key: for changes whose answer must not be given twice, such as a new token.
    pub(crate) fn without_key(&self) -> Self {
        Self { actor: self.actor.clone(), request_id: self.request_id.clone(), idempotency: None }
    }
}

/// What a change gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<T> {
    /// The answer; of a repetition, that of the first time.
    pub value: T,
    /// Whether nothing was changed because the same change was made before.
    pub replayed: bool,
}
