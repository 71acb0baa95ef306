//! Parity of MTCNN with facenet-pytorch: blocks, networks, the cascade on photos.
#![expect(clippy::print_stdout, reason = "prints the figures of the model card")]

use std::path::{Path, PathBuf};

use candle::{DType, Device, Tensor};
use facesocial_models::{Mtcnn, Weights, mtcnn::Config};
use facesocial_testkit::{Golden, Tolerance, network::assert_close};
use facesocial_types::{BBox, Face, LandmarkName, Point};
use image::{ImageDecoder, ImageReader, RgbImage};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn weights() -> Weights {
    Weights::open(&root().join("weights/mtcnn.safetensors"), None).expect("weights/mtcnn.safetensors")
}

fn mtcnn() -> Mtcnn {
    let weights = weights();
    let net = Mtcnn::load(weights.var_builder(DType::F32, &Device::Cpu)).unwrap();
    weights.finish().unwrap();
    net
}

fn golden() -> Golden {
    Golden::open(&root().join("tests/golden/models/mtcnn.safetensors"))
}

fn tensor(golden: &Golden, name: &str) -> Tensor {
    Tensor::from_slice(golden.values(name), golden.shape(name), &Device::Cpu).unwrap()
}

fn pixels(golden: &Golden, name: &str) -> Tensor {
    ((tensor(golden, name) - 127.5).unwrap() / 128.0).unwrap()
}

fn photo(name: &str) -> RgbImage {
    let path = root().join("tests/images").join(name);
    let mut decoder = ImageReader::open(&path).unwrap().with_guessed_format().unwrap().into_decoder().unwrap();
    let orientation = decoder.orientation().unwrap();
    let mut image = image::DynamicImage::from_decoder(decoder).unwrap();
    image.apply_orientation(orientation);
    image.to_rgb8()
}

/// Shapes first, then the values; returns the worst absolute difference.
fn check(golden: &Golden, name: &str, got: &Tensor, tolerance: Tolerance) {
    assert_eq!(got.dims(), golden.shape(name), "{name}");
    let values = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let worst = assert_close(name, &values, golden.values(name), tolerance);
    println!("{name}: {worst:.2e}");
}

const TOLERANCE: Tolerance = Tolerance { abs: 2e-5, rel: 1e-5 };

#[test]
fn blocks_agree_on_odd_and_even_sides() {
    let (net, golden) = (mtcnn(), golden());
    for name in ["even", "odd"] {
        let xs = tensor(&golden, &format!("block.{name}.input"));
        check(&golden, &format!("block.{name}.output"), &net.pnet.features(&xs).unwrap(), TOLERANCE);
    }
}

#[test]
fn networks_agree_stage_by_stage() {
    let (net, golden) = (mtcnn(), golden());

    let xs = pixels(&golden, "pnet.input");
    check(&golden, "pnet.features", &net.pnet.features(&xs).unwrap(), TOLERANCE);
    let (boxes, probability) = net.pnet.forward(&xs).unwrap();
    check(&golden, "pnet.boxes", &boxes, TOLERANCE);
    check(&golden, "pnet.probability", &probability, TOLERANCE);

    let xs = pixels(&golden, "rnet.input");
    check(&golden, "rnet.features", &net.rnet.features(&xs).unwrap(), TOLERANCE);
    let (boxes, probability) = net.rnet.forward(&xs).unwrap();
    check(&golden, "rnet.boxes", &boxes, TOLERANCE);
    check(&golden, "rnet.probability", &probability, TOLERANCE);

    let xs = pixels(&golden, "onet.input");
    check(&golden, "onet.features", &net.onet.features(&xs).unwrap(), TOLERANCE);
    let (boxes, points, probability) = net.onet.forward(&xs).unwrap();
    check(&golden, "onet.boxes", &boxes, TOLERANCE);
    check(&golden, "onet.points", &points, TOLERANCE);
    check(&golden, "onet.probability", &probability, TOLERANCE);
}

#[test]
fn a_batch_gives_what_each_image_gives_alone() {
    let (net, golden) = (mtcnn(), golden());
    let xs = pixels(&golden, "onet.input");
    let (boxes, points, probability) = net.onet.forward(&xs).unwrap();
    assert_eq!((boxes.dims(), points.dims(), probability.dims()), (&[3, 4][..], &[3, 10][..], &[3, 2][..]));
    for i in 0..3 {
        let (b, p, s) = net.onet.forward(&xs.narrow(0, i, 1).unwrap()).unwrap();
        for (all, one) in [(&boxes, b), (&points, p), (&probability, s)] {
            let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_close("onet alone", &values(&one), &values(&all.narrow(0, i, 1).unwrap()), TOLERANCE);
        }
    }
}

const NAMES: [LandmarkName; 5] = [
    LandmarkName::LeftEye,
    LandmarkName::RightEye,
    LandmarkName::Nose,
    LandmarkName::MouthLeft,
    LandmarkName::MouthRight,
];

/// The worst agreement over the faces of one photo.
struct Agreement {
    iou: f32,
    /// Landmark distance in pixels.
    distance: f32,
    /// The same as a part of the box's width.
    relative: f32,
    score: f32,
}

