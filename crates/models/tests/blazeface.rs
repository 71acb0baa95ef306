//! Parity of BlazeFace, both ranges, with LiteRT: a block, every stage, the detections of letterboxed photos.

#![expect(clippy::print_stdout, reason = "prints the figures of the model card")]

use std::path::{Path, PathBuf};

use candle::{DType, Device, Module, Tensor};
use facesocial_models::{
    BlazeFace, ModelError, Weights,
    blazeface::{BlazeBlock, Config},
};
use facesocial_testkit::{
    Golden, Tolerance,
    network::{assert_close, tolerance},
};
use facesocial_types::{BBox, LandmarkName};
use image::RgbImage;

const BLOCK: Tolerance = Tolerance { abs: 5e-6, rel: 1e-6 };
const STAGES: Tolerance = Tolerance { abs: 3e-5, rel: 1e-5 };
/// Pixels and logits: of the order of 100.
const OUTPUTS: Tolerance = Tolerance { abs: 2e-4, rel: 1e-5 };
/// Of the reference's subsampling.
const STEP: usize = 97;
const LANDMARKS: [LandmarkName; 6] = [
    LandmarkName::LeftEye,
    LandmarkName::RightEye,
    LandmarkName::Nose,
    LandmarkName::MouthCenter,
    LandmarkName::LeftEar,
    LandmarkName::RightEar,
];

struct Case {
    name: &'static str,
    config: Config,
    min_score: f32,
    anchors: usize,
    parameters: usize,
    /// Key, input channels, channels of the convolutions, stride.
    block: (&'static str, usize, &'static [usize], usize),
}

const CASES: [Case; 2] = [
    Case {
        name: "blazeface-short",
        config: Config::short_range(),
        min_score: 0.5,
        anchors: 896,
        parameters: 101_390,
        block: ("stages.3.0", 88, &[96], 2),
    },
    Case {
        name: "blazeface-full",
        config: Config::full_range(),
        min_score: 0.6,
        anchors: 2304,
        parameters: 514_069,
        block: ("stages.4.3", 384, &[96, 384], 1),
    },
];

