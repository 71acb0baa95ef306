//! The example of the engine as a library does what it says.

#[path = "../examples/library.rs"]
mod library;

use std::path::Path;

#[test]
fn the_example_registers_identifies_and_analyses() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut told = Vec::new();
    library::run(&top.join("weights"), &top.join("tests/images"), &mut told).unwrap();
    let told = String::from_utf8(told).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("registered eileen: 1344 values by ensemble@"), "{told}");
    assert!(lines[1].starts_with("identified eileen in grey.jpg: 0.9"), "{told}");
    assert!(lines[2].starts_with("nobody known in portrait_2.jpg"), "{told}");
    assert_eq!(lines[3], "analysed group.jpg: 5 faces", "{told}");
    assert_eq!(lines.len(), 9, "{told}");
    assert!(lines[4..].iter().all(|line| line.contains(" years; ") && line.matches(';').count() == 3), "{told}");
}
