//! YOLOv10: single-shot detection that needs no suppression of overlapping boxes.
//!
//! Paper: <https://arxiv.org/abs/2405.14458>.
//! Reference: <https://github.com/THU-MIG/yolov10>, whose licence (AGPL-3.0) keeps its code out of here: this is written
//! from the paper and its figures, with the keys of the reference's state dict so that its checkpoints load (see
//! `models-src/yolov10n-face`).
//!
//! In: a photo letterboxed to 640 x 640 with grey 114, RGB, `x / 255`. Out: boxes with scores, no landmarks.
//!
//! Training has two heads: one that may answer with many boxes for an object, one that must answer with one. Only the
//! second is used here, and its best answers are taken as they are. Each side of a box is a distribution over 16 distances
//! in cells, whose mean counts (distribution focal loss, <https://arxiv.org/abs/2006.04388>).
//!
//! No deviation in the result: batch norms are folded into the convolution before them, and the two depthwise kernels of
//! [`RepVggDw`] are added into one. Axes: `n` batch, `c` channels, `h` rows, `w` columns, `a` anchors.

use candle::{D, DType, Device, Module, Tensor};
use candle_nn::{
    VarBuilder,
    ops::{sigmoid, silu, softmax},
};
use facesocial_types::{BBox, Face, Landmarks};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{ChannelOrder, Conv2d, ConvConfig, Normalize, Padding, conv2d, conv2d_bn},
};

/// Side of the input in pixels.
pub const INPUT_SIZE: u32 = 640;
/// Grey value around the letterboxed photo.
pub const LETTERBOX: u8 = 114;
/// `x / 255`, RGB.
pub const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [0.0; 3], std: [255.0; 3] };

/// Added to the variance of every batch norm; the reference sets it so, PyTorch's own is 1e-5.
const BN_EPS: f64 = 1e-3;
/// Pixels between neighbouring cells, level by level.
const STRIDES: [usize; 3] = [8, 16, 32];
/// Bins of the distribution of a side's distance.
const BINS: usize = 16;
/// Channels of the head's box branch.
const BOX_CHANNELS: usize = 64;
/// Channels of the n scale after strides 4, 8, 16 and 32.
const WIDTHS: [usize; 4] = [32, 64, 128, 256];
/// Channels of an attention head.
const HEAD_CHANNELS: usize = 64;

/// Convolution, batch norm and, but for a few, SiLU.
#[derive(Debug, Clone)]
struct Conv {
    conv: Conv2d,
    activated: bool,
}

impl Conv {
    /// Padded so that stride 1 keeps the size.
    fn load(vb: VarBuilder<'_>, c_in: usize, c_out: usize, kernel: usize, config: ConvConfig) -> Result<Self> {
        let config = config.padding(Padding::all(kernel / 2));
        let conv = conv2d_bn(vb.pp("conv"), vb.pp("bn"), (c_in, c_out), (kernel, kernel), config, BN_EPS)?;
        Ok(Self { conv, activated: true })
    }

    fn pointwise(vb: VarBuilder<'_>, c_in: usize, c_out: usize) -> Result<Self> {
        Self::load(vb, c_in, c_out, 1, ConvConfig::default())
    }

    fn depthwise(vb: VarBuilder<'_>, channels: usize, kernel: usize, stride: usize) -> Result<Self> {
        Self::load(vb, channels, channels, kernel, ConvConfig::default().stride(stride).groups(channels))
    }

    fn linear(self) -> Self {
        Self { activated: false, ..self }
    }
}

impl Module for Conv {
    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        let ys = self.conv.forward(xs)?;
        if self.activated { silu(&ys) } else { Ok(ys) }
    }
}

/// A chain of layers.
#[derive(Debug, Clone)]
struct Chain<T>(Vec<T>);

impl<T: Module> Module for Chain<T> {
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        self.0.iter().try_fold(xs.clone(), |xs, layer| layer.forward(&xs))
    }
}

/// Depthwise 7 x 7 and 3 x 3 side by side, summed, then SiLU; one 7 x 7 at inference.
#[derive(Debug, Clone)]
pub struct RepVggDw(Conv2d);

