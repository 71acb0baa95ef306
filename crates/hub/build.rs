//! Lists the manifests of `models-src`, so that the program carries all of them.

use std::{env, error::Error, fmt::Write, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let models_src = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../models-src").canonicalize()?;
    // Cargo looks at the folder with everything in it.
    println!("cargo::rerun-if-changed={}", models_src.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(&models_src)? {
        let entry = entry?;
        let manifest = entry.path().join("manifest.toml");
        if manifest.is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), manifest));
        }
    }
    found.sort();
    let mut list = String::from("&[\n");
    for (name, manifest) in found {
        writeln!(list, "    ({name:?}, include_str!({:?})),", manifest.display().to_string())?;
    }
    list += "]\n";
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("manifests.rs"), list)?;
    Ok(())
}
