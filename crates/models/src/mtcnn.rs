//! MTCNN: face detection by a cascade of three small networks, with five landmarks.
//!
//! Paper: <https://arxiv.org/abs/1604.02878>.
//! Reference: <https://github.com/timesler/facenet-pytorch>, release 2.6.0, `models/mtcnn.py` and
//! `models/utils/detect_face.py` (MIT; see `models-src/mtcnn`).
//!
//! In: RGB, `(x - 127.5) / 128`. P-Net slides over an image pyramid and proposes boxes, R-Net refuses most of them,
//! O-Net refuses more and gives the landmarks. Both later networks look at square crops of the photo and move the
//! corners of the box they saw.
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.
//!
//! Two deviations from the reference, neither of which changes a result: P-Net runs over a level in bands of rows
//! (it is a convolution throughout, its cells see 12 rows each), which bounds memory; a candidate that lies outside
//! the image altogether is dropped, where the reference loses the pairing of crops and boxes.

mod cascade;

use candle::{D, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear, ops::softmax};
use facesocial_kernels::Pool;
use facesocial_types::{BBox, Face, LandmarkName, Landmarks, Point};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{self, Conv2d, ConvConfig, Features, FusedConv, Rectifier, conv2d, prelu},
};
use cascade::{Candidate, Corners, Crop, Overlap};

/// Side of R-Net's input.
const RNET_SIZE: usize = 24;
/// Side of O-Net's input.
const ONET_SIZE: usize = 48;
/// Crops that pass through R-Net or O-Net at once.
const CROPS_AT_ONCE: usize = 16;
/// Pixels of a pyramid level that pass through P-Net at once: what it makes of them stays in the third cache.
const BAND_PIXELS: usize = 1 << 17;
/// Memory kept for the next photo: what the bands of the levels take.
const POOL_BYTES: usize = 32 << 20;
/// As [`POOL_BYTES`] for P-Net alone, on a whole level: the first of a photo of 1920 x 1080 takes 86 MB.
const LEVEL_BYTES: usize = 96 << 20;

/// Operating point of the cascade.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Side of the smallest face looked for, in pixels; the cost grows with its inverse square. At least 12, where
    /// P-Net sees the photo at its own size; smaller values are taken as 12.
    pub min_face_size: f32,
    /// Least probability of a face after P-, R- and O-Net, 0..=1.
    pub thresholds: [f32; 3],
    /// Ratio of successive pyramid levels, 0.1..=0.95; others are taken as the nearer end.
    pub factor: f32,
    /// Most boxes that one pyramid level hands to suppression, and most that R-Net sees: the likeliest are taken.
    /// Bounds time and memory on a photo that looks like nothing but faces to P-Net.
    pub max_proposals: usize,
}

impl Default for Config {
    /// The reference's defaults.
    fn default() -> Self {
        Self { min_face_size: 20.0, thresholds: [0.6, 0.7, 0.7], factor: 0.709, max_proposals: 8192 }
    }
}

/// Proposal network: fully convolutional, one cell for each 12 x 12 window at stride 2.
#[derive(Debug, Clone)]
pub struct PNet {
    conv1: FusedConv,
    conv2: FusedConv,
    conv3: FusedConv,
    /// The probabilities' two channels, then the regression's four.
    conv4: FusedConv,
    pool: Pool,
}

impl PNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let head = |name: &str, c_out| conv2d(vb.pp(name), 32, c_out, (1, 1), ConvConfig::default());
        Ok(Self {
            conv1: conv(&vb, 1, 3, 10, 3)?,
            conv2: conv(&vb, 2, 10, 16, 3)?,
            conv3: conv(&vb, 3, 16, 32, 3)?,
            conv4: side_by_side(&head("conv4_1", 2)?, &head("conv4_2", 4)?)?,
            pool: Pool::with_limit(LEVEL_BYTES),
        })
    }

    /// `[n, 3, h, w] -> [n, 32, ceil(h / 2) - 5, ceil(w / 2) - 5]`
    fn body(&self, xs: &Features) -> candle::Result<Features> {
        let xs = self.conv1.forward(xs)?; // [n, 10, h - 2, w - 2]
        let xs = xs.max_pool_ceil(2, 2)?; // [n, 10, ceil(h / 2) - 1, ceil(w / 2) - 1]
        self.conv3.forward(&self.conv2.forward(&xs)?)
    }

    /// Features before the two heads: `[n, 3, h, w] -> [n, 32, ceil(h / 2) - 5, ceil(w / 2) - 5]`
    ///
    /// # Errors
    /// `h` or `w` is below 12.
    pub fn features(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(Features::over(xs, |xs| self.body(xs))?)
    }

    /// `[n, 3, h, w]` to the box regression `[n, 4, ceil(h / 2) - 5, ceil(w / 2) - 5]` and the probabilities of no face
    /// and face, `[n, 2, ..]`.
    ///
    /// # Errors
    /// `h` or `w` is below 12.
    pub fn forward(&self, xs: &Tensor) -> Result<(Tensor, Tensor)> {
        self.run(&Features::new(xs, &self.pool)?)
    }

    fn run(&self, xs: &Features) -> Result<(Tensor, Tensor)> {
        let heads = self.conv4.forward(&self.body(xs)?)?.tensor()?; // [n, 6, ..]
        Ok((heads.narrow(1, 2, 4)?, softmax(&heads.narrow(1, 0, 2)?, 1)?))
    }
}

