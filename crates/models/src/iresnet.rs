//! IResNet, the residual network of ArcFace, with 50 and 100 layers: 512 values.
//!
//! Paper: <https://arxiv.org/abs/1801.07698>.
//! Reference: <https://github.com/deepinsight/insightface>, `recognition/arcface_torch/backbones/iresnet.py` at
//! 04a433f (MIT; see `models-src/arcface-iresnet100` and `models-src/arcface-iresnet50`).
//!
//! In: 112 x 112 aligned faces, RGB, `(x - 127.5) / 127.5`. Out: 512 values, not normalised; faces are compared by
//! their cosine.
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.
//!
//! No deviation in the result: batch norms are folded into the convolution before them. The one in front of a
//! zero-padded convolution stays apart; folded, its shift would be missing under the padding.

use candle::{DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{BatchNorm, ChannelOrder, Conv2d, ConvConfig, Normalize, PRelu, Padding, batch_norm, conv2d_bn, prelu},
};

/// Side of the input image in pixels.
pub const INPUT_SIZE: u32 = 112;
/// Values of an embedding.
pub const EMBEDDING_LEN: usize = 512;
/// InsightFace's preprocessing.
pub const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [127.5; 3], std: [127.5; 3] };

/// Added to the variance of every batch norm.
pub(crate) const BN_EPS: f64 = 1e-5;
/// Channels of the four layers.
pub(crate) const CHANNELS: [usize; 4] = [64, 128, 256, 512];
/// Side of the last layer's planes.
pub(crate) const LAST_SIZE: usize = 7;

/// Depth of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Residual units in the four layers.
    pub units: [usize; 4],
}

impl Config {
    /// 50 layers, 43.6 million weights.
    pub const fn iresnet50() -> Self {
        Self { units: [3, 4, 14, 3] }
    }

    /// 100 layers, 65.2 million weights.
    pub const fn iresnet100() -> Self {
        Self { units: [3, 13, 30, 3] }
    }
}

/// What is added to the branch of a residual unit.
#[derive(Debug, Clone)]
pub(crate) enum Shortcut {
    /// The input.
    Identity,
    /// Every second row and column of the input.
    Subsample,
    /// A convolution of the input with its batch norm folded in.
    Conv(Conv2d),
}

/// Residual unit: batch norm, convolution, rectifier, convolution, each convolution followed by a batch norm.
#[derive(Debug, Clone)]
pub(crate) struct IBasicBlock {
    pub(crate) bn1: BatchNorm,
    pub(crate) conv1: Conv2d,
    pub(crate) prelu: PRelu,
    pub(crate) conv2: Conv2d,
    pub(crate) shortcut: Shortcut,
}

/// A 3 x 3 convolution that keeps the extent at stride 1.
pub(crate) fn conv3x3(stride: usize) -> ConvConfig {
    ConvConfig::default().stride(stride).padding(Padding::all(1))
}

impl IBasicBlock {
    fn load(vb: &VarBuilder<'_>, c_in: usize, c_out: usize, stride: usize) -> Result<Self> {
        let conv_bn = |conv: &str, bn: &str, c_in, stride| {
            conv2d_bn(vb.pp(conv), vb.pp(bn), (c_in, c_out), (3, 3), conv3x3(stride), BN_EPS)
        };
        let shortcut = if stride == 1 && c_in == c_out {
            Shortcut::Identity
        } else {
            let (vb, config) = (vb.pp("downsample"), ConvConfig::default().stride(stride));
            Shortcut::Conv(conv2d_bn(vb.pp("0"), vb.pp("1"), (c_in, c_out), (1, 1), config, BN_EPS)?)
        };
        Ok(Self {
            bn1: batch_norm(vb.pp("bn1"), c_in, BN_EPS)?,
            conv1: conv_bn("conv1", "bn2", c_in, 1)?,
            prelu: prelu(vb.pp("prelu"), c_out)?,
            conv2: conv_bn("conv2", "bn3", c_out, stride)?,
            shortcut,
        })
    }

    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let ys = self.prelu.forward(&self.conv1.forward(&self.bn1.forward(xs)?)?)?;
        let ys = self.conv2.forward(&ys)?;
        Ok(match &self.shortcut {
            Shortcut::Identity => (ys + xs)?,
            // The reference writes this as max pooling over single pixels.
            Shortcut::Subsample => (ys + xs.max_pool2d_with_stride(1, 2)?)?,
            Shortcut::Conv(conv) => (ys + conv.forward(xs)?)?,
        })
    }
}

