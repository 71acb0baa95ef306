//! Trained weights that may not be committed: tests read them from a mirror folder where one is at hand.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
};

use facesocial_convert::{manifest::Manifest, package::Files};

/// The file in the mirror, `FACESOCIAL_MODELS_MIRROR` or `../shared/models-src` beside the checkout. Says on standard error
/// when there is none, since a test that then passes has compared nothing; with `FACESOCIAL_REQUIRE_WEIGHTS` set, that
/// fails.
pub fn file(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models-src");
    let folder = env::var_os("FACESOCIAL_MODELS_MIRROR").map_or_else(beside, PathBuf::from);
    let file = folder.join(path);
    if file.is_file() {
        return Some(file);
    }
    let message = format!("NOT COMPARED with trained weights: there is no {}", file.display());
    assert!(env::var_os("FACESOCIAL_REQUIRE_WEIGHTS").is_none(), "{message}");
    // Not `eprintln`, which the test harness swallows when the test passes.
    let line = format!("{message}; set FACESOCIAL_MODELS_MIRROR to a folder that has it\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

/// Converts the published files of a network as `facesocial-convert` does, out of the folder of the mirror that has `file`,
/// and writes its weights. Files of another digest than the manifest's are refused.
pub fn convert(network: &str, file: &Path, target: &Path) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models-src").join(network).join("manifest.toml");
    let manifest = Manifest::open(&path).unwrap();
    let files = Files::from_folder(file.parent().unwrap(), std::slice::from_ref(&manifest)).unwrap();
    std::fs::write(target, facesocial_convert::convert::convert(&manifest, &files).unwrap().bytes).unwrap();
}