/// Refinement network.
#[derive(Debug, Clone)]
pub struct RNet {
    conv1: FusedConv,
    conv2: FusedConv,
    conv3: FusedConv,
    dense4: FusedConv,
    dense5_1: Linear,
    dense5_2: Linear,
}

impl RNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            conv1: conv(&vb, 1, 3, 28, 3)?,
            conv2: conv(&vb, 2, 28, 48, 3)?,
            conv3: conv(&vb, 3, 48, 64, 2)?,
            dense4: dense(&vb, 4, 64, 128)?,
            dense5_1: linear(128, 2, vb.pp("dense5_1"))?,
            dense5_2: linear(128, 4, vb.pp("dense5_2"))?,
        })
    }

    /// `[n, 3, 24, 24] -> [n, 128, 1, 1]`
    fn body(&self, xs: &Features) -> candle::Result<Features> {
        let xs = self.conv1.forward(xs)?.max_pool_ceil(3, 2)?; // [n, 28, 11, 11]
        let xs = self.conv2.forward(&xs)?.max_pool_ceil(3, 2)?; // [n, 48, 4, 4]
        let xs = self.conv3.forward(&xs)?; // [n, 64, 3, 3]
        self.dense4.forward(&xs)
    }

    /// Features before the heads: `[n, 3, 24, 24] -> [n, 128]`
    ///
    /// # Errors
    /// Another input shape.
    pub fn features(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(Features::over(xs, |xs| self.body(xs))?.flatten_from(1)?)
    }

    /// `[n, 3, 24, 24]` to the box regression `[n, 4]` and the probabilities of no face and face `[n, 2]`.
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<(Tensor, Tensor)> {
        self.run(&Features::new(xs, &Pool::default())?)
    }

    fn run(&self, xs: &Features) -> Result<(Tensor, Tensor)> {
        let xs = self.body(xs)?.tensor()?.flatten_from(1)?; // [n, 128]
        Ok((self.dense5_2.forward(&xs)?, softmax(&self.dense5_1.forward(&xs)?, D::Minus1)?))
    }
}

/// Output network.
#[derive(Debug, Clone)]
pub struct ONet {
    conv1: FusedConv,
    conv2: FusedConv,
    conv3: FusedConv,
    conv4: FusedConv,
    dense5: FusedConv,
    dense6_1: Linear,
    dense6_2: Linear,
    dense6_3: Linear,
}

impl ONet {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            conv1: conv(&vb, 1, 3, 32, 3)?,
            conv2: conv(&vb, 2, 32, 64, 3)?,
            conv3: conv(&vb, 3, 64, 64, 3)?,
            conv4: conv(&vb, 4, 64, 128, 2)?,
            dense5: dense(&vb, 5, 128, 256)?,
            dense6_1: linear(256, 2, vb.pp("dense6_1"))?,
            dense6_2: linear(256, 4, vb.pp("dense6_2"))?,
            dense6_3: linear(256, 10, vb.pp("dense6_3"))?,
        })
    }

    /// `[n, 3, 48, 48] -> [n, 256, 1, 1]`
    fn body(&self, xs: &Features) -> candle::Result<Features> {
        let xs = self.conv1.forward(xs)?.max_pool_ceil(3, 2)?; // [n, 32, 23, 23]
        let xs = self.conv2.forward(&xs)?.max_pool_ceil(3, 2)?; // [n, 64, 10, 10]
        let xs = self.conv3.forward(&xs)?.max_pool_ceil(2, 2)?; // [n, 64, 4, 4]
        let xs = self.conv4.forward(&xs)?; // [n, 128, 3, 3]
        self.dense5.forward(&xs)
    }

    /// Features before the heads: `[n, 3, 48, 48] -> [n, 256]`
    ///
    /// # Errors
    /// Another input shape.
    pub fn features(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(Features::over(xs, |xs| self.body(xs))?.flatten_from(1)?)
    }

    /// `[n, 3, 48, 48]` to the box regression `[n, 4]`, the landmarks `[n, 10]` (five x, then five y, as parts of the
    /// box) and the probabilities of no face and face `[n, 2]`.
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        self.run(&Features::new(xs, &Pool::default())?)
    }

    fn run(&self, xs: &Features) -> Result<(Tensor, Tensor, Tensor)> {
        let xs = self.body(xs)?.tensor()?.flatten_from(1)?; // [n, 256]
        let probability = softmax(&self.dense6_1.forward(&xs)?, D::Minus1)?;
        Ok((self.dense6_2.forward(&xs)?, self.dense6_3.forward(&xs)?, probability))
    }
}

