//! Parity with OpenCV and Pillow on the pictures of `tests/golden/imaging` (written by `reference.py` there).

use std::{fs, path::PathBuf};

use facesocial_imaging::{RgbImage, Sampling, Similarity, arcface_112, resize, warp};
use facesocial_types::{LandmarkName, Landmarks, Point};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/imaging")
}

fn picture(name: &str) -> RgbImage {
    image::open(folder().join(format!("{name}.png"))).unwrap().into_rgb8()
}

fn cases() -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join("cases.json")).unwrap()).unwrap()
}

/// Largest and mean difference in grey levels.
fn difference(got: &RgbImage, want: &RgbImage) -> (u8, f64) {
    assert_eq!(got.dimensions(), want.dimensions());
    let gaps: Vec<u8> = got.iter().zip(want.iter()).map(|(a, b)| a.abs_diff(*b)).collect();
    let mean = gaps.iter().map(|g| f64::from(*g)).sum::<f64>() / gaps.len() as f64;
    (gaps.into_iter().max().unwrap(), mean)
}

fn assert_close(name: &str, got: &RgbImage, max: u8, mean: f64) {
    let found = difference(got, &picture(name));
    assert!(found.0 <= max && found.1 <= mean, "{name}: max {}, mean {:.4}", found.0, found.1);
}

#[test]
fn resizing_equals_opencv_and_pillow() {
    let source = picture("source");
    for case in cases()["resize"].as_array().unwrap() {
        let sampling = match case["sampling"].as_str().unwrap() {
            "bilinear" => Sampling::Bilinear,
            "area" => Sampling::Area,
            other => panic!("unknown sampling {other}"),
        };
        let side = |key: &str| case[key].as_u64().unwrap() as u32;
        let got = resize(&source, side("width"), side("height"), sampling);
        assert_close(case["file"].as_str().unwrap(), &got, 1, 0.3);
    }
}

#[test]
fn warping_equals_opencv() {
    let source = picture("source");
    for case in cases()["warp"].as_array().unwrap() {
        let [a, b, tx, ty] = ["a", "b", "tx", "ty"].map(|key| case[key].as_f64().unwrap());
        let got = warp(&source, &Similarity { a, b, tx, ty }, 96, 96, [9, 99, 199]);
        assert_close(case["file"].as_str().unwrap(), &got, 1, 0.3);
    }
}

#[test]
fn arcface_alignment_equals_the_reference() {
    let case = &cases()["arcface"];
    let points: Vec<Point> = case["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| Point::new(p[0].as_f64().unwrap() as f32, p[1].as_f64().unwrap() as f32))
        .collect();
    use LandmarkName::{LeftEye, MouthLeft, MouthRight, Nose, RightEye};
    let marks = Landmarks::new([LeftEye, RightEye, Nose, MouthLeft, MouthRight].into_iter().zip(points));
    let got = arcface_112(&picture("source"), &marks).unwrap();
    assert_close(case["file"].as_str().unwrap(), &got, 1, 0.3);
}
