//! The figures of `facesocial eval` against the same figures computed by scikit-learn, from the scores that it writes.
//!
//! The labels are drawn, not true: what matters is that both computations agree. scikit-learn is brought into a folder under
//! target/; where that cannot be done the comparison does not run, and the test says so aloud.
#![allow(clippy::print_stderr, reason = "a test that did not run must be heard of")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

/// Names a Python that has the packages of tests/eval/requirements.txt.
const PYTHON: &str = "FACESOCIAL_EVAL_PYTHON";
const PHOTOS: [&str; 8] = [
    "portrait.jpg",
    "portrait_2.jpg",
    "grey.jpg",
    "profile.jpg",
    "group.jpg",
    "rotated_exif_3.jpg",
    "rotated_exif_6.jpg",
    "rotated_exif_8.jpg",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A Python with scikit-learn, or why there is none.
fn python() -> &'static Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        if let Some(named) = env::var_os(PYTHON) {
            assert!(has_packages(Path::new(&named)), "{PYTHON} is set, but that Python lacks scikit-learn");
            return Ok(named.into());
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("eval-python");
        let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
        if has_packages(&python) {
            return Ok(python);
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let requirements = root().join("tests/eval/requirements.txt");
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2", "-r"];
        run(Command::new(&python).args(install).arg(requirements))?;
        Ok(python)
    })
}

