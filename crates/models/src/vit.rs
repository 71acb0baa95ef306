//! Vision Transformer for image classification; ViT-B/16 at 224 pixels judges deepfakes.
//!
//! Paper: <https://arxiv.org/abs/2010.11929>.
//! Reference: <https://github.com/huggingface/transformers>, release 4.57.6, `models/vit/modeling_vit.py` (Apache-2.0;
//! see `models-src/vit-deepfake`).
//!
//! In: 224 x 224 images, RGB, `(x / 255 - 0.5) / 0.5`. Out: a probability for each class, by softmax.
//!
//! Axes: `n` batch, `t` tokens (the class token, then the patches row by row), `d` width of a token.

use candle::{D, DType, Device, Tensor};
use candle_nn::{Linear, VarBuilder, linear};
use facesocial_kernels::{Activation, Pool};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{
        self, ChannelOrder, ConvConfig, Features, FusedConv, Normalize, Rectifier, TokenLinear, TokenNorm, Tokens,
        conv2d,
    },
};

/// Preprocessing of Google's ViT and of the networks fine-tuned from it; not the means of ImageNet.
pub const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [127.5; 3], std: [127.5; 3] };
/// Memory kept for the next batch: what one of 8 takes.
const POOL_BYTES: usize = 64 << 20;

/// Size of the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Side of the input image in pixels, a multiple of `patch_size`.
    pub image_size: u32,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Width of a token, a multiple of `heads`.
    pub hidden_size: usize,
    /// Width inside of a layer's perceptron.
    pub intermediate_size: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Classes.
    pub classes: usize,
    /// Added to the variance in layer norms.
    pub eps: f64,
}

impl Config {
    /// ViT-B/16 at 224 pixels: 85.8 million weights.
    pub const fn base_patch16_224(classes: usize) -> Self {
        Self {
            image_size: 224,
            patch_size: 16,
            hidden_size: 768,
            intermediate_size: 3072,
            layers: 12,
            heads: 12,
            classes,
            eps: 1e-12,
        }
    }

    /// The class token and one for each patch.
    pub const fn tokens(&self) -> usize {
        let side = self.image_size as usize / self.patch_size;
        side * side + 1
    }
}

#[derive(Debug, Clone)]
struct Attention {
    /// With the scale of the scores in it.
    query: TokenLinear,
    /// Keys and values side by side.
    key_value: TokenLinear,
    output: TokenLinear,
    heads: usize,
}

impl Attention {
    fn load(vb: VarBuilder<'_>, config: &Config) -> Result<Self> {
        let d = config.hidden_size;
        let attention = vb.pp("attention");
        let part = |name: &str| linear(d, d, attention.pp(name));
        let (query, key, value) = (part("query")?, part("key")?, part("value")?);
        let scale = ((d / config.heads) as f64).powf(-0.5);
        let bias = query.bias().map(|bias| bias * scale).transpose()?;
        let query = Linear::new((query.weight() * scale)?, bias);
        let bias = match (key.bias(), value.bias()) {
            (Some(key), Some(value)) => Some(Tensor::cat(&[key, value], 0)?),
            _ => None,
        };
        let key_value = Linear::new(Tensor::cat(&[key.weight(), value.weight()], 0)?, bias);
        Ok(Self {
            query: TokenLinear::new(query, Activation::None)?,
            key_value: TokenLinear::new(key_value, Activation::None)?,
            output: TokenLinear::new(linear(d, d, vb.pp("output.dense"))?, Activation::None)?,
            heads: config.heads,
        })
    }

    /// Of `asking` among `all`, plus `shortcut`: `[n, q, d]`, `[n, t, d]`, `[n, q, d] -> [n, q, d]`
    fn forward_add(&self, asking: &Tokens, all: &Tokens, shortcut: &Tokens) -> candle::Result<Tokens> {
        let context = self.query.forward(asking)?.attend(&self.key_value.forward(all)?, self.heads)?;
        self.output.forward_add(&context, shortcut)
    }
}

/// Encoder layer; the norms stand before attention and perceptron.
#[derive(Debug, Clone)]
struct Layer {
    layernorm_before: TokenNorm,
    attention: Attention,
    layernorm_after: TokenNorm,
    /// With its rectifier.
    intermediate: TokenLinear,
    output: TokenLinear,
}

fn layer_norm(vb: &VarBuilder<'_>, config: &Config) -> Result<TokenNorm> {
    let d = config.hidden_size;
    Ok(TokenNorm::new(vb.get(d, "weight")?, vb.get(d, "bias")?, config.eps)?)
}

