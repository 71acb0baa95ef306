//! The program `facesocial`, run as a user runs it, with the shipped weights.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn image(name: &str) -> PathBuf {
    root().join("tests/images").join(name)
}

fn facesocial<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_facesocial"))
        .args(args)
        .env("FACESOCIAL_WEIGHTS", root().join("weights"))
        // What the person running the tests has pulled must not change them.
        .env("FACESOCIAL_MODELS_DIR", root().join("tests/no-pulled-networks"))
        .env_remove("RUST_LOG")
        .env_remove("FACESOCIAL_LOG")
        .output()
        .unwrap()
}

#[track_caller]
fn code(output: &Output, expected: i32) {
    assert_eq!(output.status.code(), Some(expected), "{}", stderr(output));
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_group_photo_gives_every_answer_about_every_face() {
    let group = image("group.jpg");
    let output = facesocial(["analyze", "--json", text(&group)]);
    code(&output, 0);
    let document = json(&output);
    assert_eq!(keys(&document), ["version", "images"]);
    assert_eq!(document["version"], 1);
    let photo = &document["images"][0];
    assert_eq!(keys(photo), ["path", "width", "height", "detector", "faces"]);
    assert_eq!((&photo["width"], &photo["height"]), (&1200.into(), &874.into()));
    assert_eq!(photo["path"], text(&group));
    let faces = photo["faces"].as_array().unwrap();
    assert!(faces.len() >= 5, "{} faces", faces.len());

    let mut last_area = f64::INFINITY;
    for (i, face) in faces.iter().enumerate() {
        let answers = ["quality", "recognition", "antispoof", "gender_age", "deepfake"];
        assert_eq!(keys(face), [&["index", "box", "landmarks"][..], &answers[..]].concat());
        assert_eq!(face["index"], i);
        assert_eq!(keys(&face["box"]), ["x", "y", "width", "height", "score"]);
        let side = |name: &str| face["box"][name].as_f64().unwrap();
        let area = side("width") * side("height");
        assert!(area > 0.0 && area <= last_area, "largest face first: {area} after {last_area}");
        last_area = area;
        assert!((0.0..=1.0).contains(&side("score")));
        for mark in face["landmarks"].as_array().unwrap() {
            assert_eq!(keys(mark), ["name", "x", "y"]);
        }
        assert_eq!(keys(&face["quality"]), ["score", "reasons"]);
        assert_eq!(keys(&face["recognition"]), ["model"]);
        assert_eq!(keys(&face["antispoof"]), ["model", "score", "decision"]);
        assert!(["live", "spoof", "uncertain"].contains(&face["antispoof"]["decision"].as_str().unwrap()));
        let age = &face["gender_age"];
        assert_eq!(keys(age), ["model", "age", "age_range", "gender", "gender_score"]);
        assert!((1.0..100.0).contains(&age["age"].as_f64().unwrap()), "{age}");
        assert_eq!(keys(&face["deepfake"]), ["model", "score", "decision"]);
        assert!(["real", "fake", "uncertain"].contains(&face["deepfake"]["decision"].as_str().unwrap()));
    }
}

#[test]
fn only_what_was_asked_for_is_told_and_vectors_on_demand() {
    let portrait = image("portrait.jpg");
    let output = facesocial(["analyze", "--json", "--services", "quality", text(&portrait)]);
    code(&output, 0);
    let face = &json(&output)["images"][0]["faces"][0];
    assert_eq!(keys(face), ["index", "box", "landmarks", "quality"]);

    let output = facesocial(["analyze", "--json", "--embeddings", "--services=recognition", text(&portrait)]);
    code(&output, 0);
    let document = json(&output);
    let vector = document["images"][0]["faces"][0]["recognition"]["embedding"].as_array().unwrap();
    let norm: f64 = vector.iter().map(|v| v.as_f64().unwrap().powi(2)).sum();
    assert!((norm - 1.0).abs() < 1e-3, "{norm}");

    let output = facesocial(["analyze", "--json", "--services=detection", "--min-size=4000", text(&portrait)]);
    code(&output, 0);
    assert_eq!(json(&output)["images"][0]["faces"], Value::Array(vec![]));
}

#[test]
fn the_table_is_readable_and_the_annotated_photo_shows_boxes() {
    let dir = tempfile::tempdir().unwrap();
    let group = image("group.jpg");
    let output = facesocial(["analyze", "--annotate", text(dir.path()), text(&group), text(&image("no_face.jpg"))]);
    code(&output, 0);
    let table = stdout(&output);
    assert!(table.contains("1200 x 874") && table.contains("no_face.jpg  600 x 400  no face"), "{table}");
    assert!(!table.contains("unavailable"), "{table}");

    let read = |path: &Path| image::open(path).unwrap().to_rgb8();
    let (before, after) = (read(&group), read(&dir.path().join("group.jpg")));
    assert_eq!(before.dimensions(), after.dimensions());
    // Far more than the noise of a second JPEG pass.
    let changed = before.pixels().zip(after.pixels()).filter(|(a, b)| a.0[1].abs_diff(b.0[1]) > 60).count();
    assert!(changed > 2000, "{changed} pixels differ");
    assert!(dir.path().join("no_face.jpg").is_file());
}

#[test]
fn a_damaged_file_fails_alone_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(image("portrait.jpg"), dir.path().join("good.jpg")).unwrap();
    let bytes = fs::read(image("portrait.jpg")).unwrap();
    fs::write(dir.path().join("broken.jpg"), &bytes[..2000]).unwrap();
    fs::write(dir.path().join("notes.txt"), "no image").unwrap();
    let output = facesocial(["analyze", "--json", "--services=detection", text(dir.path()), "absent.jpg"]);
    code(&output, 1);
    let document = json(&output);
    let images = document["images"].as_array().unwrap();
    assert_eq!(images.len(), 3, "{document}");
    assert_eq!(keys(&images[0]), ["path", "error"]);
    assert!(images[0]["path"].as_str().unwrap().ends_with("broken.jpg"));
    assert_eq!(images[1]["faces"].as_array().unwrap().len(), 1);
    assert_eq!(images[2]["error"], "no such file or folder");
    let errors = stderr(&output);
    assert_eq!(errors.lines().count(), 2, "{errors}");
    assert!(errors.contains("broken.jpg: the JPEG") && errors.contains("absent.jpg: no such file"), "{errors}");
    assert!(!errors.contains("notes.txt"));
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let portrait = image("portrait.jpg");
    let wrong: [&[&str]; 6] = [
        &[],
        &["analyze"],
        &["analyze", "--services=iris", text(&portrait)],
        &["analyze", "--min-score=2", text(&portrait)],
        &["compare", text(&portrait)],
        &["eval", "reading"],
    ];
    for args in wrong {
        let output = facesocial(args);
        code(&output, 2);
        assert!(output.stdout.is_empty());
    }
    let output = facesocial(["analyze", "--services=iris", text(&portrait)]);
    assert!(stderr(&output).contains("allowed are quality, recognition"), "{}", stderr(&output));
}

