//! Runs the fuzz targets of `tests/fuzz`, one after the other, and says in a table what came of it.
//!
//! cargo-fuzz builds them, with flags that stable Rust keeps to itself: `RUSTC_BOOTSTRAP` has it take them. What the fuzzer
//! finds goes to `tests/fuzz/target/corpus`, and starts from the seeds in `tests/fuzz/corpus`, which stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::{cargo, root, say};

/// The version of cargo-fuzz that this was written for.
const VERSION: &str = "0.13.1";
/// How to get it.
const INSTALL: &str = "cargo install --locked cargo-fuzz@0.13.1";
/// Megabytes that a target may hold; the networks and their activations take a part of them.
const MEMORY: u32 = 2048;
/// Seconds after which one input counts as hung.
const HUNG: u32 = 30;
/// Seconds for each target in continuous integration.
const SHORT: u32 = 10;
/// Lines of a crash that are shown.
const TOLD: usize = 40;

/// How long, and what.
#[derive(Args)]
pub struct Fuzz {
    /// Seconds for each target.
    #[arg(long, default_value_t = SHORT)]
    seconds: u32,
    /// A target; may be given several times. All of them unless given.
    #[arg(long)]
    target: Vec<String>,
    /// What watches the memory. With `address`, what unsafe code does wrong is found as well; it takes longer to build, and
    /// runs at a third of the speed.
    #[arg(long, value_enum, default_value_t = Sanitizer::None)]
    sanitizer: Sanitizer,
}

/// What watches the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sanitizer {
    /// AddressSanitizer.
    Address,
    /// Nothing.
    None,
}

/// What a run of one target came to.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    executions: u64,
    edges: u64,
    inputs: u64,
}

/// A folder for temporary files, in memory where the system has such a place: a program that ends by a crash leaves its own.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = place.join(format!("facesocial-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is for the system to remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds and runs targets.
///
/// # Errors
/// No cargo-fuzz; a target that does not compile, does not exist, or crashed.
pub fn fuzz(options: &Fuzz) -> anyhow::Result<()> {
    if !has_cargo_fuzz() {
        bail!("cargo-fuzz {VERSION} is not installed; install it with: {INSTALL}");
    }
    let all = targets()?;
    if let Some(unknown) = options.target.iter().find(|target| !all.contains(target)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    let chosen = if options.target.is_empty() { &all } else { &options.target };
    let folder = folder();
    let built = build(&folder, options)?;
    say(&format!("{:<12} {:>12} {:>9} {:>8} {:>7}", "target", "executions", "a second", "edges", "inputs"));
    let mut crashed = Vec::new();
    let scratch = Scratch::new()?;
    for target in chosen {
        match run(&folder, &scratch, &built.join(target), target, options)? {
            Ok(Ran { executions, edges, inputs }) => {
                let speed = executions / u64::from(options.seconds.max(1));
                say(&format!("{target:<12} {executions:>12} {speed:>9} {edges:>8} {inputs:>7}"));
            }
            Err(told) => {
                say(&format!("{target:<12} CRASHED\n{told}"));
                crashed.push(target.as_str());
            }
        }
    }
    if crashed.is_empty() {
        return Ok(());
    }
    bail!(
        "crashed: {}. The inputs are in tests/fuzz/artifacts. Once mended, put each into tests/fuzz/corpus/TARGET, where the test \
         of facesocial-fuzz-targets replays it",
        crashed.join(", ")
    );
}

/// The same for a few seconds each, unless cargo-fuzz is not there, which is said aloud.
///
/// # Errors
/// As [`fuzz`].
pub fn fuzz_if_possible() -> anyhow::Result<()> {
    if !has_cargo_fuzz() {
        say(&format!("==> fuzz: NOT RUN, cargo-fuzz {VERSION} is not installed. Install it with: {INSTALL}"));
        return Ok(());
    }
    say("==> fuzz: cargo xtask fuzz");
    fuzz(&Fuzz { seconds: SHORT, target: Vec::new(), sanitizer: Sanitizer::None })
}

fn folder() -> PathBuf {
    root().join("tests/fuzz")
}

fn has_cargo_fuzz() -> bool {
    let told = cargo().args(["fuzz", "--version"]).stderr(Stdio::null()).output();
    told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).trim().ends_with(VERSION))
}

