//! The program `facesocial`.

use std::{io, io::Write, process::ExitCode};

use clap::Parser;
use facesocial::{cli::Cli, telemetry};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let telemetry = telemetry::init(cli.log_format, cli.default_log_level());
    let answer = telemetry.and_then(|_until_the_end| cli.run());
    answer.unwrap_or_else(|error| {
        let closed = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
        // The reader of a pipe has seen enough (`facesocial ... | head`): that is no failure.
        if error.chain().any(|cause| cause.downcast_ref().is_some_and(closed)) {
            return ExitCode::SUCCESS;
        }
        writeln!(io::stderr(), "facesocial: {error:#}").ok();
        ExitCode::FAILURE
    })
}
