//! `facesocial ctl gpu`: the NVIDIA cards of this machine.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use facesocial_gpu::{Figures, Gpu};

use crate::{cli::table::TextTable, gpu};

/// Options of `facesocial ctl gpu`.
#[derive(Debug, Args)]
pub(super) struct GpuArgs {
    /// Writes JSON, also of the reason why there are no figures.
    #[arg(long)]
    json: bool,
}

/// Writes the figures.
///
/// # Errors
/// There are none, and no JSON was asked for.
pub(super) fn run(args: &GpuArgs) -> anyhow::Result<ExitCode> {
    let figures = facesocial_gpu::read();
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", gpu::of(figures.as_deref()))?;
        return Ok(if figures.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    write!(out, "{}", table(&*figures.context("no figures of graphics cards")?))?;
    if !gpu::BUILT_FOR_CUDA {
        writeln!(out, "this build of facesocial runs its networks on the processor alone")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(figures: &Figures) -> String {
    let mut table = TextTable::new(["card", "name", "memory MiB", "of", "load %", "°C", "W", "fault"]);
    for gpu in &figures.devices {
        let Gpu { memory_used_mb, memory_total_mb, utilization_percent, temperature_celsius, .. } = gpu;
        table.row([
            gpu.index.to_string(),
            known(gpu.name.as_ref()),
            known(memory_used_mb.as_ref()),
            known(memory_total_mb.as_ref()),
            known(utilization_percent.as_ref()),
            known(temperature_celsius.as_ref()),
            known(gpu.power_watts.map(|w| format!("{w:.1}")).as_ref()),
            gpu.fault.clone().unwrap_or_default(),
        ]);
    }
    let versions = [("driver", &figures.driver), ("CUDA", &figures.cuda)];
    let told = versions.into_iter().filter_map(|(what, version)| Some(format!("{what} {}", version.as_ref()?)));
    format!("{}\n{}", told.collect::<Vec<_>>().join(", "), table.render())
}

/// The figure, or a dash if the card does not tell it.
fn known<T: Display>(figure: Option<&T>) -> String {
    figure.map_or_else(|| "-".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_a_row_and_what_it_does_not_tell_is_a_dash() {
        let card = Gpu {
            name: Some("NVIDIA Test 3060".to_owned()),
            memory_used_mb: Some(1500),
            memory_total_mb: Some(6144),
            power_watts: Some(98.76),
            ..Gpu::default()
        };
        let lost = Gpu { index: 1, fault: Some("lost".to_owned()), ..Gpu::default() };
        let figures =
            Figures { driver: Some("580.65.06".to_owned()), cuda: Some("13.0".to_owned()), devices: vec![card, lost] };
        let text = table(&figures);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (4, "driver 580.65.06, CUDA 13.0"));
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells(lines[2]), ["0", "NVIDIA", "Test", "3060", "1500", "6144", "-", "-", "98.8"]);
        assert_eq!(cells(lines[3]), ["1", "-", "-", "-", "-", "-", "-", "lost"]);
    }
}
