//! `cargo xtask conformance`: the server against its API's document, by schemathesis, on both stores.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use clap::Args;

use crate::{Step, root, run, say};

const BUILD: Step =
    Step { name: "the server", args: &["build", "--release", "--locked", "--package", "facesocial"], env: &[] };

/// What to hold against the document.
#[derive(Args)]
pub(crate) struct Conformance {
    /// The same number gives the same cases.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cases, against the usual number.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// In whose name: admin, user, read-only, nobody.
    #[arg(long, value_delimiter = ',', default_values = ["admin", "user", "read-only", "nobody"])]
    callers: Vec<String>,
    /// Another binary than the one that is built for it.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Brings schemathesis (network), and runs it against a server with each store; reports are in `target/conformance`.
///
/// # Errors
/// No Python or packages, a server that does not start, a fault of the server or its document.
pub(crate) fn conformance(options: &Conformance) -> anyhow::Result<()> {
    let python = packages()?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => {
            run(&BUILD, &[])?;
            root().join("target/release/facesocial").with_extension(std::env::consts::EXE_EXTENSION)
        }
    };
    let mut faulty = Vec::new();
    if !held(&python, &program, options, "sqlite", None)? {
        faulty.push("sqlite");
    }
    // Ends with this function.
    let postgres = postgres();
    match postgres.as_ref().map(Database::url) {
        Some(url) if !held(&python, &program, options, "postgres", Some(&url))? => faulty.push("postgres"),
        Some(_) => {}
        None => say("==> conformance, postgres: NOT RUN, see above"),
    }
    if faulty.is_empty() { Ok(()) } else { bail!("faults with {}; see target/conformance", faulty.join(" and ")) }
}

fn held(
    python: &Path,
    program: &Path,
    options: &Conformance,
    store: &str,
    database: Option<&str>,
) -> anyhow::Result<bool> {
    say(&format!("==> conformance, {store}: reports in target/conformance/{store}"));
    let mut command = Command::new(python);
    command.current_dir(root()).arg("tests/conformance/run.py").arg("--program").arg(program);
    command.arg("--out").arg(folder().join(store)).args(["--seed", &options.seed.to_string()]);
    command.args(["--scale", &options.scale.to_string(), "--callers", &options.callers.join(",")]);
    match database {
        Some(url) => command.env("DATABASE_URL", url),
        None => command.env_remove("DATABASE_URL"),
    };
    Ok(command.status().context("the Python of target/conformance cannot be started")?.success())
}

#[cfg(unix)]
type Database = facesocial_testkit::Postgres;

/// A Postgres of its own, where `FACESOCIAL_TEST_PG_BIN` names its programs.
#[cfg(unix)]
fn postgres() -> Option<Database> {
    facesocial_testkit::Postgres::start()
}

/// Where private servers of Postgres are not started.
#[cfg(not(unix))]
struct Database;

#[cfg(not(unix))]
impl Database {
    fn url(&self) -> String {
        String::new()
    }
}

#[cfg(not(unix))]
fn postgres() -> Option<Database> {
    None
}

fn folder() -> PathBuf {
    root().join("target/conformance")
}

/// The Python of a virtual environment that has schemathesis in the pinned version.
fn packages() -> anyhow::Result<PathBuf> {
    let list = root().join("tests/conformance/requirements.txt");
    let wanted = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let environment = folder().join("python");
    let record = environment.join("packages.txt");
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if fs::read_to_string(&record).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    say("==> conformance: schemathesis (network)");
    match fs::remove_dir_all(&environment) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).context("the old packages cannot be removed"),
        _ => {}
    }
    fs::create_dir_all(folder()).context("target/conformance cannot be made")?;
    ended(Command::new("python3").args(["-m", "venv"]).arg(&environment))
        .context("python3 cannot make a virtual environment; Python 3.11 or later with the module venv is needed")?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&list);
    ended(&mut pip).context("schemathesis cannot be had; a package index is needed")?;
    fs::write(&record, wanted).context("the packages cannot be recorded")?;
    Ok(python)
}

fn ended(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status()?;
    if !status.success() {
        bail!("ended with {status}");
    }
    Ok(())
}
