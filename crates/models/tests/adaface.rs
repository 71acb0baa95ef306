//! Parity of AdaFace's IR-101 with its published definition under seeded weights.

mod full;

use std::sync::LazyLock;

use candle::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use facesocial_models::{
    AdaFace, ModelError, Result,
    adaface::{EMBEDDING_LEN, INPUT_SIZE, normalize},
    nn::ChannelOrder,
};
use facesocial_testkit::{Tolerance, network::assert_close};
use full::{OTHER_ORDER, Precision, Reference, assert_batch_agrees, pictures};

const IR101: Reference = Reference { name: "adaface-ir101", gain: 0.4, step: 397 };
/// Three times the worst difference measured.
const TOLERANCE: Tolerance = Tolerance { abs: 1.5e-5, rel: 0.0 };

static NETWORK: LazyLock<AdaFace> = LazyLock::new(|| IR101.load(Precision::F32, authors));

/// Of three pictures at once.
static EMBEDDINGS: LazyLock<Vec<Vec<f32>>> = LazyLock::new(|| NETWORK.embed(&pictures(3, INPUT_SIZE, 16)).unwrap());

/// As the authors' checkpoints, and their `inference.py`, which the reference follows.
fn authors(vb: VarBuilder<'_>) -> Result<AdaFace> {
    AdaFace::load(vb, ChannelOrder::Bgr)
}

fn input() -> Tensor {
    normalize(ChannelOrder::Bgr).batch(&pictures(1, INPUT_SIZE, 16), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn every_stage_is_the_references() {
    let stages = NETWORK.stages(&input()).unwrap();
    let names = ["stem", "layer1", "layer2", "layer3", "layer4"];
    IR101.assert_stages(&names.into_iter().zip(&stages).collect::<Vec<_>>(), TOLERANCE);
}

#[test]
fn embeddings_are_the_references() {
    IR101.assert_output(&EMBEDDINGS, TOLERANCE, 0.99999);
}

#[test]
fn half_precision_weights_keep_the_direction() {
    let network = IR101.load(Precision::F16, authors);
    let loose = Tolerance { abs: f32::INFINITY, rel: 0.0 };
    IR101.assert_output(&network.embed(&pictures(3, INPUT_SIZE, 16)).unwrap(), loose, 0.999);
}

#[test]
fn one_face_and_three_agree() {
    assert_batch_agrees(&EMBEDDINGS, &pictures(3, INPUT_SIZE, 16), |faces| NETWORK.embed(faces).unwrap());
}

#[test]
fn shapes_are_the_documented_ones() {
    assert_eq!(NETWORK.forward(&input()).unwrap().dims(), [1, EMBEDDING_LEN]);
    assert!(EMBEDDINGS.len() == 3 && EMBEDDINGS.iter().all(|row| row.len() == EMBEDDING_LEN));
    let error = NETWORK.embed(&pictures(1, 113, 16)).unwrap_err();
    assert!(matches!(error, ModelError::InputSize { expected: INPUT_SIZE, .. }), "{error}");
}

#[test]
fn wrapped_names_and_the_other_channel_order_are_read_too() {
    let mut faces = pictures(3, INPUT_SIZE, 16);
    faces.iter_mut().flat_map(|face| face.pixels_mut()).for_each(|pixel| pixel.0.reverse());
    for prefix in ["net", "model.net"] {
        let network = IR101.load_prefixed(prefix, |vb| AdaFace::load(vb, ChannelOrder::Rgb));
        let embeddings = network.embed(&faces[..1]).unwrap();
        assert_close(prefix, &embeddings[0], &EMBEDDINGS[0], OTHER_ORDER);
    }
}

#[test]
fn parameters_are_the_published_number() {
    assert_eq!(IR101.parameters(), 65_150_912);
}

#[test]
fn module_manifest_and_card_agree() {
    full::assert_documented("adaface-ir101");
}
