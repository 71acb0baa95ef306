//! MobileNetV3-Large with the anti-spoofing head of MN3: is the face before the camera real?
//!
//! Paper: <https://arxiv.org/abs/1905.02244>.
//! Reference: <https://github.com/kprokofi/light-weight-face-anti-spoofing>, `models/mobilenetv3.py` at 82a2c26 (MIT;
//! see `models-src/anti-spoof-mn3`).
//!
//! In: 128 x 128 faces, RGB, `(x - mean) / std`. Out: the probabilities of the classes real (0) and spoof (1).
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.
//!
//! No deviation in the result: batch norms are folded into the convolutions before them. The heads for the kind of
//! spoof, the light and the attributes of the face, by which the network was trained, are no part of this.

use candle::{D, DType, Device, Module, Tensor};
use candle_nn::{
    Linear, VarBuilder, linear,
    ops::{hard_sigmoid, softmax},
};
use facesocial_kernels::{
    Activation::{self, HardSigmoid, HardSwish, Relu},
    Pool,
};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{
        self, BatchNorm, ChannelOrder, Conv2d, ConvConfig, Features, FusedConv, Normalize, Padding, Rectifier,
        batch_norm, conv2d_bn, separable,
    },
};

/// Side of the input image in pixels.
pub const INPUT_SIZE: u32 = 128;
/// Mean and deviation of the training images, 0.5931, 0.4690, 0.4229 and 0.2471, 0.2214, 0.2157 of 255.
pub const NORMALIZE: Normalize =
    Normalize { order: ChannelOrder::Rgb, mean: [151.2405, 119.595, 107.8395], std: [63.0105, 56.457, 55.0035] };

const BN_EPS: f64 = 1e-5;
/// Channels after the stem.
const STEM: usize = 16;
/// Values before the head.
const EMBEDDING: usize = 1280;

/// A row of the paper's table 1: kernel, widening, output channels, squeeze-and-excite, rectifier, stride.
type Row = (usize, f64, usize, bool, Activation, usize);

/// The paper's table 1.
const ROWS: [Row; 15] = [
    (3, 1.0, 16, false, Relu, 1),
    (3, 4.0, 24, false, Relu, 2),
    (3, 3.0, 24, false, Relu, 1),
    (5, 3.0, 40, true, Relu, 2),
    (5, 3.0, 40, true, Relu, 1),
    (5, 3.0, 40, true, Relu, 1),
    (3, 6.0, 80, false, HardSwish, 2),
    (3, 2.5, 80, false, HardSwish, 1),
    (3, 2.3, 80, false, HardSwish, 1),
    (3, 2.3, 80, false, HardSwish, 1),
    (3, 6.0, 112, true, HardSwish, 1),
    (3, 6.0, 112, true, HardSwish, 1),
    (5, 6.0, 160, true, HardSwish, 2),
    (5, 6.0, 160, true, HardSwish, 1),
    (5, 6.0, 160, true, HardSwish, 1),
];

/// The nearest multiple of 8, at least 8; one more where that is below nine tenths of `channels`.
fn make_divisible(channels: f64) -> usize {
    let nearest = (((channels + 4.0) as usize) / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}

/// Squeeze-and-excite: each channel times a factor that the means of all channels give.
#[derive(Debug, Clone)]
struct SELayer {
    squeeze: FusedConv,
    excite: FusedConv,
}

impl SELayer {
    fn load(vb: VarBuilder<'_>, channels: usize) -> Result<Self> {
        let inside = make_divisible((channels / 4) as f64);
        // A dense layer over the means is a convolution of one pixel.
        let dense = |vb: VarBuilder<'_>, c_in, c_out, activation| -> Result<FusedConv> {
            let dense = linear(c_in, c_out, vb)?;
            let weight = dense.weight().reshape((c_out, c_in, 1, 1))?;
            let conv = Conv2d::new(weight, dense.bias().cloned(), ConvConfig::default());
            Ok(FusedConv::new(conv, Rectifier::Plain(activation))?)
        };
        Ok(Self {
            squeeze: dense(vb.pp("fc.0"), channels, inside, Relu)?,
            excite: dense(vb.pp("fc.2"), inside, channels, HardSigmoid)?,
        })
    }

    /// `[n, c, h, w] -> [n, c, h, w]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        xs.scale(&self.excite.forward(&self.squeeze.forward(&xs.mean()?)?)?)
    }
}

/// Widening, depthwise and narrowing convolution, each with its batch norm folded in.
#[derive(Debug, Clone)]
struct InvertedResidual {
    /// `None` where the block does not widen.
    expand: Option<FusedConv>,
    depthwise: FusedConv,
    se: Option<SELayer>,
    /// What stands after squeeze-and-excite: the rectifier, where the block widens; elsewhere it stands before.
    after: Activation,
    project: FusedConv,
    identity: bool,
}