#[test]
fn without_weights_the_message_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = facesocial(["analyze", "--weights", text(dir.path()), text(&image("portrait.jpg"))]);
    code(&output, 1);
    assert!(stderr(&output).contains("--weights DIR"), "{}", stderr(&output));
}

#[test]
fn the_same_person_is_recognised_and_another_told_apart() {
    let (portrait, grey, other) = (image("portrait.jpg"), image("grey.jpg"), image("portrait_2.jpg"));
    let same = facesocial(["compare", "--json", text(&portrait), text(&grey)]);
    code(&same, 0);
    let same = json(&same);
    let expected = ["version", "model", "similarity", "threshold", "far", "same_person", "faces"];
    assert_eq!(keys(&same), expected);
    assert_eq!(same["same_person"], true, "{same}");
    assert_eq!(same["far"], 0.001);
    assert_eq!(same["faces"][1]["path"], text(&grey));

    let different = facesocial(["compare", text(&portrait), text(&other)]);
    code(&different, 0);
    assert!(stdout(&different).starts_with("decision    different people\n"), "{}", stdout(&different));

    let none = facesocial(["compare", text(&portrait), text(&image("no_face.jpg"))]);
    code(&none, 1);
    assert!(stderr(&none).contains("no_face.jpg: no face"), "{}", stderr(&none));
    code(&facesocial(["compare", "--far=0.5", text(&portrait), text(&grey)]), 2);
}