fn has_packages(python: &Path) -> bool {
    let found = Command::new(python).args(["-c", "import numpy, sklearn"]).output();
    found.is_ok_and(|o| o.status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

fn facesocial(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_facesocial"))
        .args(args)
        .env("FACESOCIAL_WEIGHTS", root().join("weights"))
        .env("FACESOCIAL_MODELS_DIR", root().join("tests/no-pulled-networks"))
        .env_remove("RUST_LOG")
        .env_remove("FACESOCIAL_LOG")
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A folder with the test photos and a table of labels.
fn labelled(table: &str, text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in PHOTOS.iter().chain(&["no_face.jpg"]) {
        fs::copy(root().join("tests/images").join(name), dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join(table), text).unwrap();
    dir
}

/// Measures the set with everything that can be written, and compares. Gives the report.
fn compared(task: &str, dir: &Path, more: &[&str], boxes: Option<&str>) -> Value {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (scores, report, html) = (path("scores.csv"), path("report.json"), path("report.html"));
    let answers = path("answers.jsonl");
    let args = ["eval", task, "--json", "--data", dir.to_str().unwrap(), "--bootstrap", "50"];
    // Not every task has intervals.
    let args = if ["verification", "antispoof", "deepfake"].contains(&task) { &args[..] } else { &args[..5] };
    let files = ["--scores", &scores, "--report", &html, "--answers", &answers];
    let all = [args, &files, more].concat();
    let output = facesocial(&all);
    fs::write(&report, &output.stdout).unwrap();

    // From the kept answers alone the same comes out.
    let kept = fs::read(&answers).unwrap();
    assert_eq!(facesocial(&all).stdout, output.stdout, "{task}");
    assert_eq!(fs::read(&answers).unwrap(), kept, "{task}: a photo was asked about twice");
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("<svg") && page.contains("data:image/jpeg;base64,"), "{task}: no charts or no pictures");
    assert!(!page.contains("src=\"http") && !page.contains("<script"), "{task}: the page needs something else");

    match python() {
        Ok(python) => {
            let script = root().join("tests/eval/check.py");
            let mut command = Command::new(python);
            command.arg("-B").arg(script).args([task, &report, &scores]);
            command.args(boxes.map(|name| dir.join(name)));
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            assert!(said.contains("0 differ"), "{said}");
        }
        Err(reason) => {
            eprintln!("NOT RUN: the figures of {task} against scikit-learn: {reason}. {PYTHON} names a Python")
        }
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Flags that look drawn and are the same each time.
fn drawn(seed: u64) -> impl FnMut() -> bool {
    let mut x = seed;
    move || {
        x = (x * 1_103_515_245 + 12345) % (1 << 31);
        x >> 16 & 1 == 1
    }
}

#[test]
fn verification_agrees() {
    let mut same = drawn(1);
    let mut rows = "img1,img2,same,group\n".to_owned();
    for (i, a) in PHOTOS.iter().enumerate() {
        for b in &PHOTOS[i + 1..] {
            rows += &format!("{a},{b},{},{}\n", u8::from(same()), ["x", "y"][i % 2]);
        }
    }
    rows += "portrait.jpg,no_face.jpg,1,x\n";
    let dir = labelled("pairs.csv", &rows);
    let report = compared("verification", dir.path(), &[], None);
    assert_eq!((report["pairs"].as_u64(), report["pairs_without_face"].as_u64()), (Some(29), Some(1)));
    assert_eq!(report["groups"].as_array().unwrap().len(), 2, "{report}");
}

#[test]
fn identification_agrees() {
    // Two persons, wrongly sorted in part, and two strangers.
    let rows = "file,identity\nportrait.jpg,ann\nportrait_2.jpg,bob\ngrey.jpg,ann\nprofile.jpg,bob\nrotated_exif_3.jpg,bob\n\
                rotated_exif_6.jpg,ann\ngroup.jpg,cid\nrotated_exif_8.jpg,dan\nno_face.jpg,ann\n";
    let dir = labelled("labels.csv", rows);
    let report = compared("identification", dir.path(), &[], None);
    let counts =
        ["persons", "gallery", "mated", "strangers", "probes_without_face"].map(|k| report[k].as_u64().unwrap());
    assert_eq!(counts, [2, 2, 5, 2, 1], "{report}");
}

#[test]
fn detection_agrees() {
    // Boxes of the group photo as the detector finds them, moved step by step; one face that is not there.
    let output = facesocial(&[
        "analyze",
        "--json",
        "--services=detection",
        root().join("tests/images/group.jpg").to_str().unwrap(),
    ]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut rows = "file,x1,y1,x2,y2,group\n".to_owned();
    for (i, face) in document["images"][0]["faces"].as_array().unwrap().iter().enumerate() {
        let side = |name: &str| face["box"][name].as_f64().unwrap();
        let moved = side("width") * 0.07 * i as f64;
        let (x, y) = (side("x") + moved, side("y"));
        rows += &format!("group.jpg,{x},{y},{},{},{}\n", x + side("width"), y + side("height"), ["x", "y"][i % 2]);
    }
    rows += "portrait.jpg,3,3,40,40,x\nportrait_2.jpg,5,5,60,60,y\n";
    let dir = labelled("boxes.csv", &rows);
    let report = compared("detection", dir.path(), &["--detector", "auto,mediapipe_full"], Some("boxes.csv"));
    let all = &report["detectors"][0]["all"];
    let area = |key: &str| all[key].as_f64().unwrap();
    assert!(area("average_precision_50_95") < area("average_precision"), "{all}");
}

fn faces_table(head: &str, mut cells: impl FnMut(usize) -> String) -> String {
    let rows = PHOTOS.iter().enumerate().map(|(i, name)| format!("{name},{}\n", cells(i)));
    format!("file,{head}\n") + &rows.collect::<String>()
}

#[test]
fn antispoof_agrees() {
    let species = ["print", "screen", "mask"];
    let table = faces_table("spoof,species,group", |i| format!("{},{},{}", i % 2, species[i % 3], ["x", "y"][i / 4]));
    let dir = labelled("labels.csv", &table);
    let report = compared("antispoof", dir.path(), &[], None);
    assert!(report["species"].as_array().unwrap().len() > 1, "{report}");
}

#[test]
fn deepfake_agrees() {
    let mut fake = drawn(4);
    let dir = labelled("labels.csv", &faces_table("fake", |_| u8::from(fake()).to_string()));
    let report = compared("deepfake", dir.path(), &[], None);
    assert!(!report["calibration"]["bins"].as_array().unwrap().is_empty(), "{report}");
}

#[test]
fn age_and_gender_agree() {
    let table = faces_table("age,gender,race", |i| format!("{},{},{}", 20 + 7 * i, ["female", "male"][i % 2], i % 3));
    let dir = labelled("labels.csv", &table);
    let report = compared("age-gender", dir.path(), &["--group", "race"], None);
    assert_eq!(report["age_by_group"].as_array().unwrap().len(), 3, "{report}");
}
