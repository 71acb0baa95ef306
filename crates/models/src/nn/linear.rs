//! A linear layer over all values of a feature map.

use candle::{DType, Error, Module, Result, Tensor};
use candle_nn::Linear;
use facesocial_kernels::{self as kernels, ConvSpec, Minimal};

use super::batch_norm::BatchNorm;
use super::features::Features;

/// `[n, c, h, w] -> [n, outputs, 1, 1]`: every output sees every value, as after PyTorch's `flatten(1)`.
///
/// On the CPU in single precision it is a convolution whose kernel is as large as the map.
#[derive(Debug, Clone)]
pub struct MapLinear(Compute);

#[derive(Debug, Clone)]
enum Compute {
    Packed(Box<kernels::Conv2d>),
    Candle { linear: Linear, outputs: usize },
}

impl MapLinear {
    /// From `weight` `[outputs, c * h * w]` and `bias` `[outputs]`, for maps of `[c, h, w]`.
    ///
    /// # Errors
    /// Another number of weights than the map has values, or kernels that this processor cannot run.
    pub fn new(linear: Linear, [c, h, w]: [usize; 3]) -> Result<Self> {
        let (outputs, taken) = linear.weight().dims2()?;
        if taken != c * h * w {
            candle::bail!("a linear layer of {taken} values does not take a map of {c} x {h} x {w}");
        }
        if !(linear.weight().device().is_cpu() && linear.weight().dtype() == DType::F32) {
            return Ok(Self(Compute::Candle { linear, outputs }));
        }
        let spec = ConvSpec { kernel: (h, w), minimal: Minimal::Off, ..ConvSpec::new(c, outputs, 1) };
        let weight = linear.weight().flatten_all()?.to_vec1::<f32>()?;
        let bias = linear.bias().map(Tensor::to_vec1::<f32>).transpose()?;
        let packed = kernels::Conv2d::new(spec, &weight, bias.as_deref()).map_err(Error::wrap)?;
        Ok(Self(Compute::Packed(Box::new(packed))))
    }

    /// As [`Self::new`], with a batch norm over its outputs folded in.
    ///
    /// # Errors
    /// As [`Self::new`], or another number of channels in the norm.
    pub fn with_norm(linear: &Linear, norm: &BatchNorm, shape: [usize; 3]) -> Result<Self> {
        let dtype = linear.weight().dtype();
        let (scale, shift) = (wide(norm.scale())?, wide(norm.shift())?);
        let weight = wide(linear.weight())?.broadcast_mul(&scale.reshape(((), 1))?)?;
        let bias = match linear.bias() {
            Some(bias) => ((wide(bias)? * scale)? + shift)?,
            None => shift,
        };
        Self::new(Linear::new(weight.to_dtype(dtype)?, Some(bias.to_dtype(dtype)?)), shape)
    }

    /// As [`Self::with_norm`], with a batch norm over the map's channels before the layer folded in too: there is no padding
    /// between them.
    ///
    /// # Errors
    /// As [`Self::with_norm`].
    pub fn between(before: &BatchNorm, linear: &Linear, after: &BatchNorm, shape: [usize; 3]) -> Result<Self> {
        let [c, h, w] = shape;
        let dtype = linear.weight().dtype();
        let column = |xs: &Tensor| wide(xs)?.reshape((1, (), 1));
        let outputs = linear.weight().dim(0)?;
        let weight = wide(linear.weight())?.reshape((outputs, c, h * w))?;
        let mut bias = weight.broadcast_mul(&column(before.shift())?)?.sum((1, 2))?;
        if let Some(own) = linear.bias() {
            bias = (bias + wide(own)?)?;
        }
        let weight = weight.broadcast_mul(&column(before.scale())?)?.reshape((outputs, c * h * w))?;
        let linear = Linear::new(weight.to_dtype(dtype)?, Some(bias.to_dtype(dtype)?));
        Self::with_norm(&linear, after, shape)
    }

    /// `[n, c, h, w] -> [n, outputs, 1, 1]`
    ///
    /// # Errors
    /// Another shape, or features in another place than the weights.
    pub fn forward(&self, xs: &Features) -> Result<Features> {
        match (&self.0, xs) {
            (Compute::Packed(conv), Features::Map(xs)) => {
                let ys = conv.forward(xs).map_err(Error::wrap)?;
                match ys.shape() {
                    [_, 1, 1, _] => Ok(Features::Map(ys)),
                    _ => candle::bail!("a linear layer does not take a map of {:?}", xs.shape()),
                }
            }
            (Compute::Candle { linear, outputs }, Features::Tensor(xs)) => {
                let ys = linear.forward(&xs.flatten_from(1)?)?;
                Ok(Features::Tensor(ys.reshape(((), *outputs, 1, 1))?))
            }
            _ => candle::bail!("features in another place than the weights"),
        }
    }
}

/// Folded in single precision at least: half of it would round twice.
fn wide(xs: &Tensor) -> Result<Tensor> {
    xs.to_dtype(DType::F32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle::Device;
    use candle_nn::VarBuilder;
    use facesocial_kernels::Pool;

    use super::{super::batch_norm, *};

    #[test]
    fn a_whole_map_between_two_norms_is_what_candle_gives_step_by_step() {
        let random = |shape: &[usize]| Tensor::rand(0.5f32, 1.5, shape, &Device::Cpu).unwrap();
        let (c, h, w, outputs) = (5, 3, 2, 7);
        let mut tensors = HashMap::new();
        for (name, channels) in [("before", c), ("after", outputs)] {
            for key in ["weight", "bias", "running_mean", "running_var"] {
                tensors.insert(format!("{name}.{key}"), random(&[channels]));
            }
        }
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let before = batch_norm(vb.pp("before"), c, 1e-5).unwrap();
        let after = batch_norm(vb.pp("after"), outputs, 1e-5).unwrap();
        let linear = Linear::new(random(&[outputs, c * h * w]), Some(random(&[outputs])));
        let xs = random(&[2, c, h, w]);
        let flat = before.forward(&xs).unwrap().flatten_from(1).unwrap();
        let want = after.forward(&linear.forward(&flat).unwrap()).unwrap();
        let layer = MapLinear::between(&before, &linear, &after, [c, h, w]).unwrap();
        let got = layer.forward(&Features::new(&xs, &Pool::default()).unwrap()).unwrap();
        let diff = (got.tensor().unwrap().flatten_from(1).unwrap() - want).unwrap().abs().unwrap();
        assert!(diff.flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap() < 1e-4);

        let wide = |xs: &Tensor| xs.to_dtype(DType::F64).unwrap();
        let linear_wide = Linear::new(wide(linear.weight()), linear.bias().map(wide));
        let other = MapLinear::new(linear_wide, [c, h, w]).unwrap().forward(&Features::Tensor(wide(&xs))).unwrap();
        let plain = linear.forward(&xs.flatten_from(1).unwrap()).unwrap();
        let diff = (other.tensor().unwrap().flatten_from(1).unwrap() - wide(&plain)).unwrap().abs().unwrap();
        assert!(diff.flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap() < 1e-4);
        assert!(MapLinear::new(linear, [c, h, w + 1]).is_err());
        assert!(layer.forward(&Features::new(&random(&[1, c, h + 1, w]), &Pool::default()).unwrap()).is_err());
    }
}
