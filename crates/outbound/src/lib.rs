//! Requests to addresses that clients name. A server that asks whatever it is told to ask can be made to ask its own
//! network, so that here only hosts are asked that its operator listed ([`Hosts`]), each name is looked up once, every
//! address found is checked ([`address`]), and what was checked is what is connected to. Redirects are followed on the same
//! origin alone; bytes and time are limited. Proxies of the environment are not used: behind one, nothing could be checked.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

pub mod address;
mod client;
mod error;
mod hosts;

pub use client::{Client, Limits};
pub use error::OutboundError;
pub use hosts::{Hosts, Listed, ParseHostError, Target};
