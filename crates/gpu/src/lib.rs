//! Figures of the NVIDIA cards of this machine, as the driver's management library (NVML) tells them.
//!
//! The library is loaded at run time: nothing of NVIDIA's is needed to build this crate or to start a program that uses it.
//! Without a driver, [`read`] answers with the reason.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod error;
mod figures;
mod monitor;

use std::sync::{Arc, LazyLock};

pub use error::Unavailable;
pub use figures::{Figures, Gpu};
pub use monitor::{FRESH_FOR, Monitor};

/// The program's one connection to the driver; opening it costs more than every reading after it.
static MONITOR: LazyLock<Result<Monitor, Unavailable>> = LazyLock::new(|| Monitor::open(None));

/// The figures of all cards, at most [`FRESH_FOR`] old. The driver is looked for once in the life of the program.
///
/// # Errors
/// There is no driver, or it does not answer.
pub fn read() -> Result<Arc<Figures>, Unavailable> {
    MONITOR.as_ref().map_err(Clone::clone)?.read()
}
