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
//! in cells, whose mean counts (distribution focal loss, <https://arxiv.org/abs/2006.04388>). The weights that this project
//! trained hold the first head under the names of the second: whoever runs them leaves out the boxes that overlap a better one.
//!
//! No deviation in the result: batch norms are folded into the convolution before them, and the two depthwise kernels of
//! [`RepVggDw`] are added into one. Axes: `n` batch, `c` channels, `h` rows, `w` columns, `a` anchors.

use candle::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use facesocial_kernels::{Activation, Pool};
use facesocial_types::{BBox, Face, Landmarks};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{
        self, ChannelOrder, Conv2d, ConvConfig, Features, FusedConv, Normalize, Padding, Rectifier, conv2d, conv2d_bn,
    },
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
/// Memory kept for the next photo: what one of 640 x 640 takes. Memory from the system costs a tenth of the time.
const POOL_BYTES: usize = 64 << 20;
/// Bins of the distribution of a side's distance.
const BINS: usize = 16;
/// Channels of the head's box branch.
const BOX_CHANNELS: usize = 64;
/// Channels of the n scale after strides 4, 8, 16 and 32.
const WIDTHS: [usize; 4] = [32, 64, 128, 256];
/// Channels of an attention head.
const HEAD_CHANNELS: usize = 64;

/// Convolution and batch norm, padded so that stride 1 keeps the size.
fn conv_bn(
    vb: &VarBuilder<'_>,
    c_in: usize,
    c_out: usize,
    kernel: usize,
    config: ConvConfig,
) -> candle::Result<Conv2d> {
    let config = config.padding(Padding::all(kernel / 2));
    conv2d_bn(vb.pp("conv"), vb.pp("bn"), (c_in, c_out), (kernel, kernel), config, BN_EPS)
}

/// Convolution, batch norm and, but for a few, SiLU.
#[derive(Debug, Clone)]
struct Conv(FusedConv);

impl Conv {
    fn load(vb: VarBuilder<'_>, c_in: usize, c_out: usize, kernel: usize, config: ConvConfig) -> Result<Self> {
        Ok(Self(FusedConv::new(conv_bn(&vb, c_in, c_out, kernel, config)?, Rectifier::SILU)?))
    }

    fn pointwise(vb: VarBuilder<'_>, c_in: usize, c_out: usize) -> Result<Self> {
        Self::load(vb, c_in, c_out, 1, ConvConfig::default())
    }

    fn depthwise(vb: VarBuilder<'_>, channels: usize, kernel: usize) -> Result<Self> {
        Self::load(vb, channels, channels, kernel, ConvConfig::default().groups(channels))
    }

    /// Pointwise, without SiLU.
    fn linear(vb: VarBuilder<'_>, c_in: usize, c_out: usize) -> Result<Self> {
        Ok(Self(FusedConv::new(conv_bn(&vb, c_in, c_out, 1, ConvConfig::default())?, Rectifier::NONE)?))
    }

    /// Depthwise 3 x 3, without SiLU.
    fn linear_depthwise(vb: VarBuilder<'_>, channels: usize, stride: usize) -> Result<Self> {
        let config = ConvConfig::default().stride(stride).groups(channels);
        Ok(Self(FusedConv::new(conv_bn(&vb, channels, channels, 3, config)?, Rectifier::NONE)?))
    }

    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        self.0.forward(xs)
    }

    /// As [`Self::run`], with `shortcut` added after SiLU.
    fn run_add(&self, xs: &Features, shortcut: &Features) -> candle::Result<Features> {
        self.0.forward_add(xs, shortcut)
    }
}

/// Depthwise 7 x 7 and 3 x 3 side by side, summed, then SiLU; one 7 x 7 at inference.
#[derive(Debug, Clone)]
pub struct RepVggDw(FusedConv);

impl RepVggDw {
    /// Reads both kernels, or the 7 x 7 alone where the checkpoint has them merged already.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, channels: usize) -> Result<Self> {
        let config = ConvConfig::default().padding(Padding::all(3)).groups(channels);
        if !vb.contains_tensor("conv.conv.weight") {
            let merged = conv2d(vb.pp("conv"), channels, channels, (7, 7), config)?;
            return Ok(Self(FusedConv::new(merged, Rectifier::SILU)?));
        }
        let depthwise = ConvConfig::default().groups(channels);
        let large = conv_bn(&vb.pp("conv"), channels, channels, 7, depthwise)?;
        let small = conv_bn(&vb.pp("conv1"), channels, channels, 3, depthwise)?;
        let small_kernel = small.weight().pad_with_zeros(2, 2, 2)?.pad_with_zeros(3, 2, 2)?;
        let bias = match (large.bias(), small.bias()) {
            (Some(a), Some(b)) => Some((a + b)?),
            (a, b) => a.or(b).cloned(),
        };
        let merged = Conv2d::new((large.weight() + small_kernel)?, bias, config);
        Ok(Self(FusedConv::new(merged, Rectifier::SILU)?))
    }
}

