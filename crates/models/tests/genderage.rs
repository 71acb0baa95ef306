//! Parity of the gender-age network with PyTorch on chains of MobileNet-0.25 under seeded weights, and what is said of
//! weights that are no such chain.

mod full;

use std::{collections::HashMap, sync::LazyLock};

use candle::{DType, Device, Tensor, safetensors};
use facesocial_models::{
    GenderAgeNet, ModelError, Result, Weights,
    genderage::{INPUT_SIZE, NORMALIZE},
};
use facesocial_testkit::{
    Tolerance,
    seeded::{self, Kind},
};
use full::{Reference, assert_batch_agrees, assert_documented, pictures};
use image::RgbImage;

const PRELU: Reference = Reference { name: "genderage", gain: 1.0, step: 97 };
const RELU: Reference = Reference { name: "genderage-relu", gain: 1.0, step: 97 };
const TOLERANCE: Tolerance = Tolerance { abs: 1e-5, rel: 0.0 };

/// Output channels and stride of MobileNet's thirteen separable convolutions at width 0.25.
const ROWS: [(usize, usize); 13] = [
    (16, 1),
    (32, 2),
    (32, 1),
    (64, 2),
    (64, 1),
    (128, 2),
    (128, 1),
    (128, 1),
    (128, 1),
    (128, 1),
    (128, 1),
    (256, 2),
    (256, 1),
];

static NETWORK: LazyLock<GenderAgeNet> = LazyLock::new(|| load(&PRELU, DType::F32, |_| {}).unwrap());

/// The tensors of a reference with what the converter writes beside the weights.
fn tensors(reference: &Reference, dtype: DType) -> HashMap<String, Tensor> {
    let prelu = reference.name == PRELU.name;
    let path = format!("{}/../../tests/golden/models/{}.keys", env!("CARGO_MANIFEST_DIR"), reference.name);
    let keys = seeded::keys(path.as_ref());
    let tensor = |values: Vec<f32>, shape: &[usize]| {
        Tensor::from_vec(values, shape, &Device::Cpu).and_then(|t| t.to_dtype(dtype)).unwrap()
    };
    let weight =
        |(name, shape): (&String, &Vec<usize>)| tensor(seeded::values(name, shape, Kind::of(name, shape)), shape);
    let mut tensors: HashMap<String, Tensor> = keys.iter().map(|key| (key.0.clone(), weight(key))).collect();
    let mut geometry = vec![[2, 1, 1, 1, 1, 1]];
    let mut channels = 8;
    for (c_out, stride) in ROWS {
        geometry.extend([[stride, 1, 1, 1, 1, channels], [1, 0, 0, 0, 0, 1]]);
        channels = c_out;
    }
    for (i, geometry) in geometry.into_iter().enumerate() {
        let values = geometry.into_iter().chain([if prelu { 2 } else { 1 }]).map(|v| v as f32).collect();
        tensors.insert(format!("layers.{i}.geometry"), tensor(values, &[7]));
    }
    tensors.insert("pool".to_owned(), tensor(vec![if prelu { 0.0 } else { 1.0 }], &[1]));
    tensors.insert("input.scale".to_owned(), tensor(vec![1.0 / 128.0; 3], &[3]));
    tensors.insert("input.shift".to_owned(), tensor(vec![-127.5 / 128.0; 3], &[3]));
    tensors
}

/// Writes the tensors as a file, after a change, and reads the network from it; none may be left over.
fn load(
    reference: &Reference,
    stored: DType,
    change: impl FnOnce(&mut HashMap<String, Tensor>),
) -> Result<GenderAgeNet> {
    let mut tensors = tensors(reference, stored);
    change(&mut tensors);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("genderage.safetensors");
    safetensors::save(&tensors, &path).unwrap();
    let weights = Weights::open(&path, None)?;
    let network = GenderAgeNet::load(weights.var_builder(DType::F32, &Device::Cpu))?;
    weights.finish()?;
    Ok(network)
}

fn faces(count: usize) -> Vec<RgbImage> {
    pictures(count, INPUT_SIZE, 12)
}

