//! Parity of the three MiniFASNets: under seeded weights with the reference's definition in PyTorch, under the published
//! weights with PyTorch and ONNX Runtime on crops of photos.

mod full;
mod mirror;

use std::{path::Path, sync::LazyLock};

use candle::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use facesocial_models::{
    MiniFasNet, ModelError, Weights,
    minifasnet::{Config, Crop},
    nn::Normalize,
};
use facesocial_testkit::{Golden, Tolerance, network::assert_close};
use full::{Precision, Reference, assert_batch_agrees, pictures};
use image::RgbImage;

const V2: Reference = Reference { name: "minifasnet-v2", gain: 0.7, step: 97 };
const V1_SE: Reference = Reference { name: "minifasnet-v1se", gain: 0.7, step: 97 };
const V2_SE: Reference = Reference { name: "minifasnet-v2se", gain: 0.7, step: 97 };
const ALL: [(Reference, Config); 3] = [(V2, Config::v2()), (V1_SE, Config::v1_se()), (V2_SE, Config::v2_se(3))];

/// Three times the worst difference measured, 1.6e-6.
const SEEDED: Tolerance = Tolerance { abs: 5e-6, rel: 0.0 };
/// Logits of the published weights, up to 8.
const TRAINED: Tolerance = Tolerance { abs: 1.1e-5, rel: 0.0 };

static NETWORKS: LazyLock<Vec<MiniFasNet>> =
    LazyLock::new(|| ALL.iter().map(|(reference, config)| load(reference, *config, Precision::F32)).collect());

fn load(reference: &Reference, config: Config, precision: Precision) -> MiniFasNet {
    reference.load(precision, |vb| MiniFasNet::load(vb, config))
}

/// RGB, `x / 255`.
const UNIT: Normalize = Config::v2_se(3).normalize();

/// `[count, 3, s, s]` of 0..1: seeded networks are compared there, since random weights would carry a factor of 255 through
/// to the output.
fn input(config: &Config, count: usize) -> Tensor {
    UNIT.batch(&pictures(count, config.input_size, 8), config.input_size, DType::F32, &Device::Cpu).unwrap()
}

fn rows(xs: &Tensor) -> Vec<Vec<f32>> {
    xs.to_vec2().unwrap()
}

#[test]
fn every_stage_is_the_references() {
    for ((reference, config), network) in ALL.iter().zip(NETWORKS.iter()) {
        let stages = network.stages(&input(config, 1)).unwrap();
        let named: Vec<(&str, &Tensor)> = ["rows.0", "rows.1", "rows.2"].into_iter().zip(&stages.rows).collect();
        let ends = [("stem", &stages.stem), ("features", &stages.features)];
        reference.assert_stages(&[named.as_slice(), &ends].concat(), SEEDED);
        let logits = network.forward(&input(config, 3)).unwrap();
        reference.assert_output(&rows(&logits), SEEDED, 0.999_999);
    }
}

#[test]
fn half_precision_weights_keep_the_direction() {
    for (reference, config) in &ALL {
        let network = load(reference, *config, Precision::F16);
        let logits = network.forward(&input(config, 3)).unwrap();
        reference.assert_output(&rows(&logits), Tolerance { abs: f32::INFINITY, rel: 0.0 }, 0.999);
    }
}

