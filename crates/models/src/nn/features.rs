//! Activations on their way through a network, wherever it runs.

use candle::{DType, Device, Error, Result, Tensor};
use facesocial_kernels::{self as kernels, Activation, Map, Pool};
use rayon::prelude::*;

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

    /// From `[n, c, h, w]`, in the same place as these.
    ///
    /// # Errors
    /// Another number of axes.
    pub fn beside(&self, xs: &Tensor) -> Result<Self> {
        match self {
            Self::Map(map) => Self::new(xs, map.pool()),
            Self::Tensor(_) => Ok(Self::Tensor(xs.clone())),
        }
    }

    /// Images in single precision that `fill` writes: the index of each and all its values, `[h, w, c]`.
    ///
    /// # Errors
    /// No memory on the device.
    pub fn from_images(
        [n, h, w, c]: [usize; 4],
        device: &Device,
        pool: &Pool,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Self> {
        if device.is_cpu() {
            return Ok(Self::Map(Map::from_images(pool, [n, h, w, c], fill)));
        }
        let mut values = vec![0f32; n * h * w * c];
        values.par_chunks_exact_mut((h * w * c).max(1)).enumerate().for_each(|(i, image)| fill(i, image));
        let images = Tensor::from_vec(values, (n, h, w, c), device)?;
        Ok(Self::Tensor(images.permute((0, 3, 1, 2))?.contiguous()?))
    }

    /// What a layer makes of a tensor, `[n, c, h, w]` both.
    ///
    /// # Errors
    /// Another number of axes, or those of the layer.
    pub fn over(xs: &Tensor, layer: impl FnOnce(&Self) -> Result<Self>) -> Result<Tensor> {
        layer(&Self::new(xs, &Pool::default())?)?.tensor()
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

    /// As `[n, h, w, c]`.
    ///
    /// # Errors
    /// No memory on the device.
    pub fn pixels(&self) -> Result<Tensor> {
        match self {
            Self::Map(map) if map.is_dry() => Tensor::zeros(&map.shape(), DType::F32, &Device::Cpu),
            Self::Map(map) => Tensor::from_slice(map.values(), &map.shape(), &Device::Cpu),
            Self::Tensor(xs) => xs.permute((0, 2, 3, 1))?.contiguous(),
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

    /// The channels of all, one's after the other's.
    ///
    /// # Errors
    /// None, some that differ in more than their channels, or features in different places.
    pub fn concat(all: &[&Self]) -> Result<Self> {
        if let Some(maps) = all.iter().map(|xs| xs.map()).collect::<Option<Vec<_>>>() {
            return Ok(Self::Map(kernels::concat(&maps).map_err(Error::wrap)?));
        }
        let tensors: Option<Vec<&Tensor>> = all
            .iter()
            .map(|xs| match xs {
                Self::Tensor(xs) => Some(xs),
                Self::Map(_) => None,
            })
            .collect();
        match tensors {
            Some(tensors) => Ok(Self::Tensor(Tensor::cat(&tensors, 1)?)),
            None => candle::bail!("features in different places side by side"),
        }
    }

    /// The images of all, one's after the other's.
    ///
    /// # Errors
    /// None, images of different shapes, or features in different places.
    pub fn stack(mut all: Vec<Self>) -> Result<Self> {
        if all.len() == 1 {
            return Ok(all.remove(0));
        }
        let (mut maps, mut tensors) = (Vec::new(), Vec::new());
        for xs in all {
            match xs {
                Self::Map(map) => maps.push(map),
                Self::Tensor(xs) => tensors.push(xs),
            }
        }
        match (maps.is_empty(), tensors.is_empty()) {
            (_, true) => Ok(Self::Map(kernels::stack(&maps).map_err(Error::wrap)?)),
            (true, false) => Ok(Self::Tensor(Tensor::cat(&tensors, 0)?)),
            (false, false) => candle::bail!("features in different places in one batch"),
        }
    }

    const fn map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            Self::Tensor(_) => None,
        }
    }

    /// Some of the channels.
    ///
    /// # Errors
    /// There are fewer.
    pub fn channels(&self, channels: std::ops::Range<usize>) -> Result<Self> {
        match self {
            Self::Map(map) => Ok(Self::Map(kernels::channels(map, channels).map_err(Error::wrap)?)),
            Self::Tensor(xs) => Ok(Self::Tensor(xs.narrow(1, channels.start, channels.len())?)),
        }
    }

    /// Every pixel `by` times in both directions.
    ///
    /// # Errors
    /// `by` is zero.
    pub fn enlarge(&self, by: usize) -> Result<Self> {
        match self {
            Self::Map(map) => Ok(Self::Map(kernels::enlarge(map, by).map_err(Error::wrap)?)),
            Self::Tensor(xs) => {
                let (_, _, h, w) = xs.dims4()?;
                Ok(Self::Tensor(xs.upsample_nearest2d(by * h, by * w)?))
            }
        }
    }

    /// A rectifier without parameters alone.
    ///
    /// # Errors
    /// A PReLU, which needs its slopes.
    pub fn activate(self, activation: Activation) -> Result<Self> {
        match self {
            Self::Map(map) => Ok(Self::Map(kernels::activate(map, activation).map_err(Error::wrap)?)),
            Self::Tensor(xs) => Ok(Self::Tensor(rectify(&xs, activation)?)),
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

    /// Attention of every pixel to all pixels, head by head: `[n, k, h, w]`, and `[n, k + v, h, w]` with the keys before the
    /// values, `-> [n, v, h, w]`. Queries come scaled; each head has an equal part of queries, keys and values.
    ///
    /// # Errors
    /// Shapes that do not fit each other, or features in different places.
    pub fn attend(&self, key_value: &Self, heads: usize) -> Result<Self> {
        match (self, key_value) {
            (Self::Map(a), Self::Map(b)) => Ok(Self::Map(kernels::attention(a, b, heads).map_err(Error::wrap)?)),
            (Self::Tensor(query), Self::Tensor(both)) => {
                let (n, keys, h, w) = query.dims4()?;
                let values = both.dim(1)?.saturating_sub(keys);
                let split = |xs: &Tensor| xs.contiguous()?.reshape((n, heads, (), h * w)); // [n, heads, k or v, h*w]
                let (key, value) = (split(&both.narrow(1, 0, keys)?)?, split(&both.narrow(1, keys, values)?)?);
                let scores = split(query)?.transpose(2, 3)?.contiguous()?.matmul(&key)?;
                let weights = candle_nn::ops::softmax(&scores, candle::D::Minus1)?; // [n, heads, h*w, h*w]
                let mixed = value.matmul(&weights.transpose(2, 3)?.contiguous()?)?;
                Ok(Self::Tensor(mixed.reshape((n, values, h, w))?))
            }
            _ => candle::bail!("attention of features in different places"),
        }
    }

    /// Softmax over each `bins` channels in a row, then the mean of the bins' numbers, 0 to `bins - 1`, under it: `[n, g *
    /// bins, h, w] -> [n, g, h, w]`.
    ///
    /// # Errors
    /// The channels are not a multiple of the bins.
    pub fn expectation(self, bins: usize) -> Result<Self> {
        match self {
            Self::Map(map) => Ok(Self::Map(kernels::expectation(map, bins).map_err(Error::wrap)?)),
            Self::Tensor(xs) => {
                let (n, c, h, w) = xs.dims4()?;
                let numbers = Tensor::arange(0f32, bins as f32, xs.device())?.to_dtype(xs.dtype())?;
                let shares = candle_nn::ops::softmax(&xs.contiguous()?.reshape((n, c / bins, bins, h * w))?, 2)?;
                let means = shares.broadcast_mul(&numbers.reshape((1, 1, bins, 1))?)?.sum(2)?;
                Ok(Self::Tensor(means.reshape((n, c / bins, h, w))?))
            }
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
        assert_close(&a.max_pool_ceil(3, 2).unwrap(), &wide_a.max_pool_ceil(3, 2).unwrap());
        assert_close(&a.avg_pool_ceil(3, 2).unwrap(), &wide_a.avg_pool_ceil(3, 2).unwrap());
        assert_close(&a.max_around(5).unwrap(), &wide_a.max_around(5).unwrap());
        assert_close(&a.enlarge(2).unwrap(), &wide_a.enlarge(2).unwrap());
        assert_close(&a.channels(1..4).unwrap(), &wide_a.channels(1..4).unwrap());
        assert_close(&Features::concat(&[&a, &a]).unwrap(), &Features::concat(&[&wide_a, &wide_a]).unwrap());
        assert!(Features::concat(&[&a, &wide_a]).is_err());
        let twice = |xs: &Features| Features::stack(vec![xs.enlarge(1).unwrap(), xs.enlarge(1).unwrap()]);
        assert_close(&twice(&a).unwrap(), &twice(&wide_a).unwrap());
        assert_eq!(twice(&a).unwrap().dims().unwrap(), [4, 5, 6, 7]);
        assert!(Features::stack(vec![a.enlarge(1).unwrap(), wide_a.enlarge(1).unwrap()]).is_err());
        let [query, wide_query] = both(&random((2, 2, 6, 7)));
        assert_close(
            &query.attend(&a.channels(0..4).unwrap(), 2).unwrap(),
            &wide_query.attend(&wide_a.channels(0..4).unwrap(), 2).unwrap(),
        );
        let copy = |xs: &Features| xs.enlarge(1).unwrap();
        assert_close(&copy(&b).expectation(4).unwrap(), &copy(&wide_b).expectation(4).unwrap());
        assert!(query.attend(&wide_a, 1).is_err() && copy(&b).expectation(3).is_err());
        let swish = |xs: Features| xs.activate(Activation::HardSwish).unwrap();
        assert_close(&swish(a.enlarge(1).unwrap()), &swish(wide_a.enlarge(1).unwrap()));
        let values = |xs: &Features| {
            xs.pixels().unwrap().to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        assert_eq!(values(&a), values(&wide_a));
        assert!(a.add(&wide_b, false).is_err() && a.scale(&wide_c).is_err());
        assert_eq!(a.dims().unwrap(), wide_a.dims().unwrap());
    }
}