impl RepVggDw {
    /// Reads both kernels, or the 7 x 7 alone where the checkpoint has them merged already.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, channels: usize) -> Result<Self> {
        let config = ConvConfig::default().padding(Padding::all(3)).groups(channels);
        if !vb.contains_tensor("conv.conv.weight") {
            return Ok(Self(conv2d(vb.pp("conv"), channels, channels, (7, 7), config)?));
        }
        let large = Conv::depthwise(vb.pp("conv"), channels, 7, 1)?.conv;
        let small = Conv::depthwise(vb.pp("conv1"), channels, 3, 1)?.conv;
        let small_kernel = small.weight().pad_with_zeros(2, 2, 2)?.pad_with_zeros(3, 2, 2)?;
        let bias = match (large.bias(), small.bias()) {
            (Some(a), Some(b)) => Some((a + b)?),
            (a, b) => a.or(b).cloned(),
        };
        Ok(Self(Conv2d::new((large.weight() + small_kernel)?, bias, config)))
    }
}

impl Module for RepVggDw {
    /// `[n, c, h, w] -> [n, c, h, w]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        silu(&self.0.forward(xs)?)
    }
}

/// What repeats inside of a [`C2f`].
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a network has eight of them")]
enum Block {
    /// Two 3 x 3 convolutions.
    Bottleneck([Conv; 2]),
    /// CIB, compact inverted block: depthwise, pointwise, large depthwise, pointwise, depthwise.
    Compact { widen: [Conv; 2], large: RepVggDw, narrow: [Conv; 2] },
}

impl Block {
    fn bottleneck(vb: VarBuilder<'_>, channels: usize) -> Result<Self> {
        let conv = |name| Conv::load(vb.pp(name), channels, channels, 3, ConvConfig::default());
        Ok(Self::Bottleneck([conv("cv1")?, conv("cv2")?]))
    }

    fn compact(vb: VarBuilder<'_>, channels: usize) -> Result<Self> {
        let vb = vb.pp("cv1");
        Ok(Self::Compact {
            widen: [Conv::depthwise(vb.pp(0), channels, 3, 1)?, Conv::pointwise(vb.pp(1), channels, 2 * channels)?],
            large: RepVggDw::load(vb.pp(2), 2 * channels)?,
            narrow: [Conv::pointwise(vb.pp(3), 2 * channels, channels)?, Conv::depthwise(vb.pp(4), channels, 3, 1)?],
        })
    }
}

impl Module for Block {
    /// `[n, c, h, w] -> [n, c, h, w]`, without the shortcut.
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        match self {
            Self::Bottleneck([first, second]) => second.forward(&first.forward(xs)?),
            Self::Compact { widen, large, narrow } => {
                let xs = widen[1].forward(&widen[0].forward(xs)?)?;
                narrow[1].forward(&narrow[0].forward(&large.forward(&xs)?)?)
            }
        }
    }
}

/// Cross-stage unit: one half of the channels passes by, the other through blocks; all that came out on the way is
/// gathered.
#[derive(Debug, Clone)]
pub struct C2f {
    cv1: Conv,
    blocks: Vec<Block>,
    cv2: Conv,
    shortcut: bool,
}

impl C2f {
    fn load(
        vb: VarBuilder<'_>,
        c_in: usize,
        c_out: usize,
        count: usize,
        shortcut: bool,
        compact: bool,
    ) -> Result<Self> {
        let half = c_out / 2;
        let block = |i: usize| {
            let vb = vb.pp("m").pp(i);
            if compact { Block::compact(vb, half) } else { Block::bottleneck(vb, half) }
        };
        Ok(Self {
            cv1: Conv::pointwise(vb.pp("cv1"), c_in, 2 * half)?,
            blocks: (0..count).map(block).collect::<Result<_>>()?,
            cv2: Conv::pointwise(vb.pp("cv2"), (2 + count) * half, c_out)?,
            shortcut,
        })
    }
}

impl Module for C2f {
    /// `[n, c_in, h, w] -> [n, c_out, h, w]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        let mut parts = self.cv1.forward(xs)?.chunk(2, 1)?;
        for block in &self.blocks {
            let input = &parts[parts.len() - 1];
            let ys = block.forward(input)?;
            parts.push(if self.shortcut { (input + ys)? } else { ys });
        }
        self.cv2.forward(&Tensor::cat(&parts, 1)?)
    }
}

/// Spatial and channel steps apart: pointwise to other channels, then a depthwise convolution with stride 2.
#[derive(Debug, Clone)]
struct ScDown {
    cv1: Conv,
    cv2: Conv,
}

