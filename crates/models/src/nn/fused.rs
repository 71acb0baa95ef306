//! Convolution with what follows it, in one step.

use candle::{DType, Device, Error, Module, Result, Tensor};
#[cfg(feature = "cuda")]
use facesocial_cuda as cuda;
use facesocial_kernels::{self as kernels, Activation, ConvSpec, Map, Minimal};
use rayon::prelude::*;

use super::batch_norm::BatchNorm;
use super::conv::{Conv2d, PaddingMode};
use super::features::{Features, rectify};
use super::prelu::PRelu;

/// What follows a convolution's sum, or the sum with a shortcut.
#[derive(Debug, Clone)]
pub enum Rectifier {
    /// One without parameters, or none.
    Plain(Activation),
    /// One slope a channel.
    PRelu(PRelu),
}

impl Rectifier {
    /// Nothing.
    pub const NONE: Self = Self::Plain(Activation::None);
    /// `max(x, 0)`
    pub const RELU: Self = Self::Plain(Activation::Relu);
    /// `min(max(x, 0), 6)`
    pub const RELU6: Self = Self::Plain(Activation::Relu6);
    /// `x * sigmoid(x)`
    pub const SILU: Self = Self::Plain(Activation::Silu);

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(activation) => rectify(xs, *activation),
            Self::PRelu(prelu) => prelu.forward(xs),
        }
    }

    /// As the kernels for a card take it.
    #[cfg(feature = "cuda")]
    const fn parts(&self) -> (Activation, Option<&Tensor>) {
        match self {
            Self::Plain(activation) => (*activation, None),
            Self::PRelu(prelu) => (Activation::PRelu, Some(prelu.weight())),
        }
    }
}

/// `then(rectifier(conv(x)) + shortcut)`, the shortcut where there is one, and what follows it only then.
fn by_candle(xs: &Tensor, conv: &Conv2d, rectifier: &Rectifier, with: Option<(&Tensor, &Rectifier)>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if conv.has_kernel(xs) {
        let (activation, slopes) = rectifier.parts();
        let (then, then_slopes) = with.map_or((Activation::None, None), |(_, then)| then.parts());
        let shortcut = with.map(|(shortcut, _)| shortcut.contiguous()).transpose()?;
        let after = cuda::Epilogue { bias: None, activation, slopes, shortcut: shortcut.as_ref(), then, then_slopes };
        return conv.on_card(xs, after);
    }
    let ys = rectifier.forward(&conv.forward(xs)?)?;
    match with {
        Some((shortcut, then)) => then.forward(&(ys + shortcut)?),
        None => Ok(ys),
    }
}

/// `then(rectifier(conv(norm(x))) + shortcut)`: the norm, the shortcut and what follows it where there are such.
///
/// On the CPU in single precision the weights are packed for the processor at hand, and the tensors let go.
#[derive(Debug, Clone)]
pub struct FusedConv(Compute);

#[derive(Debug, Clone)]
enum Compute {
    Packed { norm: Option<Box<kernels::Conv2d>>, conv: Box<kernels::Conv2d> },
    Candle { norm: Option<BatchNorm>, conv: Conv2d, rectifier: Rectifier, then: Rectifier },
}

impl FusedConv {
    /// A convolution, batch norm folded in already, and its rectifier.
    ///
    /// # Errors
    /// Another number of slopes than channels, or kernels that this processor cannot run.
    pub fn new(conv: Conv2d, rectifier: Rectifier) -> Result<Self> {
        Self::with(conv, rectifier, Rectifier::NONE, Minimal::Auto)
    }

    /// As [`Self::new`]; `then` follows the sum with the shortcut: none, ReLU or PReLU. `minimal` says whether 3 x 3 kernels
    /// may be computed by minimal filtering.
    ///
    /// # Errors
    /// As [`Self::new`], or another rectifier after the shortcut.
    pub fn with(conv: Conv2d, rectifier: Rectifier, then: Rectifier, minimal: Minimal) -> Result<Self> {
        let weight = conv.weight();
        if !(weight.device().is_cpu() && weight.dtype() == DType::F32) {
            return Ok(Self(Compute::Candle { norm: None, conv, rectifier, then }));
        }
        let conv = Box::new(pack(&conv, &rectifier, &then, minimal)?);
        Ok(Self(Compute::Packed { norm: None, conv }))
    }

