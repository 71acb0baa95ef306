//! MiniFASNet: tells a live face from a printed or replayed one by its texture and its surroundings.
//!
//! Paper: none of its own; MobileFaceNet, <https://arxiv.org/abs/1804.07573>, pruned channel by channel.
//! Reference: <https://github.com/minivision-ai/Silent-Face-Anti-Spoofing>, `src/model_lib/MiniFASNet.py` at b6d5f04
//! (Apache-2.0; see `models-src/minifasnet-v2` and `minifasnet-v1se`). The 128-pixel network was trained by
//! <https://github.com/hairymax/Face-AntiSpoofing> (see `models-src/minifasnet-v2se`).
//!
//! Three networks of one construction, each with its own crop and preprocessing:
//!
//! | network | input | pixels | crop around the face box | classes |
//! |---|---|---|---|---|
//! | V2 | 80 x 80 | BGR, 0..255 | 2.7 times the box, kept inside the photo | attack, live, attack |
//! | V1SE | 80 x 80 | BGR, 0..255 | 4 times the box, kept inside the photo | attack, live, attack |
//! | V2-SE | 128 x 128 | RGB, `x / 255` | square of 1.5 times the longer side, black outside | live, attack; or live, print, replay |
//!
//! V2 and V1SE were made to be used together: the reference adds their class probabilities and calls the face live when
//! the sum is highest there. Pixels of 0..255 are no slip: the reference's `to_tensor` leaves the division out.
//!
//! No deviation in the result: batch norms are folded into the convolution before them. The Fourier branch exists in
//! training only. Axes: `n` batch, `c` channels, `h` rows, `w` columns.

use candle::{D, DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear_no_bias, ops::softmax};
use facesocial_kernels::{Activation, Pool};
use facesocial_types::BBox;
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{
        self, BatchNorm, ChannelOrder, ConvConfig, Features, FusedConv, Normalize, Padding, Rectifier, batch_norm,
        conv2d_bn, prelu, separable,
    },
};

/// BGR, 0..255 as it is.
const RAW_BGR: Normalize = Normalize { order: ChannelOrder::Bgr, mean: [0.0; 3], std: [1.0; 3] };
/// RGB, `x / 255`.
const UNIT_RGB: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [0.0; 3], std: [255.0; 3] };
/// Added to the variance of every batch norm.
const BN_EPS: f64 = 1e-5;
/// Channels before the first downsampling, after it, and after the two others.
const CHANNELS: [usize; 4] = [32, 64, 128, 128];
/// Channels of the features over the whole face.
const FEATURES: usize = 512;
/// Length of the vector that is classified.
const EMBEDDING: usize = 128;
/// A squeeze-and-excitation unit narrows its channels by this.
const SQUEEZE: usize = 4;

/// The part of the photo that a network looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crop {
    /// The box enlarged by the factor in both directions, less where the photo is too small for it, moved inside the
    /// photo; then squeezed into the square input.
    Inside(f32),
    /// A square whose side is the factor times the longer side of the box, around its centre; black outside of the photo.
    Square(f32),
}

impl Crop {
    /// The crop around `face`, in whole pixels, for a photo of `width` x `height`.
    pub fn area(self, face: &BBox, width: u32, height: u32) -> BBox {
        match self {
            Self::Inside(factor) => {
                let (last_x, last_y) = (width as f32 - 1.0, height as f32 - 1.0);
                let factor = factor.min(last_x / face.width).min(last_y / face.height);
                let span = |center: f32, side: f32, last: f32| {
                    let start = (center - side / 2.0).max(0.0);
                    let (mut start, mut end) = (start, start + side);
                    if end > last {
                        (start, end) = ((last - side).max(0.0), last);
                    }
                    let start = start.floor();
                    (start, end.floor() - start + 1.0) // the last pixel belongs to the crop
                };
                let center = face.center();
                let (x, w) = span(center.x, face.width * factor, last_x);
                let (y, h) = span(center.y, face.height * factor, last_y);
                BBox::new(x, y, w, h)
            }
            Self::Square(factor) => {
                let square = face.square(factor);
                let side = square.width.floor();
                // The reference rounds towards zero on both sides of it.
                BBox::new(square.x.trunc(), square.y.trunc(), side, side)
            }
        }
    }
}