impl ScDown {
    fn load(vb: VarBuilder<'_>, c_in: usize, c_out: usize) -> Result<Self> {
        Ok(Self {
            cv1: Conv::pointwise(vb.pp("cv1"), c_in, c_out)?,
            cv2: Conv::depthwise(vb.pp("cv2"), c_out, 3, 2)?.linear(),
        })
    }
}

impl Module for ScDown {
    /// `[n, c_in, h, w] -> [n, c_out, h / 2, w / 2]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        self.cv2.forward(&self.cv1.forward(xs)?)
    }
}

/// Spatial pyramid pooling: maxima over windows of 5, 9 and 13, each pooled from the one before.
#[derive(Debug, Clone)]
struct Sppf {
    cv1: Conv,
    cv2: Conv,
}

impl Sppf {
    fn load(vb: VarBuilder<'_>, channels: usize) -> Result<Self> {
        Ok(Self {
            cv1: Conv::pointwise(vb.pp("cv1"), channels, channels / 2)?,
            cv2: Conv::pointwise(vb.pp("cv2"), 2 * channels, channels)?,
        })
    }
}

impl Module for Sppf {
    /// `[n, c, h, w] -> [n, c, h, w]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        let mut parts = vec![self.cv1.forward(xs)?];
        for i in 0..3 {
            // A repeated edge adds no new value to a window, so its maximum stays that of what lies inside.
            let padded = parts[i].pad_with_same(2, 2, 2)?.pad_with_same(3, 2, 2)?;
            parts.push(padded.max_pool2d_with_stride(5, 1)?);
        }
        self.cv2.forward(&Tensor::cat(&parts, 1)?)
    }
}

/// Partial self-attention: one half of the channels passes by, the other through attention and a small network.
#[derive(Debug, Clone)]
pub struct Psa {
    half: usize,
    cv1: Conv,
    cv2: Conv,
    qkv: Conv,
    proj: Conv,
    /// Takes the place of a position encoding.
    pe: Conv,
    ffn: [Conv; 2],
}

impl Psa {
    /// Reads the weights; half of the channels is a multiple of 64, the size of an attention head.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, channels: usize) -> Result<Self> {
        let half = channels / 2;
        let (attn, ffn) = (vb.pp("attn"), vb.pp("ffn"));
        // Keys and queries are half as long as values.
        Ok(Self {
            half,
            cv1: Conv::pointwise(vb.pp("cv1"), channels, 2 * half)?,
            cv2: Conv::pointwise(vb.pp("cv2"), 2 * half, channels)?,
            qkv: Conv::pointwise(attn.pp("qkv"), half, 2 * half)?.linear(),
            proj: Conv::pointwise(attn.pp("proj"), half, half)?.linear(),
            pe: Conv::depthwise(attn.pp("pe"), half, 3, 1)?.linear(),
            ffn: [Conv::pointwise(ffn.pp(0), half, 2 * half)?, Conv::pointwise(ffn.pp(1), 2 * half, half)?.linear()],
        })
    }

    /// `[n, half, h, w] -> [n, half, h, w]`
    fn attention(&self, xs: &Tensor) -> candle::Result<Tensor> {
        let (n, c, h, w) = xs.dims4()?;
        let (heads, key) = (self.half / HEAD_CHANNELS, HEAD_CHANNELS / 2);
        let qkv = self.qkv.forward(xs)?.reshape((n, heads, 2 * key + HEAD_CHANNELS, h * w))?;
        let q = qkv.narrow(2, 0, key)?.transpose(2, 3)?.contiguous()?; // [n, heads, h*w, key]
        let k = qkv.narrow(2, key, key)?.contiguous()?; // [n, heads, key, h*w]
        let v = qkv.narrow(2, 2 * key, HEAD_CHANNELS)?.contiguous()?; // [n, heads, 64, h*w]
        let weights = softmax(&(q.matmul(&k)? * (key as f64).powf(-0.5))?, D::Minus1)?; // [n, heads, h*w, h*w]
        let ys = v.matmul(&weights.transpose(2, 3)?.contiguous()?)?.reshape((n, c, h, w))?;
        self.proj.forward(&(ys + self.pe.forward(&v.reshape((n, c, h, w))?)?)?)
    }
}

impl Module for Psa {
    /// `[n, c, h, w] -> [n, c, h, w]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        let parts = self.cv1.forward(xs)?.chunk(2, 1)?;
        let ys = (&parts[1] + self.attention(&parts[1])?)?;
        let ys = (&ys + self.ffn[1].forward(&self.ffn[0].forward(&ys)?)?)?;
        self.cv2.forward(&Tensor::cat(&[&parts[0], &ys], 1)?)
    }
}

