//! Batch normalisation at inference: a scale and a shift for each channel.

use candle::{DType, Module, Result, Tensor};
use candle_nn::VarBuilder;

use super::conv::{Conv2d, ConvConfig, conv2d};

/// `x * scale + shift` of its channel; channels are axis 1.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    scale: Tensor,
    shift: Tensor,
}

/// Reads `weight`, `bias`, `running_mean` and `running_var`, each `[channels]`; `eps` is added to the variance.
///
/// # Errors
/// A missing key or another shape.
pub fn batch_norm(vb: VarBuilder<'_>, channels: usize, eps: f64) -> Result<BatchNorm> {
    let (weight, bias) = (vb.get(channels, "weight")?, vb.get(channels, "bias")?);
    let (mean, inv_std) = statistics(&vb, channels, eps)?;
    let scale = (weight.to_dtype(DType::F32)? * inv_std)?;
    let shift = (bias.to_dtype(DType::F32)? - (mean * &scale)?)?;
    Ok(BatchNorm { scale: scale.to_dtype(vb.dtype())?, shift: shift.to_dtype(vb.dtype())? })
}

/// As [`batch_norm`] without a learnt scale and shift: PyTorch's `affine=False`.
///
/// # Errors
/// A missing key or another shape.
pub fn batch_norm_plain(vb: VarBuilder<'_>, channels: usize, eps: f64) -> Result<BatchNorm> {
    let (mean, scale) = statistics(&vb, channels, eps)?;
    let shift = (mean * &scale)?.neg()?;
    Ok(BatchNorm { scale: scale.to_dtype(vb.dtype())?, shift: shift.to_dtype(vb.dtype())? })
}

/// Mean and `1 / sqrt(var + eps)` in f32: an eps of 1e-5 would be lost in half precision.
fn statistics(vb: &VarBuilder<'_>, channels: usize, eps: f64) -> Result<(Tensor, Tensor)> {
    let mean = vb.get(channels, "running_mean")?.to_dtype(DType::F32)?;
    let inv_std = (vb.get(channels, "running_var")?.to_dtype(DType::F32)? + eps)?.sqrt()?.recip()?;
    Ok((mean, inv_std))
}

/// A convolution with the batch norm that follows it folded in.
///
/// Exported graphs often hold the folded convolution already: without `running_var` under `bn`, the convolution must
/// have its bias.
///
/// # Errors
/// A missing key or another shape.
pub fn conv2d_bn(
    conv: VarBuilder<'_>,
    bn: VarBuilder<'_>,
    channels: (usize, usize),
    kernel: (usize, usize),
    config: ConvConfig,
    eps: f64,
) -> Result<Conv2d> {
    let (c_in, c_out) = channels;
    if !bn.contains_tensor("running_var") && conv.contains_tensor("bias") {
        return conv2d(conv, c_in, c_out, kernel, config);
    }
    let norm = batch_norm(bn, c_out, eps)?;
    conv2d(conv, c_in, c_out, kernel, config)?.fold(&norm.scale, &norm.shift)
}

impl BatchNorm {
    /// From scale and shift, `[channels]` each.
    pub const fn new(scale: Tensor, shift: Tensor) -> Self {
        Self { scale, shift }
    }

    /// `[channels]`
    pub(super) const fn scale(&self) -> &Tensor {
        &self.scale
    }

    /// `[channels]`
    pub(super) const fn shift(&self) -> &Tensor {
        &self.shift
    }
}

impl Module for BatchNorm {
    /// `[n, channels, ..] -> [n, channels, ..]`
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let channels = self.scale.dim(0)?;
        if xs.rank() == 4 {
            // A depthwise convolution with one tap is the same, in one pass over the memory.
            let config = ConvConfig::default().groups(channels);
            let weight = self.scale.reshape((channels, 1, 1, 1))?;
            return Conv2d::new(weight, Some(self.shift.clone()), config).forward(xs);
        }
        let mut shape = vec![1; xs.rank()];
        shape[1] = channels;
        xs.broadcast_mul(&self.scale.reshape(shape.as_slice())?)?.broadcast_add(&self.shift.reshape(shape)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle::Device;

    use super::{super::Padding, *};

    fn vb(with_norm: bool) -> VarBuilder<'static> {
        let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
        let kernel = Tensor::arange(0f32, 36.0, &Device::Cpu).unwrap().reshape((2, 2, 3, 3)).unwrap();
        let mut tensors = HashMap::from([("conv.weight".to_owned(), kernel)]);
        if with_norm {
            for (key, values) in [
                ("weight", [2.0, -1.0]),
                ("bias", [0.5, 0.0]),
                ("running_mean", [1.0, 3.0]),
                ("running_var", [4.0, 0.25]),
            ] {
                tensors.insert(format!("bn.{key}"), tensor(&values));
            }
        }
        VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
    }

    #[test]
    fn normalises_each_channel_in_every_rank() {
        let xs = Tensor::new(&[[3.0f32, 3.5]], &Device::Cpu).unwrap(); // [1, 2]
        let norm = batch_norm(vb(true).pp("bn"), 2, 0.0).unwrap();
        assert_eq!(norm.forward(&xs).unwrap().to_vec2::<f32>().unwrap(), [[2.5, -1.0]]);
        let image = xs.reshape((1, 2, 1, 1)).unwrap();
        assert_eq!(norm.forward(&image).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(), [2.5, -1.0]);
        let plain = batch_norm_plain(vb(true).pp("bn"), 2, 0.0).unwrap();
        assert_eq!(plain.forward(&xs).unwrap().to_vec2::<f32>().unwrap(), [[1.0, 1.0]]);
    }

    #[test]
    fn folding_equals_normalising_afterwards() {
        let config = ConvConfig::default().padding(Padding::all(1));
        let xs = Tensor::randn(0f32, 1.0, (1, 2, 5, 4), &Device::Cpu).unwrap();
        let vb = vb(true);
        let folded = conv2d_bn(vb.pp("conv"), vb.pp("bn"), (2, 2), (3, 3), config, 1e-5).unwrap().forward(&xs).unwrap();
        let conv = conv2d(vb.pp("conv"), 2, 2, (3, 3), config).unwrap().forward(&xs).unwrap();
        let apart = batch_norm(vb.pp("bn"), 2, 1e-5).unwrap().forward(&conv).unwrap();
        let diff = (folded - apart).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        assert!(diff.to_scalar::<f32>().unwrap() < 1e-3);
    }

    #[test]
    fn neither_batch_norm_nor_bias_is_an_error() {
        let vb = vb(false);
        assert!(conv2d_bn(vb.pp("conv"), vb.pp("bn"), (2, 2), (3, 3), ConvConfig::default(), 1e-5).is_err());
    }
}