impl Module for RepVggDw {
    /// `[n, c, h, w] -> [n, c, h, w]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        Features::over(xs, |xs| self.0.forward(xs))
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
            widen: [Conv::depthwise(vb.pp(0), channels, 3)?, Conv::pointwise(vb.pp(1), channels, 2 * channels)?],
            large: RepVggDw::load(vb.pp(2), 2 * channels)?,
            narrow: [Conv::pointwise(vb.pp(3), 2 * channels, channels)?, Conv::depthwise(vb.pp(4), channels, 3)?],
        })
    }
}

impl Block {
    /// `[n, c, h, w] -> [n, c, h, w]`, with or without the shortcut.
    fn run(&self, xs: &Features, shortcut: bool) -> candle::Result<Features> {
        let (before, last) = match self {
            Self::Bottleneck([first, second]) => (first.run(xs)?, second),
            Self::Compact { widen, large, narrow } => {
                let ys = large.0.forward(&widen[1].run(&widen[0].run(xs)?)?)?;
                (narrow[0].run(&ys)?, &narrow[1])
            }
        };
        if shortcut { last.run_add(&before, xs) } else { last.run(&before) }
    }
}

/// Cross-stage unit: one half of the channels passes by, the other through blocks; all that came out on the way is
/// gathered.
#[derive(Debug, Clone)]
pub struct C2f {
    half: usize,
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
            half,
            cv1: Conv::pointwise(vb.pp("cv1"), c_in, 2 * half)?,
            blocks: (0..count).map(block).collect::<Result<_>>()?,
            cv2: Conv::pointwise(vb.pp("cv2"), (2 + count) * half, c_out)?,
            shortcut,
        })
    }
}

impl C2f {
    /// `[n, c_in, h, w] -> [n, c_out, h, w]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        let both = self.cv1.run(xs)?;
        let second = both.channels(self.half..2 * self.half)?;
        let mut parts: Vec<Features> = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let ys = block.run(parts.last().unwrap_or(&second), self.shortcut)?;
            parts.push(ys);
        }
        let all: Vec<&Features> = std::iter::once(&both).chain(&parts).collect();
        self.cv2.run(&Features::concat(&all)?)
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
            cv2: Conv::linear_depthwise(vb.pp("cv2"), c_out, 2)?,
        })
    }
}

impl ScDown {
    /// `[n, c_in, h, w] -> [n, c_out, h / 2, w / 2]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        self.cv2.run(&self.cv1.run(xs)?)
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

impl Sppf {
    /// `[n, c, h, w] -> [n, c, h, w]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        let narrow = self.cv1.run(xs)?;
        let of5 = narrow.max_around(5)?;
        let of9 = of5.max_around(5)?;
        let of13 = of9.max_around(5)?;
        self.cv2.run(&Features::concat(&[&narrow, &of5, &of9, &of13])?)
    }
}

