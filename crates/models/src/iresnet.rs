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
//! No deviation in the result: batch norms are folded into the convolution before them. The one in front of a zero-padded
//! convolution is folded too on the CPU, where the padding becomes what that norm takes to zero; elsewhere it stays apart.

use candle::{DType, Device, Tensor};
use candle_nn::{VarBuilder, linear};
use facesocial_kernels::{Minimal, Pool};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{
        self, BatchNorm, ChannelOrder, Conv2d, ConvConfig, Features, FusedConv, MapLinear, Normalize, PRelu, Padding,
        Rectifier, batch_norm, conv2d_bn, prelu,
    },
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
    Conv(FusedConv),
}

/// Residual unit: batch norm, convolution, rectifier, convolution, each convolution followed by a batch norm.
#[derive(Debug, Clone)]
pub(crate) struct IBasicBlock {
    /// With the batch norms before and after it, and the rectifier.
    conv1: FusedConv,
    conv2: FusedConv,
    shortcut: Shortcut,
}

/// A 3 x 3 convolution that keeps the extent at stride 1.
pub(crate) fn conv3x3(stride: usize) -> ConvConfig {
    ConvConfig::default().stride(stride).padding(Padding::all(1))
}

impl IBasicBlock {
    /// From the layers in their order, the batch norms after the convolutions folded in.
    pub(crate) fn new(
        bn1: BatchNorm,
        conv1: Conv2d,
        prelu: PRelu,
        conv2: Conv2d,
        shortcut: Shortcut,
    ) -> candle::Result<Self> {
        let (prelu, none) = (Rectifier::PRelu(prelu), Rectifier::NONE);
        Ok(Self {
            conv1: FusedConv::after_norm(bn1, conv1, prelu, none.clone(), Minimal::Auto)?,
            conv2: FusedConv::new(conv2, none)?,
            shortcut,
        })
    }

    fn load(vb: &VarBuilder<'_>, c_in: usize, c_out: usize, stride: usize) -> Result<Self> {
        let conv_bn = |conv: &str, bn: &str, c_in, stride| {
            conv2d_bn(vb.pp(conv), vb.pp(bn), (c_in, c_out), (3, 3), conv3x3(stride), BN_EPS)
        };
        let shortcut = if stride == 1 && c_in == c_out {
            Shortcut::Identity
        } else {
            let (vb, config) = (vb.pp("downsample"), ConvConfig::default().stride(stride));
            Shortcut::conv(conv2d_bn(vb.pp("0"), vb.pp("1"), (c_in, c_out), (1, 1), config, BN_EPS)?)?
        };
        Ok(Self::new(
            batch_norm(vb.pp("bn1"), c_in, BN_EPS)?,
            conv_bn("conv1", "bn2", c_in, 1)?,
            prelu(vb.pp("prelu"), c_out)?,
            conv_bn("conv2", "bn3", c_out, stride)?,
            shortcut,
        )?)
    }

    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn forward(&self, xs: &Features) -> candle::Result<Features> {
        let ys = self.conv1.forward(xs)?;
        match &self.shortcut {
            Shortcut::Identity => self.conv2.forward_add(&ys, xs),
            // The reference writes this as max pooling over single pixels.
            Shortcut::Subsample => self.conv2.forward_add(&ys, &xs.max_pool(1, 2)?),
            Shortcut::Conv(conv) => self.conv2.forward_add(&ys, &conv.forward(xs)?),
        }
    }
}

impl Shortcut {
    pub(crate) fn conv(conv: Conv2d) -> candle::Result<Self> {
        Ok(Self::Conv(FusedConv::new(conv, Rectifier::NONE)?))
    }
}

/// Layers one after the other; `see` gets the maps after each.
fn through<'a>(
    layers: impl Iterator<Item = &'a Vec<IBasicBlock>>,
    mut xs: Features,
    mut see: impl FnMut(&Features) -> candle::Result<()>,
) -> candle::Result<Features> {
    for layer in layers {
        for block in layer {
            xs = block.forward(&xs)?;
        }
        see(&xs)?;
    }
    Ok(xs)
}

/// The network without its names: ArcFace's and AdaFace's checkpoints differ in these.
#[derive(Debug, Clone)]
pub(crate) struct Backbone {
    /// With its batch norm and its rectifier.
    pub(crate) conv1: FusedConv,
    pub(crate) layers: Vec<Vec<IBasicBlock>>,
    /// With the batch norm over the maps before it, and the one over the embedding.
    pub(crate) fc: MapLinear,
    pub(crate) dtype: DType,
    pub(crate) device: Device,
    pub(crate) pool: Pool,
}

impl Backbone {
    /// From `[n, 3, 112, 112]` to `[n, 64, 56, 56]`, the stem and the first layer; `see` gets both on the way.
    fn first(&self, xs: &Features, mut see: impl FnMut(&Features) -> candle::Result<()>) -> candle::Result<Features> {
        let stem = self.conv1.forward(xs)?;
        see(&stem)?;
        through(self.layers.iter().take(1), stem, see)
    }

    /// From there to `[n, 512, 7, 7]`; `see` gets the layers on the way.
    fn others(&self, xs: Features, see: impl FnMut(&Features) -> candle::Result<()>) -> candle::Result<Features> {
        through(self.layers.iter().skip(1), xs, see)
    }

    /// Stem `[n, 64, 112, 112]`, then the four layers `[n, 64, 56, 56]` to `[n, 512, 7, 7]`.
    pub(crate) fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut activations = Vec::with_capacity(self.layers.len() + 1);
        let mut see = |xs: &Features| {
            activations.push(xs.tensor()?);
            Ok(())
        };
        let first = self.first(&Features::new(xs, &self.pool)?, &mut see)?;
        self.others(first, see)?;
        Ok(activations)
    }

    /// `[n, 3, 112, 112] -> [n, 512]`
    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.embedding(&Features::new(xs, &self.pool)?)
    }

    fn embedding(&self, xs: &Features) -> Result<Tensor> {
        let ys = nn::run(&self.device, || {
            let first = nn::first_by_image(&self.device, xs, |xs| self.first(xs, |_| Ok(())))?; // [n, 64, 56, 56]
            self.fc.forward(&self.others(first, |_| Ok(()))?) // [n, 512, 1, 1]
        })?;
        Ok(ys.tensor()?.flatten_from(1)?)
    }

    /// Embeddings of 112 x 112 images under the given preprocessing.
    pub(crate) fn embed(&self, faces: &[RgbImage], normalize: Normalize, name: &'static str) -> Result<Vec<Vec<f32>>> {
        if faces.is_empty() {
            return Ok(Vec::new());
        }
        let xs = normalize.features(faces, INPUT_SIZE, self.dtype, &self.device, &self.pool)?;
        let embeddings = self.embedding(&xs)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
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
        let conv1 = conv2d_bn(vb.pp("conv1"), vb.pp("bn1"), (3, CHANNELS[0]), (3, 3), conv3x3(1), BN_EPS)?;
        let bn2 = batch_norm(vb.pp("bn2"), c_in, BN_EPS)?;
        let fc = linear(c_in * LAST_SIZE * LAST_SIZE, EMBEDDING_LEN, vb.pp("fc"))?;
        let features = batch_norm(vb.pp("features"), EMBEDDING_LEN, BN_EPS)?;
        Ok(Self(Backbone {
            conv1: FusedConv::new(conv1, Rectifier::PRelu(prelu(vb.pp("prelu"), CHANNELS[0])?))?,
            layers,
            fc: MapLinear::between(&bn2, &fc, &features, [c_in, LAST_SIZE, LAST_SIZE])?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
            pool: Pool::default(),
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
