//! Brings the published networks and converts their weights.
//!
//! A source file is read ([`read`]) into [`source::SourceTensor`]s.

pub mod error;
pub mod read;
pub mod source;