/// The network without its names: ArcFace's and AdaFace's checkpoints differ in these.
#[derive(Debug, Clone)]
pub(crate) struct Backbone {
    pub(crate) conv1: Conv2d,
    pub(crate) prelu: PRelu,
    pub(crate) layers: Vec<Vec<IBasicBlock>>,
    pub(crate) bn2: BatchNorm,
    pub(crate) fc: Linear,
    pub(crate) features: BatchNorm,
    pub(crate) dtype: DType,
    pub(crate) device: Device,
}

impl Backbone {
    /// Stem `[n, 64, 112, 112]`, then the four layers `[n, 64, 56, 56]` to `[n, 512, 7, 7]`.
    pub(crate) fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut activations = vec![self.prelu.forward(&self.conv1.forward(xs)?)?];
        for layer in &self.layers {
            let mut xs = activations[activations.len() - 1].clone();
            for block in layer {
                xs = block.forward(&xs)?;
            }
            activations.push(xs);
        }
        Ok(activations)
    }

    /// `[n, 3, 112, 112] -> [n, 512]`
    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = self.prelu.forward(&self.conv1.forward(xs)?)?;
        for block in self.layers.iter().flatten() {
            xs = block.forward(&xs)?;
        }
        let flat = self.bn2.forward(&xs)?.flatten_from(1)?; // [n, 512 * 7 * 7]
        Ok(self.features.forward(&self.fc.forward(&flat)?)?)
    }

    /// Embeddings of 112 x 112 images under the given preprocessing.
    pub(crate) fn embed(&self, faces: &[RgbImage], normalize: Normalize, name: &'static str) -> Result<Vec<Vec<f32>>> {
        if faces.is_empty() {
            return Ok(Vec::new());
        }
        let xs = normalize.batch(faces, INPUT_SIZE, self.dtype, &self.device)?;
        let embeddings = self.forward(&xs)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        if embeddings.iter().flatten().any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite(name));
        }
        Ok(embeddings)
    }
}

/// The network.
#[derive(Debug, Clone)]
pub struct IResNet(Backbone);

impl IResNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, config: Config) -> Result<Self> {
        let mut layers = Vec::new();
        let mut c_in = CHANNELS[0];
        for (i, (c_out, units)) in CHANNELS.into_iter().zip(config.units).enumerate() {
            let vb = vb.pp(format!("layer{}", i + 1));
            let mut layer = Vec::new();
            for unit in 0..units {
                let stride = if unit == 0 { 2 } else { 1 };
                layer.push(IBasicBlock::load(&vb.pp(unit), c_in, c_out, stride)?);
                c_in = c_out;
            }
            layers.push(layer);
        }
        Ok(Self(Backbone {
            conv1: conv2d_bn(vb.pp("conv1"), vb.pp("bn1"), (3, CHANNELS[0]), (3, 3), conv3x3(1), BN_EPS)?,
            prelu: prelu(vb.pp("prelu"), CHANNELS[0])?,
            layers,
            bn2: batch_norm(vb.pp("bn2"), c_in, BN_EPS)?,
            fc: linear(c_in * LAST_SIZE * LAST_SIZE, EMBEDDING_LEN, vb.pp("fc"))?,
            features: batch_norm(vb.pp("features"), EMBEDDING_LEN, BN_EPS)?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
        }))
    }

    /// The activations in order: stem `[n, 64, 112, 112]`, then the layers `[n, 64, 56, 56]`, `[n, 128, 28, 28]`,
    /// `[n, 256, 14, 14]` and `[n, 512, 7, 7]`, from `[n, 3, 112, 112]`.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        self.0.stages(xs)
    }

    /// `[n, 3, 112, 112] -> [n, 512]`
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.0.forward(xs)
    }

    /// Embeddings of aligned 112 x 112 faces in the order given: 512 values each, not normalised.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn embed(&self, faces: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        self.0.embed(faces, NORMALIZE, "iresnet")
    }
}