/// Which of the networks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Side of the square input in pixels.
    pub input_size: u32,
    /// What to cut out of the photo.
    pub crop: Crop,
    /// Number of classes.
    pub classes: usize,
    /// Index of the class of live faces.
    pub live: usize,
    rgb: bool,
    /// Squeeze and excitation in the last block of every row.
    squeeze: bool,
    widths: Widths,
}

/// Channels inside of the blocks: what pruning left of MobileFaceNet's.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Widths {
    down: [usize; 3],
    rows: [&'static [usize]; 3],
}

const V1: Widths = Widths { down: [103, 231, 308], rows: [&[13, 26, 13, 52], &[154, 52, 26, 52, 26, 26], &[26, 26]] };
const V2: Widths = Widths { down: [103, 231, 308], rows: [&[13, 13, 13, 13], &[231, 52, 26, 77, 26, 26], &[26, 26]] };

impl Config {
    /// MiniFASNetV2, 80 x 80, `2.7_80x80_MiniFASNetV2`.
    pub const fn v2() -> Self {
        Self { input_size: 80, crop: Crop::Inside(2.7), classes: 3, live: 1, rgb: false, squeeze: false, widths: V2 }
    }

    /// MiniFASNetV1SE, 80 x 80, `4_0_0_80x80_MiniFASNetV1SE`.
    pub const fn v1_se() -> Self {
        Self { input_size: 80, crop: Crop::Inside(4.0), classes: 3, live: 1, rgb: false, squeeze: true, widths: V1 }
    }

    /// MiniFASNetV2-SE, 128 x 128; two classes (`AntiSpoofing_bin_1.5_128`) or three
    /// (`AntiSpoofing_print-replay_1.5_128`).
    pub const fn v2_se(classes: usize) -> Self {
        Self { input_size: 128, crop: Crop::Square(1.5), classes, live: 0, rgb: true, squeeze: true, widths: V2 }
    }

    /// The preprocessing of the input's pixels.
    pub const fn normalize(&self) -> Normalize {
        if self.rgb { UNIT_RGB } else { RAW_BGR }
    }

    /// Side of the last feature map: four halvings, rounded up.
    const fn last_size(&self) -> usize {
        (self.input_size as usize).div_ceil(16)
    }
}

/// Convolution, batch norm, PReLU.
fn conv_prelu(vb: VarBuilder<'_>, c_in: usize, c_out: usize, kernel: usize, config: ConvConfig) -> Result<FusedConv> {
    let config = config.padding(Padding::all(kernel / 2));
    let conv = conv2d_bn(vb.pp("conv"), vb.pp("bn"), (c_in, c_out), (kernel, kernel), config, BN_EPS)?;
    Ok(FusedConv::new(conv, Rectifier::PRelu(prelu(vb.pp("prelu"), c_out)?))?)
}

/// Weighs the channels by what they hold over the whole map.
#[derive(Debug, Clone)]
struct SqueezeExcite {
    squeeze: FusedConv,
    excite: FusedConv,
}

impl SqueezeExcite {
    fn load(vb: VarBuilder<'_>, channels: usize) -> Result<Self> {
        let config = ConvConfig::default();
        let narrow = channels / SQUEEZE;
        let squeeze = conv2d_bn(vb.pp("fc1"), vb.pp("bn1"), (channels, narrow), (1, 1), config, BN_EPS)?;
        let excite = conv2d_bn(vb.pp("fc2"), vb.pp("bn2"), (narrow, channels), (1, 1), config, BN_EPS)?;
        Ok(Self {
            squeeze: FusedConv::new(squeeze, Rectifier::RELU)?,
            excite: FusedConv::new(excite, Rectifier::Plain(Activation::Sigmoid))?,
        })
    }

    /// `[n, c, h, w] -> [n, c, h, w]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        xs.scale(&self.excite.forward(&self.squeeze.forward(&xs.mean()?)?)?)
    }
}

/// Inverted residual: 1 x 1 to other channels, 3 x 3 in each of them, 1 x 1 back without activation.
#[derive(Debug, Clone)]
pub struct Bottleneck {
    conv: FusedConv,
    depthwise: FusedConv,
    project: FusedConv,
    squeeze: Option<SqueezeExcite>,
    residual: bool,
}