#[test]
fn one_crop_and_three_agree() {
    for network in NETWORKS.iter() {
        let pictures = pictures(3, network.config().input_size, 8);
        let size = network.config().input_size;
        let logits = |crops: &[RgbImage]| match crops {
            [] => network.probabilities(crops).unwrap(),
            crops => rows(&network.forward(&UNIT.batch(crops, size, DType::F32, &Device::Cpu).unwrap()).unwrap()),
        };
        assert_batch_agrees(&logits(&pictures), &pictures, logits);
        let probabilities = network.probabilities(&pictures).unwrap();
        let live: Vec<f32> = probabilities.iter().map(|row| row[network.config().live]).collect();
        assert_eq!(network.live(&pictures).unwrap(), live);
        assert!(probabilities.iter().all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    }
}

#[test]
fn shapes_and_parameters_are_the_published_ones() {
    // The reference's table has 0.435 million for V2, the reference's comment 0.43 for both SE networks at 80 pixels.
    for ((reference, config), parameters) in ALL.iter().zip([434_560, 433_586, 473_760]) {
        assert_eq!(reference.parameters(), parameters, "{}", reference.name);
        assert_eq!(config.classes, 3);
    }
    for network in NETWORKS.iter() {
        for n in [1, 3] {
            assert_eq!(network.forward(&input(network.config(), n)).unwrap().dims(), [n, 3]);
        }
        let size = network.config().input_size;
        let error = network.live(&[RgbImage::new(size, size - 1)]).unwrap_err();
        assert!(matches!(error, ModelError::InputSize { expected, .. } if expected == size), "{error}");
    }
    let crops: Vec<Crop> = ALL.iter().map(|(_, config)| config.crop).collect();
    assert_eq!(crops, [Crop::Inside(2.7), Crop::Inside(4.0), Crop::Square(1.5)]);
}

#[test]
fn the_documents_agree() {
    for (reference, _) in &ALL {
        full::assert_documented(reference.name);
    }
    full::assert_documented("minifasnet-v2se-bin");
}

/// Logits on three crops of photos with the published weights; all three show living people.
#[expect(clippy::print_stdout, reason = "what was measured goes into the card")]
fn assert_trained(name: &str, network: &MiniFasNet) {
    let path = format!("../../tests/golden/models/{name}.trained.safetensors");
    let golden = Golden::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let side = network.config().input_size;
    assert_eq!(golden.shape("input"), [3, side as usize, side as usize, 3]);
    let bytes: Vec<u8> = golden.values("input").iter().map(|v| *v as u8).collect();
    let crops: Vec<RgbImage> = bytes
        .chunks_exact((side * side * 3) as usize)
        .map(|b| RgbImage::from_raw(side, side, b.to_vec()).unwrap())
        .collect();
    let xs = network.config().normalize().batch(&crops, side, DType::F32, &Device::Cpu).unwrap();
    let logits: Vec<f32> = rows(&network.forward(&xs).unwrap()).concat();
    println!("{name}: {:.1e}", assert_close(name, &logits, golden.values("output"), TRAINED));
    let probabilities = network.probabilities(&crops).unwrap();
    for (row, logits) in probabilities.iter().zip(golden.values("output").chunks_exact(3)) {
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = logits.iter().map(|v| (v - highest).exp()).sum();
        let want: Vec<f32> = logits.iter().map(|v| (v - highest).exp() / sum).collect();
        assert_close("probabilities", row, &want, TRAINED);
    }
    let live = network.live(&crops).unwrap();
    assert!(live.iter().all(|p| *p > 0.5), "{name}: {live:?}");
}

fn open(path: &Path, load: impl FnOnce(VarBuilder<'static>) -> facesocial_models::Result<MiniFasNet>) -> MiniFasNet {
    let weights = Weights::open(path, None).unwrap();
    let network = load(weights.var_builder(DType::F32, &Device::Cpu)).unwrap();
    weights.finish().unwrap();
    network
}

#[test]
fn the_published_80_pixel_networks_score_photos_as_pytorch_does() {
    let files = [("2.7_80x80_MiniFASNetV2", V2, Config::v2()), ("4_0_0_80x80_MiniFASNetV1SE", V1_SE, Config::v1_se())];
    for (file, reference, config) in files {
        let Some(source) = mirror::file(&format!("minifasnet/{file}.pth")) else { continue };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.safetensors");
        mirror::convert(reference.name, &source, &path);
        assert_trained(reference.name, &open(&path, |vb| MiniFasNet::load(vb, config)));
    }
}

#[test]
fn the_published_128_pixel_network_scores_photos_as_onnx_runtime_does() {
    let Some(source) = mirror::file("hairymax_antispoof/AntiSpoofing_print-replay_1.5_128.onnx") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    mirror::convert(V2_SE.name, &source, &path);
    assert_trained(V2_SE.name, &open(&path, |vb| MiniFasNet::load(vb, Config::v2_se(3))));
}

#[test]
fn the_published_network_of_two_classes_loads() {
    let Some(source) = mirror::file("hairymax_antispoof/AntiSpoofing_bin_1.5_128.onnx") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    mirror::convert("minifasnet-v2se-bin", &source, &path);
    let network = open(&path, |vb| MiniFasNet::load(vb, Config::v2_se(2)));
    assert_eq!(network.probabilities(&pictures(1, 128, 8)).unwrap()[0].len(), 2);
}
