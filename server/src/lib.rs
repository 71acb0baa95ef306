//! The server and command line of FaceSocial, as a library so that tests can start them.

pub mod api;
pub mod auth;
pub mod cached;
pub mod cli;
pub mod config;
pub mod error;
pub mod eval;
pub mod extract;
pub mod gallery;
pub mod gateway;
pub mod held;
pub mod history;
pub mod jobs;
pub mod middleware;
pub mod networks;
pub mod parallel;
pub mod pool;
pub mod privacy;
pub mod routing;
pub mod serve;
pub mod services;
pub mod startup;
pub mod state;
pub mod telemetry;
pub mod usage;
pub mod weights_dir;
