//! Log lines on standard error; and, in a build with the feature `otel`, traces for a collector.

#[cfg(feature = "otel")]
pub mod traces;

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// Target of the lines that tell of requests, one each.
pub const ACCESS: &str = "facesocial::access";

/// What is not logged unless it is asked for: the framework calls it an error of the server's if a request cannot be read, so
/// that anybody could fill the log with them. The one who sent it is answered 400.
const QUIET: &str = "actix_http::h1::dispatcher=off";

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What was started; dropped when the program ends, so that nothing is lost of what was told last.
#[must_use]
#[derive(Debug, Default)]
pub struct Telemetry {
    #[cfg(feature = "otel")]
    _traces: Option<traces::Traces>,
}

/// Starts logging to standard error. What is logged: `FACESOCIAL_LOG`, else `RUST_LOG`, else everything from
/// `default` on (`warn`, `info`, ...).
///
/// # Errors
/// A filter that cannot be read; logging started before; traces that cannot be sent where they are asked for.
pub fn init(format: LogFormat, default: &str) -> anyhow::Result<Telemetry> {
    let given = ["FACESOCIAL_LOG", "RUST_LOG"].iter().find_map(|name| {
        let value = std::env::var(name).ok().filter(|v| !v.is_empty())?;
        Some((*name, value))
    });
    let filter = match given {
        Some((name, value)) => EnvFilter::try_new(&value)
            .map_err(|e| anyhow::anyhow!("{name} is \"{value}\", which is no log filter: {e}"))?,
        None => EnvFilter::new(format!("{default},{QUIET}")),
    };
    // Colours are for people at a terminal, not for files.
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    #[cfg(feature = "otel")]
    let (subscriber, telemetry) = {
        let traces = traces::Traces::of_environment()?;
        (subscriber.with(traces.as_ref().map(traces::Traces::layer)), Telemetry { _traces: traces })
    };
    #[cfg(not(feature = "otel"))]
    let telemetry = Telemetry::default();
    subscriber.try_init().map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))?;
    Ok(telemetry)
}