/// Partial self-attention: one half of the channels passes by, the other through attention and a small network.
#[derive(Debug, Clone)]
pub struct Psa {
    half: usize,
    cv1: Conv,
    cv2: Conv,
    /// With the scale of the scores in it.
    query: FusedConv,
    /// Of all heads, the keys before the values.
    key_value: FusedConv,
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
        let qkv = conv_bn(&attn.pp("qkv"), half, 2 * half, 1, ConvConfig::default())?;
        // The file has query, key and value of one head after the other; keys and queries are half as long as values.
        let part = |part: std::ops::Range<u32>| -> Vec<u32> {
            let heads = 0..(half / HEAD_CHANNELS) as u32;
            heads.flat_map(|head| part.clone().map(move |i| head * 2 * HEAD_CHANNELS as u32 + i)).collect()
        };
        let (key, head) = (HEAD_CHANNELS as u32 / 2, HEAD_CHANNELS as u32);
        let query = qkv.outputs(&part(0..key))?;
        let scale = Tensor::full(f64::from(key).powf(-0.5) as f32, query.weight().dim(0)?, vb.device())?;
        let scale = scale.to_dtype(vb.dtype())?;
        let query = query.fold(&scale, &scale.zeros_like()?)?;
        let key_value = qkv.outputs(&[part(key..2 * key), part(2 * key..2 * key + head)].concat())?;
        Ok(Self {
            half,
            cv1: Conv::pointwise(vb.pp("cv1"), channels, 2 * half)?,
            cv2: Conv::pointwise(vb.pp("cv2"), 2 * half, channels)?,
            query: FusedConv::new(query, Rectifier::NONE)?,
            key_value: FusedConv::new(key_value, Rectifier::NONE)?,
            proj: Conv::linear(attn.pp("proj"), half, half)?,
            pe: Conv::linear_depthwise(attn.pp("pe"), half, 1)?,
            ffn: [Conv::pointwise(ffn.pp(0), half, 2 * half)?, Conv::linear(ffn.pp(1), 2 * half, half)?],
        })
    }

    /// `[n, half, h, w] -> [n, half, h, w]`, the input added.
    fn attention(&self, xs: &Features) -> candle::Result<Features> {
        let key_value = self.key_value.forward(xs)?;
        let ys = self.query.forward(xs)?.attend(&key_value, self.half / HEAD_CHANNELS)?;
        let values = key_value.channels(self.half / 2..self.half / 2 + self.half)?;
        self.proj.run_add(&self.pe.run_add(&values, &ys)?, xs)
    }

    /// `[n, c, h, w] -> [n, c, h, w]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        let both = self.cv1.run(xs)?;
        let first = both.channels(0..self.half)?;
        let ys = self.attention(&both.channels(self.half..2 * self.half)?)?;
        let ys = self.ffn[1].run_add(&self.ffn[0].run(&ys)?, &ys)?;
        self.cv2.run(&Features::concat(&[&first, &ys])?)
    }
}

/// Predictions at one resolution: a branch for the box, a lighter one for the classes.
#[derive(Debug, Clone)]
struct HeadLevel {
    bbox: [Conv; 2],
    bbox_last: FusedConv,
    class: [Conv; 4],
    class_last: FusedConv,
}

impl HeadLevel {
    fn load(bbox: VarBuilder<'_>, class: VarBuilder<'_>, c_in: usize, classes: usize) -> Result<Self> {
        let config = ConvConfig::default();
        let width = WIDTHS[1].max(classes.min(100));
        let last = |vb, c_in, c_out, rectifier| FusedConv::new(conv2d(vb, c_in, c_out, (1, 1), config)?, rectifier);
        let sigmoid = Rectifier::Plain(Activation::Sigmoid);
        Ok(Self {
            bbox: [
                Conv::load(bbox.pp(0), c_in, BOX_CHANNELS, 3, config)?,
                Conv::load(bbox.pp(1), BOX_CHANNELS, BOX_CHANNELS, 3, config)?,
            ],
            bbox_last: last(bbox.pp(2), BOX_CHANNELS, 4 * BINS, Rectifier::NONE)?,
            class: [
                Conv::depthwise(class.pp("0.0"), c_in, 3)?,
                Conv::pointwise(class.pp("0.1"), c_in, width)?,
                Conv::depthwise(class.pp("1.0"), width, 3)?,
                Conv::pointwise(class.pp("1.1"), width, width)?,
            ],
            class_last: last(class.pp(2), width, classes, sigmoid)?,
        })
    }

