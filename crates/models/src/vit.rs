//! Vision Transformer for image classification; ViT-B/16 at 224 pixels judges deepfakes.
//!
//! Paper: <https://arxiv.org/abs/2010.11929>.
//! Reference: <https://github.com/huggingface/transformers>, release 4.57.6, `models/vit/modeling_vit.py` (Apache-2.0;
//! see `models-src/vit-deepfake`).
//!
//! In: 224 x 224 images, RGB, `(x / 255 - 0.5) / 0.5`. Out: a probability for each class, by softmax.
//!
//! Axes: `n` batch, `t` tokens (the class token, then the patches row by row), `d` width of a token.

use candle::{D, DType, Device, IndexOp, Module, Tensor};
use candle_nn::{LayerNorm, Linear, VarBuilder, layer_norm, linear, ops::softmax_last_dim};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{ChannelOrder, Conv2d, ConvConfig, Normalize, conv2d},
};

/// Preprocessing of Google's ViT and of the networks fine-tuned from it; not the means of ImageNet.
pub const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [127.5; 3], std: [127.5; 3] };

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
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

impl Attention {
    fn load(vb: VarBuilder<'_>, config: &Config) -> Result<Self> {
        let d = config.hidden_size;
        let attention = vb.pp("attention");
        Ok(Self {
            query: linear(d, d, attention.pp("query"))?,
            key: linear(d, d, attention.pp("key"))?,
            value: linear(d, d, attention.pp("value"))?,
            output: linear(d, d, vb.pp("output.dense"))?,
            heads: config.heads,
        })
    }

    /// `[n, t, d] -> [n, t, d]`
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (n, t, d) = xs.dims3()?;
        let width = d / self.heads;
        let split = |xs: Tensor| xs.reshape((n, t, self.heads, width))?.transpose(1, 2)?.contiguous(); // [n, heads, t, width]
        let query = (split(self.query.forward(xs)?)? * (width as f64).powf(-0.5))?;
        let key = split(self.key.forward(xs)?)?;
        let value = split(self.value.forward(xs)?)?;
        let weights = softmax_last_dim(&query.matmul(&key.transpose(2, 3)?.contiguous()?)?)?; // [n, heads, t, t]
        let context = weights.matmul(&value)?.transpose(1, 2)?.contiguous()?.reshape((n, t, d))?;
        Ok(self.output.forward(&context)?)
    }
}

/// Encoder layer; the norms stand before attention and perceptron.
#[derive(Debug, Clone)]
struct Layer {
    layernorm_before: LayerNorm,
    attention: Attention,
    layernorm_after: LayerNorm,
    intermediate: Linear,
    output: Linear,
}

impl Layer {
    fn load(vb: VarBuilder<'_>, config: &Config) -> Result<Self> {
        let (d, inside) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            layernorm_before: layer_norm(d, config.eps, vb.pp("layernorm_before"))?,
            attention: Attention::load(vb.pp("attention"), config)?,
            layernorm_after: layer_norm(d, config.eps, vb.pp("layernorm_after"))?,
            intermediate: linear(d, inside, vb.pp("intermediate.dense"))?,
            output: linear(inside, d, vb.pp("output.dense"))?,
        })
    }

    /// `[n, t, d] -> [n, t, d]`
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let xs = (self.attention.forward(&self.layernorm_before.forward(xs)?)? + xs)?;
        // The exact form with the error function, as the checkpoint was trained; not the one with tanh.
        let inside = self.intermediate.forward(&self.layernorm_after.forward(&xs)?)?.gelu_erf()?;
        Ok((self.output.forward(&inside)? + xs)?)
    }
}

/// The network.
#[derive(Debug, Clone)]
pub struct ViT {
    projection: Conv2d,
    cls_token: Tensor,
    position_embeddings: Tensor,
    layers: Vec<Layer>,
    layernorm: LayerNorm,
    classifier: Linear,
    image_size: u32,
    dtype: DType,
    device: Device,
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
        Ok(Self {
            projection: conv2d(
                embeddings.pp("patch_embeddings.projection"),
                3,
                d,
                (patch, patch),
                ConvConfig::default().stride(patch),
            )?,
            cls_token: embeddings.get((1, 1, d), "cls_token")?,
            position_embeddings: embeddings.get((1, config.tokens(), d), "position_embeddings")?,
            layers: (0..config.layers)
                .map(|i| Layer::load(vit.pp("encoder.layer").pp(i), &config))
                .collect::<Result<_>>()?,
            layernorm: layer_norm(d, config.eps, vit.pp("layernorm"))?,
            classifier: linear(d, config.classes, vb.pp("classifier"))?,
            image_size: config.image_size,
            dtype: vb.dtype(),
            device: vb.device().clone(),
        })
    }

    /// The tokens after the embeddings and after each layer, `[n, t, d]` each, from `[n, 3, h, w]`.
    ///
    /// # Errors
    /// Another input shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let (n, ..) = xs.dims4()?;
        let patches = self.projection.forward(xs)?.flatten_from(2)?.transpose(1, 2)?; // [n, t - 1, d]
        let (_, _, d) = patches.dims3()?;
        let tokens = Tensor::cat(&[&self.cls_token.expand((n, 1, d))?, &patches], 1)?; // [n, t, d]
        let mut activations = vec![tokens.broadcast_add(&self.position_embeddings)?];
        for layer in &self.layers {
            activations.push(layer.forward(&activations[activations.len() - 1])?);
        }
        Ok(activations)
    }

    /// `[n, 3, h, w]` to logits, `[n, classes]`.
    ///
    /// # Errors
    /// Another input shape.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let stages = self.stages(xs)?;
        // A layer norm looks at one token alone, and only the class token is looked at afterwards.
        let class_token = stages[stages.len() - 1].i((.., 0))?; // [n, d]
        Ok(self.classifier.forward(&self.layernorm.forward(&class_token)?)?)
    }

    /// Probabilities of the classes for images of exactly the input size, in the order given.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], [`ModelError::NotFinite`], or a failed tensor operation.
    pub fn probabilities(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let xs = NORMALIZE.batch(images, self.image_size, self.dtype, &self.device)?;
        let logits = self.forward(&xs)?.to_dtype(DType::F32)?;
        let probabilities = candle_nn::ops::softmax(&logits, D::Minus1)?.to_vec2::<f32>()?;
        if probabilities.iter().flatten().any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite("vit"));
        }
        Ok(probabilities)
    }
}
