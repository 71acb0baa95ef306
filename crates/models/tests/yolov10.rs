//! Parity of YOLOv10n with an independent PyTorch definition, under seeded weights and with the trained ones.

mod full;

use std::{path::Path, sync::LazyLock};

use candle::{DType, Device, Tensor};
use facesocial_models::{
    ModelError, Weights, YoloV10,
    yolov10::{INPUT_SIZE, LETTERBOX, NORMALIZE},
};
use facesocial_testkit::{
    Golden, Tolerance,
    network::{assert_close, compare},
    seeded,
};
use facesocial_types::Face;
use full::{Precision, Reference, pictures};
use image::{Rgb, RgbImage};

const YOLO: Reference = Reference { name: "yolov10n-face", gain: 0.9, step: 97 };
/// Side of the pictures for the stages; all layers slide.
const SMALL: u32 = 128;
/// Of features and scores: three times the worst difference measured, 3.6e-7.
const TOLERANCE: Tolerance = Tolerance { abs: 1.1e-6, rel: 0.0 };
/// Of corners in pixels, up to 900: three times the worst difference measured, 6.1e-5.
const PIXELS: Tolerance = Tolerance { abs: 2e-4, rel: 0.0 };

static NETWORK: LazyLock<YoloV10> = LazyLock::new(|| load(Precision::F32));

fn load(precision: Precision) -> YoloV10 {
    YOLO.load(precision, |vb| YoloV10::load(vb, 1))
}

fn input(count: usize) -> Tensor {
    NORMALIZE.batch(&pictures(count, SMALL, 8), SMALL, DType::F32, &Device::Cpu).unwrap()
}

/// A row a picture: left, top, right, bottom and the score of every anchor, as in the golden file.
fn rows(network: &YoloV10, xs: &Tensor) -> Vec<Vec<f32>> {
    let (boxes, scores) = network.forward(xs).unwrap();
    Tensor::cat(&[boxes, scores], 1).unwrap().flatten_from(1).unwrap().to_vec2().unwrap()
}

