//! `cargo xtask release`: the program as it is given away. The same sources give the same bytes, whatever folder they lie in,
//! and a list of what is in them comes along (SBOM).

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use clap::Args;

use crate::{cargo, root, say};

/// Where the program and its papers go.
const OUT: &str = "target/dist";
/// How to get what writes the list.
const INSTALL_CYCLONEDX: &str = "cargo install --locked cargo-cyclonedx@0.5.9";

/// What is built.
#[derive(Args)]
pub struct Release {
    /// Build a second time from a copy of the committed sources in another folder, and compare.
    #[arg(long)]
    check: bool,
}

/// Builds the program and writes it, its digest and its list of parts.
pub fn release(options: &Release) -> anyhow::Result<()> {
    let (root, out) = (root(), root().join(OUT));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let program = build(&root, &root.join("target"))?;
    let digest = sha256(&program)?;
    fs::copy(&program, out.join("facesocial")).context("cannot copy the program")?;
    fs::write(out.join("facesocial.sha256"), format!("{digest}  facesocial\n")).context("cannot write the digest")?;
    sbom(&root, &out)?;
    say(&format!("==> {OUT}/facesocial, {} bytes, sha256 {digest}", fs::metadata(&program)?.len()));
    if options.check {
        let again = sha256(&build_copy(&root)?)?;
        if again != digest {
            bail!("built from a copy in another folder, the program is another one: sha256 {again}");
        }
        say("==> built from a copy in another folder, the program is the same");
    }
    Ok(())
}

/// Nothing of the folder, the time or the person stays in the program.
fn build(sources: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let home = home.context("the folder of cargo is not known; set CARGO_HOME")?;
    let maps = [(sources, "/facesocial"), (&home, "/cargo")];
    let rust: Vec<String> =
        maps.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
    let c: Vec<String> = maps.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).collect();
    let mut command = cargo();
    command
        .current_dir(sources)
        .args(["build", "--release", "--locked", "--package", "facesocial"])
        .env("CARGO_TARGET_DIR", target.join("reproducible"))
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"))
        .env("CFLAGS", c.join(" "))
        .env("SOURCE_DATE_EPOCH", "0");
    say(&format!("==> release: cargo build --release --locked --package facesocial in {}", sources.display()));
    let status = command.status().context("cargo cannot be started")?;
    if !status.success() {
        bail!("the build failed ({status})");
    }
    Ok(target.join("reproducible/release/facesocial"))
}

/// A build of what is committed, in another folder.
fn build_copy(root: &Path) -> anyhow::Result<PathBuf> {
    let copy = root.join("target/another-folder");
    if copy.exists() {
        fs::remove_dir_all(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    }
    let git = |args: &[&str]| -> anyhow::Result<Vec<u8>> {
        let output = Command::new("git").current_dir(root).args(args).stderr(Stdio::inherit()).output();
        let output = output.context("git cannot be started")?;
        if !output.status.success() {
            bail!("git {} failed", args.join(" "));
        }
        Ok(output.stdout)
    };
    if !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        bail!("only what is committed can be compared; commit or stash the changes first");
    }
    let to: OsString = copy.clone().into();
    let status =
        Command::new("git").current_dir(root).args(["clone", "--quiet", "--no-hardlinks", "."]).arg(to).status();
    if !status.context("git cannot be started")?.success() {
        bail!("the sources cannot be copied to {}", copy.display());
    }
    build(&copy, &copy.join("target"))
}

/// The program's parts with versions, licences and sources, in CycloneDX.
fn sbom(root: &Path, out: &Path) -> anyhow::Result<()> {
    let mut command = cargo();
    let args = ["cyclonedx", "--format", "json", "--describe", "binaries", "--manifest-path", "server/Cargo.toml"];
    let status = command.args(args).stdout(Stdio::null()).status().context("cargo cannot be started")?;
    if !status.success() {
        bail!("the list of parts cannot be written; `{INSTALL_CYCLONEDX}` brings what writes it");
    }
    // One for each crate of the workspace; the program's has all the others in it.
    let mut found = None;
    for crate_folder in folders(root)? {
        for entry in fs::read_dir(&crate_folder)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(".cdx.json") {
                if crate_folder.ends_with("server") && path.to_string_lossy().contains("facesocial_bin") {
                    fs::copy(&path, out.join("facesocial.cdx.json"))?;
                    found = Some(());
                }
                fs::remove_file(&path)?;
            }
        }
    }
    found.context("cargo-cyclonedx wrote no list for the program")
}

/// The folders of the workspace's crates.
fn folders(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut all: Vec<_> =
        ["server", "convert", "tests", "tests/faults", "tests/fuzz/targets"].map(|folder| root.join(folder)).into();
    for entry in fs::read_dir(root.join("crates"))? {
        let path = entry?.path();
        if path.is_dir() {
            all.push(path);
        }
    }
    Ok(all)
}

fn sha256(file: &Path) -> anyhow::Result<String> {
    let output = Command::new("sha256sum").arg(file).output().context("sha256sum cannot be started")?;
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    let digest = line.split_whitespace().next().filter(|digest| digest.len() == 64);
    digest.map(str::to_owned).with_context(|| format!("sha256sum gives no digest of {}", file.display()))
}
