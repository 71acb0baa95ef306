//! MobileFaceNet: face embeddings from a network of inverted residuals, small enough for phones.
//!
//! Paper: <https://arxiv.org/abs/1804.07573>; trained with the ArcFace loss, <https://arxiv.org/abs/1801.07698>.
//! Reference: <https://github.com/sirius-ai/MobileFaceNet_TF>, `nets/MobileFaceNet.py` (Apache-2.0). The published
//! weights give 192 values where the paper has 128 (see `models-src/mobilefacenet`).
//!
//! In: an aligned face of 112 x 112, RGB, `(x - 127.5) / 128`. Out: 192 values, not normalised; two faces are compared
//! by the cosine of theirs.
//!
//! Its one idea over MobileNetV2: a depthwise convolution of the size of the last feature map, so that each position has
//! its own weight, where others average. Axes: `n` batch, `c` channels, `h` rows, `w` columns.

use candle::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use facesocial_kernels::{Map, Pool};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{self, ChannelOrder, ConvConfig, Features, FusedConv, Normalize, PRelu, Rectifier, conv2d, separable},
};

/// Side of the input in pixels.
pub const INPUT_SIZE: u32 = 112;
/// Length of an embedding.
pub const EMBEDDING: usize = 192;

/// `(x - 127.5) / 128`, RGB.
const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [127.5; 3], std: [128.0; 3] };
/// Channels of the last feature map, 7 x 7.
const FEATURES: usize = 512;

/// The bottlenecks, row by row as in the paper's table 1: channels inside, channels out, how many, stride of the first.
const BOTTLENECKS: [(usize, usize, usize, usize); 5] =
    [(128, 64, 5, 2), (256, 128, 1, 2), (256, 128, 6, 1), (512, 128, 1, 2), (256, 128, 2, 1)];

/// Convolution, then a PReLU. Batch norm is fused in the source.
fn conv_prelu(vb: VarBuilder<'_>, c_in: usize, c_out: usize, kernel: usize, config: ConvConfig) -> Result<FusedConv> {
    // The reference writes the negative part as `(x - |x|) * slope / 2`; the source keeps `slope / 2`.
    let slope = (vb.get(c_out, "half_slope")? * 2.0)?;
    let conv = conv2d(vb, c_in, c_out, (kernel, kernel), config)?;
    Ok(FusedConv::new(conv, Rectifier::PRelu(PRelu::new(slope)))?)
}

fn depthwise(vb: VarBuilder<'_>, channels: usize, stride: usize) -> Result<FusedConv> {
    conv_prelu(vb, channels, channels, 3, ConvConfig::default().stride(stride).same().groups(channels))
}

fn pointwise(vb: VarBuilder<'_>, c_in: usize, c_out: usize) -> Result<FusedConv> {
    Ok(FusedConv::new(conv2d(vb, c_in, c_out, (1, 1), ConvConfig::default())?, Rectifier::NONE)?)
}

/// Inverted residual: widen, convolve each channel, narrow without activation; a shortcut where the shape stays.
#[derive(Debug, Clone)]
pub struct Bottleneck {
    expand: FusedConv,
    depthwise: FusedConv,
    project: FusedConv,
    residual: bool,
}

impl Bottleneck {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, c_in: usize, c_inside: usize, c_out: usize, stride: usize) -> Result<Self> {
        Ok(Self {
            expand: conv_prelu(vb.pp("expand"), c_in, c_inside, 1, ConvConfig::default())?,
            depthwise: depthwise(vb.pp("depthwise"), c_inside, stride)?,
            project: pointwise(vb.pp("project"), c_inside, c_out)?,
            residual: stride == 1 && c_in == c_out,
        })
    }
}

impl Bottleneck {
    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        separable(&self.depthwise, &self.project, &self.expand.forward(xs)?, self.residual.then_some(xs))
    }
}

impl Module for Bottleneck {
    /// `[n, c_in, h, w] -> [n, c_out, h / stride, w / stride]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        self.run(&Features::new(xs, &Pool::default())?)?.tensor()
    }
}

/// What the network computes on the way, for comparison with the reference.
#[derive(Debug)]
pub struct Stages {
    /// Before the bottlenecks, `[n, 64, 56, 56]`.
    pub stem: Tensor,
    /// After each row of bottlenecks: 28, 14, 14, 7 and 7 pixels a side.
    pub rows: Vec<Tensor>,
    /// Before the global convolution, `[n, 512, 7, 7]`.
    pub features: Tensor,
    /// `[n, 192]`
    pub embedding: Tensor,
}

/// The network.
#[derive(Debug, Clone)]
pub struct MobileFaceNet {
    device: Device,
    dtype: DType,
    pool: Pool,
    conv1: FusedConv,
    depthwise2: FusedConv,
    pointwise2: FusedConv,
    rows: Vec<Vec<Bottleneck>>,
    conv_last: FusedConv,
    global_depthwise: FusedConv,
    global_pointwise: FusedConv,
    linear: FusedConv,
}

