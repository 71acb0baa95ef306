//! dlib's face recognition network: a ResNet-34 with half the filters and a few layers less, 128 values.
//!
//! Paper: <https://arxiv.org/abs/1512.03385>.
//! Reference: <https://github.com/vladmandic/face-api>, release 1.7.15, `src/faceRecognitionNet` (MIT; see
//! `models-src/dlib-resnet`), a port of dlib's `dnn_face_recognition_ex.cpp`.
//!
//! In: 150 x 150 face chips, RGB, `(x - mean) / 256`. Out: 128 values, not normalised; chips of one person lie within a
//! Euclidean distance of about 0.6.
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.
//!
//! One deviation from the reference: it divides by 255. dlib, where the weights were trained, divides by 256, and so
//! does this.

use candle::{DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear_no_bias};
use facesocial_kernels::{Minimal, Pool};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{self, ChannelOrder, ConvConfig, Features, FusedConv, Normalize, Padding, Rectifier, conv2d},
};

/// Side of the input chip in pixels.
pub const INPUT_SIZE: u32 = 150;
/// Values of an embedding.
pub const EMBEDDING_LEN: usize = 128;

/// dlib's mean colour and scale.
pub const NORMALIZE: Normalize =
    Normalize { order: ChannelOrder::Rgb, mean: [122.782, 117.001, 104.298], std: [256.0; 3] };

/// The four widths: channels, and units that keep the extent; the unit before them halves it, except in the first.
const STAGES: [(usize, usize); 4] = [(32, 3), (64, 3), (128, 2), (256, 2)];

/// Convolution and scale, then a rectifier, and one after the shortcut.
///
/// dlib's `affine` layer, a batch norm at inference, stands behind each convolution and is folded into it.
fn conv_scale(
    vb: &VarBuilder<'_>,
    (c_in, c_out): (usize, usize),
    kernel: usize,
    config: ConvConfig,
    rectifier: Rectifier,
    then: Rectifier,
) -> Result<FusedConv> {
    let conv = conv2d(vb.pp("conv"), c_in, c_out, (kernel, kernel), config)?;
    let scale = vb.pp("scale");
    let conv = conv.fold(&scale.get(c_out, "weight")?, &scale.get(c_out, "bias")?)?;
    Ok(FusedConv::with(conv, rectifier, then, Minimal::Auto)?)
}

/// Residual unit of two 3 x 3 convolutions.
#[derive(Debug, Clone)]
pub struct Residual {
    conv1: FusedConv,
    conv2: FusedConv,
    down: bool,
}

impl Residual {
    fn load(vb: &VarBuilder<'_>, c_in: usize, c_out: usize, down: bool) -> Result<Self> {
        let same = ConvConfig::default().padding(Padding::all(1));
        let first = if down { ConvConfig::default().stride(2) } else { same };
        let (relu, none) = (Rectifier::RELU, Rectifier::NONE);
        Ok(Self {
            conv1: conv_scale(&vb.pp("conv1"), (c_in, c_out), 3, first, relu.clone(), none.clone())?,
            conv2: conv_scale(&vb.pp("conv2"), (c_out, c_out), 3, same, none, relu)?,
            down,
        })
    }

    /// `[n, c, h, w] -> [n, c, h, w]`, or `[n, c_out, h / 2, w / 2]` where it halves.
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        let ys = self.conv1.forward(xs)?;
        if self.down {
            // The branch and its shortcut can differ by a row, a column and in channels: zeros fill what is missing.
            xs.avg_pool(2)?.add(&self.conv2.forward(&ys)?, true)
        } else {
            self.conv2.forward_add(&ys, xs)
        }
    }

    /// `[n, c, h, w] -> [n, c, h, w]`, or `[n, c_out, h / 2, w / 2]` where it halves.
    ///
    /// # Errors
    /// Another number of channels.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(Features::over(xs, |xs| self.run(xs))?)
    }
}

/// The network.
#[derive(Debug, Clone)]
pub struct DlibResNet {
    conv32_down: FusedConv,
    stages: Vec<Vec<Residual>>,
    fc: Linear,
    dtype: DType,
    device: Device,
    pool: Pool,
}

impl DlibResNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let mut stages = Vec::new();
        let mut c_in = STAGES[0].0;
        for (channels, units) in STAGES {
            let mut stage = Vec::new();
            if channels != c_in {
                stage.push(Residual::load(&vb.pp(format!("conv{channels}_down")), c_in, channels, true)?);
            }
            for unit in 1..=units {
                stage.push(Residual::load(&vb.pp(format!("conv{channels}_{unit}")), channels, channels, false)?);
            }
            stages.push(stage);
            c_in = channels;
        }
        stages.push(vec![Residual::load(&vb.pp("conv256_down_out"), 256, 256, true)?]);
        let down = ConvConfig::default().stride(2);
        Ok(Self {
            conv32_down: conv_scale(&vb.pp("conv32_down"), (3, 32), 7, down, Rectifier::RELU, Rectifier::NONE)?,
            stages,
            fc: linear_no_bias(256, EMBEDDING_LEN, vb.pp("fc"))?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
            pool: Pool::default(),
        })
    }

    /// The residual units of stage `0..=4`, in order.
    ///
    /// # Panics
    /// There is no such stage.
    pub fn units(&self, stage: usize) -> &[Residual] {
        &self.stages[stage]
    }

    /// From `[n, 3, 150, 150]` to `[n, 256, 2, 2]`; `see` gets the stem and the stages on the way.
    fn run(&self, xs: &Features, mut see: impl FnMut(&Features) -> candle::Result<()>) -> candle::Result<Features> {
        let mut xs = self.conv32_down.forward(xs)?.max_pool(3, 2)?; // [n, 32, 35, 35]
        see(&xs)?;
        for stage in &self.stages {
            for unit in stage {
                xs = unit.run(&xs)?;
            }
            see(&xs)?;
        }
        Ok(xs)
    }

    /// The activations in order: stem `[n, 32, 35, 35]`, then the five stages `[n, 32, 35, 35]`, `[n, 64, 17, 17]`,
    /// `[n, 128, 8, 8]`, `[n, 256, 4, 4]`, `[n, 256, 2, 2]`, from `[n, 3, 150, 150]`.
    ///
    /// # Errors
    /// Another input shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut activations = Vec::with_capacity(self.stages.len() + 1);
        self.run(&Features::new(xs, &self.pool)?, |xs| {
            activations.push(xs.tensor()?);
            Ok(())
        })?;
        Ok(activations)
    }

    /// `[n, 3, 150, 150] -> [n, 128]`
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.embedding(&Features::new(xs, &self.pool)?)
    }

    fn embedding(&self, xs: &Features) -> Result<Tensor> {
        let pooled = nn::run(&self.device, || self.run(xs, |_| Ok(()))?.mean())?; // [n, 256, 1, 1]
        Ok(self.fc.forward(&pooled.tensor()?.flatten_from(1)?)?)
    }

    /// Embeddings of 150 x 150 face chips in the order given: 128 values each, not normalised.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn embed(&self, chips: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        if chips.is_empty() {
            return Ok(Vec::new());
        }
        let xs = NORMALIZE.features(chips, INPUT_SIZE, self.dtype, &self.device, &self.pool)?;
        let embeddings = self.embedding(&xs)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        if embeddings.iter().flatten().any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite("dlib-resnet"));
        }
        Ok(embeddings)
    }
}