    /// As [`Self::with`], for the input after a batch norm.
    ///
    /// On the CPU the norm is folded into the convolution, whose padding becomes what the norm takes to zero; a channel that
    /// the norm scales by zero forbids that.
    ///
    /// # Errors
    /// As [`Self::with`], or another number of channels in the norm.
    pub fn after_norm(
        norm: BatchNorm,
        conv: Conv2d,
        rectifier: Rectifier,
        then: Rectifier,
        minimal: Minimal,
    ) -> Result<Self> {
        let weight = conv.weight();
        if !(weight.device().is_cpu() && weight.dtype() == DType::F32) {
            return Ok(Self(Compute::Candle { norm: Some(norm), conv, rectifier, then }));
        }
        let (scale, shift) = (norm.scale().to_vec1::<f32>()?, norm.shift().to_vec1::<f32>()?);
        let padding: Vec<f32> = scale.iter().zip(&shift).map(|(scale, shift)| -shift / scale).collect();
        if conv.config().number_of_groups() != 1 || padding.iter().any(|v| !v.is_finite()) {
            let spec = ConvSpec { groups: scale.len(), ..ConvSpec::new(scale.len(), scale.len(), 1) };
            let norm = kernels::Conv2d::new(spec, &scale, Some(&shift)).map_err(Error::wrap)?;
            let conv = Box::new(pack(&conv, &rectifier, &then, minimal)?);
            return Ok(Self(Compute::Packed { norm: Some(Box::new(norm)), conv }));
        }
        let conv = pack(&conv.fold_before(norm.scale(), norm.shift())?, &rectifier, &then, minimal)?;
        let conv = Box::new(conv.pad_with(&padding).map_err(Error::wrap)?);
        Ok(Self(Compute::Packed { norm: None, conv }))
    }

    /// `[n, c_in, h, w] -> [n, c_out, oh, ow]`
    ///
    /// # Errors
    /// Another number of channels, an input smaller than the kernel, or features in another place than the weights.
    pub fn forward(&self, xs: &Features) -> Result<Features> {
        match (&self.0, xs) {
            (Compute::Packed { norm, conv }, Features::Map(xs)) => {
                let ys = match norm {
                    Some(norm) => norm.forward(xs).and_then(|xs| conv.forward(&xs)),
                    None => conv.forward(xs),
                };
                Ok(Features::Map(ys.map_err(Error::wrap)?))
            }
            (Compute::Candle { norm, conv, rectifier, .. }, Features::Tensor(xs)) => {
                Ok(Features::Tensor(by_candle(&normalized(norm.as_ref(), xs)?, conv, rectifier, None)?))
            }
            _ => candle::bail!("features in another place than the weights"),
        }
    }

    /// As [`Self::forward`], with `shortcut` of the result's shape added.
    ///
    /// # Errors
    /// As [`Self::forward`], or a shortcut of another shape.
    pub fn forward_add(&self, xs: &Features, shortcut: &Features) -> Result<Features> {
        match (&self.0, xs, shortcut) {
            (Compute::Packed { norm, conv }, Features::Map(xs), Features::Map(shortcut)) => {
                let ys = match norm {
                    Some(norm) => norm.forward(xs).and_then(|xs| conv.forward_add(&xs, shortcut)),
                    None => conv.forward_add(xs, shortcut),
                };
                Ok(Features::Map(ys.map_err(Error::wrap)?))
            }
            (Compute::Candle { norm, conv, rectifier, then }, Features::Tensor(xs), Features::Tensor(shortcut)) => {
                let xs = normalized(norm.as_ref(), xs)?;
                Ok(Features::Tensor(by_candle(&xs, conv, rectifier, Some((shortcut, then)))?))
            }
            _ => candle::bail!("features in another place than the weights"),
        }
    }
}