/// A labelled set made of the test images.
fn labelled(tables: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("images")).unwrap();
    for entry in fs::read_dir(root().join("tests/images")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "jpg") {
            fs::copy(&path, dir.path().join("images").join(path.file_name().unwrap())).unwrap();
        }
    }
    for (name, text) in tables {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn verification_is_measured_on_a_small_set() {
    let dir = labelled(&[(
        "pairs.csv",
        "img1,img2,same\n\
         portrait.jpg,grey.jpg,1\nportrait.jpg,rotated_exif_6.jpg,1\ngrey.jpg,no_face.jpg,1\n\
         portrait.jpg,portrait_2.jpg,0\ngrey.jpg,portrait_2.jpg,0\nrotated_exif_3.jpg,portrait_2.jpg,0\n",
    )]);
    let scores = dir.path().join("scores.csv");
    let args = ["eval", "verification", "--json", "--data", text(dir.path()), "--scores", text(&scores)];
    let output = facesocial(args);
    code(&output, 0);
    let report = json(&output);
    assert_eq!((&report["pairs"], &report["images_without_face"]), (&6.into(), &1.into()), "{report}");
    let models = report["models"].as_array().unwrap();
    assert_eq!(models.len(), 4, "the ensemble and its three members: {report}");
    assert_eq!((&models[0]["auc"], &models[0]["eer"]), (&1.0.into(), &0.0.into()), "{report}");
    assert_eq!(models[0]["operating_points"][1]["tar"], 0.666667);
    let table = fs::read_to_string(scores).unwrap();
    assert_eq!(table.lines().count(), 7);
    assert_eq!(table.lines().next().unwrap().split(',').count(), 9);
}

#[test]
fn detection_is_measured_on_a_small_set() {
    let portrait = facesocial(["analyze", "--json", "--services=detection", text(&image("portrait.jpg"))]);
    let document = json(&portrait);
    let b = &document["images"][0]["faces"][0]["box"];
    let side = |name: &str| b[name].as_f64().unwrap();
    let (right, bottom) = (side("x") + side("width"), side("y") + side("height"));
    // The second box is where no face is: recall one half.
    let boxes = format!(
        "file,x1,y1,x2,y2\nportrait.jpg,{},{},{right},{bottom}\nno_face.jpg,10,10,15,15\n",
        side("x"),
        side("y")
    );
    let dir = labelled(&[("boxes.csv", boxes.as_str())]);
    let args = ["eval", "detection", "--json", "--data", text(dir.path()), "--detector", "auto,mtcnn"];
    let output = facesocial(args);
    code(&output, 0);
    let report = json(&output);
    let auto = &report["detectors"][0];
    assert_eq!(auto["detector"], "auto");
    assert_eq!((&auto["all"]["boxes"], &auto["height_20"]["boxes"]), (&2.into(), &1.into()));
    assert_eq!((&auto["all"]["recall"], &auto["height_20"]["recall"]), (&0.5.into(), &1.0.into()), "{report}");
    assert_eq!(report["detectors"][1]["detector"], "mtcnn");
}

#[test]
fn age_and_gender_and_liveness_are_measured_on_a_small_set() {
    let dir = labelled(&[("labels.csv", "file,age,gender,spoof\nportrait.jpg,35,female,0\nportrait_2.jpg,70,F,1\n")]);
    let output = facesocial(["eval", "age-gender", "--json", "--data", text(dir.path())]);
    code(&output, 0);
    let report = json(&output);
    assert_eq!((&report["age"]["count"], &report["without_face"]), (&2.into(), &0.into()), "{report}");
    assert_eq!(report["decades"].as_array().unwrap().len(), 2);
    assert_eq!(report["gender"]["male_recall"], Value::Null);

    let scores = dir.path().join("scores.csv");
    let output = facesocial(["eval", "antispoof", "--data", text(dir.path()), "--scores", text(&scores)]);
    code(&output, 0);
    assert!(stdout(&output).contains("1 live, 1 attacks"), "{}", stdout(&output));
    let table = fs::read_to_string(scores).unwrap();
    assert!(table.starts_with("file,spoof,score,decision,face_found,species,group\nportrait.jpg,0,"), "{table}");
}

#[test]
fn a_wrong_label_is_named_by_file_and_line() {
    let dir = labelled(&[("labels.csv", "file,age,gender\nportrait.jpg,35,female\nportrait_9.jpg,70,female\n")]);
    let output = facesocial(["eval", "age-gender", "--data", text(dir.path())]);
    code(&output, 1);
    assert!(stderr(&output).contains("labels.csv line 3: there is no"), "{}", stderr(&output));
    let output = facesocial(["eval", "verification", "--data", text(dir.path())]);
    code(&output, 1);
    assert!(stderr(&output).contains("pairs.csv"), "{}", stderr(&output));
}

#[test]
fn thresholds_of_a_file_decide_for_the_network_they_name() {
    let portrait = image("portrait.jpg");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("thresholds.toml");
    let args = ["analyze", "--json", "--services=antispoof", text(&portrait), "--thresholds-file", text(&file)];
    let missing = facesocial(args);
    code(&missing, 1);
    assert!(stderr(&missing).contains("cannot read the thresholds"), "{}", stderr(&missing));

    let plain = json(&facesocial(&args[..4]));
    let said = &plain["images"][0]["faces"][0]["antispoof"];
    let (model, score) = (said["model"].as_str().unwrap(), said["score"].as_f64().unwrap());
    let decided = |model: &str, threshold: f64| {
        let entry = format!("[[antispoof]]\nmodel = \"{model}\"\nspoof = {threshold}\nlive = {threshold}\n");
        fs::write(&file, entry).unwrap();
        json(&facesocial(args))["images"][0]["faces"][0]["antispoof"]["decision"].as_str().unwrap().to_owned()
    };
    assert_eq!(decided(model, score / 2.0), "live");
    assert_eq!(decided(model, f64::midpoint(score, 1.0)), "spoof");
    assert_eq!(decided("another@1", score / 2.0), said["decision"].as_str().unwrap());
}

#[test]
fn thresholds_are_applied_only_to_a_file_and_from_enough_rows() {
    let dir = labelled(&[("labels.csv", "file,spoof\nportrait.jpg,0\nportrait_2.jpg,1\n")]);
    let file = dir.path().join("thresholds.toml");
    let nowhere = facesocial(["eval", "antispoof", "--data", text(dir.path()), "--apply"]);
    code(&nowhere, 1);
    assert!(stderr(&nowhere).contains("--apply needs --thresholds-file"), "{}", stderr(&nowhere));
    let args = ["eval", "antispoof", "--data", text(dir.path()), "--apply", "--thresholds-file", text(&file)];
    let few = facesocial(args);
    code(&few, 1);
    assert!(stderr(&few).contains("1 attacks cannot tell a rate of 0.02"), "{}", stderr(&few));
    assert!(!file.exists());
    let all = facesocial([&args[..], &["--apcer", "1", "--bpcer", "1", "--json"]].concat());
    code(&all, 0);
    let report = json(&all);
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains(report["model"].as_str().unwrap()), "{written}");
    // The file decides from now on.
    let again = json(&facesocial([&args[..4], &args[5..], &["--json"]].concat()));
    let applied = report["applied"]["thresholds"].as_str().unwrap();
    let live: f64 = applied.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((again["live_threshold"].as_f64().unwrap() - live).abs() < 1e-6, "{applied}: {again}");
}

