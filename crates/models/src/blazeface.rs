//! BlazeFace: single-shot face detection with six landmarks, built for phones.
//!
//! Paper: <https://arxiv.org/abs/1907.05047>.
//! Reference: <https://github.com/google-ai-edge/mediapipe>, `modules/face_detection` (Apache-2.0): the two published
//! TFLite graphs and the calculators that decode them (see `models-src/blazeface-short` and `blazeface-full`).
//!
//! In: RGB, `x / 127.5 - 1`, a photo scaled to fit the square input and padded with black. Two networks of one
//! construction:
//!
//! - short range, 128 x 128: the paper's front-camera network, faces within about 2 m; single blocks, heads at
//!   strides 8 and 16;
//! - full range, 192 x 192: faces within about 5 m; double (bottleneck) blocks, a feature pyramid back up to stride 4
//!   and one head there.
//!
//! Every anchor is a point; its regression gives the box and the landmarks as offsets from it. Axes: `n` batch,
//! `c` channels, `h` rows, `w` columns, `a` anchors.

use candle::{D, DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use facesocial_kernels::{Minimal, Pool};
use facesocial_types::{BBox, Face, LandmarkName, Landmarks, Point};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{self, ChannelOrder, ConvConfig, Features, FusedConv, Normalize, Rectifier, conv2d, separable},
};

/// `x / 127.5 - 1`, RGB.
const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [127.5; 3], std: [127.5; 3] };
/// Regressed numbers of an anchor: box centre and size, then six points.
const COORDINATES: usize = 16;
/// Logits are clipped to this magnitude before the sigmoid.
const LOGIT_CLIP: f32 = 100.0;
/// Boxes that overlap more than this are one face.
const NMS_IOU: f32 = 0.3;
/// The points in the network's order. It names the sides as the person in the photo does, [`LandmarkName`] as the viewer
/// does.
const LANDMARKS: [LandmarkName; 6] = [
    LandmarkName::LeftEye,
    LandmarkName::RightEye,
    LandmarkName::Nose,
    LandmarkName::MouthCenter,
    LandmarkName::LeftEar,
    LandmarkName::RightEar,
];

/// Of a block: the output channels of its separable convolutions, one (the paper's single block) or two (the double block,
/// whose first one projects to few channels).
type Block = &'static [usize];

/// A step up the feature pyramid: channels of the sum, then the blocks over it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    channels: usize,
    blocks: &'static [Block],
}

/// Predictions at one resolution.
#[derive(Debug, Clone, Copy, PartialEq)]
struct HeadConfig {
    /// Input pixels between neighbouring cells; names the weights.
    stride: usize,
    /// Anchors of a cell.
    anchors: usize,
}

/// Which of the two networks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    input_size: u32,
    /// Kernel and channels of the first convolution, stride 2.
    stem: (usize, usize),
    /// Blocks at strides 2, 4, 8, ..; the first block of every stage but the first halves the resolution.
    stages: &'static [&'static [Block]],
    /// Steps from the last stage towards stride 2.
    pyramid: &'static [Step],
    heads: &'static [HeadConfig],
}

impl Config {
    /// Side of the square input in pixels.
    pub const fn input_size(&self) -> u32 {
        self.input_size
    }

    /// Short range, 128 x 128, 896 anchors.
    pub const fn short_range() -> Self {
        Self {
            input_size: 128,
            stem: (5, 24),
            stages: &[
                &[&[24], &[28]],
                &[&[32], &[36], &[42]],
                &[&[48], &[56], &[64], &[72], &[80], &[88]],
                &[&[96], &[96], &[96], &[96], &[96]],
            ],
            pyramid: &[],
            heads: &[HeadConfig { stride: 8, anchors: 2 }, HeadConfig { stride: 16, anchors: 6 }],
        }
    }