impl Layer {
    fn load(vb: VarBuilder<'_>, config: &Config) -> Result<Self> {
        let (d, inside) = (config.hidden_size, config.intermediate_size);
        // The exact form with the error function, as the checkpoint was trained; not the one with tanh.
        let gelu = Activation::Gelu;
        Ok(Self {
            layernorm_before: layer_norm(&vb.pp("layernorm_before"), config)?,
            attention: Attention::load(vb.pp("attention"), config)?,
            layernorm_after: layer_norm(&vb.pp("layernorm_after"), config)?,
            intermediate: TokenLinear::new(linear(d, inside, vb.pp("intermediate.dense"))?, gelu)?,
            output: TokenLinear::new(linear(inside, d, vb.pp("output.dense"))?, Activation::None)?,
        })
    }

    /// `[n, t, d] -> [n, t, d]`
    fn forward(&self, xs: &Tokens) -> candle::Result<Tokens> {
        let normal = self.layernorm_before.forward(xs)?;
        let xs = self.attention.forward_add(&normal, &normal, xs)?;
        drop(normal);
        self.perceptron(&xs)
    }

    /// The first of what [`Self::forward`] gives: `[n, t, d] -> [n, 1, d]`
    fn forward_first(&self, xs: &Tokens) -> candle::Result<Tokens> {
        let normal = self.layernorm_before.forward(xs)?;
        self.perceptron(&self.attention.forward_add(&normal.first()?, &normal, &xs.first()?)?)
    }

    fn perceptron(&self, xs: &Tokens) -> candle::Result<Tokens> {
        self.output.forward_add(&self.intermediate.forward(&self.layernorm_after.forward(xs)?)?, xs)
    }
}

/// The network.
#[derive(Debug, Clone)]
pub struct ViT {
    projection: FusedConv,
    cls_token: Tensor,
    position_embeddings: Tensor,
    layers: Vec<Layer>,
    layernorm: TokenNorm,
    classifier: TokenLinear,
    image_size: u32,
    dtype: DType,
    device: Device,
    pool: Pool,
}

impl ViT {
    /// Reads the weights of a `ViTForImageClassification`.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>, config: Config) -> Result<Self> {
        let vit = vb.pp("vit");
        let embeddings = vit.pp("embeddings");
        let (d, patch) = (config.hidden_size, config.patch_size);
        let stride = ConvConfig::default().stride(patch);
        let projection = conv2d(embeddings.pp("patch_embeddings.projection"), 3, d, (patch, patch), stride)?;
        Ok(Self {
            projection: FusedConv::new(projection, Rectifier::NONE)?,
            cls_token: embeddings.get((1, 1, d), "cls_token")?,
            position_embeddings: embeddings.get((1, config.tokens(), d), "position_embeddings")?,
            layers: (0..config.layers)
                .map(|i| Layer::load(vit.pp("encoder.layer").pp(i), &config))
                .collect::<Result<_>>()?,
            layernorm: layer_norm(&vit.pp("layernorm"), &config)?,
            classifier: TokenLinear::new(linear(d, config.classes, vb.pp("classifier"))?, Activation::None)?,
            image_size: config.image_size,
            dtype: vb.dtype(),
            device: vb.device().clone(),
            pool: Pool::with_limit(POOL_BYTES),
        })
    }

    /// `[n, 3, h, w] -> [n, t, d]`
    fn embed(&self, xs: &Features) -> candle::Result<Tokens> {
        let patches = self.projection.forward(xs)?;
        Tokens::embed(&patches, &self.cls_token, &self.position_embeddings, &self.pool)
    }

    /// The tokens after the embeddings and after each layer, `[n, t, d]` each, from `[n, 3, h, w]`.
    ///
    /// # Errors
    /// Another input shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut xs = self.embed(&Features::new(xs, &self.pool)?)?;
        let mut activations = vec![xs.tensor()?];
        for layer in &self.layers {
            xs = layer.forward(&xs)?;
            activations.push(xs.tensor()?);
        }
        Ok(activations)
    }

    /// `[n, 3, h, w]` to logits, `[n, classes]`.
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.logits(&Features::new(xs, &self.pool)?)
    }

    /// A layer norm looks at one token alone, and only the class token is looked at after the last layer, which therefore
    /// computes no other.
    fn logits(&self, xs: &Features) -> Result<Tensor> {
        let logits = nn::run(&self.device, || {
            let mut tokens = self.embed(xs)?;
            for (i, layer) in self.layers.iter().enumerate() {
                let last = i + 1 == self.layers.len();
                tokens = if last { layer.forward_first(&tokens)? } else { layer.forward(&tokens)? };
            }
            self.classifier.forward(&self.layernorm.forward(&tokens.first()?)?)
        })?;
        Ok(logits.tensor()?.squeeze(1)?)
    }

    /// Probabilities of the classes for images of exactly the input size, in the order given.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn probabilities(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let xs = NORMALIZE.features(images, self.image_size, self.dtype, &self.device, &self.pool)?;
        let logits = self.logits(&xs)?.to_dtype(DType::F32)?;
        let probabilities = candle_nn::ops::softmax(&logits, D::Minus1)?.to_vec2::<f32>()?;
        if probabilities.iter().flatten().any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite("vit"));
        }
        Ok(probabilities)
    }
}