#[test]
fn networks_and_photos_are_timed() {
    let dir = labelled(&[]);
    for name in fs::read_dir(dir.path().join("images")).unwrap().map(|e| e.unwrap().path()) {
        if !name.ends_with("portrait.jpg") {
            fs::remove_file(name).unwrap();
        }
    }
    let (file, photos) = (dir.path().join("bench.json"), dir.path().join("images"));
    let args = ["bench", "--networks", "mobilefacenet,blazeface-short", "--batch", "1,2", "--passes", "3"];
    let output = facesocial([&args[..], &["--json", text(&file), "--images", text(&photos)]].concat());
    code(&output, 0);
    assert!(stdout(&output).contains("mobilefacenet"), "{}", stdout(&output));
    let told: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    for network in told["networks"].as_array().unwrap() {
        assert!(network["weights_bytes"].as_u64().unwrap() > 50_000, "{network}");
        for batch in network["batches"].as_array().unwrap() {
            let figure = |key: &str| batch[key].as_f64().unwrap();
            assert!(figure("p50_ms") > 0.0 && figure("p50_ms") <= figure("p99_ms"), "{batch}");
            assert!(figure("items_per_second") > 0.0 && figure("peak_bytes") > 0.0, "{batch}");
        }
    }
    assert_eq!((&told["photos"]["photos"], &told["photos"]["faces"]), (&1.into(), &1.into()));
    let unknown = facesocial(["bench", "--networks", "iris"]);
    code(&unknown, 1);
    assert!(stderr(&unknown).contains("iris does not run here; these do: "), "{}", stderr(&unknown));
}

#[test]
fn cards_are_told_and_so_is_their_absence() {
    let (plain, json) = (facesocial(["ctl", "gpu"]), facesocial(["ctl", "gpu", "--json"]));
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(plain.status.code(), json.status.code());
    if told["available"] == true {
        code(&plain, 0);
        let first = told["devices"][0]["index"].as_u64().unwrap();
        assert!(stdout(&plain).lines().any(|l| l.trim_start().starts_with(&first.to_string())), "{}", stdout(&plain));
    } else {
        code(&plain, 1);
        let reason = told["reason"].as_str().unwrap();
        assert_eq!(stderr(&plain).trim_end(), format!("facesocial: no figures of graphics cards: {reason}"));
        assert!(stdout(&plain).is_empty());
    }
}