/// The cascade.
#[derive(Debug, Clone)]
pub struct Mtcnn {
    /// First stage.
    pub pnet: PNet,
    /// Second stage.
    pub rnet: RNet,
    /// Third stage.
    pub onet: ONet,
    device: Device,
    pool: Pool,
}

impl Mtcnn {
    /// Reads the weights of the three networks under `pnet`, `rnet` and `onet`.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            pnet: PNet::load(vb.pp("pnet"))?,
            rnet: RNet::load(vb.pp("rnet"))?,
            onet: ONet::load(vb.pp("onet"))?,
            device: vb.device().clone(),
            pool: Pool::with_limit(POOL_BYTES),
        })
    }

    /// All faces of a photo, likeliest first.
    ///
    /// Boxes are in image pixels and may reach over the edge; their corners are the reference's, which counts the first
    /// pixel as 1, so they lie about half a pixel to the right and below. Landmarks are the centres of the eyes, the
    /// nose tip and the corners of the mouth, from the image's left to its right.
    ///
    /// # Errors
    /// [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn detect(&self, image: &RgbImage, config: &Config) -> Result<Vec<Face>> {
        let proposals = self.propose(image, config)?;
        let refined = self.refine_proposals(image, &proposals, config)?;
        let found: Vec<_> = self.output(image, &refined, config)?.into_iter().flatten().collect();
        let candidates: Vec<_> = found.iter().map(|f| Candidate { corners: f.corners, score: f.score }).collect();
        let kept = cascade::suppress(&candidates, 0.7, Overlap::Min);
        Ok(kept.into_iter().map(|i| found[i].face()).collect())
    }

    /// First stage: P-Net over the pyramid; squares.
    fn propose(&self, image: &RgbImage, config: &Config) -> Result<Vec<Corners>> {
        let (width, height) = image.dimensions();
        let min_face_size = if config.min_face_size > 12.0 { config.min_face_size } else { 12.0 };
        let factor = config.factor.clamp(0.1, 0.95);
        let mut proposals = Vec::new();
        for scale in cascade::scales(width, height, min_face_size, factor) {
            let level = self.propose_level(image, scale, config)?;
            let candidates: Vec<_> = level.iter().map(|(c, _)| *c).collect();
            proposals.extend(cascade::suppress(&candidates, 0.5, Overlap::Union).into_iter().map(|i| level[i]));
        }
        cascade::keep_best(&mut proposals, config.max_proposals, |(c, _)| c.score);
        let candidates: Vec<_> = proposals.iter().map(|(c, _)| *c).collect();
        let kept = cascade::suppress(&candidates, 0.7, Overlap::Union).into_iter().map(|i| proposals[i]);
        Ok(kept.map(|(c, regression)| cascade::square(cascade::regress(c.corners, regression, false))).collect())
    }

    /// Cells of one pyramid level above the threshold, with their regression.
    fn propose_level(&self, image: &RgbImage, scale: f64, config: &Config) -> Result<Vec<(Candidate, [f32; 4])>> {
        let (h, w) = cascade::level_size(image.width(), image.height(), scale);
        let crop = Crop::all(image);
        let cells = h.div_ceil(2).saturating_sub(5);
        // Bands of like height: they take the same memory.
        let bands = cells.div_ceil((BAND_PIXELS / w / 2).max(16)).max(1);
        let cells_at_once = cells.div_ceil(bands).max(1);
        let mut found = Vec::new();
        for first in (0..cells).step_by(cells_at_once) {
            // Cell row y sees the level's rows 2y .. 2y + 12.
            let last = (first + cells_at_once).min(cells) - 1;
            let rows = 2 * first..(2 * last + 12).min(h);
            let (regression, probability) = nn::run(&self.device, || {
                let xs = Features::from_images([1, rows.len(), w, 3], &self.device, &self.pool, |_, band| {
                    cascade::resample(image, &crop, (h, w), rows.clone(), band);
                })?;
                self.pnet.run(&xs)
            })?;
            let columns = probability.dim(3)?;
            let probability = finite(&probability.narrow(1, 1, 1)?)?;
            let regression = finite(&regression)?;
            let plane = probability.len();
            for (cell, &score) in probability.iter().enumerate().filter(|(_, p)| **p >= config.thresholds[0]) {
                let corners = cascade::cell_corners(first + cell / columns, cell % columns, scale);
                let regression = std::array::from_fn(|i| regression[i * plane + cell]);
                found.push((Candidate { corners, score }, regression));
            }
            cascade::keep_best(&mut found, config.max_proposals, |(c, _)| c.score);
        }
        Ok(found)
    }

    /// Second stage: R-Net on the proposals; squares.
    fn refine_proposals(&self, image: &RgbImage, proposals: &[Corners], config: &Config) -> Result<Vec<Corners>> {
        let mut passed = Vec::new();
        for (corners, answer) in proposals.iter().zip(self.rnet_on(image, proposals)?) {
            if let Some((score, regression)) = answer
                && score > config.thresholds[1]
            {
                passed.push((Candidate { corners: *corners, score }, regression));
            }
        }
        let candidates: Vec<_> = passed.iter().map(|(c, _)| *c).collect();
        let kept = cascade::suppress(&candidates, 0.7, Overlap::Union).into_iter().map(|i| passed[i]);
        Ok(kept.map(|(c, regression)| cascade::square(cascade::regress(c.corners, regression, true))).collect())
    }

    /// R-Net's probability and regression of each box; `None` for one outside the image.
    fn rnet_on(&self, image: &RgbImage, boxes: &[Corners]) -> Result<Vec<Option<Judged>>> {
        self.on_crops(image, boxes, RNET_SIZE, |xs| {
            let (regression, probability) = self.rnet.run(xs)?;
            let (regression, probability) = (finite(&regression)?, finite(&probability)?);
            let regression = regression.as_chunks().0.iter();
            Ok(regression.zip(probability.as_chunks::<2>().0).map(|(r, p)| (p[1], *r)).collect())
        })
    }

    /// Third stage: O-Net on squares; `None` where it sees no face.
    fn output(&self, image: &RgbImage, boxes: &[Corners], config: &Config) -> Result<Vec<Option<Found>>> {
        let answers = self.on_crops(image, boxes, ONET_SIZE, |xs| {
            let (regression, points, probability) = self.onet.run(xs)?;
            let (regression, points) = (finite(&regression)?, finite(&points)?);
            let probability = finite(&probability)?;
            let boxes = regression.as_chunks::<4>().0.iter().zip(points.as_chunks::<10>().0);
            Ok(boxes.zip(probability.as_chunks::<2>().0).map(|((r, l), p)| (*r, *l, p[1])).collect())
        })?;
        let answers = answers.into_iter().zip(boxes).map(|(answer, &corners)| {
            let (regression, points, score) =
                answer.filter(|a: &([f32; 4], [f32; 10], f32)| a.2 > config.thresholds[2])?;
            let [x1, y1, x2, y2] = corners;
            let (w, h) = (x2 - x1 + 1.0, y2 - y1 + 1.0);
            // The box's first pixel is 1: `- 1` leads back to coordinates that begin at 0.
            let points = std::array::from_fn(|i| Point::new(w * points[i] + x1 - 1.0, h * points[5 + i] + y1 - 1.0));
            Some(Found { corners: cascade::regress(corners, regression, true), score, points })
        });
        Ok(answers.collect())
    }

    /// Runs a network on the crops under `boxes`, `[n, 3, size, size]` at most [`CROPS_AT_ONCE`] at a time: one answer
    /// for each box, `None` where it lies outside the image.
    fn on_crops<T: Send>(
        &self,
        image: &RgbImage,
        boxes: &[Corners],
        size: usize,
        network: impl Fn(&Features) -> Result<Vec<T>> + Sync,
    ) -> Result<Vec<Option<T>>> {
        let mut answers: Vec<Option<T>> = boxes.iter().map(|_| None).collect();
        let inside: Vec<(usize, Crop)> =
            boxes.iter().enumerate().filter_map(|(i, b)| Some((i, Crop::under(*b, image)?))).collect();
        for chunk in inside.chunks(CROPS_AT_ONCE) {
            let results = nn::run(&self.device, || {
                let shape = [chunk.len(), size, size, 3];
                let xs = Features::from_images(shape, &self.device, &self.pool, |i, out| {
                    cascade::resample(image, &chunk[i].1, (size, size), 0..size, out);
                })?;
                network(&xs)
            })?;
            for ((i, _), result) in chunk.iter().zip(results) {
                answers[*i] = Some(result);
            }
        }
        Ok(answers)
    }

    /// Looks again at boxes that another detector found: one answer for each candidate in the same order, `None` where
    /// O-Net's probability of a face is below its threshold.
    ///
    /// Each candidate is squared, R-Net moves its corners (its own probability decides nothing here), then O-Net
    /// judges, moves them once more and gives the landmarks. Boxes and landmarks are as in [`detect`](Self::detect).
    ///
    /// # Errors
    /// [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn refine(&self, image: &RgbImage, candidates: &[BBox], config: &Config) -> Result<Vec<Option<Face>>> {
        let squares: Vec<Corners> =
            candidates.iter().map(|b| cascade::square([b.x + 1.0, b.y + 1.0, b.right(), b.bottom()])).collect();
        let answers = self.rnet_on(image, &squares)?;
        let moved: Vec<Corners> = squares
            .iter()
            .zip(answers)
            .map(|(corners, answer)| match answer {
                Some((_, regression)) => cascade::square(cascade::regress(*corners, regression, true)),
                None => *corners,
            })
            .collect();
        Ok(self.output(image, &moved, config)?.into_iter().map(|found| found.map(|f| f.face())).collect())
    }
}