impl MobileFaceNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let mut rows = Vec::with_capacity(BOTTLENECKS.len());
        let (mut channels, mut index) = (64, 0);
        for (c_inside, c_out, count, stride) in BOTTLENECKS {
            let mut row = Vec::with_capacity(count);
            for i in 0..count {
                let stride = if i == 0 { stride } else { 1 };
                row.push(Bottleneck::load(vb.pp(format!("bottlenecks.{index}")), channels, c_inside, c_out, stride)?);
                (channels, index) = (c_out, index + 1);
            }
            rows.push(row);
        }
        let whole_map = ConvConfig::default().groups(FEATURES);
        let global = conv2d(vb.pp("global.depthwise"), FEATURES, FEATURES, (7, 7), whole_map)?;
        Ok(Self {
            device: vb.device().clone(),
            dtype: vb.dtype(),
            pool: Pool::default(),
            conv1: conv_prelu(vb.pp("conv1"), 3, 64, 3, ConvConfig::default().stride(2).same())?,
            depthwise2: depthwise(vb.pp("depthwise2"), 64, 1)?,
            pointwise2: pointwise(vb.pp("pointwise2"), 64, 64)?,
            rows,
            conv_last: conv_prelu(vb.pp("conv_last"), channels, FEATURES, 1, ConvConfig::default())?,
            global_depthwise: FusedConv::new(global, Rectifier::NONE)?,
            global_pointwise: pointwise(vb.pp("global.pointwise"), FEATURES, FEATURES)?,
            linear: pointwise(vb.pp("linear"), FEATURES, EMBEDDING)?,
        })
    }

    /// From `[n, 3, 112, 112]` to `[n, 192, 1, 1]`; `see` gets the stem, the rows and the features on the way.
    fn run(&self, xs: &Features, mut see: impl FnMut(&Features) -> candle::Result<()>) -> candle::Result<Features> {
        let mut ys = separable(&self.depthwise2, &self.pointwise2, &self.conv1.forward(xs)?, None)?; // [n, 64, 56, 56]
        see(&ys)?;
        for row in &self.rows {
            for block in row {
                ys = block.run(&ys)?;
            }
            see(&ys)?;
        }
        ys = self.conv_last.forward(&ys)?; // [n, 512, 7, 7]
        see(&ys)?;
        let global = self.global_pointwise.forward(&self.global_depthwise.forward(&ys)?)?; // [n, 512, 1, 1]
        self.linear.forward(&global)
    }

    /// Everything on the way, for `xs` of `[n, 3, 112, 112]`.
    ///
    /// # Errors
    /// Another shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Stages> {
        let mut seen = Vec::with_capacity(self.rows.len() + 2);
        let embedding = self.run(&Features::new(xs, &self.pool)?, |xs| {
            seen.push(xs.tensor()?);
            Ok(())
        })?;
        let rows = seen.split_off(1);
        let (Some(stem), [rows @ .., features]) = (seen.pop(), rows.as_slice()) else {
            return Err(candle::Error::Msg("a network without stages".into()).into());
        };
        let embedding = embedding.tensor()?.flatten_from(1)?; // [n, 192]
        Ok(Stages { stem, rows: rows.to_vec(), features: features.clone(), embedding })
    }

    /// `[n, 3, 112, 112]`, normalised, to `[n, 192]`.
    ///
    /// # Errors
    /// Another shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.embedding(&Features::new(xs, &self.pool)?)
    }

    fn embedding(&self, xs: &Features) -> Result<Tensor> {
        let ys = nn::by_image(&self.device, xs, |xs| self.run(xs, |_| Ok(()))?.tensor())?;
        Ok(Tensor::cat(&ys, 0)?.flatten_from(1)?)
    }

    /// Most bytes that the activations of `n` faces take on the CPU in single precision, the input's among them.
    ///
    /// # Errors
    /// The network runs elsewhere.
    pub fn activation_bytes(&self, n: usize) -> Result<usize> {
        let bytes = |n: usize| -> Result<usize> {
            let (pool, side) = (Pool::dry(), INPUT_SIZE as usize);
            let faces = Features::Map(Map::zeros(&pool, [n, side, side, 3]));
            nn::by_image(&Device::Cpu, &faces, |xs| self.run(xs, |_| Ok(())).map(drop))?;
            Ok(pool.peak_bytes())
        };
        // Each thread has a face of its own.
        let others = n.min(rayon::current_num_threads()).saturating_sub(1);
        Ok(bytes(n)? + others * bytes(1)?)
    }

    /// One embedding of 192 values for each aligned face of 112 x 112; not normalised.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], or [`ModelError::NotFinite`] if the network's output is not finite.
    pub fn embed(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let xs = NORMALIZE.features(images, INPUT_SIZE, self.dtype, &self.device, &self.pool)?;
        let embeddings = self.embedding(&xs)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        if embeddings.iter().flatten().all(|v| v.is_finite()) {
            Ok(embeddings)
        } else {
            Err(ModelError::NotFinite("MobileFaceNet"))
        }
    }
}
