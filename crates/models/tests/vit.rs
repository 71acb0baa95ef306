//! Parity of ViT-B/16 with Hugging Face's definition under seeded weights.

mod full;

use std::sync::LazyLock;

use candle::{DType, Device, Tensor};
use facesocial_models::{
    ModelError, ViT,
    vit::{Config, NORMALIZE},
};
use facesocial_testkit::Tolerance;
use full::{Precision, Reference, assert_batch_agrees, assert_documented, pictures};

const BASE: Reference = Reference { name: "vit-deepfake", gain: 0.7, step: 397 };
const CONFIG: Config = Config::base_patch16_224(2);
/// Three times the worst difference measured.
const TOLERANCE: Tolerance = Tolerance { abs: 2.7e-5, rel: 0.0 };
/// Of a probability; the last bits depend on the order of summation.
const PROBABILITY_TOLERANCE: Tolerance = Tolerance { abs: 1e-6, rel: 0.0 };

static NETWORK: LazyLock<ViT> = LazyLock::new(|| BASE.load(Precision::F32, |vb| ViT::load(vb, CONFIG)));

/// Of three pictures at once.
static PROBABILITIES: LazyLock<Vec<Vec<f32>>> = LazyLock::new(|| NETWORK.probabilities(&images(3)).unwrap());

fn images(count: usize) -> Vec<image::RgbImage> {
    pictures(count, CONFIG.image_size, 28)
}

fn input() -> Tensor {
    NORMALIZE.batch(&images(1), CONFIG.image_size, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn every_layer_is_the_references() {
    let stages = NETWORK.stages(&input()).unwrap();
    let logits = NETWORK.forward(&input()).unwrap();
    assert_eq!(stages[0].dims(), [1, CONFIG.tokens(), CONFIG.hidden_size]);
    let mut names = vec!["embeddings".to_owned()];
    names.extend((0..CONFIG.layers).map(|i| format!("layer.{i}")));
    let mut named: Vec<_> = names.iter().map(String::as_str).zip(&stages).collect();
    named.push(("logits", &logits));
    BASE.assert_stages(&named, TOLERANCE);
}

#[test]
fn probabilities_are_the_references() {
    BASE.assert_output(&PROBABILITIES, PROBABILITY_TOLERANCE, 0.99999);
}

#[test]
fn half_precision_weights_give_nearly_the_same() {
    let network = BASE.load(Precision::F16, |vb| ViT::load(vb, CONFIG));
    BASE.assert_output(&network.probabilities(&images(3)).unwrap(), Tolerance { abs: 3e-4, rel: 0.0 }, 0.999);
}

#[test]
fn one_image_and_three_agree() {
    assert_batch_agrees(&PROBABILITIES, &images(3), |images| NETWORK.probabilities(images).unwrap());
}

#[test]
fn shapes_are_the_documented_ones() {
    assert_eq!(NETWORK.forward(&input()).unwrap().dims(), [1, CONFIG.classes]);
    assert!(PROBABILITIES.len() == 3 && PROBABILITIES.iter().all(|row| row.len() == CONFIG.classes));
    let error = NETWORK.probabilities(&pictures(1, 256, 28)).unwrap_err();
    assert!(matches!(error, ModelError::InputSize { expected: 224, .. }), "{error}");
}

#[test]
fn parameters_are_the_published_number() {
    let classifier = CONFIG.hidden_size * CONFIG.classes + CONFIG.classes;
    assert_eq!(BASE.parameters(), 85_798_656 + classifier);
}

#[test]
fn module_manifest_and_card_agree() {
    assert_documented("vit-deepfake");
}