    /// `[n, c, h, w]` to the distances to the four sides, `[n, 4, h*w]` in cells, and scores, `[n, classes, h*w]`.
    fn run(&self, xs: &Features) -> candle::Result<(Tensor, Tensor)> {
        let bbox = self.bbox_last.forward(&self.bbox[1].run(&self.bbox[0].run(xs)?)?)?;
        let [depthwise, widen, second, last] = &self.class;
        let class = second.run(&widen.run(&depthwise.run(xs)?)?)?;
        let class = self.class_last.forward(&last.run(&class)?)?;
        Ok((bbox.expectation(BINS)?.tensor()?.flatten_from(2)?, class.tensor()?.flatten_from(2)?))
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
    pool: Pool,
    stem: [Conv; 2],
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
            pool: Pool::with_limit(POOL_BYTES),
            stem: [Conv::load(layer(0), 3, w4 / 2, 3, stride2)?, Conv::load(layer(1), w4 / 2, w4, 3, stride2)?],
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

    /// Backbone and feature pyramid, both at strides 8, 16 and 32.
    fn features(&self, xs: &Features) -> candle::Result<[[Features; 3]; 2]> {
        let p4 = self.stage4.run(&self.stem[1].run(&self.stem[0].run(xs)?)?)?;
        let p8 = self.stage8.run(&self.down8.run(&p4)?)?;
        let p16 = self.stage16.run(&self.down16.run(&p8)?)?;
        let p32 = self.stage32.run(&self.down32.run(&p16)?)?;
        let p32 = self.attention.run(&self.pooling.run(&p32)?)?;

        let up16 = self.up16.run(&Features::concat(&[&p32.enlarge(2)?, &p16])?)?;
        let n8 = self.up8.run(&Features::concat(&[&up16.enlarge(2)?, &p8])?)?;
        let n16 = self.pyramid16.run(&Features::concat(&[&self.pyramid_down16.run(&n8)?, &up16])?)?;
        let n32 = self.pyramid32.run(&Features::concat(&[&self.pyramid_down32.run(&n16)?, &p32])?)?;
        Ok([[p8, p16, p32], [n8, n16, n32]])
    }

    /// Corners `[n, 4, a]` in input pixels and scores `[n, classes, a]` of the feature pyramid.
    fn predict(&self, pyramid: &[Features; 3]) -> candle::Result<(Tensor, Tensor)> {
        let (mut boxes, mut scores) = (Vec::new(), Vec::new());
        for ((level, features), stride) in self.head.iter().zip(pyramid).zip(STRIDES) {
            let (distances, class) = level.run(features)?;
            let [_, _, h, w] = features.dims()?;
            boxes.push(self.decode(&distances, (h, w), stride)?);
            scores.push(class);
        }
        Ok((Tensor::cat(&boxes, 2)?, Tensor::cat(&scores, 2)?))
    }

    /// Everything on the way, for `xs` of `[n, 3, h, w]` with sides that are multiples of 32.
    ///
    /// # Errors
    /// Another shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Stages> {
        let [backbone, pyramid] = self.features(&Features::new(xs, &self.pool)?)?;
        let tensors = |[a, b, c]: &[Features; 3]| Ok::<_, candle::Error>([a.tensor()?, b.tensor()?, c.tensor()?]);
        let (boxes, scores) = self.predict(&pyramid)?;
        Ok(Stages { backbone: tensors(&backbone)?, pyramid: tensors(&pyramid)?, boxes, scores })
    }

    /// `[n, 4, cells]`, distances to the left, upper, right and lower side, to corners `[n, 4, cells]` in input pixels.
    fn decode(&self, distances: &Tensor, cells: (usize, usize), stride: usize) -> candle::Result<Tensor> {
        let count = cells.0 * cells.1;
        let centres = |y: bool| (0..count).map(move |i| if y { i / cells.1 } else { i % cells.1 } as f32 + 0.5);
        let centres = Tensor::from_iter(centres(false).chain(centres(true)), &self.device)?;
        let centres = centres.to_dtype(self.dtype)?.reshape((1, 2, count))?;
        let first = centres.broadcast_sub(&distances.narrow(1, 0, 2)?)?;
        let second = centres.broadcast_add(&distances.narrow(1, 2, 2)?)?;
        Tensor::cat(&[first, second], 1)? * stride as f64
    }

    /// `[n, 3, h, w]`, preprocessed, to corners `[n, 4, a]` in input pixels and scores `[n, classes, a]`.
    ///
    /// # Errors
    /// Another shape; the sides must be multiples of 32.
    pub fn forward(&self, xs: &Tensor) -> Result<(Tensor, Tensor)> {
        self.run(&Features::new(xs, &self.pool)?)
    }

    fn run(&self, xs: &Features) -> Result<(Tensor, Tensor)> {
        let found = nn::by_image(&self.device, xs, |xs| {
            let [_, pyramid] = self.features(xs)?;
            self.predict(&pyramid)
        })?;
        let (boxes, scores): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        Ok((Tensor::cat(&boxes, 0)?, Tensor::cat(&scores, 0)?))
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
                .features(std::slice::from_ref(image), INPUT_SIZE, self.dtype, &self.device, &self.pool)
                .map_err(|e| at_index(e, index))?;
            let (boxes, scores) = self.run(&xs)?;
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

    use candle_nn::ops::silu;

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
