//! Tokens on their way through a transformer, wherever it runs.

use candle::{DType, Device, Error, IndexOp, Module, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use facesocial_kernels::{self as kernels, Activation, ConvSpec, Map, Pool};

use super::features::{Features, rectify};

/// Tokens: on the CPU in single precision a map of one row, `[n, 1, t, d]`, in memory that is used again, elsewhere a tensor
/// of `[n, t, d]`. Shapes are written `[n, t, d]`: batch, tokens, width of a token.
#[derive(Debug)]
pub enum Tokens {
    /// On the CPU.
    Map(Map),
    /// On another device, or of another type.
    Tensor(Tensor),
}

impl Tokens {
    /// The pixels of `patches`, row by row, behind a `first` token of `[1, 1, d]`, plus `positions` of `[1, t, d]`:
    /// `[n, d, h, w] -> [n, 1 + h * w, d]`.
    ///
    /// # Errors
    /// Another width or number of positions.
    pub fn embed(patches: &Features, first: &Tensor, positions: &Tensor, pool: &Pool) -> Result<Self> {
        let [n, d, h, w] = patches.dims()?;
        let t = 1 + h * w;
        if first.dims() != [1, 1, d] || positions.dims() != [1, t, d] {
            candle::bail!("{t} tokens of {d} values do not have the positions of {:?}", positions.dims());
        }
        let patches = match patches {
            Features::Map(patches) => patches,
            Features::Tensor(patches) => {
                let patches = patches.flatten_from(2)?.transpose(1, 2)?; // [n, t - 1, d]
                let tokens = Tensor::cat(&[&first.expand((n, 1, d))?, &patches], 1)?;
                return Ok(Self::Tensor(tokens.broadcast_add(positions)?));
            }
        };
        let first = first.flatten_all()?.to_vec1::<f32>()?;
        let positions = positions.flatten_all()?.to_vec1::<f32>()?;
        Ok(Self::Map(Map::from_images(pool, [n, 1, t, d], |i, tokens| {
            tokens[..d].copy_from_slice(&first);
            tokens[d..].copy_from_slice(&patches.values()[i * (t - 1) * d..][..(t - 1) * d]);
            tokens.iter_mut().zip(&positions).for_each(|(token, position)| *token += position);
        })))
    }

    /// As `[n, t, d]`.
    ///
    /// # Errors
    /// No memory on the device.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Map(map) => {
                let [n, h, t, d] = map.shape();
                if map.is_dry() {
                    return Tensor::zeros((n, h * t, d), DType::F32, &Device::Cpu);
                }
                Tensor::from_slice(map.values(), (n, h * t, d), &Device::Cpu)
            }
            Self::Tensor(xs) => Ok(xs.clone()),
        }
    }

    /// The first token of each image, `[n, t, d] -> [n, 1, d]`.
    ///
    /// # Errors
    /// There are none.
    pub fn first(&self) -> Result<Self> {
        match self {
            Self::Map(map) => Ok(Self::Map(kernels::first_pixel(map).map_err(Error::wrap)?)),
            Self::Tensor(xs) => Ok(Self::Tensor(xs.i((.., ..1))?.contiguous()?)),
        }
    }

    /// `softmax(q k^T) v` for each of `heads`, these being the queries: `[n, q, d]`, keys and values `[n, t, 2 d]`, the
    /// keys before the values, `-> [n, q, d]`. Queries come scaled.
    ///
    /// # Errors
    /// Shapes that do not fit each other, or tokens in different places.
    pub fn attend(&self, key_value: &Self, heads: usize) -> Result<Self> {
        let (query, key_value) = match (self, key_value) {
            (Self::Map(query), Self::Map(key_value)) => {
                return Ok(Self::Map(kernels::attention(query, key_value, heads).map_err(Error::wrap)?));
            }
            (Self::Tensor(query), Self::Tensor(key_value)) => (query, key_value),
            _ => candle::bail!("attention of tokens in different places"),
        };
        let (n, q, d) = query.dims3()?;
        // [n, heads, t, d / heads]
        let split = |xs: &Tensor| xs.reshape((n, (), heads, d / heads))?.transpose(1, 2)?.contiguous();
        let (query, key) = (split(query)?, split(&key_value.narrow(2, 0, d)?.contiguous()?)?);
        let value = split(&key_value.narrow(2, d, d)?.contiguous()?)?;
        let weights = softmax_last_dim(&query.matmul(&key.transpose(2, 3)?.contiguous()?)?)?; // [n, heads, q, t]
        Ok(Self::Tensor(weights.matmul(&value)?.transpose(1, 2)?.contiguous()?.reshape((n, q, d))?))
    }
}

