//! The server and command line of FaceSocial, as a library so that tests can start them.

pub mod cli;
pub mod eval;
pub mod parallel;
pub mod telemetry;
pub mod weights_dir;
