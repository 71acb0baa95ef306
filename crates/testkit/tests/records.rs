//! Every golden file says what wrote it.

use std::{fs, path::Path};

use facesocial_testkit::GoldenMeta;

#[test]
fn every_golden_file_of_a_network_has_a_record_that_names_its_script() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut read = 0;
    for file in fs::read_dir(root.join("tests/golden/models")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "safetensors") {
            continue;
        }
        let record = path.with_extension("meta.json");
        let text = fs::read_to_string(&record).unwrap_or_else(|e| panic!("{}: {e}", record.display()));
        let meta: GoldenMeta = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", record.display()));
        assert!(root.join(&meta.script).is_file(), "{}: there is no {}", record.display(), meta.script);
        assert!(!meta.framework.is_empty(), "{}: no framework", record.display());
        read += 1;
    }
    assert!(read >= 7, "{read} golden files");
}