/// `pointwise(depthwise(x))`, with `shortcut` of the result's shape added where there is one: on the CPU in one pass, band by
/// band, so that what is between the two stays in the cache.
///
/// # Errors
/// As [`FusedConv::forward`] and [`FusedConv::forward_add`].
pub fn separable(
    depthwise: &FusedConv,
    pointwise: &FusedConv,
    xs: &Features,
    shortcut: Option<&Features>,
) -> Result<Features> {
    if let (
        Compute::Packed { norm: None, conv: first },
        Compute::Packed { norm: None, conv: second },
        Features::Map(xs),
        None | Some(Features::Map(_)),
    ) = (&depthwise.0, &pointwise.0, xs, shortcut)
    {
        let shortcut = match shortcut {
            Some(Features::Map(map)) => Some(map),
            _ => None,
        };
        return Ok(Features::Map(kernels::separable(first, second, xs, shortcut).map_err(Error::wrap)?));
    }
    let between = depthwise.forward(xs)?;
    match shortcut {
        Some(shortcut) => pointwise.forward_add(&between, shortcut),
        None => pointwise.forward(&between),
    }
}

/// Packs the weights of a convolution on the CPU in single precision.
fn pack(conv: &Conv2d, rectifier: &Rectifier, then: &Rectifier, minimal: Minimal) -> Result<kernels::Conv2d> {
    let weight = conv.weight();
    let (c_out, inside, kh, kw) = weight.dims4()?;
    let groups = conv.config().number_of_groups();
    let padding = match conv.config().padding_mode() {
        PaddingMode::Fixed(p) => kernels::Padding::Fixed { top: p.top, bottom: p.bottom, left: p.left, right: p.right },
        PaddingMode::Same => kernels::Padding::Same,
    };
    let stride = conv.config().step();
    let spec = ConvSpec { c_in: inside * groups, c_out, kernel: (kh, kw), stride, padding, groups, minimal };
    let bias = conv.bias().map(Tensor::to_vec1::<f32>).transpose()?;
    let weight = weight.flatten_all()?.to_vec1::<f32>()?;
    let packed = kernels::Conv2d::new(spec, &weight, bias.as_deref()).map_err(Error::wrap)?;
    let packed = match rectifier {
        Rectifier::Plain(activation) => packed.activation(*activation),
        Rectifier::PRelu(prelu) => packed.prelu(&prelu.slopes()?),
    };
    let packed = packed.map_err(Error::wrap)?;
    let packed = match then {
        Rectifier::Plain(Activation::None) => Ok(packed),
        Rectifier::Plain(activation) => packed.then(*activation, &[]),
        Rectifier::PRelu(prelu) => packed.then(Activation::PRelu, &prelu.slopes()?),
    };
    packed.map_err(Error::wrap)
}

/// The input after the norm, if there is one.
fn normalized(norm: Option<&BatchNorm>, xs: &Tensor) -> Result<Tensor> {
    norm.map_or_else(|| Ok(xs.clone()), |norm| norm.forward(xs))
}

/// Runs a network on a thread of the pool: see [`facesocial_kernels::run`].
///
/// # Errors
/// Those of `f`.
pub fn run<R: Send, E: Send>(
    device: &Device,
    f: impl FnOnce() -> std::result::Result<R, E> + Send,
) -> std::result::Result<R, E> {
    if device.is_cpu() { kernels::run(f) } else { f() }
}

/// As [`run`], image by image on the CPU, each thread another one: the maps of one stay in the cache from layer to layer,
/// those of a batch do not. A network with many weights gains more from a batch.
///
/// # Errors
/// Those of `f`.
pub fn by_image<R: Send>(
    device: &Device,
    xs: &Features,
    f: impl Fn(&Features) -> Result<R> + Send + Sync,
) -> Result<Vec<R>> {
    let one = |map: &Map, i: usize| f(&Features::Map(kernels::image(map, i).map_err(Error::wrap)?));
    run(device, || match xs {
        // Threads that have an image each need not wait for each other.
        Features::Map(map) if map.shape()[0] > 1 && !map.is_dry() => {
            (0..map.shape()[0]).into_par_iter().map(|i| one(map, i)).collect()
        }
        Features::Map(map) if map.shape()[0] > 1 => (0..map.shape()[0]).map(|i| one(map, i)).collect(),
        _ => Ok(vec![f(xs)?]),
    })
}

