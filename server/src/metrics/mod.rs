//! What a server tells of itself in figures.
//!
//! [`families`] is the table of everything that is told. What happens is counted where it happens, by [`Metrics`]; what the
//! parts of a server keep anyway (batches, memory, connections) is read when somebody asks, and counted nowhere twice. Both
//! are kept in the server's own state, so that several servers of one process have each their own. No figure names a person,
//! a photo, an account or a path.

pub mod access;
pub mod api;
mod counted;
pub mod families;
mod json;
mod minute;
pub mod networks;
pub mod process;
mod read;
mod readings;
mod scope;
pub mod size;
pub mod tasks;

pub use self::counted::{Answered, Compared, Metrics, OneMore};
