//! The server as a process: killed in the middle of a load, it or the database or the cache under it; its end; and its memory
//! under what the worst clients send.
#![cfg(unix)]

mod crash;
mod ctl;
mod jobs;
mod load;
mod memory;
mod server;
mod stop;
