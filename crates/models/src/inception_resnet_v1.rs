//! Inception-ResNet v1, the network of FaceNet in its public training: 512 values of length 1.
//!
//! Paper: <https://arxiv.org/abs/1602.07261> (the network), <https://arxiv.org/abs/1503.03832> (FaceNet).
//! Reference: <https://github.com/timesler/facenet-pytorch>, release 2.6.0, `models/inception_resnet_v1.py` (MIT; see
//! `models-src/facenet-inception-resnet-v1`).
//!
//! In: 160 x 160 faces, RGB, `(x - 127.5) / 128`. Out: 512 values with a Euclidean length of 1.
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.
//!
//! No deviation in the result: batch norms are folded into the convolutions before them, and the scale of a residual
//! branch into its last convolution. A checkpoint's `logits`, the classifier of its training, is no part of this.

use candle::{DType, Device, Tensor};
use candle_nn::{VarBuilder, linear_no_bias};
use facesocial_kernels::{Minimal, Pool};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{
        self, ChannelOrder, ConvConfig, Features, FusedConv, MapLinear, Normalize, Padding, Rectifier, batch_norm,
        conv2d, conv2d_bn,
    },
};

/// Side of the input image in pixels.
pub const INPUT_SIZE: u32 = 160;
/// Values of an embedding.
pub const EMBEDDING_LEN: usize = 512;
/// facenet-pytorch's `fixed_image_standardization`.
pub const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [127.5; 3], std: [128.0; 3] };

/// Added to the variance of every batch norm; TensorFlow's value, where the weights were trained.
const BN_EPS: f64 = 1e-3;
/// Names of the stages of [`InceptionResNetV1::stages`].
pub const STAGES: [&str; 8] =
    ["conv2d_2b", "conv2d_4b", "repeat_1", "mixed_6a", "repeat_2", "mixed_7a", "repeat_3", "block8"];

/// Convolution, batch norm (folded) and rectifier.
#[derive(Debug, Clone)]
struct BasicConv2d(FusedConv);

impl BasicConv2d {
    /// A square kernel; at stride 1 the caller says by `padding` whether the extent is kept.
    fn load(
        vb: VarBuilder<'_>,
        channels: (usize, usize),
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let config = ConvConfig::default().stride(stride).padding(Padding::all(padding));
        let conv = conv2d_bn(vb.pp("conv"), vb.pp("bn"), channels, (kernel, kernel), config, BN_EPS)?;
        Ok(Self(FusedConv::new(conv, Rectifier::RELU)?))
    }

    /// A kernel of one row or one column that keeps the extent.
    fn line(vb: VarBuilder<'_>, channels: usize, (kh, kw): (usize, usize)) -> Result<Self> {
        let padding = Padding { top: kh / 2, bottom: kh / 2, left: kw / 2, right: kw / 2 };
        let config = ConvConfig::default().padding(padding);
        let conv = conv2d_bn(vb.pp("conv"), vb.pp("bn"), (channels, channels), (kh, kw), config, BN_EPS)?;
        Ok(Self(FusedConv::new(conv, Rectifier::RELU)?))
    }

    fn forward(&self, xs: &Features) -> candle::Result<Features> {
        self.0.forward(xs)
    }
}

/// Convolutions one after the other.
type Branch = Vec<BasicConv2d>;

/// The outputs of all branches, the channels of one behind those of the other.
fn side_by_side(branches: &[Branch], xs: &Features, other: Option<&Features>) -> candle::Result<Features> {
    let outputs = branches.iter().map(|branch| chain(branch, xs)).collect::<candle::Result<Vec<_>>>()?;
    let all: Vec<&Features> = outputs.iter().chain(other).collect();
    Features::concat(&all)
}

/// Convolutions one after the other; there is at least one.
fn chain(convs: &Branch, xs: &Features) -> candle::Result<Features> {
    let Some((first, others)) = convs.split_first() else { candle::bail!("a branch without convolutions") };
    others.iter().try_fold(first.forward(xs)?, |xs, conv| conv.forward(&xs))
}

/// Residual unit: branches side by side, a 1 x 1 convolution over all of them, times `scale`, plus the input.
#[derive(Debug, Clone)]
struct Block {
    branches: Vec<Branch>,
    /// With the scale in it; the rectifier after the sum with the input, where there is one.
    conv2d: FusedConv,
}

impl Block {
    fn new(
        vb: &VarBuilder<'_>,
        branches: Vec<Branch>,
        channels: (usize, usize),
        scale: f64,
        relu: bool,
    ) -> Result<Self> {
        let (c_inside, c_out) = channels;
        let conv = conv2d(vb.pp("conv2d"), c_inside, c_out, (1, 1), ConvConfig::default())?;
        let scale = Tensor::full(scale as f32, c_out, vb.device())?.to_dtype(vb.dtype())?;
        let conv = conv.fold(&scale, &scale.zeros_like()?)?;
        let then = if relu { Rectifier::RELU } else { Rectifier::NONE };
        Ok(Self { branches, conv2d: FusedConv::with(conv, Rectifier::NONE, then, Minimal::Auto)? })
    }

