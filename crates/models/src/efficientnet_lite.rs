//! EfficientNet-Lite0 up to its fifth stage, with a head that tells generated faces from photographed ones.
//!
//! Paper: <https://arxiv.org/abs/1905.11946>; the Lite variant has no squeeze-and-excite and rectifies with ReLU6.
//! Reference: <https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>. The weights are this
//! project's, trained by `models-src/deepfake-efficientnet-lite`, which also defines the head.
//!
//! In: a square of 160 x 160, RGB, `(x - 127) / 128`, around a face's box: see [`ENLARGE`]. Out: a logit, the higher the
//! rather the face was generated. It is no probability; the card gives the curve that makes it one.
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.

use candle::{DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear};
use facesocial_kernels::Pool;
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{self, ChannelOrder, ConvConfig, Features, FusedConv, Normalize, Rectifier, conv2d, separable},
};

/// Side of the input in pixels.
pub const INPUT_SIZE: u32 = 160;
/// Side of the square that the network was trained on: the longer side of the face's box times this, moved into the
/// photo where it would leave it.
pub const ENLARGE: f32 = 1.05;
/// `(x - 127) / 128`, RGB.
pub const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [127.0; 3], std: [128.0; 3] };

/// Channels after the stem.
const STEM: usize = 32;
/// The block whose output the head sees beside the last one.
const FINE_AFTER: usize = 4;
/// Channels that the head makes of the finer and of the coarser map.
const HEAD: [usize; 2] = [64, 192];
/// Images that pass through at once: the widest map takes 2.5 MiB an image.
const IMAGES_AT_ONCE: usize = 8;

/// A row of the paper's table 1: kernel, widening, output channels, stride, blocks.
type Row = (usize, usize, usize, usize, usize);

/// The paper's table 1, but for its last two stages.
const ROWS: [Row; 5] = [(3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 2, 3), (5, 6, 112, 1, 3)];

fn pointwise(vb: VarBuilder<'_>, c_in: usize, c_out: usize, rectifier: Rectifier) -> candle::Result<FusedConv> {
    FusedConv::new(conv2d(vb, c_in, c_out, (1, 1), ConvConfig::default())?, rectifier)
}

/// Widening, depthwise and narrowing convolution.
#[derive(Debug, Clone)]
struct MbConv {
    /// `None` where the block does not widen.
    expand: Option<FusedConv>,
    depthwise: FusedConv,
    project: FusedConv,
    identity: bool,
}

impl MbConv {
    fn load(vb: VarBuilder<'_>, c_in: usize, (kernel, widening, c_out, stride, _): Row) -> Result<Self> {
        let inside = c_in * widening;
        let config = ConvConfig::default().stride(stride).same().groups(inside);
        let depthwise = conv2d(vb.pp("depthwise"), inside, inside, (kernel, kernel), config)?;
        let expand = || pointwise(vb.pp("expand"), c_in, inside, Rectifier::RELU6);
        Ok(Self {
            expand: (widening > 1).then(expand).transpose()?,
            depthwise: FusedConv::new(depthwise, Rectifier::RELU6)?,
            project: pointwise(vb.pp("project"), inside, c_out, Rectifier::NONE)?,
            identity: stride == 1 && c_in == c_out,
        })
    }

    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        let expanded = self.expand.as_ref().map(|expand| expand.forward(xs)).transpose()?;
        let shortcut = self.identity.then_some(xs);
        separable(&self.depthwise, &self.project, expanded.as_ref().unwrap_or(xs), shortcut)
    }
}

/// What the network computes on the way, for comparison with the reference.
#[derive(Debug)]
pub struct Stages {
    /// After the stem, `[n, 32, 80, 80]`, then after each of the eleven blocks, at last `[n, 112, 10, 10]`.
    pub maps: Vec<Tensor>,
    /// The means of the head's maps, the finer one's before the coarser one's, `[n, 256]`.
    pub features: Tensor,
    /// `[n]`
    pub logits: Tensor,
}

/// The network.
#[derive(Debug, Clone)]
pub struct EfficientNetLite {
    stem: FusedConv,
    blocks: Vec<MbConv>,
    fine: FusedConv,
    coarse: FusedConv,
    classifier: Linear,
    dtype: DType,
    device: Device,
    pool: Pool,
}

