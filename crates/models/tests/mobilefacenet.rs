//! Parity of MobileFaceNet with LiteRT: a block, every stage, the embeddings.

#![expect(clippy::print_stdout, reason = "prints the figures of the model card")]

use std::path::{Path, PathBuf};

use candle::{DType, Device, Module, Tensor};
use facesocial_models::{MobileFaceNet, ModelError, Weights, mobilefacenet::Bottleneck};
use facesocial_testkit::{
    Golden, Tolerance,
    network::{assert_close, compare},
};
use image::RgbImage;

const BLOCK: Tolerance = Tolerance { abs: 1e-5, rel: 1e-5 };
const STAGES: Tolerance = Tolerance { abs: 5e-5, rel: 1e-5 };
const EMBEDDING: Tolerance = Tolerance { abs: 4e-5, rel: 0.0 };
/// Of the reference's subsampling.
const STEP: usize = 97;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn weights() -> Weights {
    Weights::open(&root().join("weights/mobilefacenet.safetensors"), None).expect("weights/mobilefacenet.safetensors")
}

fn net() -> MobileFaceNet {
    let weights = weights();
    let net = MobileFaceNet::load(weights.var_builder(DType::F32, &Device::Cpu)).unwrap();
    weights.finish().unwrap();
    net
}

fn golden() -> Golden {
    Golden::open(&root().join("tests/golden/models/mobilefacenet.safetensors"))
}

fn tensor(golden: &Golden, name: &str) -> Tensor {
    Tensor::from_slice(golden.values(name), golden.shape(name), &Device::Cpu).unwrap()
}

/// `[3, 3, 112, 112]`, normalised.
fn input(golden: &Golden) -> Tensor {
    let pixels = tensor(golden, "input").permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    ((pixels - 127.5).unwrap() / 128.0).unwrap()
}

fn images(golden: &Golden) -> Vec<RgbImage> {
    let bytes: Vec<u8> = golden.values("input").iter().map(|v| *v as u8).collect();
    bytes.chunks_exact(112 * 112 * 3).map(|b| RgbImage::from_raw(112, 112, b.to_vec()).unwrap()).collect()
}

fn values(xs: &Tensor) -> Vec<f32> {
    xs.flatten_all().unwrap().to_vec1().unwrap()
}

/// Shape and every 97th value.
#[track_caller]
fn check(golden: &Golden, name: &str, got: &Tensor) {
    let shape: Vec<f32> = got.dims().iter().map(|d| *d as f32).collect();
    assert_eq!(shape, golden.values(&format!("{name}.shape")), "{name}");
    let sample: Vec<f32> = values(got).into_iter().step_by(STEP).collect();
    let worst = assert_close(name, &sample, golden.values(name), STAGES);
    println!("{name}: {worst:.1e}");
}

#[test]
fn a_block_agrees() {
    let golden = golden();
    let vb = weights().var_builder(DType::F32, &Device::Cpu).pp("bottlenecks.14");
    let got = Bottleneck::load(vb, 128, 256, 128, 1).unwrap().forward(&tensor(&golden, "block.input")).unwrap();
    assert_eq!(got.dims(), golden.shape("block.output"));
    println!("block: {:.1e}", assert_close("block", &values(&got), golden.values("block.output"), BLOCK));
}

#[test]
fn every_stage_agrees_on_three_photos() {
    let golden = golden();
    let stages = net().stages(&input(&golden)).unwrap();
    check(&golden, "stem", &stages.stem);
    assert_eq!(stages.rows.len(), 5);
    for (i, row) in stages.rows.iter().enumerate() {
        check(&golden, &format!("rows.{i}"), row);
    }
    check(&golden, "features", &stages.features);
}

#[test]
fn embeddings_agree_on_three_photos() {
    let golden = golden();
    let embeddings = net().embed(&images(&golden)).unwrap();
    assert_eq!((embeddings.len(), embeddings[0].len()), (3, 192));
    for (i, (got, want)) in embeddings.iter().zip(golden.values("embedding").chunks_exact(192)).enumerate() {
        let worst = assert_close("embedding", got, want, EMBEDDING);
        let cosine = compare(got, want, EMBEDDING).cosine;
        println!("embedding {i}: {worst:.1e}, cosine {cosine:.9}");
        assert!(cosine > 0.999_999_9);
    }
}

#[test]
fn a_batch_gives_what_single_images_give() {
    let (net, xs) = (net(), input(&golden()));
    let batch = net.forward(&xs).unwrap();
    for i in 0..3 {
        let single = net.forward(&xs.narrow(0, i, 1).unwrap()).unwrap();
        let tolerance = Tolerance { abs: 1e-5, rel: 0.0 };
        assert_close("embedding", &values(&batch.get(i).unwrap()), &values(&single), tolerance);
    }
}

#[test]
fn the_weights_are_those_of_the_manifest() {
    assert_eq!(weights().parameters(), 1_292_992);
}

#[test]
fn another_size_is_refused_and_no_image_gives_no_embedding() {
    let net = net();
    assert!(matches!(net.embed(&[RgbImage::new(160, 160)]), Err(ModelError::InputSize { expected: 112, .. })));
    assert!(net.embed(&[]).unwrap().is_empty());
}