impl Bottleneck {
    fn load(
        vb: VarBuilder<'_>,
        c_in: usize,
        c_inside: usize,
        c_out: usize,
        stride: usize,
        squeeze: bool,
    ) -> Result<Self> {
        let depthwise = ConvConfig::default().stride(stride).groups(c_inside);
        let at = vb.pp("project");
        let project = conv2d_bn(at.pp("conv"), at.pp("bn"), (c_inside, c_out), (1, 1), ConvConfig::default(), BN_EPS)?;
        Ok(Self {
            conv: conv_prelu(vb.pp("conv"), c_in, c_inside, 1, ConvConfig::default())?,
            depthwise: conv_prelu(vb.pp("conv_dw"), c_inside, c_inside, 3, depthwise)?,
            project: FusedConv::new(project, Rectifier::NONE)?,
            squeeze: squeeze.then(|| SqueezeExcite::load(vb.pp("se_module"), c_out)).transpose()?,
            residual: stride == 1,
        })
    }
}

impl Bottleneck {
    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        let ys = self.conv.forward(xs)?;
        let Some(squeeze) = &self.squeeze else {
            return separable(&self.depthwise, &self.project, &ys, self.residual.then_some(xs));
        };
        let ys = squeeze.run(&separable(&self.depthwise, &self.project, &ys, None)?)?;
        if self.residual { xs.add(&ys, false) } else { Ok(ys) }
    }
}

/// What the network computes on the way, for comparison with the reference.
#[derive(Debug)]
pub struct Stages {
    /// Before the first downsampling, `[n, 32, s / 2, s / 2]`.
    pub stem: Tensor,
    /// After each row of blocks: a quarter, an eighth and a sixteenth of the input's side.
    pub rows: Vec<Tensor>,
    /// `[n, 512]`
    pub features: Tensor,
    /// `[n, classes]`
    pub logits: Tensor,
}

/// The network.
#[derive(Debug, Clone)]
pub struct MiniFasNet {
    config: Config,
    device: Device,
    dtype: DType,
    pool: Pool,
    conv1: FusedConv,
    depthwise: FusedConv,
    /// Each row begins with the block that halves the resolution.
    rows: Vec<Vec<Bottleneck>>,
    conv_last: FusedConv,
    /// A kernel as large as the map: each position has its own weight.
    global: FusedConv,
    linear: Linear,
    bn: BatchNorm,
    prob: Linear,
}

