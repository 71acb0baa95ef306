//! `cargo xtask cuda`: whether the feature `cuda` compiles, with NVIDIA's compiler as PyPI has it. No card is needed, and
//! nothing runs on one.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::{Step, root, run, say};

/// NVIDIA's compiler with its headers, and what it needs; 400 MiB on disk.
const WHEELS: [&str; 6] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-curand==10.4.0.35",
];
/// The cards that the kernels are compiled for: Ampere as in the RTX 3060, and everything newer.
const COMPUTE_CAP: &str = "86";

/// Checks and lints every crate with the feature; `clippy` checks, too. In the same target folder as the other steps, which
/// have built most of the dependencies.
const LINTS: Step = Step {
    name: "lints with CUDA",
    args: &[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--features",
        "facesocial/cuda",
        "--",
        "-D",
        "warnings",
    ],
    env: &[],
};

/// The toolkit, and why it cannot be had.
pub(crate) enum Toolkit {
    /// Its folder, for `CUDA_HOME`.
    At(PathBuf),
    /// No Python, or no package index.
    Missing(String),
}

/// Brings the toolkit and checks.
pub(crate) fn cuda() -> anyhow::Result<()> {
    match toolkit()? {
        Toolkit::At(home) => check(&home),
        Toolkit::Missing(reason) => bail!("NVIDIA's compiler cannot be had: {reason}"),
    }
}

/// As [`cuda`]; where the toolkit cannot be had, says so and goes on.
pub(crate) fn cuda_if_possible() -> anyhow::Result<()> {
    match toolkit()? {
        Toolkit::At(home) => check(&home),
        Toolkit::Missing(reason) => {
            say(&format!("==> {}: NOT CHECKED, NVIDIA's compiler cannot be had: {reason}", LINTS.name));
            Ok(())
        }
    }
}

fn check(home: &Path) -> anyhow::Result<()> {
    let mut path = vec![home.join("bin"), home.join("nvvm/bin")];
    path.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    let environment = [
        ("CUDA_HOME", home.as_os_str().to_owned()),
        ("CUDA_COMPUTE_CAP", COMPUTE_CAP.into()),
        ("PATH", env::join_paths(path).context("the toolkit's folder cannot stand in PATH")?),
    ];
    run(&LINTS, &environment)
}

/// The toolkit under `target/cuda-toolkit`, brought if it is not there in these versions.
fn toolkit() -> anyhow::Result<Toolkit> {
    let folder = root().join("target/cuda-toolkit");
    let (record, wanted) = (folder.join("wheels.txt"), WHEELS.join("\n"));
    if fs::read_to_string(&record).is_ok_and(|found| found == wanted) {
        return Ok(Toolkit::At(home(&folder)?));
    }
    say(&format!("==> NVIDIA's compiler: {}", WHEELS.join(" ")));
    // Whatever stands there is half of a toolkit, or another one.
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).context("the old toolkit cannot be removed"),
        _ => {}
    }
    let python = folder.join("bin/python");
    let steps =
        [(Path::new("python3"), vec!["-m".into(), "venv".into(), folder.clone().into_os_string()]), (&python, pip())];
    for (program, args) in steps {
        match Command::new(program).args(args).status() {
            Ok(status) if status.success() => {}
            Ok(status) => return Ok(Toolkit::Missing(format!("{} ended with {status}", program.display()))),
            Err(e) => return Ok(Toolkit::Missing(format!("{} cannot be started: {e}", program.display()))),
        }
    }
    let home = home(&folder)?;
    prepare(&home)?;
    fs::write(&record, wanted).context("the toolkit cannot be recorded")?;
    Ok(Toolkit::At(home))
}

fn pip() -> Vec<OsString> {
    let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2", "--no-deps"];
    options.into_iter().chain(WHEELS).map(Into::into).collect()
}

/// The folder in which the wheels lay out the toolkit.
fn home(folder: &Path) -> anyhow::Result<PathBuf> {
    let libraries = fs::read_dir(folder.join("lib")).context("the virtual environment has no folder lib")?;
    let homes = libraries.flatten().map(|python| python.path().join("site-packages/nvidia/cu13"));
    homes.into_iter().find(|home| home.join("bin/nvcc").is_file()).context("the wheels brought no bin/nvcc")
}

/// What an installer of NVIDIA's would do: programs that may be started, and libraries where the build looks.
#[cfg(unix)]
fn prepare(home: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    for programs in ["bin", "nvvm/bin"] {
        for entry in fs::read_dir(home.join(programs)).with_context(|| format!("the wheels brought no {programs}"))? {
            let path = entry?.path();
            if path.is_file() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
    }
    symlink("lib", home.join("lib64")).context("lib64 cannot be linked to lib")
}

#[cfg(not(unix))]
fn prepare(_: &Path) -> anyhow::Result<()> {
    bail!("the wheels are laid out for Linux alone")
}
