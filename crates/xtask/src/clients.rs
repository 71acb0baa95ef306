//! Clients generated from the API's document, and the examples of the documentation.

use std::process::Command;

use anyhow::{Context, bail};

use super::{Step, root, run, say};

// Where something is missing that the tests need, they fail.
const TEST: Step = Step {
    name: "clients and examples",
    args: &["test", "--locked", "--package", "facesocial-tests", "--test", "api", "programs::"],
    env: &[("FACESOCIAL_TEST_CLIENTS", "required")],
};

/// Brings the generators (network), generates the clients into `target/clients`, and tests them and the examples.
pub fn clients() -> anyhow::Result<()> {
    for language in ["python", "typescript"] {
        say(&format!("==> clients: tests/clients/generate.sh {language}"));
        let mut command = Command::new("sh");
        let status = command.current_dir(root()).args(["tests/clients/generate.sh", language]).status();
        let status = status.context("sh cannot be started")?;
        if !status.success() {
            bail!("the client in {language} cannot be generated ({status})");
        }
    }
    run(&TEST, &[])
}
