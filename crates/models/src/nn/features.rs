//! Activations on their way through a network, wherever it runs.

use candle::{DType, Device, Error, Result, Tensor};
use facesocial_kernels::{self as kernels, Activation, Map, Pool, PoolSpec};

/// Feature maps: on the CPU in single precision `[n, h, w, c]` in memory that is used again, elsewhere a tensor of
/// `[n, c, h, w]`.
///
/// A network is written once over these. How each step is computed on the CPU is `facesocial-kernels`'; elsewhere the same
/// steps are candle's operations.
#[derive(Debug)]
pub enum Features {
    /// On the CPU.
    Map(Map),
    /// On another device, or of another type.
    Tensor(Tensor),
}

impl Features {
    /// From `[n, c, h, w]`.
    ///
    /// # Errors
    /// Another number of axes.
    pub fn new(xs: &Tensor, pool: &Pool) -> Result<Self> {
        if !(xs.device().is_cpu() && xs.dtype() == DType::F32) {
            return Ok(Self::Tensor(xs.clone()));
        }
        let (n, c, h, w) = xs.dims4()?;
        let xs = xs.contiguous()?;
        let (storage, layout) = xs.storage_and_layout();
        let candle::Storage::Cpu(storage) = &*storage else { candle::bail!("a tensor on the CPU is stored elsewhere") };
        let values = super::conv::contiguous(storage, layout)?;
        Ok(Self::Map(Map::from_nchw(pool, values, [n, c, h, w]).map_err(Error::wrap)?))
    }

    /// As `[n, c, h, w]`.
    ///
    /// # Errors
    /// No memory on the device.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Map(map) => {
                let [n, h, w, c] = map.shape();
                Tensor::from_vec(map.to_nchw(), (n, c, h, w), &Device::Cpu)
            }
            Self::Tensor(xs) => Ok(xs.clone()),
        }
    }

    /// `[n, c, h, w]`
    ///
    /// # Errors
    /// Another number of axes.
    pub fn dims(&self) -> Result<[usize; 4]> {
        match self {
            Self::Map(map) => {
                let [n, h, w, c] = map.shape();
                Ok([n, c, h, w])
            }
            Self::Tensor(xs) => xs.dims4().map(|(n, c, h, w)| [n, c, h, w]),
        }
    }

    /// The mean of each channel, `[n, c, h, w] -> [n, c, 1, 1]`.
    ///
    /// # Errors
    /// The images have no pixels.
    pub fn mean(&self) -> Result<Self> {
        match self {
            Self::Map(map) => Ok(Self::Map(kernels::mean(map).map_err(Error::wrap)?)),
            Self::Tensor(xs) => Ok(Self::Tensor(xs.mean_keepdim((2, 3))?)),
        }
    }

    /// The greatest value of each complete window.
    ///
    /// # Errors
    /// No window fits.
    pub fn max_pool(&self, kernel: usize, stride: usize) -> Result<Self> {
        match self {
            Self::Map(map) => {
                let spec = PoolSpec::new(kernel, stride);
                Ok(Self::Map(kernels::max_pool(map, spec).map_err(Error::wrap)?))
            }
            Self::Tensor(xs) => Ok(Self::Tensor(xs.max_pool2d_with_stride(kernel, stride)?)),
        }
    }

    /// The mean of each complete window of the size of the step.
    ///
    /// # Errors
    /// No window fits.
    pub fn avg_pool(&self, kernel: usize) -> Result<Self> {
        match self {
            Self::Map(map) => {
                let spec = PoolSpec::new(kernel, kernel);
                Ok(Self::Map(kernels::avg_pool(map, spec).map_err(Error::wrap)?))
            }
            Self::Tensor(xs) => Ok(Self::Tensor(xs.avg_pool2d(kernel)?)),
        }
    }

    /// `self + other`, then ReLU if `relu`; what one of them lacks in rows, columns or channels is zero.
    ///
    /// # Errors
    /// Batches of different sizes, or features in different places.
    pub fn add(&self, other: &Self, relu: bool) -> Result<Self> {
        match (self, other) {
            (Self::Map(a), Self::Map(b)) => Ok(Self::Map(kernels::add(a, b, relu).map_err(Error::wrap)?)),
            (Self::Tensor(a), Self::Tensor(b)) => {
                let (mut a, mut b) = (a.clone(), b.clone());
                for axis in 1..4 {
                    let size = a.dim(axis)?.max(b.dim(axis)?);
                    a = a.pad_with_zeros(axis, 0, size - a.dim(axis)?)?;
                    b = b.pad_with_zeros(axis, 0, size - b.dim(axis)?)?;
                }
                let sum = (a + b)?;
                Ok(Self::Tensor(if relu { sum.relu()? } else { sum }))
            }
            _ => candle::bail!("a sum of features in different places"),
        }
    }

    /// Each channel of each image times its factor, `[n, c, h, w]` and `[n, c, 1, 1]`.
    ///
    /// # Errors
    /// Another number of factors, or features in different places.
    pub fn scale(&self, factors: &Self) -> Result<Self> {
        match (self, factors) {
            (Self::Map(a), Self::Map(b)) => Ok(Self::Map(kernels::scale(a, b).map_err(Error::wrap)?)),
            (Self::Tensor(a), Self::Tensor(b)) => Ok(Self::Tensor(a.broadcast_mul(b)?)),
            _ => candle::bail!("features and factors in different places"),
        }
    }

    /// Bilinear resize with half-pixel centres, see [`bilinear_resize`](super::bilinear_resize).
    ///
    /// # Errors
    /// The images have no pixels.
    pub fn bilinear(&self, oh: usize, ow: usize) -> Result<Self> {
        match self {
            Self::Map(map) => Ok(Self::Map(kernels::bilinear(map, oh, ow).map_err(Error::wrap)?)),
            Self::Tensor(xs) => Ok(Self::Tensor(super::bilinear_resize(xs, oh, ow)?)),
        }
    }
}

