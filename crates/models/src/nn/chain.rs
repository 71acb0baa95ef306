//! A chain of convolutions with a dense layer at its end whose depth, widths and geometry are part of the weight file.

use candle::{D, DType, Device, Module, Result, Tensor};
use candle_nn::{Linear, VarBuilder};

use super::{Conv2d, ConvConfig, PRelu, Padding};

/// What follows a convolution.
#[derive(Debug, Clone)]
enum Rectifier {
    None,
    Relu,
    PRelu(PRelu),
}

/// One convolution, its batch norm folded in.
#[derive(Debug, Clone)]
struct Layer {
    conv: Conv2d,
    rectifier: Rectifier,
}

impl Layer {
    /// Reads a layer for an input of `[n, c, h, w]` and gives the `[c, h, w]` of its output.
    fn load(vb: VarBuilder<'_>, [c_in, h, w]: [usize; 3]) -> Result<(Self, [usize; 3])> {
        let name = vb.prefix();
        let [stride, top, left, bottom, right, groups, rectifier] = integers(&vb, "geometry")?;
        let weight = vb.get_unchecked("weight")?;
        let (c_out, inside, kh, kw) = weight.dims4()?;
        let fits = groups > 0 && c_out % groups == 0 && inside.checked_mul(groups) == Some(c_in);
        if !fits {
            let dims = weight.dims();
            candle::bail!("{name}.weight {dims:?} in {groups} groups does not take the {c_in} channels before it");
        }
        // No network pads by a whole kernel; without the bound a damaged file could ask for any amount of memory.
        if stride == 0 || top.max(bottom) >= kh || left.max(right) >= kw {
            candle::bail!(
                "{name}.geometry has stride {stride}, padding {:?}, kernel {kh} x {kw}",
                [top, left, bottom, right]
            );
        }
        let (Some(rows), Some(columns)) = ((h + top + bottom).checked_sub(kh), (w + left + right).checked_sub(kw))
        else {
            candle::bail!("{name}: a kernel of {kh} x {kw} does not fit into {h} x {w}");
        };
        let padding = Padding { top, bottom, left, right };
        let config = ConvConfig::default().stride(stride).padding(padding).groups(groups);
        let rectifier = match rectifier {
            0 => Rectifier::None,
            1 => Rectifier::Relu,
            2 => Rectifier::PRelu(PRelu::new(vb.get(c_out, "prelu")?)),
            other => candle::bail!("{name}.geometry names the rectifier {other}; known are 0 to 2"),
        };
        let conv = Conv2d::new(weight, Some(vb.get(c_out, "bias")?), config);
        Ok((Self { conv, rectifier }, [c_out, rows / stride + 1, columns / stride + 1]))
    }

    /// `[n, c_in, h, w] -> [n, c_out, oh, ow]`
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let ys = self.conv.forward(xs)?;
        match &self.rectifier {
            Rectifier::None => Ok(ys),
            Rectifier::Relu => ys.relu(),
            Rectifier::PRelu(prelu) => prelu.forward(&ys),
        }
    }
}

/// Convolutions one behind the other, then all values, or the means of the planes, through one dense layer.
///
/// The weight file says what there is (`convert/src/chain.rs` describes the keys), so a network of this kind runs without
/// its sizes being known here. Whether they fit each other is checked while loading.
#[derive(Debug, Clone)]
pub struct ConvChain {
    /// `[1, c, 1, 1]`; the first layer takes `x * scale + shift`.
    scale: Tensor,
    shift: Tensor,
    layers: Vec<Layer>,
    pool: bool,
    fc: Linear,
    outputs: usize,
}

impl ConvChain {
    /// Reads a chain for inputs of `[n, channels, side, side]`.
    ///
    /// # Errors
    /// A missing key, or a layer that does not fit the one before it: in its channels, its kernel, or the number of values
    /// that the dense layer takes.
    pub fn load(vb: VarBuilder<'_>, channels: usize, side: usize) -> Result<Self> {
        let input = |key| vb.pp("input").get(channels, key)?.reshape((1, channels, 1, 1));
        let (scale, shift) = (input("scale")?, input("shift")?);
        let mut layers = Vec::new();
        let mut shape = [channels, side, side];
        while vb.contains_tensor(&format!("layers.{}.weight", layers.len())) {
            let (layer, after) = Layer::load(vb.pp("layers").pp(layers.len()), shape)?;
            layers.push(layer);
            shape = after;
        }
        if layers.is_empty() {
            candle::bail!("there is no layers.0.weight: not the weights of a chain of convolutions");
        }
        let pool = match integers(&vb, "pool")? {
            [0] => false,
            [1] => true,
            [other] => candle::bail!("pool is {other}, not 0 or 1"),
        };
        let weight = vb.pp("fc").get_unchecked("weight")?;
        let (outputs, taken) = weight.dims2()?;
        let [c, h, w] = shape;
        let given = if pool { c } else { c * h * w };
        if taken != given {
            let how = if pool { "pooled" } else { "flattened" };
            candle::bail!(
                "fc.weight takes {taken} values, an input of {side} x {side} gives {c} planes of {h} x {w}, {how} {given}"
            );
        }
        let fc = Linear::new(weight, Some(vb.pp("fc").get(outputs, "bias")?));
        Ok(Self { scale, shift, layers, pool, fc, outputs })
    }

    /// Number of values that the dense layer gives.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// The activations after each layer, `[n, c, h, w]`.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut ys = xs.broadcast_mul(&self.scale)?.broadcast_add(&self.shift)?;
        let mut stages = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            ys = layer.forward(&ys)?;
            stages.push(ys.clone());
        }
        Ok(stages)
    }
}

impl Module for ConvChain {
    /// `[n, channels, side, side] -> [n, outputs]`
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut ys = xs.broadcast_mul(&self.scale)?.broadcast_add(&self.shift)?;
        for layer in &self.layers {
            ys = layer.forward(&ys)?;
        }
        let values = if self.pool { ys.mean((D::Minus2, D::Minus1))? } else { ys.flatten_from(1)? };
        self.fc.forward(&values)
    }
}

/// `N` whole numbers from a vector of floats.
fn integers<const N: usize>(vb: &VarBuilder<'_>, key: &str) -> Result<[usize; N]> {
    let values = vb.get(N, key)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
    let whole = |v: &f32| *v >= 0.0 && *v <= 65536.0 && v.fract() == 0.0;
    if !values.iter().all(whole) {
        candle::bail!("{key} of {:?} holds {values:?}, not whole numbers", vb.prefix());
    }
    let mut found = [0; N];
    found.iter_mut().zip(values).for_each(|(place, v)| *place = v as usize);
    Ok(found)
}
