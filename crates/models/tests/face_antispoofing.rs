//! Parity of the deep tree network with LiteRT: a unit, every node, the leaves and the routing.

#![expect(clippy::print_stdout, reason = "prints the figures of the model card")]

use std::path::{Path, PathBuf};

use candle::{DType, Device, Module, Tensor};
use facesocial_models::{FaceAntiSpoofing, ModelError, Weights, face_antispoofing::ResidualUnit};
use facesocial_testkit::{Golden, Tolerance, network::assert_close};
use image::RgbImage;

const BLOCK: Tolerance = Tolerance { abs: 1e-5, rel: 1e-5 };
const STAGES: Tolerance = Tolerance { abs: 5e-5, rel: 1e-5 };
/// Routing values are of the order of 1e-4, the least in the golden file is 3e-5.
const ROUTES: Tolerance = Tolerance { abs: 3e-9, rel: 0.0 };
const SCORES: Tolerance = Tolerance { abs: 2e-6, rel: 0.0 };
/// Of the reference's subsampling.
const STEP: usize = 997;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn weights() -> Weights {
    let path = root().join("weights/face_antispoofing.safetensors");
    Weights::open(&path, None).expect("weights/face_antispoofing.safetensors")
}

fn net() -> FaceAntiSpoofing {
    let weights = weights();
    let net = FaceAntiSpoofing::load(weights.var_builder(DType::F32, &Device::Cpu)).unwrap();
    weights.finish().unwrap();
    net
}

fn golden() -> Golden {
    Golden::open(&root().join("tests/golden/models/face-antispoofing.safetensors"))
}

fn tensor(golden: &Golden, name: &str) -> Tensor {
    Tensor::from_slice(golden.values(name), golden.shape(name), &Device::Cpu).unwrap()
}

fn images(golden: &Golden) -> Vec<RgbImage> {
    let bytes: Vec<u8> = golden.values("input").iter().map(|v| *v as u8).collect();
    bytes.chunks_exact(256 * 256 * 3).map(|b| RgbImage::from_raw(256, 256, b.to_vec()).unwrap()).collect()
}

/// `[3, 3, 256, 256]`, normalised.
fn input(golden: &Golden) -> Tensor {
    let pixels = tensor(golden, "input").permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    (pixels / 255.0).unwrap()
}

fn values(xs: &Tensor) -> Vec<f32> {
    xs.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn check(golden: &Golden, name: &str, got: &Tensor, step: usize, tolerance: Tolerance) {
    let shape: Vec<f32> = got.dims().iter().map(|d| *d as f32).collect();
    assert_eq!(shape, golden.values(&format!("{name}.shape")), "{name}");
    let sample: Vec<f32> = values(got).into_iter().step_by(step).collect();
    let worst = assert_close(name, &sample, golden.values(name), tolerance);
    println!("{name}: {worst:.1e}");
}

#[test]
fn a_unit_agrees() {
    let golden = golden();
    let vb = weights().var_builder(DType::F32, &Device::Cpu).pp("cru.3");
    let got = ResidualUnit::load(vb).unwrap().forward(&tensor(&golden, "block.input")).unwrap();
    // The rows below lack their neighbours: the reference saw the whole map.
    let got = got.narrow(2, 0, 5).unwrap();
    assert_eq!(got.dims(), golden.shape("block.output"));
    println!("unit: {:.1e}", assert_close("unit", &values(&got), golden.values("block.output"), BLOCK));
}

#[test]
fn every_stage_agrees_on_three_photos() {
    let golden = golden();
    let stages = net().stages(&input(&golden)).unwrap();
    check(&golden, "stem", &stages.stem, STEP, STAGES);
    for (i, features) in stages.nodes.iter().enumerate() {
        check(&golden, &format!("nodes.{i}"), features, STEP, STAGES);
    }
    check(&golden, "routes", &Tensor::stack(&stages.routes, 1).unwrap(), 1, ROUTES);
    check(&golden, "leaf_scores", &stages.leaf_scores, 1, SCORES);
    assert_eq!(values(&stages.leaf_mask), golden.values("leaf_mask"));
}

#[test]
fn scores_agree_on_three_photos() {
    let golden = golden();
    let (net, images) = (net(), images(&golden));
    let scores = net.score(&images).unwrap();
    let reached = net.reached_leaf_score(&images).unwrap();
    let worst = assert_close("score", &scores, golden.values("score"), SCORES);
    println!("scores {scores:?}: {worst:.1e}");
    let worst = assert_close("reached", &reached, golden.values("reached_leaf_score"), SCORES);
    println!("leaf reached {reached:?}: {worst:.1e}");
}

#[test]
fn a_batch_gives_what_single_images_give() {
    let (net, golden) = (net(), golden());
    let images = images(&golden);
    // More than pass through at once.
    let five: Vec<_> = images.iter().cycle().take(5).cloned().collect();
    let batch = net.score(&five).unwrap();
    let single: Vec<f32> = images.iter().map(|i| net.score(std::slice::from_ref(i)).unwrap()[0]).collect();
    let expected: Vec<f32> = single.iter().copied().cycle().take(5).collect();
    assert_close("score", &batch, &expected, Tolerance { abs: 1e-5, rel: 0.0 });
}

#[test]
fn the_weights_are_those_of_the_manifest() {
    assert_eq!(weights().parameters(), 2_003_552);
}

#[test]
fn another_size_is_refused_and_no_image_gives_no_score() {
    let net = net();
    assert!(matches!(net.score(&[RgbImage::new(128, 256)]), Err(ModelError::InputSize { expected: 256, .. })));
    assert!(net.score(&[]).unwrap().is_empty());
}
