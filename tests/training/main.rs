//! The recipes by which the project's own networks were trained still run: a few steps on pictures made on the fly.
//!
//! They need Python with the packages of `models-src/<network>/requirements.txt`. Where it is absent nothing is trained,
//! and the test says so aloud; continuous integration installs it.
#![allow(clippy::print_stderr, reason = "a test that did not run must be heard of")]

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// Names the Python that has the packages.
const PYTHON: &str = "FACESOCIAL_TRAINING_PYTHON";

/// The named Python, which must have the packages; `None` if none is named and that of the path lacks them.
fn python() -> Option<OsString> {
    let named = env::var_os(PYTHON);
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let found = Command::new(&python).args(["-c", "import cv2, numpy, safetensors, torch"]).output();
    let has_packages = found.is_ok_and(|o| o.status.success());
    assert!(named.is_none() || has_packages, "{PYTHON} is set, but that Python lacks the packages of training");
    has_packages.then_some(python)
}

#[track_caller]
fn smoke(network: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models-src").join(network);
    let Some(python) = python() else {
        eprintln!(
            "NOT RUN: the training of {network}. Install {} and set {PYTHON}",
            PathBuf::from("models-src").join(network).join("requirements.txt").display()
        );
        return;
    };
    let output = Command::new(python)
        .args(["-B", "train.py", "--smoke"])
        .current_dir(&folder)
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{network}: {said}");
}

#[test]
fn yolov10n_face_can_be_trained() {
    smoke("yolov10n-face");
}

#[test]
fn the_deepfake_network_can_be_trained() {
    smoke("deepfake-efficientnet-lite");
}
