//! Parity of FaceRes with its TensorFlow.js graph: a block, the stages, the heads.
#![expect(clippy::print_stdout, reason = "prints the figures of the model card")]

use std::path::{Path, PathBuf};

use candle::{DType, Device, Tensor};
use facesocial_models::{
    FaceRes, ModelError, Weights,
    faceres::{INPUT_SIZE, NORMALIZE},
};
use facesocial_testkit::{
    Golden, Tolerance,
    network::{assert_close, compare},
};
use image::RgbImage;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn weights() -> Weights {
    Weights::open(&root().join("weights/faceres.safetensors"), None).expect("weights/faceres.safetensors")
}

fn network() -> FaceRes {
    let weights = weights();
    let net = FaceRes::load(weights.var_builder(DType::F32, &Device::Cpu)).unwrap();
    weights.finish().unwrap();
    net
}

fn golden() -> Golden {
    Golden::open(&root().join("tests/golden/models/faceres.safetensors"))
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The golden input, `[3, 3, 224, 224]`, as images.
fn crops(golden: &Golden) -> Vec<RgbImage> {
    let plane = (INPUT_SIZE * INPUT_SIZE) as usize;
    let image = |crop: &[f32]| {
        RgbImage::from_fn(INPUT_SIZE, INPUT_SIZE, |x, y| {
            let at = (y * INPUT_SIZE + x) as usize;
            image::Rgb([crop[at] as u8, crop[plane + at] as u8, crop[2 * plane + at] as u8])
        })
    };
    golden.values("input").chunks_exact(3 * plane).map(image).collect()
}

/// The script keeps every 1009th value of an activation.
const STEP: usize = 1009;

#[test]
fn the_first_unit_agrees() {
    let (net, golden) = (network(), golden());
    let xs = Tensor::from_slice(golden.values("block.in"), golden.shape("block.in"), &Device::Cpu).unwrap();
    let got = net.units()[0].forward(&xs).unwrap();
    assert_eq!(got.dims(), [1, 64, 12, 12]);
    // The last row and column saw padding here and the rest of the picture there.
    let got = got.narrow(2, 0, 11).unwrap().narrow(3, 0, 11).unwrap();
    assert_eq!(got.dims(), golden.shape("block.out"));
    let worst = assert_close("block", &values(&got), golden.values("block.out"), STAGE);
    println!("block: {worst:.2e}");
}

#[test]
fn the_stages_agree() {
    let (net, golden) = (network(), golden());
    let xs = NORMALIZE.batch(&crops(&golden), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap();
    let stages = net.stages(&xs).unwrap();
    assert_eq!(stages.len(), 14);
    let extents = [112, 112, 56, 56, 28, 28, 14, 14, 14, 14, 14, 14, 7, 7];
    let channels = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024];
    for (i, stage) in stages.iter().enumerate() {
        let name = if i == 0 { "stem".to_owned() } else { format!("unit.{i}") };
        assert_eq!(stage.dims(), [3, channels[i], extents[i], extents[i]], "{name}");
        let sampled: Vec<f32> = values(stage).into_iter().step_by(STEP).collect();
        let worst = assert_close(&name, &sampled, golden.values(&name), STAGE);
        println!("{name}: {worst:.2e}");
    }
}

#[test]
fn the_heads_agree() {
    let (net, golden) = (network(), golden());
    let crops = crops(&golden);
    let xs = NORMALIZE.batch(&crops, INPUT_SIZE, DType::F32, &Device::Cpu).unwrap();
    let heads = net.forward(&xs).unwrap();
    for (name, got) in [("embedding", &heads.embedding), ("age", &heads.age), ("male", &heads.male)] {
        assert_eq!(got.dims(), golden.shape(name), "{name}");
        let worst = assert_close(name, &values(got), golden.values(name), HEADS);
        let cosine = compare(&values(got), golden.values(name), HEADS).cosine;
        println!("{name}: {worst:.2e}, cosine {cosine:.9}");
        assert!(cosine >= 0.999_999, "{name}: {cosine}");
    }
    // The three photos are of women of about 30: the sign of the gender head and the first bin of the age head.
    for face in net.analyze(&crops).unwrap() {
        assert!(face.male_probability < 0.1, "{}", face.male_probability);
        assert!((20.0..45.0).contains(&face.age), "{}", face.age);
        let [low, high] = face.age_range;
        assert!(low <= high && f32::from(low) <= face.age && face.age <= f32::from(high), "{low} {high} {}", face.age);
    }
}

#[test]
fn a_batch_gives_what_each_crop_gives_alone() {
    let (net, golden) = (network(), golden());
    let crops = crops(&golden);
    let together = net.analyze(&crops).unwrap();
    assert_eq!(together.len(), 3);
    for (crop, all) in crops.iter().zip(&together) {
        let alone = &net.analyze(std::slice::from_ref(crop)).unwrap()[0];
        assert_eq!(alone.embedding.len(), 1024);
        assert_close("alone", &alone.embedding, &all.embedding, HEADS);
        assert_eq!(alone.age_range, all.age_range);
        assert!((alone.age - all.age).abs() < 1e-3 && (alone.male_probability - all.male_probability).abs() < 1e-5);
    }
    assert_eq!(net.analyze(&[]).unwrap(), []);
}

#[test]
fn a_crop_of_another_size_is_refused() {
    let err = network().analyze(&[RgbImage::new(224, 224), RgbImage::new(224, 200)]).unwrap_err();
    assert!(matches!(err, ModelError::InputSize { index: 1, height: 200, expected: 224, .. }), "{err}");
}

#[test]
fn the_manifest_counts_the_parameters() {
    let manifest = std::fs::read_to_string(root().join("models-src/faceres/manifest.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    assert_eq!(manifest["output"]["parameters"].as_integer(), i64::try_from(weights().parameters()).ok());
}

const STAGE: Tolerance = Tolerance { abs: 1.5e-4, rel: 1e-5 };
const HEADS: Tolerance = Tolerance { abs: 1.5e-5, rel: 1e-5 };
