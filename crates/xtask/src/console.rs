//! The web console: its assets built with npm, and its tests in a browser.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use super::{cargo, root, say};

/// Brings the packages (network), builds `server/console/dist`, checks types, builds the server with the assets in it and
/// tests the pages in Chromium, where one is found.
pub fn console() -> anyhow::Result<()> {
    npm(&["ci", "--no-audit", "--no-fund"], None)?;
    npm(&["run", "check"], None)?;
    npm(&["run", "build"], None)?;
    npm(&["run", "e2e"], Some(server()?))
}

fn npm(args: &[&str], binary: Option<PathBuf>) -> anyhow::Result<()> {
    say(&format!("==> console: npm {}", args.join(" ")));
    let mut command = Command::new("npm");
    command.current_dir(root().join("server/console")).args(args);
    if let Some(binary) = binary {
        command.env("FACESOCIAL_BIN", binary);
    }
    let status = command.status().context("npm cannot be started; it comes with Node.js, 20 or later")?;
    if !status.success() {
        bail!("npm {} failed ({status})", args.join(" "));
    }
    Ok(())
}

/// Builds the server. Where cargo puts it, it alone knows.
fn server() -> anyhow::Result<PathBuf> {
    let args = ["build", "--locked", "--package", "facesocial", "--message-format=json-render-diagnostics"];
    say(&format!("==> console: cargo {}", args.join(" ")));
    let output = cargo().args(args).stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("the server cannot be built ({})", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // A line for each artifact; that of the binary names its file.
    let executable = text.lines().filter_map(|line| line.split_once("\"executable\":\"")).next_back();
    let path = executable.and_then(|(_, rest)| rest.split_once('"')).map(|(path, _)| PathBuf::from(path));
    path.context("cargo did not say where the server is")
}
