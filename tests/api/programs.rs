//! Programs of others' languages that ask the server: the examples of the documentation, and clients that are generated from
//! the API's document.

mod clients;
mod examples;

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use facesocial::config::Role;

use crate::helpers::app;

/// Set where what a program needs must be there, as `cargo xtask clients` does.
const REQUIRED: &str = "FACESOCIAL_TEST_CLIENTS";

/// The top of the checkout.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Where `tests/clients/generate.sh` puts what it makes.
fn clients() -> PathBuf {
    env::var_os("CLIENTS_DIR").map_or_else(|| top().join("target/clients"), PathBuf::from)
}

/// Says aloud that nothing was tested.
#[allow(clippy::print_stderr, reason = "a test that did not run must be heard of")]
fn not_run(what: &str, why: &str) {
    assert!(env::var_os(REQUIRED).is_none(), "{what}: {why}, and {REQUIRED} is set");
    eprintln!("NOT RUN: {what}. {why}");
}

/// Runs a program that asks the server, and gives what it told; `None` if there is no such program. It must end well.
fn told(command: &mut Command) -> Option<String> {
    let server = format!("http://{}", app().address(Role::Gateway));
    command.current_dir(top()).env("FACESOCIAL_URL", server).env("PHOTOS", top().join("tests/images"));
    let output = started(command)?;
    let (told, faults) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {told}{faults}");
    Some(told.into_owned())
}

/// The output of a command; `None` if there is no such program.
fn started(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{command:?}: {error}"),
    }
}
