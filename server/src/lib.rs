//! The server and command line of FaceSocial, as a library so that tests can start them.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

pub mod api;
pub mod auth;
pub mod cached;
pub mod cli;
pub mod config;
pub mod console;
pub mod engine_args;
pub mod error;
pub mod eval;
pub mod extract;
pub mod gallery;
pub mod gateway;
pub mod gpu;
pub mod held;
pub mod history;
pub mod internal;
pub mod jobs;
pub mod live;
pub mod meter;
pub mod metrics;
pub mod middleware;
pub mod networks;
pub mod operate;
pub mod parallel;
pub mod pool;
pub mod privacy;
pub mod recorder;
pub mod routing;
pub mod serve;
pub mod services;
pub mod startup;
pub mod state;
pub mod telemetry;
pub mod thresholds_file;
pub mod tls;
pub mod usage;
pub mod video;
pub mod weights_dir;