/// The first layers of a network as in [`by_image`], the maps of all images in one batch for the others: where the first have
/// large maps and the others many weights.
///
/// # Errors
/// Those of `f`, or maps of different shapes.
pub fn first_by_image(
    device: &Device,
    xs: &Features,
    f: impl Fn(&Features) -> Result<Features> + Send + Sync,
) -> Result<Features> {
    Features::stack(by_image(device, xs, f)?)
}

#[cfg(test)]
mod tests {
    use facesocial_kernels::Pool;

    use super::{super::ConvConfig, super::Padding, *};

    #[test]
    fn a_norm_before_a_padded_convolution_is_folded_where_no_channel_is_scaled_by_zero() {
        let random = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        let wide = |xs: &Tensor| xs.to_dtype(DType::F64).unwrap();
        let pool = Pool::default();
        let (xs, weight, shift) = (random(&[2, 4, 7, 6]), random(&[5, 4, 3, 3]), random(&[4]));
        for scale in [[0.5f32, -2.0, 1.5, 0.1], [0.5, 0.0, 1.5, 0.1]] {
            let scale = Tensor::new(&scale, &Device::Cpu).unwrap();
            for minimal in [Minimal::Off, Minimal::Tiles6] {
                let layer = |convert: &dyn Fn(&Tensor) -> Tensor| {
                    let conv = Conv2d::new(convert(&weight), None, ConvConfig::default().padding(Padding::all(1)));
                    let norm = BatchNorm::new(convert(&scale), convert(&shift));
                    FusedConv::after_norm(norm, conv, Rectifier::RELU, Rectifier::NONE, minimal).unwrap()
                };
                let got = layer(&Tensor::clone).forward(&Features::new(&xs, &pool).unwrap()).unwrap();
                let want = layer(&wide).forward(&Features::Tensor(wide(&xs))).unwrap();
                let diff = (wide(&got.tensor().unwrap()) - want.tensor().unwrap()).unwrap().abs().unwrap();
                let diff = diff.flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
                assert!(diff < 1e-3, "{diff} with {minimal:?}");
            }
        }
    }

    /// Doubles take candle's operations.
    #[test]
    fn packed_weights_give_what_candle_gives() {
        let random = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        let wide = |xs: &Tensor| xs.to_dtype(DType::F64).unwrap();
        let pool = Pool::default();
        let (xs, shortcut) = (random(&[2, 6, 9, 8]), random(&[2, 6, 9, 8]));
        for groups in [1, 2, 6] {
            for config in [ConvConfig::default().same(), ConvConfig::default().padding(Padding::all(1))] {
                let config = config.groups(groups);
                let (weight, bias, slopes) = (random(&[6, 6 / groups, 3, 3]), random(&[6]), random(&[6]));
                for activation in [Activation::Relu6, Activation::Silu, Activation::HardSwish, Activation::PRelu] {
                    let layer = |convert: &dyn Fn(&Tensor) -> Tensor| {
                        let conv = Conv2d::new(convert(&weight), Some(convert(&bias)), config);
                        let rectifier = match activation {
                            Activation::PRelu => Rectifier::PRelu(PRelu::new(convert(&slopes))),
                            other => Rectifier::Plain(other),
                        };
                        FusedConv::with(conv, rectifier, Rectifier::RELU, Minimal::Auto).unwrap()
                    };
                    let (packed, stock) = (layer(&Tensor::clone), layer(&wide));
                    let pair = |xs: &Tensor| (Features::new(xs, &pool).unwrap(), Features::Tensor(wide(xs)));
                    let ((a, wide_a), (b, wide_b)) = (pair(&xs), pair(&shortcut));
                    let got = packed.forward_add(&packed.forward(&a).unwrap(), &b).unwrap().tensor().unwrap();
                    let want = stock.forward_add(&stock.forward(&wide_a).unwrap(), &wide_b).unwrap();
                    let diff = (wide(&got) - want.tensor().unwrap()).unwrap().abs().unwrap();
                    let diff = diff.flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
                    assert!(diff < 1e-3, "{diff} with {activation:?} in {groups} groups");
                    assert!(packed.forward(&wide_a).is_err());
                }
            }
        }
    }
}
