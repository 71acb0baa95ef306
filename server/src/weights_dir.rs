//! Where the weights are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The file that makes a folder a weights folder.
const LOCK_FILE: &str = "weights.lock";
/// How far above the executable a `weights` folder is looked for: `target/release/facesocial` lies three below the
/// checkout.
const LEVELS_ABOVE_EXECUTABLE: usize = 3;

/// No weights folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsDirError {
    /// The folder that was named has no lock file.
    #[error(
        "{} has no {LOCK_FILE}; give the folder that facesocial-convert wrote with --weights DIR or FACESOCIAL_WEIGHTS",
        .0.display()
    )]
    NotWeights(PathBuf),
    /// None was named, and none lies in the usual places.
    #[error(
        "no weights folder found (looked at {}); name it with --weights DIR or FACESOCIAL_WEIGHTS",
        .0.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotFound(Vec<PathBuf>),
}

/// The folder with `weights.lock`: `given` (of `--weights` or `FACESOCIAL_WEIGHTS`) if there is one; else
/// `./weights`, else `weights` beside the executable or up to three folders above it.
///
/// # Errors
/// The named folder has no lock file; no usual place has one.
pub fn resolve(given: Option<&Path>) -> Result<PathBuf, WeightsDirError> {
    match given {
        Some(dir) if has_lock(dir) => Ok(dir.to_owned()),
        Some(dir) => Err(WeightsDirError::NotWeights(dir.to_owned())),
        None => first_with_lock(usual_places(env::current_exe().ok().as_deref())),
    }
}

fn has_lock(dir: &Path) -> bool {
    dir.join(LOCK_FILE).is_file()
}

fn usual_places(executable: Option<&Path>) -> Vec<PathBuf> {
    let above = executable.into_iter().flat_map(|e| e.ancestors().skip(1).take(LEVELS_ABOVE_EXECUTABLE + 1));
    std::iter::once(PathBuf::from("weights")).chain(above.map(|dir| dir.join("weights"))).collect()
}

fn first_with_lock(places: Vec<PathBuf>) -> Result<PathBuf, WeightsDirError> {
    match places.iter().find(|p| has_lock(p)) {
        Some(dir) => Ok(dir.clone()),
        None => Err(WeightsDirError::NotFound(places)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_named_folder_must_have_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let err = resolve(Some(dir.path())).unwrap_err();
        assert_eq!(err, WeightsDirError::NotWeights(dir.path().to_owned()));
        assert!(err.to_string().contains("--weights DIR"));
        fs::write(dir.path().join(LOCK_FILE), "version = 1\n").unwrap();
        assert_eq!(resolve(Some(dir.path())).unwrap(), dir.path());
    }

    #[test]
    fn the_checkout_is_found_from_the_executable() {
        let root = tempfile::tempdir().unwrap();
        let exe = root.path().join("target/release/facesocial");
        let places = usual_places(Some(&exe));
        let weights = root.path().join("weights");
        assert!(places.contains(&weights), "{places:?}");
        assert_eq!(places[0], Path::new("weights"));
        assert!(first_with_lock(vec![weights.clone()]).unwrap_err().to_string().contains("no weights folder found"));
        fs::create_dir(&weights).unwrap();
        fs::write(weights.join(LOCK_FILE), "version = 1\n").unwrap();
        assert_eq!(first_with_lock(vec![root.path().join("other"), weights.clone()]), Ok(weights));
    }
}
