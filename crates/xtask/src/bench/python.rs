//! The other runtimes: Python packages in a folder of their own, and the networks exported for them.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use super::child::Child;
use crate::{root, say};

/// Where everything of the other side lies.
pub(super) fn folder() -> PathBuf {
    root().join("target/peers")
}

/// One of the photos that were put together.
pub(super) fn photo(name: &str) -> PathBuf {
    folder().join("photos").join(name).with_extension("png")
}

/// Brings the packages (network) if they are not there in these versions, and exports the networks to ONNX where that is
/// older than its sources; gives the Python to run.
pub(super) fn ready(networks: &[&str]) -> anyhow::Result<PathBuf> {
    let python = packages()?;
    say(&format!("==> bench: export of {}", networks.join(" ")));
    let mut command = Command::new(&python);
    // The exporter warns of its own age.
    command.args(["-W", "ignore"]).arg(root().join("tests/peers/export.py")).args(networks);
    run(&mut command).context("the networks cannot be exported")?;
    Ok(python)
}

/// Starts the runtime of this name.
pub(super) fn peer(python: &Path, runtime: &str, threads: usize, kernels: Option<&str>) -> anyhow::Result<Child> {
    let mut command = Command::new(python);
    command.arg(root().join("tests/peers/peer.py"));
    command.args(["--serve", "--runtime", runtime, "--threads", &threads.to_string(), "--cache"]).arg(folder());
    command.env("OMP_NUM_THREADS", threads.to_string());
    if matches!(kernels, Some("avx2" | "portable")) {
        // PyTorch alone has switches: of its own kernels and of the two libraries that it computes with.
        command.envs([
            ("ATEN_CPU_CAPABILITY", "avx2"),
            ("ONEDNN_MAX_CPU_ISA", "AVX2"),
            ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
        ]);
    }
    Child::start(runtime, command)
}

/// Runs the comparison of whole analyses, which prints its own table.
pub(super) fn pipeline(
    python: &Path,
    ours: &Path,
    threads: usize,
    passes: usize,
    json: Option<&Path>,
) -> anyhow::Result<()> {
    let mut command = Command::new(python);
    command.arg(root().join("tests/peers/pipeline.py")).arg(ours);
    command.args(["--threads", &threads.to_string(), "--passes", &passes.to_string()]);
    if let Some(json) = json {
        command.arg("--json").arg(json);
    }
    run(&mut command).context("the analyses cannot be compared")
}

/// The Python of a virtual environment that has the packages.
fn packages() -> anyhow::Result<PathBuf> {
    let lists = ["requirements.txt", "no-deps.txt"].map(|name| root().join("tests/peers").join(name));
    let environment = folder().join("python");
    let record = environment.join("packages.txt");
    let mut wanted = String::new();
    for list in &lists {
        wanted += &fs::read_to_string(list).with_context(|| list.display().to_string())?;
    }
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if fs::read_to_string(&record).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    say("==> bench: Python packages of the other runtimes (network; some gigabytes, PyTorch above all)");
    // Whatever stands there are other versions, or half of these.
    match fs::remove_dir_all(&environment) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).context("the old packages cannot be removed"),
        _ => {}
    }
    fs::create_dir_all(folder()).context("target/peers cannot be made")?;
    let [all, alone] = &lists;
    let venv: [OsString; 3] = ["-m".into(), "venv".into(), environment.clone().into()];
    run(Command::new("python3").args(venv))
        .context("python3 cannot make a virtual environment; Python 3.11 or later with the module venv is needed")?;
    for (list, options) in [(all, [].as_slice()), (alone, ["--no-deps"].as_slice())] {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2"]);
        run(pip.args(options).arg("-r").arg(list)).with_context(|| {
            format!(
                "the packages of {} cannot be had; a package index and x86-64 or ARM Linux are needed",
                list.display()
            )
        })?;
    }
    fs::write(&record, wanted).context("the packages cannot be recorded")?;
    Ok(python)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let status = command.status().with_context(|| format!("{program} cannot be started"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}
