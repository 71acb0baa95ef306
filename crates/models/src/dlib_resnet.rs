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

use candle::{D, DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear_no_bias};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{ChannelOrder, Conv2d, ConvConfig, Normalize, Padding, conv2d},
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

/// Convolution and scale, without the rectifier.
///
/// dlib's `affine` layer, a batch norm at inference, stands behind each convolution and is folded into it.
fn conv_scale(vb: &VarBuilder<'_>, c_in: usize, c_out: usize, kernel: usize, config: ConvConfig) -> Result<Conv2d> {
    let conv = conv2d(vb.pp("conv"), c_in, c_out, (kernel, kernel), config)?;
    let scale = vb.pp("scale");
    Ok(conv.fold(&scale.get(c_out, "weight")?, &scale.get(c_out, "bias")?)?)
}

/// Residual unit of two 3 x 3 convolutions.
#[derive(Debug, Clone)]
pub struct Residual {
    conv1: Conv2d,
    conv2: Conv2d,
    down: bool,
}

impl Residual {
    fn load(vb: &VarBuilder<'_>, c_in: usize, c_out: usize, down: bool) -> Result<Self> {
        let same = ConvConfig::default().padding(Padding::all(1));
        let first = if down { ConvConfig::default().stride(2) } else { same };
        Ok(Self {
            conv1: conv_scale(&vb.pp("conv1"), c_in, c_out, 3, first)?,
            conv2: conv_scale(&vb.pp("conv2"), c_out, c_out, 3, same)?,
            down,
        })
    }

    /// `[n, c, h, w] -> [n, c, h, w]`, or `[n, c_out, h / 2, w / 2]` where it halves.
    ///
    /// # Errors
    /// Another number of channels.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let ys = self.conv2.forward(&self.conv1.forward(xs)?.relu()?)?;
        let ys = if self.down {
            // The branch and its shortcut can differ by a row, a column and in channels: zeros fill what is missing.
            let pooled = xs.avg_pool2d(2)?; // [n, c_in, h / 2, w / 2]
            let (_, c_in, h, w) = pooled.dims4()?;
            let (_, c_out, branch_h, branch_w) = ys.dims4()?;
            let ys = ys.pad_with_zeros(2, 0, h - branch_h)?.pad_with_zeros(3, 0, w - branch_w)?;
            (pooled.pad_with_zeros(1, 0, c_out - c_in)? + ys)?
        } else {
            (ys + xs)?
        };
        Ok(ys.relu()?)
    }
}

/// The network.
#[derive(Debug, Clone)]
pub struct DlibResNet {
    conv32_down: Conv2d,
    stages: Vec<Vec<Residual>>,
    fc: Linear,
    device: Device,
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
        Ok(Self {
            conv32_down: conv_scale(&vb.pp("conv32_down"), 3, 32, 7, ConvConfig::default().stride(2))?,
            stages,
            fc: linear_no_bias(256, EMBEDDING_LEN, vb.pp("fc"))?,
            device: vb.device().clone(),
        })
    }

    /// The residual units of stage `0..=4`, in order.
    ///
    /// # Panics
    /// There is no such stage.
    pub fn units(&self, stage: usize) -> &[Residual] {
        &self.stages[stage]
    }

    /// The activations in order: stem `[n, 32, 35, 35]`, then the five stages `[n, 32, 35, 35]`, `[n, 64, 17, 17]`,
    /// `[n, 128, 8, 8]`, `[n, 256, 4, 4]`, `[n, 256, 2, 2]`, from `[n, 3, 150, 150]`.
    ///
    /// # Errors
    /// Another input shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let xs = self.conv32_down.forward(xs)?.relu()?; // [n, 32, 72, 72]
        let mut activations = vec![xs.max_pool2d_with_stride(3, 2)?]; // [n, 32, 35, 35]
        for stage in &self.stages {
            let mut xs = activations[activations.len() - 1].clone();
            for unit in stage {
                xs = unit.forward(&xs)?;
            }
            activations.push(xs);
        }
        Ok(activations)
    }

    /// `[n, 3, 150, 150] -> [n, 128]`
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let activations = self.stages(xs)?;
        let pooled = activations[activations.len() - 1].mean((D::Minus2, D::Minus1))?; // [n, 256]
        Ok(self.fc.forward(&pooled)?)
    }

    /// Embeddings of 150 x 150 face chips in the order given: 128 values each, not normalised.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn embed(&self, chips: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        if chips.is_empty() {
            return Ok(Vec::new());
        }
        let xs = NORMALIZE.batch(chips, INPUT_SIZE, DType::F32, &self.device)?;
        let embeddings = self.forward(&xs)?.to_vec2::<f32>()?;
        if embeddings.iter().flatten().any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite("dlib-resnet"));
        }
        Ok(embeddings)
    }
}
