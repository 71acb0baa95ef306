//! Parity of the dlib ResNet with face-api on TensorFlow.js: a block, the stages, the embedding.
#![expect(clippy::print_stdout, reason = "prints the figures of the model card")]

use std::path::{Path, PathBuf};

use candle::{DType, Device, Tensor};
use facesocial_models::{DlibResNet, ModelError, Weights, dlib_resnet::INPUT_SIZE};
use facesocial_testkit::{
    Golden, Tolerance,
    network::{assert_close, compare},
};
use image::RgbImage;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn weights() -> Weights {
    Weights::open(&root().join("weights/dlib_resnet.safetensors"), None).expect("weights/dlib_resnet.safetensors")
}

fn network() -> DlibResNet {
    let weights = weights();
    let net = DlibResNet::load(weights.var_builder(DType::F32, &Device::Cpu)).unwrap();
    weights.finish().unwrap();
    net
}

fn golden() -> Golden {
    Golden::open(&root().join("tests/golden/models/dlib-resnet.safetensors"))
}

fn tensor(golden: &Golden, name: &str) -> Tensor {
    Tensor::from_slice(golden.values(name), golden.shape(name), &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The golden input, `[3, 3, 150, 150]`, as images.
fn chips(golden: &Golden) -> Vec<RgbImage> {
    let plane = (INPUT_SIZE * INPUT_SIZE) as usize;
    let image = |chip: &[f32]| {
        RgbImage::from_fn(INPUT_SIZE, INPUT_SIZE, |x, y| {
            let at = (y * INPUT_SIZE + x) as usize;
            image::Rgb([chip[at] as u8, chip[plane + at] as u8, chip[2 * plane + at] as u8])
        })
    };
    golden.values("input").chunks_exact(3 * plane).map(image).collect()
}

/// The script keeps every 29th value of an activation.
const STEP: usize = 29;

#[test]
fn a_halving_unit_agrees() {
    let (net, golden) = (network(), golden());
    let got = net.units(3)[0].forward(&tensor(&golden, "block.in")).unwrap();
    assert_eq!(got.dims(), golden.shape("block.out"));
    let worst = assert_close("block", &values(&got), golden.values("block.out"), BLOCK);
    println!("block: {worst:.2e}");
}

#[test]
fn the_stages_agree() {
    let (net, golden) = (network(), golden());
    let chips = chips(&golden);
    let xs = facesocial_models::dlib_resnet::NORMALIZE.batch(&chips, INPUT_SIZE, DType::F32, &Device::Cpu).unwrap();
    let stages = net.stages(&xs).unwrap();
    let expected = [
        ("stem", [3, 32, 35, 35]),
        ("conv32", [3, 32, 35, 35]),
        ("conv64", [3, 64, 17, 17]),
        ("conv128", [3, 128, 8, 8]),
        ("conv256", [3, 256, 4, 4]),
        ("conv256_down_out", [3, 256, 2, 2]),
    ];
    assert_eq!(stages.len(), expected.len());
    for (stage, (name, shape)) in stages.iter().zip(expected) {
        assert_eq!(stage.dims(), shape, "{name}");
        let sampled: Vec<f32> = values(stage).into_iter().step_by(STEP).collect();
        let worst = assert_close(name, &sampled, golden.values(name), STAGE);
        println!("{name}: {worst:.2e}");
    }
}

#[test]
fn the_embeddings_agree() {
    let (net, golden) = (network(), golden());
    let embeddings = net.embed(&chips(&golden)).unwrap();
    assert_eq!(golden.shape("embedding"), [3, 128]);
    for (i, (got, want)) in embeddings.iter().zip(golden.values("embedding").chunks_exact(128)).enumerate() {
        let worst = assert_close("embedding", got, want, EMBEDDING);
        let cosine = compare(got, want, EMBEDDING).cosine;
        println!("embedding {i}: {worst:.2e}, cosine {cosine:.9}");
        assert!(cosine >= 0.999_999, "{i}: {cosine}");
    }
}

#[test]
fn a_batch_gives_what_each_chip_gives_alone() {
    let (net, golden) = (network(), golden());
    let chips = chips(&golden);
    let together = net.embed(&chips).unwrap();
    assert_eq!(together.len(), 3);
    for (chip, all) in chips.iter().zip(&together) {
        let alone = net.embed(std::slice::from_ref(chip)).unwrap();
        assert_eq!((alone.len(), alone[0].len()), (1, 128));
        assert_close("alone", &alone[0], all, EMBEDDING);
    }
    assert_eq!(net.embed(&[]).unwrap(), Vec::<Vec<f32>>::new());
}

#[test]
fn a_chip_of_another_size_is_refused() {
    let err = network().embed(&[RgbImage::new(112, 112)]).unwrap_err();
    assert!(matches!(err, ModelError::InputSize { index: 0, width: 112, height: 112, expected: 150 }), "{err}");
}

#[test]
fn the_manifest_counts_the_parameters() {
    let manifest = std::fs::read_to_string(root().join("models-src/dlib-resnet/manifest.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    assert_eq!(manifest["output"]["parameters"].as_integer(), i64::try_from(weights().parameters()).ok());
}

const BLOCK: Tolerance = Tolerance { abs: 1.5e-5, rel: 1e-5 };
const STAGE: Tolerance = Tolerance { abs: 3e-5, rel: 1e-5 };
const EMBEDDING: Tolerance = Tolerance { abs: 1e-6, rel: 1e-5 };