/// Predictions at one resolution: a branch for the box, a lighter one for the classes.
#[derive(Debug, Clone)]
struct HeadLevel {
    bbox: Chain<Conv>,
    bbox_last: Conv2d,
    class: Chain<Conv>,
    class_last: Conv2d,
}

impl HeadLevel {
    fn load(bbox: VarBuilder<'_>, class: VarBuilder<'_>, c_in: usize, classes: usize) -> Result<Self> {
        let config = ConvConfig::default();
        let width = WIDTHS[1].max(classes.min(100));
        Ok(Self {
            bbox: Chain(vec![
                Conv::load(bbox.pp(0), c_in, BOX_CHANNELS, 3, config)?,
                Conv::load(bbox.pp(1), BOX_CHANNELS, BOX_CHANNELS, 3, config)?,
            ]),
            bbox_last: conv2d(bbox.pp(2), BOX_CHANNELS, 4 * BINS, (1, 1), config)?,
            class: Chain(vec![
                Conv::depthwise(class.pp("0.0"), c_in, 3, 1)?,
                Conv::pointwise(class.pp("0.1"), c_in, width)?,
                Conv::depthwise(class.pp("1.0"), width, 3, 1)?,
                Conv::pointwise(class.pp("1.1"), width, width)?,
            ]),
            class_last: conv2d(class.pp(2), width, classes, (1, 1), config)?,
        })
    }

    /// `[n, c, h, w]` to `[n, 64, h*w]` and `[n, classes, h*w]`.
    fn forward(&self, xs: &Tensor) -> Result<(Tensor, Tensor)> {
        let bbox = self.bbox_last.forward(&self.bbox.forward(xs)?)?;
        let class = self.class_last.forward(&self.class.forward(xs)?)?;
        Ok((bbox.flatten_from(2)?, class.flatten_from(2)?))
    }
}

fn load_head(vb: &VarBuilder<'_>, bbox: &str, class: &str, classes: usize) -> Result<Vec<HeadLevel>> {
    let level = |i: usize| HeadLevel::load(vb.pp(bbox).pp(i), vb.pp(class).pp(i), WIDTHS[i + 1], classes);
    (0..STRIDES.len()).map(level).collect()
}

/// What the network computes on the way, for comparison with the reference.
#[derive(Debug)]
pub struct Stages {
    /// Backbone at strides 8, 16 and 32, the last one after attention.
    pub backbone: [Tensor; 3],
    /// Feature pyramid at strides 8, 16 and 32.
    pub pyramid: [Tensor; 3],
    /// Corners in input pixels, left, top, right, bottom: `[n, 4, a]`.
    pub boxes: Tensor,
    /// `[n, classes, a]`, 0..=1.
    pub scores: Tensor,
}

/// The network, n scale.
#[derive(Debug, Clone)]
pub struct YoloV10 {
    device: Device,
    dtype: DType,
    stem: Chain<Conv>,
    stage4: C2f,
    down8: Conv,
    stage8: C2f,
    down16: ScDown,
    stage16: C2f,
    down32: ScDown,
    stage32: C2f,
    pooling: Sppf,
    attention: Psa,
    up16: C2f,
    up8: C2f,
    pyramid_down16: Conv,
    pyramid16: C2f,
    pyramid_down32: ScDown,
    pyramid32: C2f,
    head: Vec<HeadLevel>,
}