/// R-Net's answer: probability of a face and box regression.
type Judged = (f32, [f32; 4]);

/// O-Net's answer.
#[derive(Debug, Clone, Copy)]
struct Found {
    corners: Corners,
    score: f32,
    points: [Point; 5],
}

impl Found {
    fn face(&self) -> Face {
        const NAMES: [LandmarkName; 5] = [
            LandmarkName::LeftEye,
            LandmarkName::RightEye,
            LandmarkName::Nose,
            LandmarkName::MouthLeft,
            LandmarkName::MouthRight,
        ];
        let [x1, y1, x2, y2] = self.corners;
        Face {
            bbox: BBox::from_corners(x1, y1, x2, y2),
            score: self.score,
            landmarks: Landmarks::new(NAMES.into_iter().zip(self.points)),
        }
    }
}

/// The convolution `number`, without padding, and its PReLU.
fn conv(vb: &VarBuilder<'_>, number: usize, c_in: usize, c_out: usize, kernel: usize) -> Result<FusedConv> {
    let conv = conv2d(vb.pp(format!("conv{number}")), c_in, c_out, (kernel, kernel), ConvConfig::default())?;
    Ok(FusedConv::new(conv, Rectifier::PRelu(prelu(vb.pp(format!("prelu{number}")), c_out)?))?)
}

