//! `docs/examples` against the server. The one in Rust is tested by `facesocial-pipeline`, whose example it is.

use std::{path::PathBuf, process::Command};

use super::{clients, not_run, started, told, top};

fn example(name: &str) -> PathBuf {
    top().join("docs/examples").join(name)
}

/// What the examples in Python and TypeScript have in common.
fn assert_tells_of_faces(told: &str) {
    for part in ["registered Eileen Collins, quality 0.", "identified Eileen Collins: 0.", "refused: NO_FACE"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let (_, faces) = told.split_once("analysed group.jpg: 5 faces\n").unwrap_or_else(|| panic!("{told}"));
    assert_eq!(faces.lines().filter(|line| line.starts_with("  face ")).count(), 5, "{told}");
}

#[test]
fn the_example_in_shell_runs() {
    let versions = started(Command::new("curl").arg("--version"));
    // --fail-with-body came with 7.76.
    let knows = |output: &std::process::Output| {
        let text = String::from_utf8_lossy(&output.stdout);
        let mut numbers = text.split([' ', '.']).skip(1).map_while(|n| n.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(7), Some(76))
    };
    if !versions.as_ref().is_some_and(knows) {
        return not_run("the example in shell", "curl 7.76 or later is not in the path");
    }
    let Some(told) = told(Command::new("sh").arg(example("faces.sh"))) else {
        return not_run("the example in shell", "sh is not in the path");
    };
    let answers: Vec<serde_json::Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let [enrolled, found, analysis] = &answers[..] else { panic!("{told}") };
    assert_eq!(enrolled["person"]["external_id"], "eileen", "{told}");
    assert_eq!(found["faces"][0]["matches"][0]["person"]["name"], "Eileen Collins", "{told}");
    assert_eq!(analysis["data"]["faces"].as_array().map(Vec::len), Some(5), "{told}");
}

#[test]
fn the_example_in_python_runs() {
    let python = if cfg!(windows) { "python" } else { "python3" };
    match told(Command::new(python).arg("-B").arg(example("faces.py"))) {
        Some(told) => assert_tells_of_faces(&told),
        None => not_run("the example in Python", "python3 is not in the path"),
    }
}

#[test]
fn the_example_in_typescript_runs() {
    let what = "the example in TypeScript";
    let Some(node) = started(Command::new("node").args(["-p", "Boolean(process.features.typescript)"])) else {
        return not_run(what, "node is not in the path");
    };
    let compiler = clients().join("typescript/node_modules/.bin/tsc");
    let program = if compiler.exists() {
        let folder = tempfile::tempdir().unwrap();
        // Its types are checked, too.
        let checked = started(
            Command::new(&compiler)
                .args(["--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "--types", "node"])
                .arg("--typeRoots")
                .arg(clients().join("typescript/node_modules/@types"))
                .arg("--outDir")
                .arg(folder.path())
                .arg(example("faces.mts")),
        );
        let checked = checked.unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        told(Command::new("node").arg(folder.path().join("faces.mjs")))
    } else if node.stdout.starts_with(b"true") {
        told(Command::new("node").arg(example("faces.mts")))
    } else {
        return not_run(
            what,
            "this node reads no TypeScript; `tests/clients/generate.sh typescript` brings a compiler",
        );
    };
    assert_tells_of_faces(&program.unwrap());
}