    /// 17 x 17 planes of 256 channels.
    fn block35(vb: &VarBuilder<'_>) -> Result<Self> {
        let narrow = |name: &str| BasicConv2d::load(vb.pp(name), (256, 32), 1, 1, 0);
        let wide = |name: &str| BasicConv2d::load(vb.pp(name), (32, 32), 3, 1, 1);
        let branches = vec![
            vec![narrow("branch0")?],
            vec![narrow("branch1.0")?, wide("branch1.1")?],
            vec![narrow("branch2.0")?, wide("branch2.1")?, wide("branch2.2")?],
        ];
        Self::new(vb, branches, (96, 256), 0.17, true)
    }

    /// 8 x 8 planes of 896 channels.
    fn block17(vb: &VarBuilder<'_>) -> Result<Self> {
        let branches = vec![
            vec![BasicConv2d::load(vb.pp("branch0"), (896, 128), 1, 1, 0)?],
            vec![
                BasicConv2d::load(vb.pp("branch1.0"), (896, 128), 1, 1, 0)?,
                BasicConv2d::line(vb.pp("branch1.1"), 128, (1, 7))?,
                BasicConv2d::line(vb.pp("branch1.2"), 128, (7, 1))?,
            ],
        ];
        Self::new(vb, branches, (256, 896), 0.10, true)
    }

    /// 3 x 3 planes of 1792 channels.
    fn block8(vb: &VarBuilder<'_>, scale: f64, relu: bool) -> Result<Self> {
        let branches = vec![
            vec![BasicConv2d::load(vb.pp("branch0"), (1792, 192), 1, 1, 0)?],
            vec![
                BasicConv2d::load(vb.pp("branch1.0"), (1792, 192), 1, 1, 0)?,
                BasicConv2d::line(vb.pp("branch1.1"), 192, (1, 3))?,
                BasicConv2d::line(vb.pp("branch1.2"), 192, (3, 1))?,
            ],
        ];
        Self::new(vb, branches, (384, 1792), scale, relu)
    }

    /// `[n, c, h, w] -> [n, c, h, w]`
    fn forward(&self, xs: &Features) -> candle::Result<Features> {
        self.conv2d.forward_add(&side_by_side(&self.branches, xs, None)?, xs)
    }
}

/// Halves the extent: branches that end with stride 2, and max pooling, side by side.
#[derive(Debug, Clone)]
struct Reduction(Vec<Branch>);

impl Reduction {
    fn mixed_6a(vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self(vec![
            vec![BasicConv2d::load(vb.pp("branch0"), (256, 384), 3, 2, 0)?],
            vec![
                BasicConv2d::load(vb.pp("branch1.0"), (256, 192), 1, 1, 0)?,
                BasicConv2d::load(vb.pp("branch1.1"), (192, 192), 3, 1, 1)?,
                BasicConv2d::load(vb.pp("branch1.2"), (192, 256), 3, 2, 0)?,
            ],
        ]))
    }

    fn mixed_7a(vb: &VarBuilder<'_>) -> Result<Self> {
        let narrow = |name: &str| BasicConv2d::load(vb.pp(name), (896, 256), 1, 1, 0);
        Ok(Self(vec![
            vec![narrow("branch0.0")?, BasicConv2d::load(vb.pp("branch0.1"), (256, 384), 3, 2, 0)?],
            vec![narrow("branch1.0")?, BasicConv2d::load(vb.pp("branch1.1"), (256, 256), 3, 2, 0)?],
            vec![
                narrow("branch2.0")?,
                BasicConv2d::load(vb.pp("branch2.1"), (256, 256), 3, 1, 1)?,
                BasicConv2d::load(vb.pp("branch2.2"), (256, 256), 3, 2, 0)?,
            ],
        ]))
    }

    /// `[n, c, h, w] -> [n, c_out, (h - 3) / 2 + 1, (w - 3) / 2 + 1]`
    fn forward(&self, xs: &Features) -> candle::Result<Features> {
        side_by_side(&self.0, xs, Some(&xs.max_pool(3, 2)?))
    }
}

/// The network.
#[derive(Debug, Clone)]
pub struct InceptionResNetV1 {
    /// `conv2d_1a`, `conv2d_2a`, `conv2d_2b`; max pooling follows.
    before_pool: Branch,
    /// `conv2d_3b`, `conv2d_4a`, `conv2d_4b`.
    after_pool: Branch,
    repeat_1: Vec<Block>,
    mixed_6a: Reduction,
    repeat_2: Vec<Block>,
    mixed_7a: Reduction,
    repeat_3: Vec<Block>,
    block8: Block,
    /// With the batch norm over the embedding.
    last_linear: MapLinear,
    dtype: DType,
    device: Device,
    pool: Pool,
}