/// The dense layer `number` over a map of 3 x 3, and its PReLU: a convolution of the map's size.
fn dense(vb: &VarBuilder<'_>, number: usize, c_in: usize, c_out: usize) -> Result<FusedConv> {
    let dense = linear(9 * c_in, c_out, vb.pp(format!("dense{number}")))?;
    // Column, row, channel: the order of the Caffe blob from which the dense layers were taken.
    let weight = dense.weight().reshape((c_out, 3, 3, c_in))?.permute((0, 3, 2, 1))?.contiguous()?;
    let conv = Conv2d::new(weight, dense.bias().cloned(), ConvConfig::default());
    Ok(FusedConv::new(conv, Rectifier::PRelu(prelu(vb.pp(format!("prelu{number}")), c_out)?))?)
}

/// Two 1 x 1 convolutions of the same features as one: the channels of `first`, then those of `second`.
fn side_by_side(first: &Conv2d, second: &Conv2d) -> Result<FusedConv> {
    let weight = Tensor::cat(&[first.weight(), second.weight()], 0)?;
    let bias = match (first.bias(), second.bias()) {
        (Some(first), Some(second)) => Some(Tensor::cat(&[first, second], 0)?),
        (None, None) => None,
        _ => return Err(candle::Error::Msg("one of two heads has no bias".into()).into()),
    };
    Ok(FusedConv::new(Conv2d::new(weight, bias, ConvConfig::default()), Rectifier::NONE)?)
}

/// The values in row-major order, if none of them is NaN or infinite.
fn finite(xs: &Tensor) -> Result<Vec<f32>> {
    let values = xs.flatten_all()?.to_dtype(candle::DType::F32)?.to_vec1::<f32>()?;
    if values.iter().all(|v| v.is_finite()) { Ok(values) } else { Err(ModelError::NotFinite("mtcnn")) }
}
