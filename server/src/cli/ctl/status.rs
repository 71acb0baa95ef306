//! `facesocial ctl status`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use facesocial_ctl::{
    Row, State,
    probe::{Probe, Readiness},
};
use serde_json::json;

use super::PlaceArgs;
use crate::cli::table::TextTable;

/// Options of `facesocial ctl status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// A server to ask, wherever it runs, instead of what is deployed here: for health checks of containers.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// Tells what runs; exit code 1 unless all of it is ready.
///
/// # Errors
/// Nothing is deployed; docker does not answer; an address that is none.
pub(super) async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    match &args.url {
        Some(url) => one(&Probe::new(url, None)?, args.json).await,
        None => print(&args.place.manager()?.rows().await?, args.json),
    }
}

async fn one(probe: &Probe, as_json: bool) -> anyhow::Result<ExitCode> {
    let readiness = probe.readiness().await;
    let word = match readiness {
        Readiness::Ready => "ready",
        Readiness::NotReady => "not_ready",
        Readiness::Silent => "silent",
    };
    let line = match as_json {
        true => json!({ "url": probe.base(), "status": word }).to_string(),
        false => format!("{}: {word}", probe.base()),
    };
    writeln!(io::stdout(), "{line}")?;
    Ok(if readiness == Readiness::Ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the rows; exit code 1 unless all are ready.
///
/// # Errors
/// Standard output cannot be written to.
pub(super) fn print(rows: &[Row], as_json: bool) -> anyhow::Result<ExitCode> {
    let text = match as_json {
        true => serde_json::to_string_pretty(&json!({ "parts": rows }))? + "\n",
        false => table(rows),
    };
    io::stdout().write_all(text.as_bytes())?;
    let ready = !rows.is_empty() && rows.iter().all(|row| row.state == State::Ready);
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rows for people.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = TextTable::new(["part", "replica", "state", "address", "pid", "memory MiB", "cpu %", "up"]);
    for row in rows {
        let figure = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        table.row([
            row.unit.clone(),
            row.replica.to_string(),
            row.state.as_str().to_owned(),
            row.address.clone().unwrap_or_else(|| "-".to_owned()),
            figure(row.pid.map(u64::from)),
            figure(row.memory_mb),
            row.cpu_percent.map_or_else(|| "-".to_owned(), |c| format!("{c:.0}")),
            row.uptime_seconds.map_or_else(|| "-".to_owned(), uptime),
        ]);
    }
    table.render()
}

/// Seconds as people say them.
fn uptime(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash() {
        let row = Row {
            unit: "gateway".to_owned(),
            replica: 1,
            state: State::Ended,
            address: None,
            pid: None,
            memory_mb: Some(120),
            cpu_percent: Some(3.4),
            uptime_seconds: Some(7_300),
        };
        let text = table(&[row]);
        let cells: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(cells, ["gateway", "1", "ended", "-", "-", "120", "3", "2", "h"]);
    }
}
