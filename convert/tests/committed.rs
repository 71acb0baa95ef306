//! The committed weights, their lock and the manifests agree. No network is needed: the digests stand in the lock.

use std::path::{Path, PathBuf};

use facesocial_convert::{
    lock::Lock,
    manifest::{Manifest, Profile},
    read::{read_file, safetensors},
    source::Dtype,
};

/// What all committed weights may weigh together.
const LIMIT: u64 = 64 << 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn bundled() -> Vec<Manifest> {
    let mut manifests = Manifest::open_all(&root().join("models-src")).unwrap();
    manifests.retain(|m| m.profile == Profile::Bundled);
    manifests
}

#[test]
fn every_file_is_what_the_lock_says() {
    let weights = root().join("weights");
    let lock = Lock::open(&weights).unwrap();
    assert_eq!(lock.check(&weights).unwrap(), Vec::<String>::new());
    let total: u64 = lock.networks.iter().map(|e| e.bytes).sum();
    assert!(total <= LIMIT, "{total} bytes of weights, {LIMIT} are the limit");
}

#[test]
fn the_lock_lists_exactly_the_bundled_manifests() {
    let lock = Lock::open(&root().join("weights")).unwrap();
    let manifests = bundled();
    assert!(!manifests.is_empty());
    let locked: Vec<_> = lock.networks.iter().map(|e| e.name.as_str()).collect();
    let mut named: Vec<_> = manifests.iter().map(|m| m.name.as_str()).collect();
    named.sort_unstable();
    assert_eq!(locked, named);
    for manifest in &manifests {
        let entry = lock.networks.iter().find(|e| e.name == manifest.name).unwrap();
        let expected = (&manifest.output.file, manifest.output.tensors, manifest.output.parameters);
        assert_eq!((&entry.file, entry.tensors, entry.parameters), expected, "{}", manifest.name);
        assert_eq!(entry.source, manifest.source_line());
        assert_eq!(entry.licence, manifest.licence);
    }
}

#[test]
fn every_file_holds_the_tensors_that_its_manifest_counts() {
    for manifest in bundled() {
        let tensors = read_file(&root().join("weights").join(&manifest.output.file)).unwrap();
        let quantised: Vec<_> =
            tensors.iter().filter(|t| t.dtype == Dtype::Other("u8", 1)).map(|t| t.name.as_str()).collect();
        let companion = |name: &str| {
            [".scale", ".min"].iter().any(|s| name.strip_suffix(s).is_some_and(|key| quantised.contains(&key)))
        };
        let (companions, weights): (Vec<_>, Vec<_>) = tensors.iter().partition(|t| companion(&t.name));
        assert_eq!(companions.len(), 2 * quantised.len(), "{}", manifest.name);
        assert!(companions.iter().all(|t| t.dtype == Dtype::Other("f64", 8) && t.shape == [1]), "{}", manifest.name);
        let parameters: usize = weights.iter().map(|t| t.elements()).sum();
        let output = &manifest.output;
        assert_eq!((weights.len(), parameters), (output.tensors, output.parameters), "{}", manifest.name);
    }
}

#[test]
fn a_damaged_weight_file_is_an_error() {
    let lock = Lock::open(&root().join("weights")).unwrap();
    let smallest = lock.networks.iter().min_by_key(|e| e.bytes).unwrap();
    let bytes = bytes::Bytes::from(std::fs::read(root().join("weights").join(&smallest.file)).unwrap());
    for len in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(safetensors::read(&bytes.slice(..len)).is_err(), "cut at {len}");
    }
}

/// Whoever knows the paper finds the network, and whoever reads the network finds the paper.
#[test]
fn every_module_names_its_paper() {
    #[derive(serde::Deserialize)]
    struct Named {
        paper: String,
        module: String,
    }
    let mut read = 0;
    for folder in std::fs::read_dir(root().join("models-src")).unwrap() {
        let Ok(text) = std::fs::read_to_string(folder.unwrap().path().join("manifest.toml")) else { continue };
        let Named { paper, module } = toml::from_str(&text).unwrap();
        let source = std::fs::read_to_string(root().join("crates/models/src").join(&module)).unwrap();
        let mut doc = source.lines().take_while(|line| line.starts_with("//!"));
        assert!(doc.any(|line| line.contains(&paper)), "{module} does not name {paper} in its module documentation");
        read += 1;
    }
    assert!(read >= bundled().len());
}

/// Each file stands in the list of works of others, with its licence, its source and its paper, and the list names no others.
#[test]
fn the_notices_list_every_committed_file() {
    let notices = std::fs::read_to_string(root().join("THIRD-PARTY.md")).unwrap();
    let rows: Vec<&str> = notices.lines().filter(|line| line.contains(".safetensors` |")).collect();
    let manifests = bundled();
    assert_eq!(rows.len(), manifests.len());
    for manifest in manifests {
        let file = format!("| `{}` |", manifest.output.file);
        let row = rows.iter().find(|row| row.starts_with(&file)).unwrap_or_else(|| panic!("{file} is not listed"));
        assert!(row.starts_with(&format!("{file} {} |", manifest.licence)), "{}: {row}", manifest.licence);
        let paper = format!("| <{}> |", manifest.paper);
        assert!(row.ends_with(&paper), "{paper}: {row}");
        // Registry, package and version; the files within it follow.
        let line = manifest.source_line();
        let package = line.split(' ').take(3).collect::<Vec<_>>().join(" ");
        let source = if line.starts_with("project ") { "trained by this project" } else { package.as_str() };
        assert!(row.replace('`', "").replace("PyPI", "pypi").contains(source), "{source}: {row}");
    }
}