impl YoloV10 {
    /// Reads the n scale's weights with `classes` classes, a face detector has one.
    ///
    /// The training's one-to-many head, `model.23.cv2.*` and `model.23.cv3.*`, is read where the checkpoint has it, so that
    /// its shapes are checked, and dropped; so is `model.23.dfl.conv.weight`, which always holds 0..=15.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, classes: usize) -> Result<Self> {
        let [w4, w8, w16, w32] = WIDTHS;
        let model = vb.pp("model");
        let layer = |i: usize| model.pp(i);
        let stride2 = ConvConfig::default().stride(2);
        let head = layer(23);
        if head.contains_tensor("cv2.0.0.conv.weight") {
            load_head(&head, "cv2", "cv3", classes)?;
        }
        if head.contains_tensor("dfl.conv.weight") {
            head.get((1, BINS, 1, 1), "dfl.conv.weight")?;
        }
        Ok(Self {
            device: vb.device().clone(),
            dtype: vb.dtype(),
            stem: Chain(vec![
                Conv::load(layer(0), 3, w4 / 2, 3, stride2)?,
                Conv::load(layer(1), w4 / 2, w4, 3, stride2)?,
            ]),
            stage4: C2f::load(layer(2), w4, w4, 1, true, false)?,
            down8: Conv::load(layer(3), w4, w8, 3, stride2)?,
            stage8: C2f::load(layer(4), w8, w8, 2, true, false)?,
            down16: ScDown::load(layer(5), w8, w16)?,
            stage16: C2f::load(layer(6), w16, w16, 2, true, false)?,
            down32: ScDown::load(layer(7), w16, w32)?,
            stage32: C2f::load(layer(8), w32, w32, 1, true, false)?,
            pooling: Sppf::load(layer(9), w32)?,
            attention: Psa::load(layer(10), w32)?,
            up16: C2f::load(layer(13), w32 + w16, w16, 1, false, false)?,
            up8: C2f::load(layer(16), w16 + w8, w8, 1, false, false)?,
            pyramid_down16: Conv::load(layer(17), w8, w8, 3, stride2)?,
            pyramid16: C2f::load(layer(19), w8 + w16, w16, 1, false, false)?,
            pyramid_down32: ScDown::load(layer(20), w16, w16)?,
            pyramid32: C2f::load(layer(22), w16 + w32, w32, 1, true, true)?,
            head: load_head(&head, "one2one_cv2", "one2one_cv3", classes)?,
        })
    }

    /// Everything on the way, for `xs` of `[n, 3, h, w]` with sides that are multiples of 32.
    ///
    /// # Errors
    /// Another shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Stages> {
        let (_, _, h, w) = xs.dims4()?;
        let p4 = self.stage4.forward(&self.stem.forward(xs)?)?;
        let p8 = self.stage8.forward(&self.down8.forward(&p4)?)?;
        let p16 = self.stage16.forward(&self.down16.forward(&p8)?)?;
        let p32 = self.stage32.forward(&self.down32.forward(&p16)?)?;
        let p32 = self.attention.forward(&self.pooling.forward(&p32)?)?;

        let twice = |xs: &Tensor, like: &Tensor| xs.upsample_nearest2d(like.dim(2)?, like.dim(3)?);
        let up16 = self.up16.forward(&Tensor::cat(&[&twice(&p32, &p16)?, &p16], 1)?)?;
        let n8 = self.up8.forward(&Tensor::cat(&[&twice(&up16, &p8)?, &p8], 1)?)?;
        let n16 = self.pyramid16.forward(&Tensor::cat(&[&self.pyramid_down16.forward(&n8)?, &up16], 1)?)?;
        let n32 = self.pyramid32.forward(&Tensor::cat(&[&self.pyramid_down32.forward(&n16)?, &p32], 1)?)?;

        let pyramid = [n8, n16, n32];
        let (mut boxes, mut scores) = (Vec::new(), Vec::new());
        for ((level, features), stride) in self.head.iter().zip(&pyramid).zip(STRIDES) {
            let (distances, class) = level.forward(features)?;
            boxes.push(self.decode(&distances, (h / stride, w / stride), stride)?);
            scores.push(sigmoid(&class)?);
        }
        Ok(Stages {
            backbone: [p8, p16, p32],
            pyramid,
            boxes: Tensor::cat(&boxes, 2)?,
            scores: Tensor::cat(&scores, 2)?,
        })
    }

    /// `[n, 64, cells]`, logits of the distances to the four sides, to corners `[n, 4, cells]` in input pixels.
    fn decode(&self, distances: &Tensor, cells: (usize, usize), stride: usize) -> Result<Tensor> {
        let (n, _, count) = distances.dims3()?;
        let bins = Tensor::arange(0f32, BINS as f32, &self.device)?.to_dtype(self.dtype)?.reshape((1, 1, BINS, 1))?;
        let shares = softmax(&distances.reshape((n, 4, BINS, count))?, 2)?;
        let distances = shares.broadcast_mul(&bins)?.sum(2)?; // [n, 4, cells]: left, top, right, bottom
        let centres = |y: bool| (0..count).map(move |i| if y { i / cells.1 } else { i % cells.1 } as f32 + 0.5);
        let centres = Tensor::from_iter(centres(false).chain(centres(true)), &self.device)?;
        let centres = centres.to_dtype(self.dtype)?.reshape((1, 2, count))?;
        let first = centres.broadcast_sub(&distances.narrow(1, 0, 2)?)?;
        let second = centres.broadcast_add(&distances.narrow(1, 2, 2)?)?;
        Ok((Tensor::cat(&[first, second], 1)? * stride as f64)?)
    }

    /// `[n, 3, h, w]`, preprocessed, to corners `[n, 4, a]` in input pixels and scores `[n, classes, a]`.
    ///
    /// # Errors
    /// Another shape; the sides must be multiples of 32.
    pub fn forward(&self, xs: &Tensor) -> Result<(Tensor, Tensor)> {
        let stages = self.stages(xs)?;
        Ok((stages.boxes, stages.scores))
    }

    /// The faces on each letterboxed photo of 640 x 640: those with a score of `min_score` (0..=1) and more, best first, at
    /// most `max` (the reference takes 300). Boxes are in input pixels and may reach over its edge; no landmarks.
    ///
    /// With several classes the score is that of the likeliest.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], or [`ModelError::NotFinite`] if the network's output is not finite.
    pub fn detect(&self, images: &[RgbImage], min_score: f32, max: usize) -> Result<Vec<Vec<Face>>> {
        let mut found = Vec::with_capacity(images.len());
        // One at a time: a larger batch is no faster on a CPU and takes the more memory.
        for (index, image) in images.iter().enumerate() {
            let xs = NORMALIZE
                .batch(std::slice::from_ref(image), INPUT_SIZE, self.dtype, &self.device)
                .map_err(|e| at_index(e, index))?;
            let (boxes, scores) = self.forward(&xs)?;
            let corners = boxes.squeeze(0)?.t()?.to_dtype(DType::F32)?.to_vec2::<f32>()?; // [a, 4]
            let scores = scores.max(1)?.squeeze(0)?.to_dtype(DType::F32)?.to_vec1::<f32>()?; // [a]
            if !corners.iter().flatten().chain(&scores).all(|v| v.is_finite()) {
                return Err(ModelError::NotFinite("YOLOv10"));
            }
            let mut faces: Vec<Face> = corners
                .iter()
                .zip(scores)
                .filter(|(_, score)| *score >= min_score)
                .map(|(c, score)| Face {
                    bbox: BBox::from_corners(c[0], c[1], c[2], c[3]),
                    score,
                    landmarks: Landmarks::default(),
                })
                .collect();
            faces.sort_by(|a, b| b.score.total_cmp(&a.score));
            faces.truncate(max);
            found.push(faces);
        }
        Ok(found)
    }
}