    /// Full range, 192 x 192, 2304 anchors.
    pub const fn full_range() -> Self {
        Self {
            input_size: 192,
            stem: (3, 32),
            stages: &[
                &[&[8, 32], &[8, 32]],
                &[&[12, 48], &[12, 48], &[16, 64]],
                &[&[24, 96], &[32, 128], &[32, 128]],
                &[&[36, 144], &[48, 192], &[64, 256]],
                &[&[96, 384], &[96, 384], &[96, 384], &[96, 384]],
            ],
            pyramid: &[
                Step { channels: 96, blocks: &[&[48, 96], &[48, 96]] },
                Step { channels: 64, blocks: &[&[32, 64], &[32, 64]] },
                Step { channels: 48, blocks: &[&[24, 48]] },
            ],
            heads: &[HeadConfig { stride: 4, anchors: 1 }],
        }
    }

    /// Anchor centres in pixels of the input, in the order of the network's outputs: rows of cells, cells of a row,
    /// anchors of a cell.
    fn anchors(&self) -> Vec<Point> {
        let centre = |cell: usize, stride: usize| (cell as f32 + 0.5) * stride as f32;
        let mut anchors = Vec::new();
        for head in self.heads {
            let cells = self.input_size as usize / head.stride;
            for (y, x) in (0..cells).flat_map(|y| (0..cells).map(move |x| (y, x))) {
                let point = Point::new(centre(x, head.stride), centre(y, head.stride));
                anchors.extend(std::iter::repeat_n(point, head.anchors));
            }
        }
        anchors
    }
}

fn pointwise(vb: VarBuilder<'_>, c_in: usize, c_out: usize, rectifier: Rectifier) -> Result<FusedConv> {
    Ok(FusedConv::new(conv2d(vb, c_in, c_out, (1, 1), ConvConfig::default())?, rectifier)?)
}

/// Depthwise 3 x 3, then pointwise; ReLU after that, or after the shortcut.
#[derive(Debug, Clone)]
struct Separable {
    depthwise: FusedConv,
    pointwise: FusedConv,
}

impl Separable {
    fn load(vb: VarBuilder<'_>, c_in: usize, c_out: usize, stride: usize, shortcut: bool) -> Result<Self> {
        let config = ConvConfig::default().stride(stride).same().groups(c_in);
        let depthwise = conv2d(vb.pp("depthwise"), c_in, c_in, (3, 3), config)?;
        let pointwise = conv2d(vb.pp("pointwise"), c_in, c_out, (1, 1), ConvConfig::default())?;
        let (relu, none) = (Rectifier::RELU, Rectifier::NONE);
        let (rectifier, then) = if shortcut { (none, relu) } else { (relu, none) };
        Ok(Self {
            depthwise: FusedConv::new(depthwise, Rectifier::NONE)?,
            pointwise: FusedConv::with(pointwise, rectifier, then, Minimal::Auto)?,
        })
    }

    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn run(&self, xs: &Features, shortcut: Option<&Features>) -> candle::Result<Features> {
        separable(&self.depthwise, &self.pointwise, xs, shortcut)
    }
}

/// Residual unit: one or two separable convolutions, ReLU between and after the sum.
#[derive(Debug, Clone)]
pub struct BlazeBlock {
    convs: Vec<Separable>,
    stride: usize,
    /// Whether the shortcut has fewer channels than the sum; it gets zeros instead of a projection.
    widens: bool,
}

impl BlazeBlock {
    /// Reads the weights; `channels` are those after each convolution, none fewer at the end than `c_in`.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, c_in: usize, channels: &[usize], stride: usize) -> Result<Self> {
        let mut convs = Vec::with_capacity(channels.len());
        let mut c_last = c_in;
        for (i, &c_out) in channels.iter().enumerate() {
            let stride = if i == 0 { stride } else { 1 };
            let last = i + 1 == channels.len();
            convs.push(Separable::load(vb.pp(format!("convs.{i}")), c_last, c_out, stride, last)?);
            c_last = c_out;
        }
        Ok(Self { convs, stride, widens: c_last > c_in })
    }

    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        let Some((last, before)) = self.convs.split_last() else { candle::bail!("a block without convolutions") };
        let mut inside = None;
        for conv in before {
            inside = Some(conv.run(inside.as_ref().unwrap_or(xs), None)?);
        }
        let (inside, plain) = (inside.as_ref().unwrap_or(xs), self.stride == 1 && !self.widens);
        let ys = last.run(inside, plain.then_some(xs))?;
        if plain {
            return Ok(ys);
        }
        if self.stride == 1 { xs.add(&ys, true) } else { xs.max_pool(self.stride, self.stride)?.add(&ys, true) }
    }
}

