//! Why the store could not do what it was asked.

use std::path::PathBuf;

/// Answer of a method of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such thing, or the caller's collection does not hold it.
    #[error("there is no {kind} \"{id}\"")]
    NotFound {
        /// `collection`, `person`, `face`, …
        kind: &'static str,
        /// As the caller named it.
        id: String,
    },
    /// A name, hash or address that must be unique is taken.
    #[error("the {kind} \"{value}\" exists already")]
    Taken {
        /// What must be unique: `collection`, `external_id`, `face`, `username`, `email`.
        kind: &'static str,
        /// The value.
        value: String,
        /// Identifier of what holds it, where the caller may know.
        existing: Option<String>,
    },
    /// The idempotency key was used for another request.
    #[error("the Idempotency-Key was used before for a different request")]
    KeyReused,
    /// The same idempotency key is being worked on by another request at this moment.
    #[error("a request with the same Idempotency-Key is still being worked on")]
    KeyInUse,
    /// A value that the database cannot hold, such as a name with a NUL byte.
    #[error("{0}")]
    Invalid(String),
    /// The database does not answer, or has no connection or no space left: the same may succeed later. Nothing was
    /// changed, or, if the connection broke at the commit, the change may have been made: repeat with the same key.
    #[error("the database is not available: {reason}")]
    Unavailable {
        /// In words.
        reason: String,
        /// The cause.
        #[source]
        source: Option<Box<sqlx::Error>>,
    },
    /// The folder of the embedded store is used by another process.
    #[error("{} is used by another process; one embedded store serves one server. Stop the other, or set DATABASE_URL to a Postgres", .0.display())]
    Locked(PathBuf),
    /// The stored data and this program do not fit together.
    #[error("{0}")]
    Incompatible(String),
    /// Rows that make no sense: a vector of the wrong length, a ciphertext that does not open.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// A failure of the database.
    #[error("the database failed")]
    Database(#[source] Box<sqlx::Error>),
    /// A failure of the file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}
