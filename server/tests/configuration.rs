//! `docs/configuration.md` is what the command line's own definitions say: every command, flag, environment variable and
//! default. `cargo xtask config-reference` writes it anew.

mod reference;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use facesocial::cli::Cli;

/// Set where the file is to be written in place of compared.
const WRITE: &str = "FACESOCIAL_WRITE_REFERENCE";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_reference_is_what_the_code_says() {
    let file = top().join("docs/configuration.md");
    let written = reference::of(&Cli::command());
    if env::var_os(WRITE).is_some() {
        return fs::write(file, written).unwrap();
    }
    let committed = fs::read_to_string(file).unwrap().replace("\r\n", "\n");
    let differs = committed.lines().zip(written.lines()).find(|(committed, written)| committed != written);
    assert!(
        committed == written,
        "docs/configuration.md is not what the code says; `cargo xtask config-reference` writes it. First difference: {differs:?}"
    );
}

/// Variables that are read beside the flags' own, as secrets are, stand in the help of what they belong to.
#[test]
fn every_variable_that_is_read_stands_in_the_reference() {
    let written = reference::of(&Cli::command());
    let mut read = BTreeSet::new();
    names(&top().join("server/src"), &mut read);
    assert!(read.len() > 40, "{read:?}");
    let missing: Vec<_> = read.iter().filter(|name| !written.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Names of this program's variables in string literals below a folder.
fn names(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let literals = text.split('"').filter(|part| part.starts_with("FACESOCIAL_"));
            found.extend(literals.filter(|name| name.chars().all(is_of_name)).map(str::to_owned));
        }
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}
