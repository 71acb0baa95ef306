//! Parametric rectifier.

use candle::{CpuStorage, CustomOp2, DType, Layout, Module, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use rayon::prelude::*;

use super::conv::contiguous;

/// `x` where positive, `x * slope` of its channel elsewhere; channels are axis 1.
#[derive(Debug, Clone)]
pub struct PRelu {
    weight: Tensor,
}

/// Reads the slopes, `weight` of `[channels]`.
///
/// # Errors
/// A missing key or another shape.
pub fn prelu(vb: VarBuilder<'_>, channels: usize) -> Result<PRelu> {
    Ok(PRelu { weight: vb.get(channels, "weight")? })
}

impl PRelu {
    /// A rectifier from its slopes, `[channels]`.
    pub const fn new(weight: Tensor) -> Self {
        Self { weight }
    }

    /// The slopes, `[channels]`.
    #[cfg(feature = "cuda")]
    pub(super) const fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The slopes, one a channel.
    pub(super) fn slopes(&self) -> Result<Vec<f32>> {
        self.weight.to_dtype(DType::F32)?.to_vec1()
    }
}

impl Module for PRelu {
    /// `[n, channels, ..] -> [n, channels, ..]`
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let channels = self.weight.dim(0)?;
        if xs.dim(1)? != channels {
            candle::bail!("prelu has {channels} slopes, its input {:?}", xs.dims());
        }
        if xs.device().is_cpu() && xs.dtype() == DType::F32 {
            return xs.contiguous()?.apply_op2_no_bwd(&self.weight, &PReluOp);
        }
        let mut shape = vec![1; xs.rank()];
        shape[1] = channels;
        xs.relu()? - xs.neg()?.relu()?.broadcast_mul(&self.weight.reshape(shape)?)?
    }
}

struct PReluOp;

impl CustomOp2 for PReluOp {
    fn name(&self) -> &'static str {
        "prelu"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (input, slopes) = (contiguous(s1, l1)?, contiguous(s2, l2)?);
        let plane = l1.shape().dims()[2..].iter().product::<usize>().max(1);
        let mut output = vec![0f32; input.len()];
        output.par_chunks_mut(plane).zip(input.par_chunks(plane)).enumerate().for_each(|(i, (out, xs))| {
            let slope = slopes[i % slopes.len()];
            out.iter_mut().zip(xs).for_each(|(o, x)| *o = if *x > 0.0 { *x } else { x * slope });
        });
        Ok((CpuStorage::F32(output), l1.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::*;

    #[test]
    fn each_channel_has_its_slope() {
        let prelu = PRelu::new(Tensor::new(&[0.5f32, 2.0], &Device::Cpu).unwrap());
        let xs = Tensor::new(&[[[-1.0f32, 3.0], [-1.0, 4.0]]], &Device::Cpu).unwrap(); // [1, 2, 2]
        assert_eq!(prelu.forward(&xs).unwrap().to_vec3::<f32>().unwrap(), [[[-0.5, 3.0], [-2.0, 4.0]]]);
        let flat = Tensor::new(&[[-2.0f32, -2.0], [1.0, -1.0]], &Device::Cpu).unwrap(); // [2, 2]
        assert_eq!(prelu.forward(&flat).unwrap().to_vec2::<f32>().unwrap(), [[-1.0, -4.0], [1.0, -2.0]]);
    }

    #[test]
    fn the_general_path_gives_the_same() {
        let slopes = Tensor::new(&[0.25f32, -0.5, 1.5], &Device::Cpu).unwrap();
        let xs = Tensor::randn(0f32, 1.0, (2, 3, 4, 5), &Device::Cpu).unwrap();
        let fast = PRelu::new(slopes.clone()).forward(&xs).unwrap().flatten_all().unwrap();
        let general = PRelu::new(slopes.to_dtype(DType::F64).unwrap()).forward(&xs.to_dtype(DType::F64).unwrap());
        let general = general.unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        assert_eq!(fast.to_vec1::<f32>().unwrap(), general.to_vec1::<f32>().unwrap());
    }

    #[test]
    fn another_number_of_channels_is_an_error() {
        let prelu = PRelu::new(Tensor::new(&[0.5f32, 2.0], &Device::Cpu).unwrap());
        assert!(prelu.forward(&Tensor::zeros((1, 3, 2), DType::F32, &Device::Cpu).unwrap()).is_err());
    }
}