impl Module for BlazeBlock {
    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        Features::over(xs, |xs| self.run(xs))
    }
}

/// Adds the coarser features, enlarged, to the finer ones of the backbone.
#[derive(Debug, Clone)]
struct PyramidStep {
    coarse: FusedConv,
    fine: FusedConv,
    blocks: Vec<BlazeBlock>,
}

impl PyramidStep {
    fn load(vb: VarBuilder<'_>, c_coarse: usize, c_fine: usize, step: Step) -> Result<Self> {
        let Step { channels, blocks } = step;
        let project = |name: &str, c_in| pointwise(vb.pp(name), c_in, channels, Rectifier::RELU);
        let load = |(i, block): (usize, &Block)| BlazeBlock::load(vb.pp(format!("blocks.{i}")), channels, block, 1);
        Ok(Self {
            coarse: project("coarse", c_coarse)?,
            fine: project("fine", c_fine)?,
            blocks: blocks.iter().enumerate().map(load).collect::<Result<_>>()?,
        })
    }

    /// `[n, c_coarse, h, w]`, `[n, c_fine, 2h, 2w] -> [n, channels, 2h, 2w]`
    fn run(&self, coarse: &Features, fine: &Features) -> candle::Result<Features> {
        let [_, _, h, w] = fine.dims()?;
        let coarse = self.coarse.forward(coarse)?.bilinear(h, w)?;
        let sum = self.fine.forward_add(fine, &coarse)?;
        self.blocks.iter().try_fold(sum, |xs, block| block.run(&xs))
    }
}

/// Logits and regressions of one resolution.
#[derive(Debug, Clone)]
struct Head {
    stride: usize,
    classifier: FusedConv,
    regressor: FusedConv,
}

impl Head {
    fn load(vb: &VarBuilder<'_>, c_in: usize, config: HeadConfig) -> Result<Self> {
        let HeadConfig { stride, anchors } = config;
        let conv = |name: &str, c_out| pointwise(vb.pp(format!("{name}_{stride}")), c_in, c_out, Rectifier::NONE);
        Ok(Self {
            stride,
            classifier: conv("classifier", anchors)?,
            regressor: conv("regressor", anchors * COORDINATES)?,
        })
    }

    /// `[n, c_in, h, w]` to `[n, a, 16]` and `[n, a]`.
    fn run(&self, xs: &Features) -> candle::Result<(Tensor, Tensor)> {
        let [n, ..] = xs.dims()?;
        let regressors = self.regressor.forward(xs)?.pixels()?.reshape((n, (), COORDINATES))?;
        let logits = self.classifier.forward(xs)?.pixels()?.reshape((n, ()))?;
        Ok((regressors, logits))
    }
}

/// The features before the heads.
struct Backbone {
    stem: Features,
    stages: Vec<Features>,
    pyramid: Vec<Features>,
}

/// What the network computes on the way, for comparison with the reference.
#[derive(Debug)]
pub struct Stages {
    /// After the first convolution, stride 2.
    pub stem: Tensor,
    /// The last features of the backbone at strides 2, 4, 8, ..
    pub backbone: Vec<Tensor>,
    /// After the steps of the feature pyramid, coarse to fine.
    pub pyramid: Vec<Tensor>,
}

/// The network.
#[derive(Debug, Clone)]
pub struct BlazeFace {
    config: Config,
    anchors: Vec<Point>,
    device: Device,
    dtype: DType,
    pool: Pool,
    stem: FusedConv,
    stages: Vec<Vec<BlazeBlock>>,
    pyramid: Vec<PyramidStep>,
    heads: Vec<Head>,
}

