//! People, faces, accounts, history. Two backends behind one set of traits, held to the same conformance suite: SQLite inside
//! of the process with an exact search in memory, and Postgres with pgvector.
//!
//! # How it is built
//!
//! `sqlite` and `postgres` each hold a store, its pools and what only that database does: locks, times, search, backup.
//! What both do alike stands once, under `shared`, in SQL that both understand, and is compiled as a module of each; it
//! names the backend through `super`: `Backend` (the store), `Db`, `DbRow`, `Tx`, `Time` (stored time, to the microsecond).
//!
//! A change is written as
//!
//! ```text
//! let (mut tx, replay) = self.begin(write).await?;           // idempotency key looked up
//! if let Some(outcome) = replay { return Ok(outcome) }
//! sqlx::query("… $1 …").bind(id.0).execute(tx.connection()).await?;
//! self.finish(tx, write, Audit { action: "person.update", ..Audit::default() }, value).await   // audit, record, commit
//! ```
//!
//! and a look as `sqlx::query(…).fetch_all(self.pool())`, or within `self.begin_read()` where several must agree. `?` turns a
//! failure of the database into the [`StoreError`] that says whether it passes. `text` checks strings before SQL sees them.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod encryption;
mod error;
mod error_map;
mod files;
mod maintenance;
mod migrations;
mod numbers;
mod options;
mod postgres;
mod sqlite;
mod text;
mod traits;
mod tried;
mod types;

pub use encryption::{EncryptionKey, EncryptionKeyError};
pub use error::{Result, StoreError};
pub use maintenance::{MigrationStatus, PostgresTools, backup, migrate, migration_status, restore};
pub use options::{StoreOptions, open};
pub use traits::{Accounts, Gallery, History, JobResults, Operations, Store};
pub use tried::{TriedBackup, try_backup};
pub use types::*;
