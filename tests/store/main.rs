//! The server and what it keeps: killed in the middle of a load, it or the database or the cache under it.
#![cfg(unix)]

mod crash;
mod jobs;
mod load;
mod server;