impl BlazeFace {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape: the file is not that of `config`.
    pub fn load(vb: VarBuilder<'_>, config: Config) -> Result<Self> {
        let (kernel, mut channels) = config.stem;
        let stem = conv2d(vb.pp("stem"), 3, channels, (kernel, kernel), ConvConfig::default().stride(2).same())?;

        let mut stages = Vec::with_capacity(config.stages.len());
        let mut stage_channels = Vec::with_capacity(config.stages.len());
        for (s, blocks) in config.stages.iter().enumerate() {
            let mut stage = Vec::with_capacity(blocks.len());
            for (b, block) in blocks.iter().enumerate() {
                let stride = if s > 0 && b == 0 { 2 } else { 1 };
                stage.push(BlazeBlock::load(vb.pp(format!("stages.{s}.{b}")), channels, block, stride)?);
                channels = *block.last().unwrap_or(&channels);
            }
            stages.push(stage);
            stage_channels.push(channels);
        }

        let mut pyramid = Vec::with_capacity(config.pyramid.len());
        for (i, (&step, &c_fine)) in config.pyramid.iter().zip(stage_channels.iter().rev().skip(1)).enumerate() {
            pyramid.push(PyramidStep::load(vb.pp(format!("pyramid.{i}")), channels, c_fine, step)?);
            channels = step.channels;
        }

        let mut heads = Vec::with_capacity(config.heads.len());
        for &head in config.heads {
            let c_in = if pyramid.is_empty() { stage_channels[stage_index(head.stride)] } else { channels };
            heads.push(Head::load(&vb, c_in, head)?);
        }
        Ok(Self {
            anchors: config.anchors(),
            device: vb.device().clone(),
            dtype: vb.dtype(),
            pool: Pool::default(),
            config,
            stem: FusedConv::new(stem, Rectifier::RELU)?,
            stages,
            pyramid,
            heads,
        })
    }

    /// Side of the square input in pixels.
    pub const fn input_size(&self) -> u32 {
        self.config.input_size
    }

    fn backbone(&self, xs: &Features) -> candle::Result<Backbone> {
        let stem = self.stem.forward(xs)?; // [n, c, s / 2, s / 2]
        let mut stages: Vec<Features> = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let mut inside = None;
            for block in stage {
                inside = Some(block.run(inside.as_ref().or(stages.last()).unwrap_or(&stem))?);
            }
            stages.extend(inside); // [n, c, h / 2, w / 2]
        }
        let mut pyramid: Vec<Features> = Vec::with_capacity(self.pyramid.len());
        for (step, fine) in self.pyramid.iter().zip(stages.iter().rev().skip(1)) {
            let coarse = pyramid.last().or(stages.last()).unwrap_or(&stem);
            pyramid.push(step.run(coarse, fine)?);
        }
        Ok(Backbone { stem, stages, pyramid })
    }

    /// The features before the heads, for `xs` of `[n, 3, s, s]`.
    ///
    /// # Errors
    /// Another shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Stages> {
        let Backbone { stem, stages, pyramid } = self.backbone(&Features::new(xs, &self.pool)?)?;
        let tensors = |all: &[Features]| all.iter().map(Features::tensor).collect::<candle::Result<Vec<_>>>();
        Ok(Stages { stem: stem.tensor()?, backbone: tensors(&stages)?, pyramid: tensors(&pyramid)? })
    }

    /// Regressions `[n, a, 16]` (in input pixels, relative to the anchor) and logits `[n, a]` for `xs` of
    /// `[n, 3, s, s]`, normalised.
    ///
    /// # Errors
    /// Another shape.
    pub fn forward(&self, xs: &Tensor) -> Result<(Tensor, Tensor)> {
        self.run(&Features::new(xs, &self.pool)?)
    }

    fn run(&self, xs: &Features) -> Result<(Tensor, Tensor)> {
        let outputs = nn::by_image(&self.device, xs, |xs| {
            let Backbone { stages, pyramid, .. } = self.backbone(xs)?;
            // The pyramid ends at the stride of the only head.
            let features = |stride| pyramid.last().unwrap_or(&stages[stage_index(stride)]);
            let outputs = self.heads.iter().map(|head| head.run(features(head.stride)));
            let (regressors, logits): (Vec<_>, Vec<_>) =
                outputs.collect::<candle::Result<Vec<_>>>()?.into_iter().unzip();
            Ok((Tensor::cat(&regressors, 1)?, Tensor::cat(&logits, 1)?))
        })?;
        let (regressors, logits): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
        Ok((Tensor::cat(&regressors, 0)?, Tensor::cat(&logits, 0)?))
    }

    /// The faces of each image that score at least `min_score`, best first, in pixels of the input.
    ///
    /// `images` are of the network's size, letterboxed: the photo scaled to fit, the rest black. The reference's
    /// `min_score` is 0.5 for short range, 0.6 for full range. Boxes and points may lie outside the image. A face spans
    /// from above the eyebrows to the chin.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], or [`ModelError::NotFinite`] if the network's output is not finite.
    pub fn detect(&self, images: &[RgbImage], min_score: f32) -> Result<Vec<Vec<Face>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let xs = NORMALIZE.features(images, self.config.input_size, self.dtype, &self.device, &self.pool)?;
        let (regressors, logits) = self.run(&xs)?;
        let regressors = regressors.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
        let mut found = Vec::with_capacity(images.len());
        for (i, logits) in logits.iter().enumerate() {
            let regressors = regressors.get(i)?.flatten(D::Minus2, D::Minus1)?.to_vec1::<f32>()?; // [a * 16]
            if !logits.iter().chain(&regressors).all(|v| v.is_finite()) {
                return Err(ModelError::NotFinite("BlazeFace"));
            }
            let candidates = decode(&self.anchors, &regressors, logits, min_score);
            found.push(weighted_nms(candidates, NMS_IOU));
        }
        Ok(found)
    }
}