impl MiniFasNet {
    /// Reads the weights; the keys are those of the reference's state dict without the `module.` that parallel training
    /// puts before them.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, config: Config) -> Result<Self> {
        let depthwise = ConvConfig::default().groups(CHANNELS[0]);
        let names = [("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5")];
        let mut rows = Vec::with_capacity(names.len());
        for (i, (down, row)) in names.into_iter().enumerate() {
            let (c_in, c_out) = (CHANNELS[i], CHANNELS[i + 1]);
            let mut blocks = vec![Bottleneck::load(vb.pp(down), c_in, config.widths.down[i], c_out, 2, false)?];
            let widths = config.widths.rows[i];
            for (j, &c_inside) in widths.iter().enumerate() {
                let squeeze = config.squeeze && j + 1 == widths.len();
                let vb = vb.pp(row).pp("model").pp(j);
                blocks.push(Bottleneck::load(vb, c_out, c_inside, c_out, 1, squeeze)?);
            }
            rows.push(blocks);
        }
        let (global, kernel) = (vb.pp("conv_6_dw"), config.last_size());
        let (channels, whole_map) = ((FEATURES, FEATURES), ConvConfig::default().groups(FEATURES));
        let global = conv2d_bn(global.pp("conv"), global.pp("bn"), channels, (kernel, kernel), whole_map, BN_EPS)?;
        Ok(Self {
            config,
            device: vb.device().clone(),
            dtype: vb.dtype(),
            pool: Pool::default(),
            conv1: conv_prelu(vb.pp("conv1"), 3, CHANNELS[0], 3, ConvConfig::default().stride(2))?,
            depthwise: conv_prelu(vb.pp("conv2_dw"), CHANNELS[0], CHANNELS[0], 3, depthwise)?,
            rows,
            conv_last: conv_prelu(vb.pp("conv_6_sep"), CHANNELS[3], FEATURES, 1, ConvConfig::default())?,
            global: FusedConv::new(global, Rectifier::NONE)?,
            linear: linear_no_bias(FEATURES, EMBEDDING, vb.pp("linear"))?,
            bn: batch_norm(vb.pp("bn"), EMBEDDING, BN_EPS)?,
            prob: linear_no_bias(EMBEDDING, config.classes, vb.pp("prob"))?,
        })
    }

    /// Which of the networks it is.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// From `[n, 3, s, s]` to the features over the whole face, `[n, 512, 1, 1]`; `see` gets the stem and the rows on the
    /// way.
    fn run(&self, xs: &Features, mut see: impl FnMut(&Features) -> candle::Result<()>) -> candle::Result<Features> {
        let mut xs = self.depthwise.forward(&self.conv1.forward(xs)?)?; // [n, 32, s / 2, s / 2]
        see(&xs)?;
        for row in &self.rows {
            for block in row {
                xs = block.run(&xs)?;
            }
            see(&xs)?;
        }
        self.global.forward(&self.conv_last.forward(&xs)?)
    }

    /// `[n, 512, 1, 1]` to `[n, 512]` and the logits, `[n, classes]`.
    fn classify(&self, features: &Tensor) -> candle::Result<(Tensor, Tensor)> {
        let features = features.flatten_from(1)?;
        let logits = self.prob.forward(&self.bn.forward(&self.linear.forward(&features)?)?)?;
        Ok((features, logits))
    }

    /// Everything on the way, for `xs` of `[n, 3, s, s]`.
    ///
    /// # Errors
    /// Another shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Stages> {
        let mut seen = Vec::with_capacity(self.rows.len() + 1);
        let features = self.run(&Features::new(xs, &self.pool)?, |xs| {
            seen.push(xs.tensor()?);
            Ok(())
        })?;
        let rows = seen.split_off(1);
        let (features, logits) = self.classify(&features.tensor()?)?;
        Ok(Stages { stem: seen.remove(0), rows, features, logits })
    }

    /// `[n, 3, s, s]`, preprocessed, to logits `[n, classes]`.
    ///
    /// # Errors
    /// Another shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.logits(&Features::new(xs, &self.pool)?)
    }

    fn logits(&self, xs: &Features) -> Result<Tensor> {
        let features = nn::by_image(&self.device, xs, |xs| self.run(xs, |_| Ok(()))?.tensor())?;
        Ok(self.classify(&Tensor::cat(&features, 0)?)?.1)
    }

    /// The probabilities of the classes for each crop, in the order of [`Config`]; each row sums to 1.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], or [`ModelError::NotFinite`] if the network's output is not finite.
    pub fn probabilities(&self, crops: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        if crops.is_empty() {
            return Ok(Vec::new());
        }
        let normalize = self.config.normalize();
        let xs = normalize.features(crops, self.config.input_size, self.dtype, &self.device, &self.pool)?;
        let logits = self.logits(&xs)?.to_dtype(DType::F32)?;
        let rows = softmax(&logits, D::Minus1)?.to_vec2::<f32>()?;
        if rows.iter().flatten().all(|v| v.is_finite()) { Ok(rows) } else { Err(ModelError::NotFinite("MiniFASNet")) }
    }

    /// The probability that each crop shows a live face, 0..=1.
    ///
    /// # Errors
    /// As [`Self::probabilities`].
    pub fn live(&self, crops: &[RgbImage]) -> Result<Vec<f32>> {
        Ok(self.probabilities(crops)?.into_iter().map(|row| row[self.config.live]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Corners from `CropImage._get_new_box` of the reference, which include the last pixel.
    #[test]
    fn the_crop_inside_is_the_references() {
        let cases = [
            ((178.0, 73.0, 91.0, 119.0), 2.7, (512, 512), (100.0, 0.0, 346.0, 321.0)),
            ((178.0, 73.0, 91.0, 119.0), 4.0, (512, 512), (41.0, 0.0, 405.0, 476.0)),
            ((10.0, 300.0, 150.0, 190.0), 2.7, (512, 600), (0.0, 86.0, 405.0, 599.0)),
            ((400.0, 20.0, 60.0, 80.0), 2.7, (480, 360), (317.0, 0.0, 479.0, 216.0)),
        ];
        for ((x, y, w, h), factor, (width, height), (left, top, right, bottom)) in cases {
            let got = Crop::Inside(factor).area(&BBox::new(x, y, w, h), width, height);
            let want = BBox::new(left, top, right - left + 1.0, bottom - top + 1.0);
            assert_eq!(got, want);
        }
    }

    #[test]
    fn the_square_crop_may_leave_the_photo() {
        let got = Crop::Square(1.5).area(&BBox::new(10.0, 20.0, 50.0, 60.0), 200, 200);
        assert_eq!(got, BBox::new(-10.0, 5.0, 90.0, 90.0));
    }
}