/// The error with the position in the whole batch.
fn at_index(error: ModelError, position: usize) -> ModelError {
    match error {
        ModelError::InputSize { width, height, expected, .. } => {
            ModelError::InputSize { index: position, width, height, expected }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Exports hold the two kernels merged, under the name of the larger.
    #[test]
    fn both_forms_of_the_parallel_kernels_give_the_same() {
        let random = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        let (large, small) = (random(&[2, 1, 7, 7]), random(&[2, 1, 3, 3]));
        let (bias7, bias3) = (random(&[2]), random(&[2]));
        let xs = random(&[1, 2, 9, 8]);
        let convolve = |kernel: &Tensor, bias: &Tensor, padding: usize| {
            let ys = xs.conv2d(kernel, padding, 1, 1, 2).unwrap();
            ys.broadcast_add(&bias.reshape((1, 2, 1, 1)).unwrap()).unwrap()
        };
        let want = silu(&(convolve(&large, &bias7, 3) + convolve(&small, &bias3, 1)).unwrap()).unwrap();

        let merged = (&large + small.pad_with_zeros(2, 2, 2).unwrap().pad_with_zeros(3, 2, 2).unwrap()).unwrap();
        let apart = [
            ("conv.conv.weight", large.clone()),
            ("conv.conv.bias", bias7.clone()),
            ("conv1.conv.weight", small.clone()),
            ("conv1.conv.bias", bias3.clone()),
        ];
        let together = [("conv.weight", merged), ("conv.bias", (&bias7 + &bias3).unwrap())];
        for tensors in [apart.to_vec(), together.to_vec()] {
            let tensors: HashMap<String, Tensor> = tensors.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
            let got = RepVggDw::load(vb, 2).unwrap().forward(&xs).unwrap();
            let diff = (got - &want).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            assert!(diff.to_scalar::<f32>().unwrap() < 1e-4);
        }
    }
}
