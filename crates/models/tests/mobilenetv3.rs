//! Parity of MobileNetV3 with the MN3 head with its authors' definition under seeded weights.

mod full;

use std::sync::LazyLock;

use candle::{DType, Device, Tensor};
use facesocial_models::{
    Mn3, ModelError,
    mobilenetv3::{INPUT_SIZE, NORMALIZE},
};
use facesocial_testkit::Tolerance;
use full::{Precision, Reference, assert_batch_agrees, assert_documented, pictures};
use image::RgbImage;

const MN3: Reference = Reference { name: "anti-spoof-mn3", gain: 0.8, step: 97 };
/// Three times the worst difference measured.
const TOLERANCE: Tolerance = Tolerance { abs: 1.5e-5, rel: 0.0 };
/// Of a probability; the last bits depend on the order of summation.
const PROBABILITY_TOLERANCE: Tolerance = Tolerance { abs: 1e-6, rel: 0.0 };

static NETWORK: LazyLock<Mn3> = LazyLock::new(|| MN3.load(Precision::F32, Mn3::load));

fn faces(count: usize) -> Vec<RgbImage> {
    pictures(count, INPUT_SIZE, 16)
}

fn judge(network: &Mn3, faces: &[RgbImage]) -> Vec<Vec<f32>> {
    network.judge(faces).unwrap().into_iter().map(|l| vec![l.real, l.spoof]).collect()
}

fn input() -> Tensor {
    NORMALIZE.batch(&faces(1), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn every_block_is_the_references() {
    let stages = NETWORK.stages(&input()).unwrap();
    let mut names: Vec<_> = (0..16).map(|i| format!("features.{i:02}")).collect();
    names.push("conv_last".to_owned());
    MN3.assert_stages(&names.iter().map(String::as_str).zip(&stages).collect::<Vec<_>>(), TOLERANCE);
}

#[test]
fn probabilities_are_the_references() {
    MN3.assert_output(&judge(&NETWORK, &faces(3)), PROBABILITY_TOLERANCE, 0.99999);
}

#[test]
fn half_precision_weights_give_nearly_the_same() {
    let network = MN3.load(Precision::F16, Mn3::load);
    MN3.assert_output(&judge(&network, &faces(3)), Tolerance { abs: 1.2e-4, rel: 0.0 }, 0.999);
}

#[test]
fn one_face_and_three_agree() {
    assert_batch_agrees(&judge(&NETWORK, &faces(3)), &faces(3), |faces| judge(&NETWORK, faces));
}

#[test]
fn shapes_are_the_documented_ones() {
    let three = NORMALIZE.batch(&faces(3), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(NETWORK.forward(&input()).unwrap().dims(), [1, 2]);
    assert_eq!(NETWORK.forward(&three).unwrap().dims(), [3, 2]);
    let error = NETWORK.judge(&pictures(1, 80, 16)).unwrap_err();
    assert!(matches!(error, ModelError::InputSize { expected: INPUT_SIZE, .. }), "{error}");
}

#[test]
fn parameters_are_the_published_number() {
    // Open Model Zoo gives 3.02 million, counted with the batch norms folded.
    assert_eq!(MN3.parameters(), 3_028_914);
}

#[test]
fn module_manifest_and_card_agree() {
    assert_documented("anti-spoof-mn3");
}
