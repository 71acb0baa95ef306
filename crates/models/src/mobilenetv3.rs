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
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{BatchNorm, ChannelOrder, Conv2d, ConvConfig, Normalize, Padding, batch_norm, conv2d_bn},
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

/// Rectifier of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Relu,
    HardSwish,
}

impl Activation {
    fn forward(self, xs: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Relu => xs.relu()?,
            Self::HardSwish => (xs * hard_sigmoid(xs)?)?,
        })
    }
}

/// A row of the paper's table 1: kernel, widening, output channels, squeeze-and-excite, rectifier, stride.
type Row = (usize, f64, usize, bool, Activation, usize);

use Activation::{HardSwish, Relu};

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
    squeeze: Linear,
    excite: Linear,
}

impl SELayer {
    fn load(vb: VarBuilder<'_>, channels: usize) -> Result<Self> {
        let inside = make_divisible((channels / 4) as f64);
        Ok(Self { squeeze: linear(channels, inside, vb.pp("fc.0"))?, excite: linear(inside, channels, vb.pp("fc.2"))? })
    }

    /// `[n, c, h, w] -> [n, c, h, w]`
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (n, c, ..) = xs.dims4()?;
        let means = xs.mean((D::Minus2, D::Minus1))?; // [n, c]
        let factors = hard_sigmoid(&self.excite.forward(&self.squeeze.forward(&means)?.relu()?)?)?;
        Ok(xs.broadcast_mul(&factors.reshape((n, c, 1, 1))?)?)
    }
}

/// Widening, depthwise and narrowing convolution, each with its batch norm folded in.
#[derive(Debug, Clone)]
struct InvertedResidual {
    /// `None` where the block does not widen.
    expand: Option<Conv2d>,
    depthwise: Conv2d,
    se: Option<SELayer>,
    /// The rectifier stands before squeeze-and-excite where the block does not widen, after it elsewhere.
    activation: Activation,
    project: Conv2d,
    identity: bool,
}

impl InvertedResidual {
    fn load(vb: VarBuilder<'_>, c_in: usize, (kernel, widening, c_out, se, activation, stride): Row) -> Result<Self> {
        let vb = vb.pp("conv");
        let inside = make_divisible(c_in as f64 * widening);
        let pointwise = |conv: usize, channels| {
            conv2d_bn(vb.pp(conv), vb.pp(conv + 1), channels, (1, 1), ConvConfig::default(), BN_EPS)
        };
        // Positions in the reference's sequence.
        let (depthwise, squeeze, project) = if inside == c_in { (0, 3, 4) } else { (3, 5, 7) };
        let config = ConvConfig::default().stride(stride).padding(Padding::all(kernel / 2)).groups(inside);
        let channels = (inside, inside);
        Ok(Self {
            expand: (inside != c_in).then(|| pointwise(0, (c_in, inside))).transpose()?,
            depthwise: conv2d_bn(vb.pp(depthwise), vb.pp(depthwise + 1), channels, (kernel, kernel), config, BN_EPS)?,
            se: se.then(|| SELayer::load(vb.pp(squeeze), inside)).transpose()?,
            activation,
            project: pointwise(project, (inside, c_out))?,
            identity: stride == 1 && c_in == c_out,
        })
    }

    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let excite = |ys: Tensor| self.se.as_ref().map_or(Ok(ys.clone()), |se| se.forward(&ys));
        let ys = match &self.expand {
            Some(expand) => {
                let ys = self.activation.forward(&expand.forward(xs)?)?;
                self.activation.forward(&excite(self.depthwise.forward(&ys)?)?)?
            }
            None => excite(self.activation.forward(&self.depthwise.forward(xs)?)?)?,
        };
        let ys = self.project.forward(&ys)?;
        Ok(if self.identity { (ys + xs)? } else { ys })
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
    stem: Conv2d,
    blocks: Vec<InvertedResidual>,
    conv_last: Conv2d,
    head_bn: BatchNorm,
    head: Linear,
    dtype: DType,
    device: Device,
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
        Ok(Self {
            stem: conv2d_bn(first.pp("0"), first.pp("1"), (3, STEM), (3, 3), stem, BN_EPS)?,
            blocks,
            conv_last: conv2d_bn(
                last.pp("0"),
                last.pp("1"),
                (channels, EMBEDDING),
                (1, 1),
                ConvConfig::default(),
                BN_EPS,
            )?,
            head_bn: batch_norm(head.pp("1"), EMBEDDING, BN_EPS)?,
            head: linear(EMBEDDING, 2, head.pp("3"))?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
        })
    }

    /// The activations after the stem and each of the fifteen blocks, then after the last convolution: from
    /// `[n, 3, 128, 128]` to `[n, 16, 64, 64]` at first and `[n, 1280, 4, 4]` at last.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut activations = vec![HardSwish.forward(&self.stem.forward(xs)?)?];
        for block in &self.blocks {
            activations.push(block.forward(&activations[activations.len() - 1])?);
        }
        let last = self.conv_last.forward(&activations[activations.len() - 1])?;
        activations.push(HardSwish.forward(&last)?);
        Ok(activations)
    }

    /// `[n, 3, 128, 128]` to the probabilities of real and spoof, `[n, 2]`.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let stages = self.stages(xs)?;
        let pooled = stages[stages.len() - 1].mean((D::Minus2, D::Minus1))?; // [n, 1280]
        let logits = self.head.forward(&HardSwish.forward(&self.head_bn.forward(&pooled)?)?)?;
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
        let xs = NORMALIZE.batch(faces, INPUT_SIZE, self.dtype, &self.device)?;
        let rows = self.forward(&xs)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
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