/// A rectifier as candle's operations.
pub(super) fn rectify(xs: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Relu => xs.relu(),
        Activation::Relu6 => xs.clamp(0f32, 6f32),
        Activation::Silu => candle_nn::ops::silu(xs),
        Activation::Gelu => xs.gelu_erf(),
        Activation::HardSigmoid => candle_nn::ops::hard_sigmoid(xs),
        Activation::HardSwish => xs * candle_nn::ops::hard_sigmoid(xs)?,
        Activation::Sigmoid => candle_nn::ops::sigmoid(xs),
        Activation::None => Ok(xs.clone()),
        Activation::PRelu => candle::bail!("a prelu needs its slopes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: (usize, usize, usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn assert_close(a: &Features, b: &Features) {
        let (a, b) = (a.tensor().unwrap(), b.tensor().unwrap().to_dtype(DType::F32).unwrap());
        assert_eq!(a.dims(), b.dims());
        let diff = (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        assert!(diff < 1e-5, "{diff}");
    }

    /// Doubles take the path of other devices.
    #[test]
    fn maps_and_tensors_give_the_same() {
        let pool = Pool::default();
        let both = |xs: &Tensor| {
            let wide = Features::new(&xs.to_dtype(DType::F64).unwrap(), &pool).unwrap();
            assert!(matches!(wide, Features::Tensor(_)));
            [Features::new(xs, &pool).unwrap(), wide]
        };
        let [a, wide_a] = both(&random((2, 5, 6, 7)));
        let [b, wide_b] = both(&random((2, 8, 5, 7)));
        let [c, wide_c] = both(&random((2, 5, 1, 1)));
        assert_close(&a.add(&b, true).unwrap(), &wide_a.add(&wide_b, true).unwrap());
        assert_close(&a.scale(&c).unwrap(), &wide_a.scale(&wide_c).unwrap());
        assert_close(&a.mean().unwrap(), &wide_a.mean().unwrap());
        assert_close(&a.max_pool(3, 2).unwrap(), &wide_a.max_pool(3, 2).unwrap());
        assert_close(&a.avg_pool(2).unwrap(), &wide_a.avg_pool(2).unwrap());
        assert_close(&a.bilinear(9, 14).unwrap(), &wide_a.bilinear(9, 14).unwrap());
        assert!(a.add(&wide_b, false).is_err() && a.scale(&wide_c).is_err());
        assert_eq!(a.dims().unwrap(), wide_a.dims().unwrap());
    }
}
