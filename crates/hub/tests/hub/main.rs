//! The crate against publishers that are played on this machine.

mod common;
mod pull;
mod status;
