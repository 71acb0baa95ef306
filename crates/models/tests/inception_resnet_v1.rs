//! Parity of Inception-ResNet v1 with facenet-pytorch's definition under seeded weights.

mod full;

use std::sync::LazyLock;

use candle::{DType, Device, Tensor};
use facesocial_models::{
    InceptionResNetV1, ModelError,
    inception_resnet_v1::{EMBEDDING_LEN, INPUT_SIZE, NORMALIZE, STAGES},
};
use facesocial_testkit::Tolerance;
use full::{Precision, Reference, assert_batch_agrees, assert_documented, pictures};

const FACENET: Reference = Reference { name: "facenet-inception-resnet-v1", gain: 1.0, step: 97 };
/// Three times the worst difference measured.
const TOLERANCE: Tolerance = Tolerance { abs: 2.2e-5, rel: 0.0 };
/// Of the embedding, whose length is 1.
const EMBEDDING_TOLERANCE: Tolerance = Tolerance { abs: 3.5e-7, rel: 0.0 };

static NETWORK: LazyLock<InceptionResNetV1> = LazyLock::new(|| FACENET.load(Precision::F32, InceptionResNetV1::load));

/// Of three pictures at once.
static EMBEDDINGS: LazyLock<Vec<Vec<f32>>> = LazyLock::new(|| NETWORK.embed(&faces(3)).unwrap());

fn faces(count: usize) -> Vec<image::RgbImage> {
    pictures(count, INPUT_SIZE, 20)
}

fn input() -> Tensor {
    NORMALIZE.batch(&faces(1), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn every_stage_is_the_references() {
    let stages = NETWORK.stages(&input()).unwrap();
    FACENET.assert_stages(&STAGES.into_iter().zip(&stages).collect::<Vec<_>>(), TOLERANCE);
}

#[test]
fn embeddings_are_the_references() {
    FACENET.assert_output(&EMBEDDINGS, EMBEDDING_TOLERANCE, 0.99999);
}

#[test]
fn embeddings_have_a_length_of_one() {
    for row in EMBEDDINGS.iter() {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
    }
}

#[test]
fn half_precision_weights_keep_the_direction() {
    let network = FACENET.load(Precision::F16, InceptionResNetV1::load);
    let loose = Tolerance { abs: f32::INFINITY, rel: 0.0 };
    FACENET.assert_output(&network.embed(&faces(3)).unwrap(), loose, 0.999);
}

#[test]
fn one_face_and_three_agree() {
    assert_batch_agrees(&EMBEDDINGS, &faces(3), |faces| NETWORK.embed(faces).unwrap());
}

#[test]
fn shapes_are_the_documented_ones() {
    assert_eq!(NETWORK.forward(&input()).unwrap().dims(), [1, EMBEDDING_LEN]);
    assert!(EMBEDDINGS.len() == 3 && EMBEDDINGS.iter().all(|row| row.len() == EMBEDDING_LEN));
    let error = NETWORK.embed(&pictures(1, 159, 20)).unwrap_err();
    assert!(matches!(error, ModelError::InputSize { expected: INPUT_SIZE, .. }), "{error}");
}

#[test]
fn parameters_are_the_published_number() {
    assert_eq!(FACENET.parameters(), 23_482_624);
}

#[test]
fn module_manifest_and_card_agree() {
    assert_documented("facenet-inception-resnet-v1");
}