/// A linear layer over each token, with what follows it.
#[derive(Debug, Clone)]
pub struct TokenLinear(Linear);

#[derive(Debug, Clone)]
enum Linear {
    Packed(Box<kernels::Conv2d>),
    Candle { linear: candle_nn::Linear, activation: Activation },
}

impl TokenLinear {
    /// A layer and its rectifier, one without parameters.
    ///
    /// # Errors
    /// A PReLU, or kernels that this processor cannot run.
    pub fn new(linear: candle_nn::Linear, activation: Activation) -> Result<Self> {
        let weight = linear.weight();
        if !(weight.device().is_cpu() && weight.dtype() == DType::F32) {
            return Ok(Self(Linear::Candle { linear, activation }));
        }
        let (outputs, inputs) = weight.dims2()?;
        let bias = linear.bias().map(Tensor::to_vec1::<f32>).transpose()?;
        let weight = weight.flatten_all()?.to_vec1::<f32>()?;
        let packed = kernels::Conv2d::new(ConvSpec::new(inputs, outputs, 1), &weight, bias.as_deref());
        let packed = packed.and_then(|conv| conv.activation(activation)).map_err(Error::wrap)?;
        Ok(Self(Linear::Packed(Box::new(packed))))
    }

    /// `[n, t, inputs] -> [n, t, outputs]`
    ///
    /// # Errors
    /// Another width, or tokens in another place than the weights.
    pub fn forward(&self, xs: &Tokens) -> Result<Tokens> {
        match (&self.0, xs) {
            (Linear::Packed(conv), Tokens::Map(xs)) => Ok(Tokens::Map(conv.forward(xs).map_err(Error::wrap)?)),
            (Linear::Candle { linear, activation }, Tokens::Tensor(xs)) => {
                Ok(Tokens::Tensor(rectify(&linear.forward(xs)?, *activation)?))
            }
            _ => candle::bail!("tokens in another place than the weights"),
        }
    }

    /// As [`Self::forward`], with `shortcut` of the result's shape added.
    ///
    /// # Errors
    /// As [`Self::forward`], or a shortcut of another shape.
    pub fn forward_add(&self, xs: &Tokens, shortcut: &Tokens) -> Result<Tokens> {
        match (&self.0, xs, shortcut) {
            (Linear::Packed(conv), Tokens::Map(xs), Tokens::Map(shortcut)) => {
                Ok(Tokens::Map(conv.forward_add(xs, shortcut).map_err(Error::wrap)?))
            }
            (Linear::Candle { .. }, Tokens::Tensor(_), Tokens::Tensor(shortcut)) => {
                Ok(Tokens::Tensor((self.forward(xs)?.tensor()? + shortcut)?))
            }
            _ => candle::bail!("tokens in another place than the weights"),
        }
    }
}

/// A layer norm over each token.
#[derive(Debug, Clone)]
pub struct TokenNorm(Norm);

#[derive(Debug, Clone)]
enum Norm {
    Packed(kernels::LayerNorm),
    Candle(candle_nn::LayerNorm),
}