/// Position of the stage with the given stride: 2, 4, 8, ..
const fn stage_index(stride: usize) -> usize {
    stride.trailing_zeros() as usize - 1
}

/// The anchors that score at least `min_score`, as faces; boxes of negative size are dropped.
fn decode(anchors: &[Point], regressors: &[f32], logits: &[f32], min_score: f32) -> Vec<Face> {
    let mut faces = Vec::new();
    for ((anchor, regressor), logit) in anchors.iter().zip(regressors.chunks_exact(COORDINATES)).zip(logits) {
        let score = 1.0 / (1.0 + (-logit.clamp(-LOGIT_CLIP, LOGIT_CLIP)).exp());
        let (width, height) = (regressor[2], regressor[3]);
        if score < min_score || width < 0.0 || height < 0.0 {
            continue;
        }
        let (x, y) = (regressor[0] + anchor.x - width / 2.0, regressor[1] + anchor.y - height / 2.0);
        let points = regressor[4..].chunks_exact(2).map(|p| Point::new(p[0] + anchor.x, p[1] + anchor.y));
        faces.push(Face {
            bbox: BBox::new(x, y, width, height),
            score,
            landmarks: Landmarks::new(LANDMARKS.into_iter().zip(points)),
        });
    }
    faces
}

/// Weighted non-maximum suppression, best face first.
///
/// The best remaining face and all that overlap it by more than `iou` become one: box and landmarks are their means with
/// the scores as weights, the score is the best one's. All faces carry the same landmarks in the same order.
pub fn weighted_nms(mut faces: Vec<Face>, iou: f32) -> Vec<Face> {
    faces.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut merged = Vec::new();
    while !faces.is_empty() {
        let best = faces.remove(0);
        let (mut cluster, rest): (Vec<Face>, Vec<Face>) =
            faces.into_iter().partition(|face| best.bbox.iou(&face.bbox) > iou);
        faces = rest;
        merged.push(if cluster.is_empty() {
            best
        } else {
            cluster.insert(0, best);
            mean(&cluster)
        });
    }
    merged
}

