//! Brings the networks that are not shipped: downloads their published files, checks and converts them.
//!
//! The walk: the [`catalog`] knows every network; [`settings`] say which servers are asked; [`pull`] brings the source
//! files (from a [`mirror`], from what lies here already, or over HTTPS), converts them and writes the weights into the
//! pulled [`folder`]. [`status`] lists and verifies what is there.

pub mod catalog;
pub mod disk;
mod download;
pub mod error;
pub mod folder;
mod http;
pub mod mirror;
pub mod observe;
pub mod pull;
pub mod retry;
pub mod settings;
mod source;
pub mod status;

pub use catalog::{Catalog, Restriction};
pub use error::{HubError, Result};
pub use facesocial_convert::manifest::{Manifest, Profile};
pub use folder::PulledFolder;
pub use observe::{Event, Observer};
pub use pull::{How, Outcome, PullOptions, Pulled, Puller};
pub use settings::Settings;
pub use status::{Places, State};