impl Case {
    fn weights(&self) -> Weights {
        let path = root().join("weights").join(format!("{}.safetensors", self.name.replace('-', "_")));
        Weights::open(&path, None).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn net(&self) -> BlazeFace {
        let weights = self.weights();
        let net = BlazeFace::load(weights.var_builder(DType::F32, &Device::Cpu), self.config).unwrap();
        weights.finish().unwrap();
        net
    }

    fn golden(&self) -> Golden {
        Golden::open(&root().join("tests/golden/models").join(format!("{}.safetensors", self.name)))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tensor(golden: &Golden, name: &str) -> Tensor {
    Tensor::from_slice(golden.values(name), golden.shape(name), &Device::Cpu).unwrap()
}

/// `[n, 3, s, s]`, normalised.
fn input(golden: &Golden) -> Tensor {
    let pixels = tensor(golden, "input").permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    ((pixels - 127.5).unwrap() / 127.5).unwrap()
}

fn images(golden: &Golden) -> Vec<RgbImage> {
    let side = golden.shape("input")[1] as u32;
    let bytes: Vec<u8> = golden.values("input").iter().map(|v| *v as u8).collect();
    let image = |bytes: &[u8]| RgbImage::from_raw(side, side, bytes.to_vec()).unwrap();
    bytes.chunks_exact((side * side * 3) as usize).map(image).collect()
}

fn values(xs: &Tensor) -> Vec<f32> {
    xs.flatten_all().unwrap().to_vec1().unwrap()
}

/// Shape and every 97th value.
#[track_caller]
fn check(golden: &Golden, name: &str, got: &Tensor, tolerance: Tolerance) {
    let shape: Vec<f32> = got.dims().iter().map(|d| *d as f32).collect();
    assert_eq!(shape, golden.values(&format!("{name}.shape")), "{name}");
    let sample: Vec<f32> = values(got).into_iter().step_by(STEP).collect();
    let worst = assert_close(name, &sample, golden.values(name), tolerance);
    println!("{name}: {worst:.1e}");
}

#[test]
fn a_block_agrees() {
    for case in &CASES {
        let golden = case.golden();
        let (key, c_in, channels, stride) = case.block;
        let vb = case.weights().var_builder(DType::F32, &Device::Cpu).pp(key);
        let got =
            BlazeBlock::load(vb, c_in, channels, stride).unwrap().forward(&tensor(&golden, "block.input")).unwrap();
        assert_eq!(got.dims(), golden.shape("block.output"));
        let worst = assert_close(case.name, &values(&got), golden.values("block.output"), BLOCK);
        println!("{} block: {worst:.1e}", case.name);
    }
}

#[test]
fn every_stage_agrees_on_three_photos() {
    for case in &CASES {
        let (net, golden) = (case.net(), case.golden());
        let xs = input(&golden);
        println!("{}", case.name);
        let stages = net.stages(&xs).unwrap();
        check(&golden, "stem", &stages.stem, STAGES);
        for (i, features) in stages.backbone.iter().enumerate() {
            check(&golden, &format!("backbone.{i}"), features, STAGES);
        }
        for (i, features) in stages.pyramid.iter().enumerate() {
            check(&golden, &format!("pyramid.{i}"), features, STAGES);
        }
        let (regressors, logits) = net.forward(&xs).unwrap();
        assert_eq!((regressors.dims(), logits.dims()), (&[3, case.anchors, 16][..], &[3, case.anchors][..]));
        check(&golden, "regressors", &regressors, OUTPUTS);
        let worst = assert_close("logits", &values(&logits), golden.values("logits"), OUTPUTS);
        println!("logits: {worst:.1e}");
    }
}

#[test]
fn detections_agree_on_three_photos() {
    for case in &CASES {
        let (net, golden) = (case.net(), case.golden());
        let found = net.detect(&images(&golden), case.min_score).unwrap();
        assert_eq!(found.len(), 3);
        for (i, faces) in found.iter().enumerate() {
            let name = format!("detections.{i}");
            assert_eq!(faces.len(), golden.shape(&name)[0], "{} {name}: {faces:?}", case.name);
            let (mut overlap, mut distance, mut score) = (1f32, 0f32, 0f32);
            for (face, want) in faces.iter().zip(golden.values(&name).chunks_exact(17)) {
                overlap = overlap.min(face.bbox.iou(&BBox::from_corners(want[1], want[2], want[3], want[4])));
                score = score.max((face.score - want[0]).abs());
                for (mark, point) in LANDMARKS.iter().zip(want[5..].chunks_exact(2)) {
                    let got = face.landmarks.get(*mark).unwrap();
                    distance = distance.max((got.x - point[0]).abs().max((got.y - point[1]).abs()));
                }
            }
            println!("{} {name}: {} faces, IoU {overlap:.6}, {distance:.1e} px, {score:.1e}", case.name, faces.len());
            // Of boxes as large as the photo, coordinates in pixels, probabilities.
            let close = tolerance(Tolerance { abs: 1e-6, rel: 0.0 }).abs;
            assert!(1.0 - overlap < 10.0 * close && distance < 100.0 * close && score < close);
        }
        assert!(!found[0].is_empty(), "no face in the portrait");
    }
}

#[test]
fn a_batch_gives_what_single_images_give() {
    for case in &CASES {
        let net = case.net();
        let xs = input(&case.golden());
        let (regressors, logits) = net.forward(&xs).unwrap();
        for i in 0..3 {
            let (r, l) = net.forward(&xs.narrow(0, i, 1).unwrap()).unwrap();
            let tolerance = Tolerance { abs: 1e-5, rel: 0.0 };
            assert_close("regressors", &values(&regressors.get(i).unwrap()), &values(&r), tolerance);
            assert_close("logits", &values(&logits.get(i).unwrap()), &values(&l), tolerance);
        }
    }
}

#[test]
fn the_weights_are_those_of_the_manifest() {
    for case in &CASES {
        assert_eq!(case.weights().parameters(), case.parameters, "{}", case.name);
    }
}

#[test]
fn another_size_no_image_and_the_other_weights_are_told_apart() {
    let [short, full] = &CASES;
    let net = short.net();
    assert!(matches!(net.detect(&[RgbImage::new(192, 192)], 0.5), Err(ModelError::InputSize { expected: 128, .. })));
    assert!(net.detect(&[], 0.5).unwrap().is_empty());
    assert!(BlazeFace::load(full.weights().var_builder(DType::F32, &Device::Cpu), short.config).is_err());
}
