//! `cargo xtask`: the project's own build commands, the same here and in continuous integration.

mod bench;
mod clients;
mod conformance;
mod console;
mod cuda;
mod fuzz;
mod release;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail};
use clap::Parser;

/// How to get the version of cargo-deny that the rules were written for.
const INSTALL_DENY: &str = "cargo install --locked cargo-deny@0.20.2";

/// The project's own build commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Asks for known vulnerabilities of the dependencies (network). Not part of `ci`: what is known changes from day to day, and a
    /// commit that passed must go on passing.
    Audit,
    /// Times the networks against ONNX Runtime, LiteRT, PyTorch and dlib on this machine: brings them (network, Python) into
    /// target/, exports the networks, and prints a table with medians, ratios and goals.
    Bench(Box<bench::Bench>),
    /// Everything that continuous integration checks: format, lints, dependency rules, documentation, tests.
    Ci {
        /// Whether the feature `cuda` compiles, too, as `cargo xtask cuda` does; says aloud if NVIDIA's compiler cannot be had.
        #[arg(long)]
        cuda: bool,
        /// Whether every fuzz target holds for a few seconds, too, as `cargo xtask fuzz` runs them; says aloud if cargo-fuzz is
        /// not installed.
        #[arg(long)]
        fuzz: bool,
    },
    /// Generates clients in Python and TypeScript from the API's document (network, Python, Node.js) and tests them and the
    /// examples of the documentation. Not part of `ci`, which tests what is there already.
    Clients,
    /// Holds the server against its API's document with schemathesis (network, Python), on SQLite and, where
    /// FACESOCIAL_TEST_PG_BIN names its programs, on Postgres. Not part of `ci`: it takes a quarter of an hour.
    Conformance(conformance::Conformance),
    /// Writes docs/configuration.md from the definitions of the command line.
    ConfigReference,
    /// Builds the web console (network, Node.js), checks its types and tests it in Chromium, where one is found. Not part of
    /// `ci`, which checks that the committed assets were built from the committed sources.
    Console,
    /// Whether the feature `cuda` compiles: brings NVIDIA's compiler (network, Python) into target/ and lints with it. Takes
    /// minutes: candle brings many kernels.
    Cuda,
    /// Builds the fuzz targets of tests/fuzz, runs each for a while and says what it found; fails if one crashed. Needs
    /// cargo-fuzz and a C++ compiler.
    Fuzz(fuzz::Fuzz),
    /// Builds the program that is given away, with its digest and the list of its parts (needs cargo-cyclonedx), into
    /// target/dist; with --check twice, in two folders, to see that the same sources give the same bytes.
    Release(release::Release),
    /// Brings the pinned packages (network) and compares what they give with the committed weights, byte for byte.
    Weights,
}

/// One step of `ci`: its name, arguments to cargo and environment.
struct Step {
    name: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

const FORMAT: Step = Step { name: "format", args: &["fmt", "--all", "--check"], env: &[] };
const LINTS: Step = Step {
    name: "lints",
    args: &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    env: &[],
};
// Without advisories: their database changes from day to day, and a commit that passed must go on passing.
const DENY: Step = Step {
    name: "dependency rules",
    args: &[
        "deny",
        "--locked",
        "--config",
        ".cargo/deny.toml",
        "check",
        "--allow",
        "unused-wrapper",
        "bans",
        "licenses",
        "sources",
    ],
    env: &[],
};
const AUDIT: Step = Step {
    name: "known vulnerabilities",
    args: &["deny", "--locked", "--config", ".cargo/deny.toml", "check", "advisories"],
    env: &[],
};
const DOC: Step = Step {
    name: "documentation",
    args: &["doc", "--workspace", "--no-deps", "--locked"],
    env: &[("RUSTDOCFLAGS", "-D warnings")],
};
// Last, so that a log ends with the summary of the tests.
const TEST: Step = Step { name: "tests", args: &["test", "--workspace", "--locked"], env: &[] };
const WEIGHTS: Step =
    Step { name: "weights", args: &["run", "--locked", "--package", "facesocial-convert", "--", "verify"], env: &[] };

const CONFIG_REFERENCE: Step = Step {
    name: "configuration reference",
    args: &["test", "--locked", "--package", "facesocial", "--test", "configuration"],
    env: &[("FACESOCIAL_WRITE_REFERENCE", "1")],
};

fn main() -> ExitCode {
    let result = match Task::parse() {
        Task::Audit => audit(),
        Task::Bench(options) => bench::bench(&options),
        Task::Ci { cuda, fuzz } => ci(cuda, fuzz),
        Task::Clients => clients::clients(),
        Task::Conformance(options) => conformance::conformance(&options),
        Task::ConfigReference => run(&CONFIG_REFERENCE, &[]),
        Task::Console => console::console(),
        Task::Cuda => cuda::cuda(),
        Task::Fuzz(options) => fuzz::fuzz(&options),
        Task::Release(options) => release::release(&options),
        Task::Weights => run(&WEIGHTS, &[]),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn ci(with_cuda: bool, with_fuzz: bool) -> anyhow::Result<()> {
    run(&FORMAT, &[])?;
    run(&LINTS, &[])?;
    if has_deny() {
        run(&DENY, &[])?;
    } else {
        say(&format!("==> {}: NOT CHECKED, cargo-deny is not installed. Install it with: {INSTALL_DENY}", DENY.name));
    }
    run(&DOC, &[])?;
    if with_cuda {
        cuda::cuda_if_possible()?;
    }
    if with_fuzz {
        fuzz::fuzz_if_possible()?;
    }
    run(&TEST, &[])
}

/// Runs a step; `more` is environment that is not known beforehand.
fn run(step: &Step, more: &[(&str, OsString)]) -> anyhow::Result<()> {
    let Step { name, args, env } = step;
    say(&format!("==> {name}: cargo {}", args.join(" ")));
    let mut command = cargo();
    command.args(*args).envs(env.iter().copied()).envs(more.iter().map(|(name, value)| (name, value)));
    let status = command.status().context("cargo cannot be started")?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

fn audit() -> anyhow::Result<()> {
    if !has_deny() {
        bail!("cargo-deny is not installed. Install it with: {INSTALL_DENY}");
    }
    run(&AUDIT, &[])
}

fn has_deny() -> bool {
    let quiet = cargo().args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// The top of the checkout.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// cargo at the top of the checkout.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn say(line: &str) {
    // A closed stderr is no reason to stop a build.
    let _ = writeln!(io::stderr(), "{line}");
}
