//! Log lines on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Target of the lines that tell of requests, one each.
pub const ACCESS: &str = "facesocial::access";

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging to standard error. What is logged: `FACESOCIAL_LOG`, else `RUST_LOG`, else everything from
/// `default` on (`warn`, `info`, ...).
///
/// # Errors
/// A filter that cannot be read; logging started before.
pub fn init(format: LogFormat, default: &str) -> anyhow::Result<()> {
    let given = ["FACESOCIAL_LOG", "RUST_LOG"].iter().find_map(|name| {
        let value = std::env::var(name).ok().filter(|v| !v.is_empty())?;
        Some((*name, value))
    });
    let filter = match given {
        Some((name, value)) => EnvFilter::try_new(&value)
            .map_err(|e| anyhow::anyhow!("{name} is \"{value}\", which is no log filter: {e}"))?,
        None => EnvFilter::new(default),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // Colours are for people at a terminal, not for files.
        .with_ansi(io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))
}
