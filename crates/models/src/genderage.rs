//! InsightFace's gender-age network: how old a face looks, and which of two genders it looks like.
//!
//! Paper: MobileNets, <https://arxiv.org/abs/1704.04861>; the network is one of width 0.25.
//! Reference: <https://github.com/deepinsight/insightface>, `python-package/insightface/model_zoo/attribute.py` at 10942a3,
//! which says what goes in and what comes out (see `models-src/genderage`).
//!
//! In: 96 x 96 crops, RGB, pixels of 0..255. The crop is a square around the centre of the face box, 1.5 times as wide as
//! the box's longer side, not rotated. Out: `[female, male, age / 100]`, the first two without a scale of their own: the
//! reference takes the larger.
//!
//! The publisher describes no layers, so they are read from the weight file: [`ConvChain`]. What a pixel is multiplied by
//! and what is added to it stands there too. Deviation: none in the result; batch norms are folded into the convolutions.
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.

use candle::{D, DType, Device, Tensor};
use candle_nn::{VarBuilder, ops::softmax};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{ChannelOrder, ConvChain, Features, Normalize},
};

/// Side of the input image in pixels.
pub const INPUT_SIZE: u32 = 96;
/// Side of the square crop, in lengths of the face box's longer side.
pub const CROP_SCALE: f32 = 1.5;
/// Pixels go in as they are.
pub const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [0.0; 3], std: [1.0; 3] };

/// Values of the dense layer.
const OUTPUTS: usize = 3;

/// What the network says of one face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GenderAge {
    /// Probability of the label female, by softmax of the two logits. Not calibrated: the reference gives the likelier
    /// label alone.
    pub female: f32,
    /// Probability of the label male: `1 - female`.
    pub male: f32,
    /// Years. Not limited: of something that is no face it may be negative.
    pub age: f32,
}

/// The network.
#[derive(Debug, Clone)]
pub struct GenderAgeNet {
    chain: ConvChain,
    dtype: DType,
    device: Device,
}

impl GenderAgeNet {
    /// Reads the layers, as many as the file has.
    ///
    /// # Errors
    /// A missing key, layers that do not fit each other or an input of 96 x 96, or another number of outputs than 3.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let chain = ConvChain::load(vb.clone(), 3, INPUT_SIZE as usize)?;
        if chain.outputs() != OUTPUTS {
            let reason = format!("fc.weight gives {} values, a gender-age network {OUTPUTS}", chain.outputs());
            return Err(candle::Error::Msg(reason).bt().into());
        }
        Ok(Self { chain, dtype: vb.dtype(), device: vb.device().clone() })
    }

    /// The activations after each layer, from `[n, 3, 96, 96]`, pixels of 0..255.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        Ok(self.chain.stages(xs)?)
    }

    /// `[n, 3, 96, 96]`, pixels of 0..255, to the logits of female and male and the age in centuries, `[n, 3]`.
    ///
    /// # Errors
    /// Another shape of input.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(self.chain.forward(&Features::new(xs, self.chain.pool())?)?)
    }

    /// Gender and age of 96 x 96 crops, in the order given.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn estimate(&self, crops: &[RgbImage]) -> Result<Vec<GenderAge>> {
        if crops.is_empty() {
            return Ok(Vec::new());
        }
        let xs = NORMALIZE.features(crops, INPUT_SIZE, self.dtype, &self.device, self.chain.pool())?;
        let out = self.chain.forward(&xs)?.to_dtype(DType::F32)?;
        let genders = softmax(&out.narrow(1, 0, 2)?, D::Minus1)?.to_vec2::<f32>()?;
        let ages = out.narrow(1, 2, 1)?.flatten_all()?.to_vec1::<f32>()?;
        if genders.iter().flatten().chain(&ages).any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite("genderage"));
        }
        let faces = genders.into_iter().zip(ages);
        Ok(faces.map(|(g, age)| GenderAge { female: g[0], male: g[1], age: 100.0 * age }).collect())
    }
}