fn input(count: usize) -> Tensor {
    NORMALIZE.batch(&faces(count), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap()
}

fn raw(network: &GenderAgeNet) -> Vec<Vec<f32>> {
    network.forward(&input(3)).unwrap().to_vec2().unwrap()
}

fn estimate(network: &GenderAgeNet, faces: &[RgbImage]) -> Vec<Vec<f32>> {
    // The age in centuries, so that one tolerance does for all.
    network.estimate(faces).unwrap().into_iter().map(|g| vec![g.female, g.male, g.age / 100.0]).collect()
}

#[track_caller]
fn assert_is_the_references(reference: &Reference, network: &GenderAgeNet) {
    let stages = network.stages(&input(1)).unwrap();
    let names: Vec<_> = (0..stages.len()).map(|i| format!("layers.{i:02}")).collect();
    assert_eq!(names.len(), 27);
    reference.assert_stages(&names.iter().map(String::as_str).zip(&stages).collect::<Vec<_>>(), TOLERANCE);
    reference.assert_output(&raw(network), TOLERANCE, 0.99999);
}

#[test]
fn a_chain_with_prelu_and_all_values_is_the_references() {
    assert_is_the_references(&PRELU, &NETWORK);
}

#[test]
fn a_chain_with_relu_and_pooling_is_the_references() {
    assert_is_the_references(&RELU, &load(&RELU, DType::F32, |_| {}).unwrap());
}

#[test]
fn half_precision_weights_give_nearly_the_same() {
    let loose = Tolerance { abs: 4e-3, rel: 0.0 };
    for reference in [PRELU, RELU] {
        reference.assert_output(&raw(&load(&reference, DType::F16, |_| {}).unwrap()), loose, 0.999);
    }
}

#[test]
fn probabilities_and_years_come_from_the_three_values() {
    for (row, found) in raw(&NETWORK).into_iter().zip(NETWORK.estimate(&faces(3)).unwrap()) {
        let male = 1.0 / (1.0 + (row[0] - row[1]).exp());
        assert!((found.male - male).abs() < 1e-6 && (found.female + found.male - 1.0).abs() < 1e-6, "{found:?}");
        assert!((found.age - 100.0 * row[2]).abs() < 1e-4, "{found:?}");
    }
}

#[test]
fn one_face_and_three_agree() {
    assert_batch_agrees(&estimate(&NETWORK, &faces(3)), &faces(3), |faces| estimate(&NETWORK, faces));
}

#[test]
fn shapes_are_the_documented_ones() {
    assert_eq!(NETWORK.forward(&input(1)).unwrap().dims(), [1, 3]);
    assert_eq!(NETWORK.forward(&input(3)).unwrap().dims(), [3, 3]);
    let error = NETWORK.estimate(&pictures(1, 112, 12)).unwrap_err();
    assert!(matches!(error, ModelError::InputSize { expected: INPUT_SIZE, .. }), "{error}");
}

#[test]
fn parameters_are_those_of_mobilenet_at_a_quarter_of_its_width() {
    let (mut learnt, mut channels) = (8 * 27 + 8 + 8, 8);
    for (c_out, _) in ROWS {
        learnt += channels * (9 + 1 + 1) + c_out * (channels + 1 + 1);
        channels = c_out;
    }
    learnt += 3 * 9 * channels + 3;
    assert_eq!((PRELU.parameters(), learnt), (219_987, 219_987));
    assert_eq!(RELU.parameters(), 211_107);
}

#[test]
fn what_is_no_such_network_is_named() {
    type Change = fn(&mut HashMap<String, Tensor>);
    fn put(tensors: &mut HashMap<String, Tensor>, key: &str, shape: &[usize]) {
        tensors.insert(key.to_owned(), Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
    }
    fn geometry(tensors: &mut HashMap<String, Tensor>, place: usize, value: f32) {
        let key = "layers.1.geometry";
        let mut values = tensors[key].to_vec1::<f32>().unwrap();
        values[place] = value;
        tensors.insert(key.to_owned(), Tensor::new(values, &Device::Cpu).unwrap());
    }
    let cases: [(Change, &str); 12] = [
        (
            |t| {
                put(t, "fc.weight", &[212, 2304]);
                put(t, "fc.bias", &[212]);
            },
            "fc.weight gives 212 values, a gender-age network 3",
        ),
        (
            |t| put(t, "fc.weight", &[3, 4096]),
            "fc.weight takes 4096 values, an input of 96 x 96 gives 256 planes of 3 x 3, flattened 2304",
        ),
        (|t| drop(t.remove("layers.0.weight")), "there is no layers.0.weight"),
        (
            |t| put(t, "layers.2.weight", &[16, 9, 1, 1]),
            "layers.2.weight [16, 9, 1, 1] in 1 groups does not take the 8",
        ),
        (|t| put(t, "input.scale", &[1]), "shape mismatch for input.scale"),
        (|t| geometry(t, 0, 0.0), "layers.1.geometry has stride 0"),
        (|t| geometry(t, 0, 1.5), "not whole numbers"),
        (|t| geometry(t, 1, 3.0), "padding [3, 1, 1, 1], kernel 3 x 3"),
        (|t| geometry(t, 5, 3.0), "in 3 groups does not take"),
        (|t| geometry(t, 6, 3.0), "layers.1.geometry names the rectifier 3"),
        (|t| drop(t.remove("layers.4.prelu")), "cannot find tensor layers.4.prelu"),
        (|t| geometry(t, 6, 1.0), "left 1 tensors of"),
    ];
    for (change, expected) in cases {
        let error = load(&PRELU, DType::F32, change).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn module_manifest_and_card_agree() {
    assert_documented("genderage");
}
