//! Typed clients, generated anew from the API's document by `tests/clients/generate.sh`, against the server.

use std::process::Command;

use super::{clients, not_run, started, told, top};

/// Generates the client of a language; `false` if its generator is not there.
fn generated(language: &str) -> bool {
    let script = top().join("tests/clients/generate.sh");
    let what = format!("the client in {language}");
    let Some(output) = started(Command::new("sh").arg(script).args(["--offline", language])) else {
        not_run(&what, "sh is not in the path");
        return false;
    };
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        not_run(&what, &format!("`tests/clients/generate.sh {language}` brings its generator (network)"));
        return false;
    }
    assert!(output.status.success(), "{told}");
    true
}

fn assert_tells_of_faces(told: &str) {
    let parts = ["registered Eileen: 0.", "identified Eileen: 0.", "refused: NO_FACE", "analysed group.jpg: 5 faces"];
    for part in parts {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn a_python_client_is_generated_and_works() {
    if !generated("python") {
        return;
    }
    let folder = clients().join("python");
    let told = told(Command::new(folder.join("tools/bin/python")).arg("-B").arg(folder.join("smoke.py"))).unwrap();
    assert_tells_of_faces(&told);
}

#[test]
fn a_typescript_client_is_generated_and_works() {
    if !generated("typescript") {
        return;
    }
    let told = told(Command::new("node").arg(clients().join("typescript/smoke.js"))).unwrap();
    assert_tells_of_faces(&told);
}