#[test]
fn every_stage_is_the_references() {
    let stages = NETWORK.stages(&input(1)).unwrap();
    let large = NORMALIZE.batch(&pictures(1, INPUT_SIZE, 32), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap();
    let large = Tensor::from_vec(rows(&NETWORK, &large).concat(), (1, 5, 8400), &Device::Cpu).unwrap();
    let names = ["backbone.0", "backbone.1", "backbone.2", "pyramid.0", "pyramid.1", "pyramid.2"];
    let features = stages.backbone.iter().chain(&stages.pyramid);
    let all: Vec<(&str, &Tensor)> = names.into_iter().zip(features).chain([("large", &large)]).collect();
    YOLO.assert_stages(&all, PIXELS);
    for (name, tensor) in &all[..6] {
        let got: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let got: Vec<f32> = got.into_iter().step_by(YOLO.step).collect();
        assert_close(name, &got, YOLO.golden().values(&format!("stage.{name}")), TOLERANCE);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "what was measured goes into the card")]
fn corners_and_scores_are_the_references() {
    let got = rows(&NETWORK, &input(3));
    YOLO.assert_output(&got, PIXELS, 0.999_999);
    let golden = YOLO.golden();
    let anchors = got[0].len() / 5;
    for (row, want) in got.iter().zip(golden.values("output").chunks_exact(got[0].len())) {
        let worst = assert_close("scores", &row[4 * anchors..], &want[4 * anchors..], TOLERANCE);
        println!("scores: worst {worst:.1e}");
    }
}

#[test]
fn half_precision_weights_keep_the_direction() {
    let got = rows(&load(Precision::F16), &input(3));
    YOLO.assert_output(&got, Tolerance { abs: f32::INFINITY, rel: 0.0 }, 0.999);
}

#[test]
fn one_picture_and_three_agree() {
    let together = rows(&NETWORK, &input(3));
    assert!(compare(&together[0], &together[1], Tolerance::BLOCK).outside > 0, "the pictures give the same");
    for (i, row) in together.iter().enumerate() {
        let alone = rows(&NETWORK, &input(3).narrow(0, i, 1).unwrap());
        assert_close("alone and in a batch", &alone[0], row, Tolerance { abs: 1e-4, rel: 1e-6 });
    }
}

fn values(face: &Face) -> [f32; 5] {
    let b = face.bbox;
    [b.x, b.y, b.right(), b.bottom(), face.score]
}

#[test]
fn the_best_boxes_are_the_references() {
    let images = [pictures(1, INPUT_SIZE, 32).remove(0), RgbImage::new(INPUT_SIZE, INPUT_SIZE)];
    let golden = YOLO.golden();
    let found = NETWORK.detect(&images, 0.0, 20).unwrap();
    assert_eq!((found.len(), found[0].len(), found[1].len()), (2, 20, 20));
    for (face, want) in found[0].iter().zip(golden.values("best").chunks_exact(5)) {
        assert_close("best", &values(face), want, PIXELS);
        assert!(face.landmarks.is_empty());
    }

    let worst_of_five = found[0][4].score;
    let five = NETWORK.detect(&images[..1], worst_of_five, 300).unwrap().remove(0);
    assert_eq!(five, found[0][..5]);
    assert_eq!(NETWORK.detect(&images[..1], 1.1, 300).unwrap(), [vec![]]);
    assert!(NETWORK.detect(&[], 0.0, 300).unwrap().is_empty());
}

#[test]
fn shapes_are_the_documented_ones() {
    for n in [1, 3] {
        let (boxes, scores) = NETWORK.forward(&input(n)).unwrap();
        assert_eq!((boxes.dims(), scores.dims()), ([n, 4, 336].as_slice(), [n, 1, 336].as_slice()));
    }
    let (boxes, _) = NETWORK.forward(&Tensor::zeros((1, 3, 64, 96), DType::F32, &Device::Cpu).unwrap()).unwrap();
    assert_eq!(boxes.dims(), [1, 4, 8 * 12 + 4 * 6 + 2 * 3]);
    let images = [RgbImage::new(INPUT_SIZE, INPUT_SIZE), RgbImage::new(640, 480)];
    let error = NETWORK.detect(&images, 0.5, 300).unwrap_err();
    assert!(matches!(error, ModelError::InputSize { index: 1, expected: INPUT_SIZE, .. }), "{error}");
}

/// Published: 2.3 million at inference, that is without the head of training and the fixed bins of the distances.
#[test]
fn parameters_are_the_published_number() {
    let training = |name: &str| ["model.23.cv2.", "model.23.cv3.", "model.23.dfl."].iter().any(|p| name.starts_with(p));
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models/yolov10n-face.keys");
    let size = |(name, shape): (String, Vec<usize>)| training(&name).then(|| shape.iter().product::<usize>());
    let unused: usize =
        seeded::keys(&keys).into_iter().filter(|(name, _)| !name.contains(".running_")).filter_map(size).sum();
    assert_eq!(YOLO.parameters() - unused, 2_276_563);
    assert_eq!(YOLO.parameters(), 2_707_414 + 16);
}

/// Checkpoints without the head of training load too: exports leave it out.
#[test]
fn the_head_of_training_may_be_absent() {
    let network = YOLO.load(Precision::F32, |vb| {
        let full = YoloV10::load(vb.clone(), 1)?;
        let hidden = vb.rename_f(|name| match name {
            name if name.starts_with("model.23.cv") || name.starts_with("model.23.dfl") => format!("?{name}"),
            name => name.to_owned(),
        });
        let bare = YoloV10::load(hidden, 1)?;
        let xs = input(1);
        assert_eq!(rows(&full, &xs), rows(&bare, &xs));
        Ok(bare)
    });
    assert!(network.detect(&[], 0.5, 1).unwrap().is_empty());
}

#[test]
fn the_documents_agree() {
    full::assert_documented("yolov10n-face-akanametov");
}

/// The committed weights.
mod trained {
    use super::*;

    /// Of features, up to 9: three times the worst difference measured, 3.3e-6.
    const STAGES: Tolerance = Tolerance { abs: 1e-5, rel: 0.0 };
    /// Of scores: four times the worst difference measured, 4.8e-7.
    const SCORES: Tolerance = Tolerance { abs: 2e-6, rel: 0.0 };
    /// Of corners in pixels, up to 640: six times the worst difference measured, 3.1e-5.
    const CORNERS: Tolerance = Tolerance { abs: 2e-4, rel: 0.0 };
    /// Of the reference's subsampling.
    const STEP: usize = 997;
    /// From which score the reference kept detections.
    const MIN_SCORE: f32 = 0.1;

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
    }

    fn network() -> YoloV10 {
        let weights = Weights::open(&root().join("weights/yolov10n_face.safetensors"), None).unwrap();
        let network = YoloV10::load(weights.var_builder(DType::F32, &Device::Cpu), 1).unwrap();
        weights.finish().unwrap();
        network
    }

    fn golden() -> Golden {
        Golden::open(&root().join("tests/golden/models/yolov10n-face.trained.safetensors"))
    }

    /// The golden file's part of a photo amid grey.
    fn picture(golden: &Golden) -> RgbImage {
        let &[height, width, _] = golden.shape("input") else { panic!("the input is no picture") };
        let bytes = golden.values("input").iter().map(|v| *v as u8).collect();
        let part = RgbImage::from_raw(width as u32, height as u32, bytes).unwrap();
        let mut picture = RgbImage::from_pixel(INPUT_SIZE, INPUT_SIZE, Rgb([LETTERBOX; 3]));
        let at = |side: usize| i64::from(INPUT_SIZE / 2) - side as i64 / 2;
        image::imageops::replace(&mut picture, &part, at(width), at(height));
        picture
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "what was measured goes into the card")]
    fn stages_scores_and_boxes_are_the_references() {
        let (network, golden) = (network(), golden());
        let picture = picture(&golden);
        let xs = NORMALIZE.batch(std::slice::from_ref(&picture), INPUT_SIZE, DType::F32, &Device::Cpu).unwrap();
        let stages = network.stages(&xs).unwrap();
        let check = |name: &str, got: &Tensor, step: usize, tolerance: Tolerance| {
            let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
            let got: Vec<f32> = got.into_iter().step_by(step).collect();
            println!("{name}: worst {:.1e}", assert_close(name, &got, golden.values(name), tolerance));
        };
        for i in 0..3 {
            check(&format!("stage.backbone.{i}"), &stages.backbone[i], STEP, STAGES);
            check(&format!("stage.pyramid.{i}"), &stages.pyramid[i], STEP, STAGES);
        }
        check("scores", &stages.scores, 7, SCORES);

        let found = network.detect(&[picture], MIN_SCORE, 300).unwrap().remove(0);
        let want: Vec<&[f32]> = golden.values("best").chunks_exact(5).collect();
        assert!(want.len() >= 5, "too few faces to tell: {}", want.len());
        assert_eq!(found.len(), want.len());
        for (i, (face, want)) in found.iter().zip(want).enumerate() {
            let got = values(face);
            let corners = assert_close(&format!("corners of {i}"), &got[..4], &want[..4], CORNERS);
            let score = assert_close(&format!("score of {i}"), &got[4..], &want[4..], SCORES);
            println!("{i}: corners differ by {corners:.1e}, scores by {score:.1e}");
        }
    }

    /// Nothing but the network's own noise on a picture of one colour.
    #[test]
    fn there_is_no_face_on_grey() {
        let grey = RgbImage::from_pixel(INPUT_SIZE, INPUT_SIZE, Rgb([LETTERBOX; 3]));
        assert_eq!(network().detect(&[grey], MIN_SCORE, 300).unwrap(), [vec![]]);
    }
}