/// The programs of the folder.
fn targets() -> anyhow::Result<Vec<String>> {
    let programs = folder().join("fuzz_targets");
    let entries = fs::read_dir(&programs).with_context(|| format!("cannot read {}", programs.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        found.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    found.sort();
    Ok(found)
}

/// Builds the programs, and gives the folder that they are in.
fn build(folder: &Path, options: &Fuzz) -> anyhow::Result<PathBuf> {
    let (name, sanitizer) = match options.sanitizer {
        Sanitizer::Address => ("address", "address"),
        Sanitizer::None => ("plain", "none"),
    };
    // A folder for each: they would build everything anew in place of each other.
    let output = folder.join("target").join(name);
    let mut command = cargo();
    command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "build", "--sanitizer", sanitizer, "--codegen-units", "16"]);
    command.arg("--fuzz-dir").arg(folder).arg("--target-dir").arg(&output);
    // cargo-fuzz takes one or all.
    if let [only] = options.target.as_slice() {
        command.arg(only);
    }
    let status = command.status().context("cargo cannot be started")?;
    if !status.success() {
        bail!("the fuzz targets do not compile ({status})");
    }
    Ok(output.join(host()?).join("release"))
}

/// The machine's own target, which cargo-fuzz names always.
fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc).arg("-vV").output().context("rustc cannot be started")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it compiles for")?.to_owned())
}

/// Runs one program. The inner error is what it said last before it crashed.
fn run(
    folder: &Path,
    scratch: &Scratch,
    program: &Path,
    target: &str,
    options: &Fuzz,
) -> anyhow::Result<Result<Ran, String>> {
    let (found, artifacts) = (folder.join("target/corpus").join(target), folder.join("artifacts").join(target));
    for made in [&found, &artifacts] {
        fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    let mut command = Command::new(program);
    // The first folder is written to.
    command.arg(&found).arg(folder.join("corpus").join(target));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg(format!("-max_total_time={}", options.seconds));
    command.args([format!("-rss_limit_mb={MEMORY}"), format!("-timeout={HUNG}"), "-print_final_stats=1".to_owned()]);
    command.env("TMPDIR", &scratch.0);
    // What is made once and kept to the end is no leak.
    command.env("ASAN_OPTIONS", "detect_odr_violation=0:detect_leaks=0");
    let output = command.output().with_context(|| format!("{} cannot be started", program.display()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(Ok(read(&told).with_context(|| format!("{target} does not say how often it ran"))?));
    }
    let lines: Vec<_> = told.lines().collect();
    Ok(Err(lines[lines.len().saturating_sub(TOLD)..].join("\n")))
}

/// What libFuzzer says of a run.
fn read(told: &str) -> Option<Ran> {
    let stat = |name: &str| {
        let line = told.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line?.trim_start_matches(':').trim().parse().ok()
    };
    // Such as `#262144 pulse  cov: 512 ft: 1103 corp: 87/2310b lim: 4096 exec/s: 87381 rss: 61Mb`.
    let after = |word: &str| {
        let line = told.lines().rev().find_map(|line| line.split_once(word))?.1.trim_start();
        line.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some(Ran { executions: stat("number_of_executed_units")?, edges: after("cov: ")?, inputs: after("corp: ")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzer_says_is_read() {
        let told = "#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 33Mb\n\
                    #900\tDONE   cov: 512 ft: 1103 corp: 87/2310b lim: 4096 exec/s: 300 rss: 61Mb\n\
                    Done 900 runs in 3 second(s)\n\
                    stat::number_of_executed_units: 900\nstat::average_exec_per_sec:     300\n";
        assert_eq!(read(told), Some(Ran { executions: 900, edges: 512, inputs: 87 }));
        assert_eq!(read("nothing"), None);
    }
}