impl InvertedResidual {
    fn load(vb: VarBuilder<'_>, c_in: usize, (kernel, widening, c_out, se, activation, stride): Row) -> Result<Self> {
        let vb = vb.pp("conv");
        let inside = make_divisible(c_in as f64 * widening);
        let rectifier = Rectifier::Plain(activation);
        let pointwise = |conv: usize, channels, rectifier| {
            let config = ConvConfig::default();
            FusedConv::new(conv2d_bn(vb.pp(conv), vb.pp(conv + 1), channels, (1, 1), config, BN_EPS)?, rectifier)
        };
        let widens = inside != c_in;
        // Positions in the reference's sequence.
        let (depthwise, squeeze, project) = if widens { (3, 5, 7) } else { (0, 3, 4) };
        let config = ConvConfig::default().stride(stride).padding(Padding::all(kernel / 2)).groups(inside);
        let (at, norm) = (vb.pp(depthwise), vb.pp(depthwise + 1));
        let depthwise = conv2d_bn(at, norm, (inside, inside), (kernel, kernel), config, BN_EPS)?;
        let rectified_later = widens && se;
        Ok(Self {
            expand: widens.then(|| pointwise(0, (c_in, inside), rectifier.clone())).transpose()?,
            depthwise: FusedConv::new(depthwise, if rectified_later { Rectifier::NONE } else { rectifier.clone() })?,
            se: se.then(|| SELayer::load(vb.pp(squeeze), inside)).transpose()?,
            after: if rectified_later { activation } else { Activation::None },
            project: pointwise(project, (inside, c_out), Rectifier::NONE)?,
            identity: stride == 1 && c_in == c_out,
        })
    }

    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        let expanded = self.expand.as_ref().map(|expand| expand.forward(xs)).transpose()?;
        let ys = expanded.as_ref().unwrap_or(xs);
        let Some(se) = &self.se else {
            return separable(&self.depthwise, &self.project, ys, self.identity.then_some(xs));
        };
        let ys = se.run(&self.depthwise.forward(ys)?)?.activate(self.after)?;
        if self.identity { self.project.forward_add(&ys, xs) } else { self.project.forward(&ys) }
    }
}

/// Probabilities of the two classes; they add up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Liveness {
    /// A face before the camera.
    pub real: f32,
    /// A picture, a screen or a mask.
    pub spoof: f32,
}

/// The network.
#[derive(Debug, Clone)]
pub struct Mn3 {
    stem: FusedConv,
    blocks: Vec<InvertedResidual>,
    conv_last: FusedConv,
    head_bn: BatchNorm,
    head: Linear,
    dtype: DType,
    device: Device,
    pool: Pool,
}

impl Mn3 {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let features = vb.pp("features");
        let stem = ConvConfig::default().stride(2).padding(Padding::all(1));
        let mut blocks = Vec::with_capacity(ROWS.len());
        let mut channels = STEM;
        for (i, row) in ROWS.into_iter().enumerate() {
            blocks.push(InvertedResidual::load(features.pp(i + 1), channels, row)?);
            channels = row.2;
        }
        let (first, last, head) = (features.pp("0"), vb.pp("conv_last"), vb.pp("spoofer"));
        let stem = conv2d_bn(first.pp("0"), first.pp("1"), (3, STEM), (3, 3), stem, BN_EPS)?;
        let plain = ConvConfig::default();
        let conv_last = conv2d_bn(last.pp("0"), last.pp("1"), (channels, EMBEDDING), (1, 1), plain, BN_EPS)?;
        Ok(Self {
            stem: FusedConv::new(stem, Rectifier::Plain(HardSwish))?,
            blocks,
            conv_last: FusedConv::new(conv_last, Rectifier::Plain(HardSwish))?,
            head_bn: batch_norm(head.pp("1"), EMBEDDING, BN_EPS)?,
            head: linear(EMBEDDING, 2, head.pp("3"))?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
            pool: Pool::default(),
        })
    }

    /// From `[n, 3, 128, 128]` to `[n, 1280, 4, 4]`; `see` gets what the stem, each block and the last convolution give.
    fn run(&self, xs: &Features, mut see: impl FnMut(&Features) -> candle::Result<()>) -> candle::Result<Features> {
        let mut xs = self.stem.forward(xs)?; // [n, 16, 64, 64]
        see(&xs)?;
        for block in &self.blocks {
            xs = block.run(&xs)?;
            see(&xs)?;
        }
        xs = self.conv_last.forward(&xs)?;
        see(&xs)?;
        Ok(xs)
    }

    /// The activations after the stem and each of the fifteen blocks, then after the last convolution: from
    /// `[n, 3, 128, 128]` to `[n, 16, 64, 64]` at first and `[n, 1280, 4, 4]` at last.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut activations = Vec::with_capacity(self.blocks.len() + 2);
        self.run(&Features::new(xs, &self.pool)?, |xs| {
            activations.push(xs.tensor()?);
            Ok(())
        })?;
        Ok(activations)
    }

    /// `[n, 3, 128, 128]` to the probabilities of real and spoof, `[n, 2]`.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.probabilities(&Features::new(xs, &self.pool)?)
    }

    fn probabilities(&self, xs: &Features) -> Result<Tensor> {
        let pooled = nn::by_image(&self.device, xs, |xs| self.run(xs, |_| Ok(()))?.mean()?.tensor())?;
        let normed = self.head_bn.forward(&Tensor::cat(&pooled, 0)?.flatten_from(1)?)?; // [n, 1280]
        let logits = self.head.forward(&(&normed * hard_sigmoid(&normed)?)?)?; // hard swish before it
        Ok(softmax(&logits, D::Minus1)?)
    }

    /// Judges 128 x 128 faces in the order given.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn judge(&self, faces: &[RgbImage]) -> Result<Vec<Liveness>> {
        if faces.is_empty() {
            return Ok(Vec::new());
        }
        let xs = NORMALIZE.features(faces, INPUT_SIZE, self.dtype, &self.device, &self.pool)?;
        let rows = self.probabilities(&xs)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        if rows.iter().flatten().any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite("mn3"));
        }
        Ok(rows.into_iter().map(|row| Liveness { real: row[0], spoof: row[1] }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_rounded_as_in_the_reference() {
        let cases = [(16.0, 16), (64.0, 64), (72.0, 72), (18.0, 24), (30.0, 32), (200.0, 200), (184.0, 184), (4.0, 8)];
        for (channels, expected) in cases {
            assert_eq!(make_divisible(channels), expected, "{channels}");
        }
    }
}