impl InceptionResNetV1 {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let repeat = |name: &str, times: usize, block: &dyn Fn(&VarBuilder<'_>) -> Result<Block>| {
            (0..times).map(|i| block(&vb.pp(name).pp(i))).collect::<Result<Vec<_>>>()
        };
        let last_linear = linear_no_bias(1792, EMBEDDING_LEN, vb.pp("last_linear"))?;
        let last_bn = batch_norm(vb.pp("last_bn"), EMBEDDING_LEN, BN_EPS)?;
        Ok(Self {
            before_pool: vec![
                BasicConv2d::load(vb.pp("conv2d_1a"), (3, 32), 3, 2, 0)?,
                BasicConv2d::load(vb.pp("conv2d_2a"), (32, 32), 3, 1, 0)?,
                BasicConv2d::load(vb.pp("conv2d_2b"), (32, 64), 3, 1, 1)?,
            ],
            after_pool: vec![
                BasicConv2d::load(vb.pp("conv2d_3b"), (64, 80), 1, 1, 0)?,
                BasicConv2d::load(vb.pp("conv2d_4a"), (80, 192), 3, 1, 0)?,
                BasicConv2d::load(vb.pp("conv2d_4b"), (192, 256), 3, 2, 0)?,
            ],
            repeat_1: repeat("repeat_1", 5, &Block::block35)?,
            mixed_6a: Reduction::mixed_6a(&vb.pp("mixed_6a"))?,
            repeat_2: repeat("repeat_2", 10, &Block::block17)?,
            mixed_7a: Reduction::mixed_7a(&vb.pp("mixed_7a"))?,
            repeat_3: repeat("repeat_3", 5, &|vb| Block::block8(vb, 0.20, true))?,
            block8: Block::block8(&vb.pp("block8"), 1.0, false)?,
            last_linear: MapLinear::with_norm(&last_linear, &last_bn, [1792, 1, 1])?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
            pool: Pool::default(),
        })
    }

    /// From `[n, 3, 160, 160]` to `[n, 256, 17, 17]`; `see` gets the maps before the pooling on the way.
    fn stem(&self, xs: &Features, see: impl FnOnce(&Features) -> candle::Result<()>) -> candle::Result<Features> {
        let conv2d_2b = chain(&self.before_pool, xs)?; // [n, 64, 77, 77]
        see(&conv2d_2b)?;
        chain(&self.after_pool, &conv2d_2b.max_pool(3, 2)?)
    }

    /// From the stem's `[n, 256, 17, 17]` to `[n, 1792, 3, 3]`; `see` gets what [`Self::stages`] gives, on the way.
    fn blocks(
        &self,
        mut xs: Features,
        mut see: impl FnMut(&Features) -> candle::Result<()>,
    ) -> candle::Result<Features> {
        see(&xs)?;
        for block in &self.repeat_1 {
            xs = block.forward(&xs)?;
        }
        see(&xs)?;
        xs = self.mixed_6a.forward(&xs)?; // [n, 896, 8, 8]
        see(&xs)?;
        for block in &self.repeat_2 {
            xs = block.forward(&xs)?;
        }
        see(&xs)?;
        xs = self.mixed_7a.forward(&xs)?; // [n, 1792, 3, 3]
        see(&xs)?;
        for block in &self.repeat_3 {
            xs = block.forward(&xs)?;
        }
        see(&xs)?;
        xs = self.block8.forward(&xs)?;
        see(&xs)?;
        Ok(xs)
    }

    /// The activations in the order of [`STAGES`], from `[n, 3, 160, 160]`: `[n, 64, 77, 77]`, `[n, 256, 17, 17]`
    /// twice, `[n, 896, 8, 8]` twice, `[n, 1792, 3, 3]` three times.
    ///
    /// # Errors
    /// Another input shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut activations = Vec::with_capacity(STAGES.len());
        let mut see = |xs: &Features| {
            activations.push(xs.tensor()?);
            Ok(())
        };
        let stem = self.stem(&Features::new(xs, &self.pool)?, &mut see)?;
        self.blocks(stem, see)?;
        Ok(activations)
    }

    /// `[n, 3, 160, 160] -> [n, 512]`, each row of length 1.
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.embedding(&Features::new(xs, &self.pool)?)
    }

    fn embedding(&self, xs: &Features) -> Result<Tensor> {
        let ys = nn::run(&self.device, || {
            let stem = nn::first_by_image(&self.device, xs, |xs| self.stem(xs, |_| Ok(())))?; // [n, 256, 17, 17]
            self.last_linear.forward(&self.blocks(stem, |_| Ok(()))?.mean()?)
        })?;
        let ys = ys.tensor()?.flatten_from(1)?; // [n, 512]
        let norm = ys.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?; // [n, 1]; the floor is the reference's
        Ok(ys.broadcast_div(&norm)?)
    }

    /// Embeddings of 160 x 160 faces in the order given: 512 values each, of length 1.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn embed(&self, faces: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        if faces.is_empty() {
            return Ok(Vec::new());
        }
        let xs = NORMALIZE.features(faces, INPUT_SIZE, self.dtype, &self.device, &self.pool)?;
        let embeddings = self.embedding(&xs)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        if embeddings.iter().flatten().any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite("inception-resnet-v1"));
        }
        Ok(embeddings)
    }
}
