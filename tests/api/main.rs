//! The server over HTTP, with the networks that ship.

mod accounts;
mod analyses;
mod auth;
mod authorization;
mod bad_input;
mod console;
mod gallery;
mod gateway;
mod helpers;
mod jobs;
mod live;
mod load;
mod metrics;
mod models;
mod openapi;
mod operation;
mod programs;
mod security;
mod services;
mod tls;
