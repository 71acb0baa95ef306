//! AdaFace: IR-101, trained with a margin that adapts to the quality of the image; 512 values.
//!
//! Paper: <https://arxiv.org/abs/2204.00964>.
//! Reference: <https://github.com/mk-minchul/AdaFace>, `net.py` at c60eaa7 (MIT; see `models-src/adaface-ir101`).
//!
//! In: 112 x 112 aligned faces, `(x / 255 - 0.5) / 0.5`, BGR for the authors' checkpoints. Out: 512 values, not
//! normalised: faces are compared by the cosine, and the length grows with the quality of the image.
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.
//!
//! The network is that of [`iresnet`](crate::iresnet) under other names, with two differences: the first unit halves
//! its input by leaving out pixels where ArcFace's has a convolution, and the last batch norm learns no scale.

use candle::Tensor;
use candle_nn::{VarBuilder, linear};
use facesocial_kernels::Pool;
use image::RgbImage;

use crate::{
    error::Result,
    iresnet::{BN_EPS, Backbone, CHANNELS, Config, IBasicBlock, LAST_SIZE, Shortcut, conv3x3},
    nn::{
        ChannelOrder, ConvConfig, FusedConv, MapLinear, Normalize, Rectifier, batch_norm, batch_norm_plain, conv2d_bn,
        prelu,
    },
};

pub use crate::iresnet::{EMBEDDING_LEN, INPUT_SIZE};

/// AdaFace's preprocessing, for a checkpoint trained on this order of channels.
pub const fn normalize(order: ChannelOrder) -> Normalize {
    Normalize { order, mean: [127.5; 3], std: [127.5; 3] }
}

/// What published checkpoints put before the names of `net.py`: nothing, or the wrappers of cvlface.
const PREFIXES: [&str; 3] = ["", "net", "model.net"];

fn unit(vb: &VarBuilder<'_>, c_in: usize, c_out: usize, stride: usize) -> Result<IBasicBlock> {
    let (res, shortcut) = (vb.pp("res_layer"), vb.pp("shortcut_layer"));
    let conv_bn = |conv: usize, c_in, stride| {
        conv2d_bn(res.pp(conv), res.pp(conv + 1), (c_in, c_out), (3, 3), conv3x3(stride), BN_EPS)
    };
    let shortcut = match (c_in == c_out, stride) {
        (true, 1) => Shortcut::Identity,
        (true, _) => Shortcut::Subsample,
        (false, _) => {
            let config = ConvConfig::default().stride(stride);
            Shortcut::conv(conv2d_bn(shortcut.pp("0"), shortcut.pp("1"), (c_in, c_out), (1, 1), config, BN_EPS)?)?
        }
    };
    Ok(IBasicBlock::new(
        batch_norm(res.pp("0"), c_in, BN_EPS)?,
        conv_bn(1, c_in, 1)?,
        prelu(res.pp("3"), c_out)?,
        conv_bn(4, c_out, stride)?,
        shortcut,
    )?)
}

/// The network.
#[derive(Debug, Clone)]
pub struct AdaFace {
    backbone: Backbone,
    order: ChannelOrder,
}

impl AdaFace {
    /// Reads the weights of IR-101, under the names of `net.py` or of cvlface's wrappers (`net.` or `model.net.` before
    /// each).
    ///
    /// `order` is that of the training, which no name tells: the authors' own checkpoints take BGR, those of cvlface RGB,
    /// as the `color_space` of their configuration says.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, order: ChannelOrder) -> Result<Self> {
        let under = |prefix: &str| if prefix.is_empty() { vb.clone() } else { vb.pp(prefix) };
        let vb = PREFIXES
            .into_iter()
            .map(under)
            .find(|vb| vb.contains_tensor("input_layer.0.weight"))
            .unwrap_or_else(|| vb.clone());
        let body = vb.pp("body");
        let mut layers = Vec::new();
        let (mut c_in, mut index) = (CHANNELS[0], 0);
        for (c_out, units) in CHANNELS.into_iter().zip(Config::iresnet100().units) {
            let mut layer = Vec::new();
            for i in 0..units {
                layer.push(unit(&body.pp(index), c_in, c_out, if i == 0 { 2 } else { 1 })?);
                (c_in, index) = (c_out, index + 1);
            }
            layers.push(layer);
        }
        let (input, output) = (vb.pp("input_layer"), vb.pp("output_layer"));
        let conv1 = conv2d_bn(input.pp("0"), input.pp("1"), (3, CHANNELS[0]), (3, 3), conv3x3(1), BN_EPS)?;
        let norm = batch_norm(output.pp("0"), c_in, BN_EPS)?;
        let fc = linear(c_in * LAST_SIZE * LAST_SIZE, EMBEDDING_LEN, output.pp("3"))?;
        let features = batch_norm_plain(output.pp("4"), EMBEDDING_LEN, BN_EPS)?;
        let backbone = Backbone {
            conv1: FusedConv::new(conv1, Rectifier::PRelu(prelu(input.pp("2"), CHANNELS[0])?))?,
            layers,
            fc: MapLinear::between(&norm, &fc, &features, [c_in, LAST_SIZE, LAST_SIZE])?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
            pool: Pool::default(),
        };
        Ok(Self { backbone, order })
    }

    /// The activations in order: stem `[n, 64, 112, 112]`, then the four widths `[n, 64, 56, 56]`, `[n, 128, 28, 28]`,
    /// `[n, 256, 14, 14]` and `[n, 512, 7, 7]`, from `[n, 3, 112, 112]`.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        self.backbone.stages(xs)
    }

    /// `[n, 3, 112, 112] -> [n, 512]`
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.backbone.forward(xs)
    }

    /// Embeddings of aligned 112 x 112 faces in the order given: 512 values each, not normalised.
    ///
    /// # Errors
    /// [`ModelError::InputSize`](crate::ModelError::InputSize), [`ModelError::NotFinite`](crate::ModelError::NotFinite),
    /// or a failed tensor operation.
    pub fn embed(&self, faces: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        self.backbone.embed(faces, normalize(self.order), "adaface")
    }
}