/// Compares with the golden boxes, scores and points under `name`; the number of faces must be the same.
fn agreement(golden: &Golden, name: &str, faces: &[Face]) -> Agreement {
    let boxes = golden.values(&format!("{name}.boxes")).as_chunks::<4>().0;
    let points = golden.values(&format!("{name}.points")).as_chunks::<10>().0;
    let scores = golden.values(&format!("{name}.scores"));
    assert_eq!(faces.len(), boxes.len(), "{name}");
    assert!(faces.is_sorted_by(|a, b| a.score >= b.score), "{name}");
    let mut worst = Agreement { iou: 1.0, distance: 0.0, relative: 0.0, score: 0.0 };
    for ((want, points), want_score) in boxes.iter().zip(points).zip(scores) {
        let want = BBox::from_corners(want[0], want[1], want[2], want[3]);
        let face = faces.iter().max_by(|a, b| a.bbox.iou(&want).total_cmp(&b.bbox.iou(&want))).unwrap();
        worst.iou = worst.iou.min(face.bbox.iou(&want));
        worst.score = worst.score.max((face.score - want_score).abs());
        for (mark, [x, y]) in NAMES.iter().zip(points.as_chunks::<2>().0) {
            let distance = face.landmarks.get(*mark).unwrap().distance(Point::new(*x, *y));
            worst.distance = worst.distance.max(distance);
            worst.relative = worst.relative.max(distance / want.width);
        }
    }
    let Agreement { iou, distance, score, .. } = worst;
    println!("{name}: {} faces, IoU {iou:.6}, landmarks {distance:.4} px, score {score:.1e}", faces.len());
    worst
}

#[test]
fn the_cascade_finds_the_references_faces() {
    let (net, golden) = (mtcnn(), golden());
    for name in ["portrait", "group", "tiny_faces"] {
        let name = format!("pixels.{name}");
        let shape = golden.shape(&format!("{name}.input"));
        let pixels = golden.values(&format!("{name}.input")).iter().map(|v| *v as u8).collect();
        let image = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).unwrap();
        let worst = agreement(&golden, &name, &net.detect(&image, &Config::default()).unwrap());
        assert!(worst.iou >= 0.9999, "{name}: IoU {}", worst.iou);
        assert!(worst.distance <= 0.001, "{name}: landmarks {} px", worst.distance);
        assert!(worst.score <= 1e-5, "{name}: score {}", worst.score);
    }
}

/// Pillow's JPEG decoder and this one differ by a level or two, which is enough for another of several overlapping
/// proposals to win; the faces found are the same.
#[test]
fn the_cascade_finds_the_same_faces_in_the_files() {
    let (net, golden) = (mtcnn(), golden());
    for name in PHOTOS {
        let faces = net.detect(&photo(name), &Config::default()).unwrap();
        let worst = agreement(&golden, &format!("photo.{}", name.trim_end_matches(".jpg")), &faces);
        assert!(worst.iou >= 0.85, "{name}: IoU {}", worst.iou);
        assert!(worst.relative <= 0.1, "{name}: landmarks {} of the width", worst.relative);
        assert!(worst.score <= 0.1, "{name}: score {}", worst.score);
    }
}

#[test]
fn refine_answers_each_candidate_in_order() {
    let net = mtcnn();
    let image = photo(PHOTOS[0]);
    let face = net.detect(&image, &Config::default()).unwrap().remove(0);
    let b = face.bbox;
    // A shifted and a loose box of the face, an empty corner, a box outside the image.
    let shifted = BBox::new(b.x + 0.1 * b.width, b.y - 0.1 * b.height, b.width, b.height);
    let candidates = [shifted, BBox::new(0.0, 0.0, 8.0, 8.0), b.square(1.2), BBox::new(-90.0, -90.0, 50.0, 50.0)];
    let answers = net.refine(&image, &candidates, &Config::default()).unwrap();
    assert_eq!(answers.len(), 4);
    for i in [0, 2] {
        let refined = answers[i].as_ref().unwrap();
        assert!(refined.bbox.iou(&b) > 0.8, "{i}: {:?} against {b:?}", refined.bbox);
        for name in NAMES {
            let moved = refined.landmarks.get(name).unwrap().distance(face.landmarks.get(name).unwrap());
            assert!(moved < 0.06 * b.width, "{i}: {name:?} {moved}");
        }
    }
    assert_eq!((&answers[1], &answers[3]), (&None, &None));
}

#[test]
fn few_proposals_are_a_limit_not_a_failure() {
    let net = mtcnn();
    let config = Config { max_proposals: 3, ..Config::default() };
    assert!(net.detect(&photo(PHOTOS[0]), &config).unwrap().len() <= 3);
}

#[test]
fn an_image_below_the_smallest_face_has_no_faces() {
    let net = mtcnn();
    for (width, height) in [(1, 1), (19, 400), (400, 3)] {
        assert_eq!(net.detect(&RgbImage::new(width, height), &Config::default()).unwrap(), []);
    }
}

#[test]
fn the_manifest_counts_the_parameters() {
    let manifest = std::fs::read_to_string(root().join("models-src/mtcnn/manifest.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    assert_eq!(manifest["output"]["parameters"].as_integer(), i64::try_from(weights().parameters()).ok());
}

const PHOTOS: [&str; 5] = ["portrait.jpg", "group.jpg", "profile.jpg", "no_face.jpg", "tiny_faces.jpg"];