impl TokenNorm {
    /// From `weight` and `bias` of `[d]`; `eps` is added to the variance.
    ///
    /// # Errors
    /// Another shape, or kernels that this processor cannot run.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Result<Self> {
        if !(weight.device().is_cpu() && weight.dtype() == DType::F32) {
            return Ok(Self(Norm::Candle(candle_nn::LayerNorm::new(weight, bias, eps))));
        }
        let (weight, bias) = (weight.to_vec1::<f32>()?, bias.to_vec1::<f32>()?);
        Ok(Self(Norm::Packed(kernels::LayerNorm::new(weight, bias, eps as f32).map_err(Error::wrap)?)))
    }

    /// `[n, t, d] -> [n, t, d]`
    ///
    /// # Errors
    /// Another width, or tokens in another place than the weights.
    pub fn forward(&self, xs: &Tokens) -> Result<Tokens> {
        match (&self.0, xs) {
            (Norm::Packed(norm), Tokens::Map(xs)) => Ok(Tokens::Map(norm.forward(xs).map_err(Error::wrap)?)),
            (Norm::Candle(norm), Tokens::Tensor(xs)) => Ok(Tokens::Tensor(norm.forward(xs)?)),
            _ => candle::bail!("tokens in another place than the weights"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: &[usize]) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn wide(xs: &Tensor) -> Tensor {
        xs.to_dtype(DType::F64).unwrap()
    }

    fn assert_within(a: &Tokens, b: &Tokens, most: f64) {
        let (a, b) = (wide(&a.tensor().unwrap()), wide(&b.tensor().unwrap()));
        assert_eq!(a.dims(), b.dims());
        let diff = (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
        assert!(diff < most, "{diff}");
    }

    fn assert_close(a: &Tokens, b: &Tokens) {
        assert_within(a, b, 1e-4);
    }

    /// Doubles take the path of other devices.
    #[test]
    fn maps_and_tensors_give_the_same() {
        let pool = Pool::default();
        let (patches, first, positions) = (random(&[2, 8, 2, 3]), random(&[1, 1, 8]), random(&[1, 7, 8]));
        let map = Tokens::embed(&Features::new(&patches, &pool).unwrap(), &first, &positions, &pool).unwrap();
        let stock = Features::Tensor(wide(&patches));
        let stock = Tokens::embed(&stock, &wide(&first), &wide(&positions), &pool).unwrap();
        assert_close(&map, &stock);
        assert_close(&map.first().unwrap(), &stock.first().unwrap());

        let norm = |convert: &dyn Fn(&Tensor) -> Tensor| {
            TokenNorm::new(convert(&first.flatten_all().unwrap()), convert(&first.flatten_all().unwrap()), 1e-6)
                .unwrap()
        };
        // candle's layer norm knows no doubles.
        let half = |xs: &Tensor| xs.to_dtype(DType::F16).unwrap();
        let rough = norm(&half).forward(&Tokens::Tensor(half(&map.tensor().unwrap()))).unwrap();
        assert_within(&norm(&Tensor::clone).forward(&map).unwrap(), &rough, 0.02);

        for (outputs, activation) in [(16, Activation::None), (8, Activation::Gelu)] {
            let (weight, bias) = (random(&[outputs, 8]), random(&[outputs]));
            let layer = |convert: &dyn Fn(&Tensor) -> Tensor| {
                TokenLinear::new(candle_nn::Linear::new(convert(&weight), Some(convert(&bias))), activation).unwrap()
            };
            let (packed, other) = (layer(&Tensor::clone), layer(&wide));
            let (ours, theirs) = (packed.forward(&map).unwrap(), other.forward(&stock).unwrap());
            assert_close(&ours, &theirs);
            assert!(packed.forward(&stock).is_err());
            if outputs == 16 {
                assert_close(&map.attend(&ours, 2).unwrap(), &stock.attend(&theirs, 2).unwrap());
                assert!(map.attend(&theirs, 2).is_err());
            } else {
                assert_close(&packed.forward_add(&map, &map).unwrap(), &other.forward_add(&stock, &stock).unwrap());
            }
        }
        assert!(Tokens::embed(&Features::Tensor(patches), &first, &first, &pool).is_err());
    }
}
