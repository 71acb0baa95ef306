//! Starts, watches and tries FaceSocial servers.
//!
//! Two ways to run them stand behind one face, [`Manager`]: processes of this machine ([`local`]), or containers through
//! `docker compose` ([`compose`]). What is asked of a running server goes over HTTP ([`probe`], [`check`], [`load`]).

pub mod check;
pub mod compose;
mod error;
pub mod load;
pub mod local;
pub mod logs;
mod manager;
pub mod probe;
mod process;
pub mod secrets;
pub mod topology;
mod unit;

pub use self::{
    error::{CtlError, Result},
    manager::{Manager, Row, State},
    unit::Unit,
};
