//! Parity of IResNet-50 and IResNet-100 with InsightFace's definition under seeded weights.

mod full;

use std::sync::LazyLock;

use candle::{DType, Device, Tensor};
use facesocial_models::{
    IResNet, ModelError,
    iresnet::{Config, EMBEDDING_LEN, INPUT_SIZE, NORMALIZE},
};
use facesocial_testkit::Tolerance;
use full::{Precision, Reference, assert_batch_agrees, pictures};

const IRESNET100: Reference = Reference { name: "arcface-iresnet100", gain: 0.4, step: 397 };
const IRESNET50: Reference = Reference { name: "arcface-iresnet50", gain: 0.4, step: 397 };
/// Three times the worst difference measured.
const TOLERANCE: Tolerance = Tolerance { abs: 2.5e-5, rel: 0.0 };

static NETWORK: LazyLock<IResNet> =
    LazyLock::new(|| IRESNET100.load(Precision::F32, |vb| IResNet::load(vb, Config::iresnet100())));

/// Of three pictures at once.
static EMBEDDINGS: LazyLock<Vec<Vec<f32>>> = LazyLock::new(|| NETWORK.embed(&pictures(3, INPUT_SIZE, 16)).unwrap());

fn input() -> Tensor {
    NORMALIZE.batch(&pictures(1, INPUT_SIZE, 16), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap()
}

fn assert_stages(reference: &Reference, network: &IResNet) {
    let stages = network.stages(&input()).unwrap();
    let names = ["stem", "layer1", "layer2", "layer3", "layer4"];
    reference.assert_stages(&names.into_iter().zip(&stages).collect::<Vec<_>>(), TOLERANCE);
}

#[test]
fn every_stage_of_100_layers_is_the_references() {
    assert_stages(&IRESNET100, &NETWORK);
}

#[test]
fn embeddings_of_100_layers_are_the_references() {
    IRESNET100.assert_output(&EMBEDDINGS, TOLERANCE, 0.99999);
}

#[test]
fn fifty_layers_are_the_references() {
    let network = IRESNET50.load(Precision::F32, |vb| IResNet::load(vb, Config::iresnet50()));
    assert_stages(&IRESNET50, &network);
    IRESNET50.assert_output(&network.embed(&pictures(3, INPUT_SIZE, 16)).unwrap(), TOLERANCE, 0.99999);
}

#[test]
fn half_precision_weights_keep_the_direction() {
    let network = IRESNET100.load(Precision::F16, |vb| IResNet::load(vb, Config::iresnet100()));
    let loose = Tolerance { abs: f32::INFINITY, rel: 0.0 };
    IRESNET100.assert_output(&network.embed(&pictures(3, INPUT_SIZE, 16)).unwrap(), loose, 0.999);
}

#[test]
fn one_face_and_three_agree() {
    assert_batch_agrees(&EMBEDDINGS, &pictures(3, INPUT_SIZE, 16), |faces| NETWORK.embed(faces).unwrap());
}

#[test]
fn shapes_are_the_documented_ones() {
    assert_eq!(NETWORK.forward(&input()).unwrap().dims(), [1, EMBEDDING_LEN]);
    assert!(EMBEDDINGS.len() == 3 && EMBEDDINGS.iter().all(|row| row.len() == EMBEDDING_LEN));
    let error = NETWORK.embed(&pictures(1, 111, 16)).unwrap_err();
    assert!(matches!(error, ModelError::InputSize { expected: INPUT_SIZE, .. }), "{error}");
}

#[test]
fn parameters_are_the_published_number() {
    assert_eq!(IRESNET100.parameters(), 65_156_160);
    assert_eq!(IRESNET50.parameters(), 43_590_848);
}

#[test]
fn module_manifest_and_card_agree() {
    for network in ["arcface-iresnet100", "arcface-iresnet50"] {
        full::assert_documented(network);
    }
}
