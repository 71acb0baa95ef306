//! `facesocial ctl monitor`.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use facesocial_ctl::Manager;

use super::{PlaceArgs, status};
use crate::config::Seconds;

/// Empties the terminal and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Options of `facesocial ctl monitor`.
#[derive(Debug, Args)]
pub(super) struct MonitorArgs {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value = "2")]
    every: Seconds,
    /// Looks once.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    place: PlaceArgs,
    /// Writes one JSON document a look.
    #[arg(long)]
    json: bool,
}

/// Shows the state until the terminal ends it.
///
/// # Errors
/// Nothing is deployed; docker does not answer.
pub(super) async fn run(args: MonitorArgs) -> anyhow::Result<ExitCode> {
    let manager = args.place.manager()?;
    let mut out = io::stdout();
    loop {
        let rows = manager.rows().await?;
        let last = if args.json {
            status::print(&rows, true)?
        } else {
            if !args.once && out.is_terminal() {
                write!(out, "{CLEAR}")?;
            }
            let last = status::print(&rows, false)?;
            write!(out, "\n{}{}", dashboards(&manager), cards())?;
            last
        };
        out.flush()?;
        if args.once {
            return Ok(last);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from(args.every)) => {}
            ended = tokio::signal::ctrl_c() => {
                ended.context("cannot wait for Ctrl-C")?;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// Where there is more to see.
fn dashboards(manager: &Manager) -> String {
    match manager {
        Manager::Local(local) => match local.topology() {
            Ok(topology) => {
                let url = topology.gateway_url();
                format!("  console {url}/console, figures for Prometheus {url}/metrics?format=prometheus\n")
            }
            Err(_) => String::new(),
        },
        Manager::Compose(_) => "  Grafana http://127.0.0.1:3001, console http://127.0.0.1:8000/console\n".to_owned(),
    }
}

/// One line per card, where there are any.
fn cards() -> String {
    let figures = facesocial_gpu::read();
    let Ok(figures) = figures.as_deref() else { return String::new() };
    let line = |gpu: &facesocial_gpu::Gpu| {
        let part = |what: &str, value: Option<String>| value.map(|v| format!(", {v} {what}")).unwrap_or_default();
        format!(
            "  card {}{}{}{}\n",
            gpu.index,
            part("MiB used", gpu.memory_used_mb.map(|n| n.to_string())),
            part("% busy", gpu.utilization_percent.map(|n| n.to_string())),
            part("°C", gpu.temperature_celsius.map(|n| n.to_string())),
        )
    };
    figures.devices.iter().map(line).collect()
}