/// The mean of faces weighted by score, with the score of the first.
fn mean(faces: &[Face]) -> Face {
    let some = faces.iter().map(|face| face.score).sum::<f32>() > 0.0;
    // Scores that are all nothing weigh alike: divided by their sum, nothing would be a number.
    let weight = |face: &Face| if some { face.score } else { 1.0 };
    let total: f32 = faces.iter().map(weight).sum();
    let mean = |value: &dyn Fn(&Face) -> f32| faces.iter().map(|face| value(face) * weight(face)).sum::<f32>() / total;
    let (x1, y1) = (mean(&|f| f.bbox.x), mean(&|f| f.bbox.y));
    let (x2, y2) = (mean(&|f| f.bbox.right()), mean(&|f| f.bbox.bottom()));
    let points = faces[0].landmarks.iter().map(|mark| {
        let at = |face: &Face| face.landmarks.get(mark.name).unwrap_or(mark.point);
        (mark.name, Point::new(mean(&|f| at(f).x), mean(&|f| at(f).y)))
    });
    Face { bbox: BBox::from_corners(x1, y1, x2, y2), score: faces[0].score, landmarks: Landmarks::new(points) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, score: f32) -> Face {
        let landmarks = Landmarks::new([(LandmarkName::Nose, Point::new(x + 5.0, 5.0))]);
        Face { bbox: BBox::new(x, 0.0, 10.0, 10.0), score, landmarks }
    }

    #[test]
    fn anchors_are_cell_centres_in_output_order() {
        let short = Config::short_range().anchors();
        assert_eq!(short.len(), 896);
        assert_eq!(short[..3], [Point::new(4.0, 4.0), Point::new(4.0, 4.0), Point::new(12.0, 4.0)]);
        assert_eq!((short[512], short[895]), (Point::new(8.0, 8.0), Point::new(120.0, 120.0)));
        let full = Config::full_range().anchors();
        assert_eq!((full.len(), full[48]), (2304, Point::new(2.0, 6.0)));
    }

    #[test]
    fn a_cluster_becomes_the_mean_weighted_by_score() {
        let merged = weighted_nms(vec![face(40.0, 0.7), face(2.0, 0.3), face(0.0, 0.9)], 0.3);
        assert_eq!(merged.len(), 2);
        assert_eq!((merged[0].score, merged[1].clone()), (0.9, face(40.0, 0.7)));
        assert!((merged[0].bbox.x - 0.5).abs() < 1e-5, "{:?}", merged[0]);
        assert!((merged[0].bbox.width - 10.0).abs() < 1e-5);
        assert!((merged[0].landmarks.get(LandmarkName::Nose).unwrap().x - 5.5).abs() < 1e-5);
    }

    #[test]
    fn a_cluster_of_scores_that_are_nothing_is_still_somewhere() {
        let [merged] = &weighted_nms(vec![face(0.0, 0.0), face(2.0, 0.0)], 0.3)[..] else { panic!("not one face") };
        assert_eq!((merged.score, merged.bbox.x, merged.bbox.width), (0.0, 1.0, 10.0));
        assert_eq!(merged.landmarks.get(LandmarkName::Nose).unwrap().x, 6.0);
    }

    #[test]
    fn suppression_ends_with_nan_and_with_empty_boxes() {
        let point = Face { bbox: BBox::new(1.0, 1.0, 0.0, 0.0), ..face(0.0, 0.5) };
        assert_eq!(weighted_nms(vec![point.clone(), point, face(0.0, f32::NAN)], 0.3).len(), 3);
        assert!(weighted_nms(Vec::new(), 0.3).is_empty());
    }

    #[test]
    fn decoding_adds_the_anchor_and_drops_what_scores_low_or_has_no_size() {
        let anchors = [Point::new(10.0, 20.0); 3];
        let mut regressors = [0f32; 3 * COORDINATES];
        for r in regressors.chunks_exact_mut(COORDINATES) {
            r[..6].copy_from_slice(&[1.0, 2.0, 8.0, 6.0, -3.0, -4.0]);
        }
        regressors[2 * COORDINATES + 2] = -8.0;
        let faces = decode(&anchors, &regressors, &[200.0, -0.1, 3.0], 0.5);
        assert_eq!(faces.len(), 1);
        assert_eq!((faces[0].bbox, faces[0].score), (BBox::new(7.0, 19.0, 8.0, 6.0), 1.0));
        assert_eq!(faces[0].landmarks.get(LandmarkName::LeftEye), Some(Point::new(7.0, 16.0)));
    }
}