impl EfficientNetLite {
    /// Reads the weights, batch norms folded in already.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let config = ConvConfig::default().stride(2).same();
        let (mut blocks, mut channels, mut outputs) = (Vec::new(), STEM, Vec::new());
        for row in ROWS {
            let (kernel, widening, c_out, stride, count) = row;
            for i in 0..count {
                let stride = if i == 0 { stride } else { 1 };
                let at = vb.pp(format!("blocks.{}", blocks.len()));
                blocks.push(MbConv::load(at, channels, (kernel, widening, c_out, stride, count))?);
                channels = c_out;
                outputs.push(c_out);
            }
        }
        Ok(Self {
            stem: FusedConv::new(conv2d(vb.pp("stem"), 3, STEM, (3, 3), config)?, Rectifier::RELU6)?,
            fine: pointwise(vb.pp("fine"), outputs[FINE_AFTER], HEAD[0], Rectifier::RELU6)?,
            coarse: pointwise(vb.pp("coarse"), channels, HEAD[1], Rectifier::RELU6)?,
            classifier: linear(HEAD[0] + HEAD[1], 1, vb.pp("classifier"))?,
            blocks,
            dtype: vb.dtype(),
            device: vb.device().clone(),
            pool: Pool::default(),
        })
    }

    /// From `[n, 3, 160, 160]` to the means of the head's maps, `[n, 256, 1, 1]`; `see` gets what the stem and each block
    /// give on the way.
    fn run(&self, xs: &Features, mut see: impl FnMut(&Features) -> candle::Result<()>) -> candle::Result<Features> {
        let (to_fine, to_coarse) = self.blocks.split_at(FINE_AFTER + 1);
        let mut xs = self.stem.forward(xs)?; // [n, 32, 80, 80]
        see(&xs)?;
        for block in to_fine {
            xs = block.run(&xs)?;
            see(&xs)?;
        }
        let fine = self.fine.forward(&xs)?.mean()?; // [n, 64, 1, 1]
        for block in to_coarse {
            xs = block.run(&xs)?;
            see(&xs)?;
        }
        let coarse = self.coarse.forward(&xs)?.mean()?; // [n, 192, 1, 1]
        Features::concat(&[&fine, &coarse])
    }

    /// The means of the head's maps, `[n, 256, 1, 1]`, to `[n, 256]` and the logits, `[n]`.
    fn head(&self, means: &Tensor) -> candle::Result<(Tensor, Tensor)> {
        let features = means.flatten_from(1)?;
        let logits = self.classifier.forward(&features)?.squeeze(1)?;
        Ok((features, logits))
    }

    /// Everything on the way, for `xs` of `[n, 3, 160, 160]`, normalised.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn stages(&self, xs: &Tensor) -> Result<Stages> {
        let mut maps = Vec::with_capacity(self.blocks.len() + 1);
        let means = self.run(&Features::new(xs, &self.pool)?, |xs| {
            maps.push(xs.tensor()?);
            Ok(())
        })?;
        let (features, logits) = self.head(&means.tensor()?)?;
        Ok(Stages { maps, features, logits })
    }

    /// `[n, 3, 160, 160]`, normalised, to logits, `[n]`: the higher, the rather generated.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.logits(&Features::new(xs, &self.pool)?)
    }

    fn logits(&self, xs: &Features) -> Result<Tensor> {
        let means = nn::by_image(&self.device, xs, |xs| self.run(xs, |_| Ok(()))?.tensor())?;
        Ok(self.head(&Tensor::cat(&means, 0)?)?.1)
    }

    /// The logit of each face crop of 160 x 160.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], or [`ModelError::NotFinite`] if the network's output is not finite.
    pub fn score(&self, images: &[RgbImage]) -> Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(images.len());
        for images in images.chunks(IMAGES_AT_ONCE) {
            let xs = NORMALIZE.features(images, INPUT_SIZE, self.dtype, &self.device, &self.pool)?;
            scores.extend(self.logits(&xs)?.to_dtype(DType::F32)?.to_vec1::<f32>()?);
        }
        if scores.iter().all(|v| v.is_finite()) { Ok(scores) } else { Err(ModelError::NotFinite("EfficientNet-Lite")) }
    }
}
