//! The server and command line of FaceSocial, as a library so that tests can start them.

pub mod api;
pub mod auth;
pub mod cli;
pub mod config;
pub mod error;
pub mod eval;
pub mod extract;
pub mod gateway;
pub mod held;
pub mod middleware;
pub mod networks;
pub mod parallel;
pub mod pool;
pub mod routing;
pub mod serve;
pub mod services;
pub mod startup;
pub mod state;
pub mod telemetry;
pub mod usage;
pub mod weights_dir;
