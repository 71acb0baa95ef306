//! People, faces, accounts, history. Two backends behind one set of traits, held to the same conformance suite: SQLite inside
//! of the process with an exact search in memory, and Postgres with pgvector.

mod error;
mod traits;
mod types;

pub use error::{Result, StoreError};
pub use traits::{Accounts, Gallery, History, Operations, Store};
pub use types::*;
