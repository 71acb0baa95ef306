//! Parity of the deepfake network with PyTorch: every map, the head's features, the logits.

#![expect(clippy::print_stdout, reason = "prints the figures of the model card")]

use std::path::{Path, PathBuf};

use candle::{DType, Device, Tensor};
use facesocial_models::{
    EfficientNetLite, ModelError, Weights,
    efficientnet_lite::{INPUT_SIZE, NORMALIZE},
};
use facesocial_testkit::{Golden, Tolerance, network::assert_close};
use image::RgbImage;

/// Three photos; only the order of summation differs.
const PARITY: Tolerance = Tolerance { abs: 1e-4, rel: 0.0 };
/// The maps reach 60; f32 keeps seven digits of that.
const MAPS: Tolerance = Tolerance { abs: 1e-4, rel: 1e-5 };
/// Of the reference's subsampling.
const STEP: usize = 499;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn weights() -> Weights {
    let path = root().join("weights/efficientnet_lite_deepfake.safetensors");
    Weights::open(&path, None).expect("weights/efficientnet_lite_deepfake.safetensors")
}

fn net() -> EfficientNetLite {
    let weights = weights();
    let net = EfficientNetLite::load(weights.var_builder(DType::F32, &Device::Cpu)).unwrap();
    weights.finish().unwrap();
    net
}

fn golden() -> Golden {
    Golden::open(&root().join("tests/golden/models/deepfake-efficientnet-lite.safetensors"))
}

fn images(golden: &Golden) -> Vec<RgbImage> {
    let bytes: Vec<u8> = golden.values("input").iter().map(|v| *v as u8).collect();
    let side = INPUT_SIZE;
    let image = |b: &[u8]| RgbImage::from_raw(side, side, b.to_vec()).unwrap();
    bytes.chunks_exact((side * side * 3) as usize).map(image).collect()
}

fn values(xs: &Tensor) -> Vec<f32> {
    xs.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_stage_agrees_on_three_photos() {
    let golden = golden();
    let xs = NORMALIZE.batch(&images(&golden), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap();
    let stages = net().stages(&xs).unwrap();
    assert_eq!(stages.maps.len(), 12);
    for (i, map) in stages.maps.iter().enumerate() {
        let name = format!("maps.{i:02}");
        let shape: Vec<f32> = map.dims().iter().map(|d| *d as f32).collect();
        assert_eq!(shape, golden.values(&format!("{name}.shape")), "{name}");
        let kept: Vec<f32> = values(map).into_iter().step_by(STEP).collect();
        println!("{name}: {:.1e}", assert_close(&name, &kept, golden.values(&name), MAPS));
    }
    assert_eq!(stages.features.dims(), golden.shape("features"));
    println!(
        "features: {:.1e}",
        assert_close("features", &values(&stages.features), golden.values("features"), PARITY)
    );
    println!("logits: {:.1e}", assert_close("logits", &values(&stages.logits), golden.values("logits"), PARITY));
}

#[test]
fn scores_agree_on_three_photos_and_differ_between_them() {
    let golden = golden();
    let scores = net().score(&images(&golden)).unwrap();
    println!("scores {scores:?}: {:.1e}", assert_close("score", &scores, golden.values("logits"), PARITY));
    assert!(scores[0] != scores[1] && scores[1] != scores[2]);
}

#[test]
fn a_batch_gives_what_single_images_give() {
    let (net, golden) = (net(), golden());
    let images = images(&golden);
    // More than pass through at once.
    let nine: Vec<_> = images.iter().cycle().take(9).cloned().collect();
    let batch = net.score(&nine).unwrap();
    let single: Vec<f32> = images.iter().map(|i| net.score(std::slice::from_ref(i)).unwrap()[0]).collect();
    let expected: Vec<f32> = single.iter().copied().cycle().take(9).collect();
    assert_close("one and nine", &batch, &expected, Tolerance { abs: 1e-5, rel: 0.0 });
    assert_close("one and three", &net.score(&images).unwrap(), &single, Tolerance { abs: 1e-5, rel: 0.0 });
}

#[test]
fn shapes_are_the_documented_ones() {
    let net = net();
    let zeros = |n| Tensor::zeros((n, 3, 160, 160), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(net.forward(&zeros(1)).unwrap().dims(), [1]);
    let stages = net.stages(&zeros(3)).unwrap();
    assert_eq!(stages.maps[0].dims(), [3, 32, 80, 80]);
    assert_eq!(stages.maps[11].dims(), [3, 112, 10, 10]);
    assert_eq!((stages.features.dims(), stages.logits.dims()), (&[3, 256][..], &[3][..]));
}

#[test]
fn the_weights_are_those_of_the_manifest() {
    assert_eq!(weights().parameters(), 717_265);
}

#[test]
fn another_size_is_refused_and_no_image_gives_no_score() {
    let net = net();
    let error = net.score(&[RgbImage::new(112, 160)]).unwrap_err();
    assert!(matches!(error, ModelError::InputSize { expected: INPUT_SIZE, .. }), "{error}");
    assert!(net.score(&[]).unwrap().is_empty());
}
