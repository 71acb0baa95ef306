//! A chain of convolutions with a dense layer at its end whose depth, widths and geometry are part of the weight file.

use candle::{DType, Device, Result, Tensor};
use candle_nn::{Linear, VarBuilder};
use facesocial_kernels::{Minimal, Pool};

use super::{BatchNorm, Conv2d, ConvConfig, Features, FusedConv, MapLinear, PRelu, Padding, Rectifier, run};

/// One convolution as the file has it, its batch norm folded in.
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
            0 => Rectifier::NONE,
            1 => Rectifier::RELU,
            2 => Rectifier::PRelu(PRelu::new(vb.get(c_out, "prelu")?)),
            other => candle::bail!("{name}.geometry names the rectifier {other}; known are 0 to 2"),
        };
        let conv = Conv2d::new(weight, Some(vb.get(c_out, "bias")?), config);
        Ok((Self { conv, rectifier }, [c_out, rows / stride + 1, columns / stride + 1]))
    }
}

/// Convolutions one behind the other, then all values, or the means of the planes, through one dense layer.
///
/// The weight file says what there is (`convert/src/chain.rs` describes the keys), so a network of this kind runs without
/// its sizes being known here. Whether they fit each other is checked while loading.
#[derive(Debug, Clone)]
pub struct ConvChain {
    /// The first takes `x * scale + shift`.
    layers: Vec<FusedConv>,
    /// Whether `fc` takes the means of the planes.
    mean: bool,
    fc: MapLinear,
    outputs: usize,
    device: Device,
    pool: Pool,
}

impl ConvChain {
    /// Reads a chain for inputs of `[n, channels, side, side]`.
    ///
    /// # Errors
    /// A missing key, or a layer that does not fit the one before it: in its channels, its kernel, or the number of values
    /// that the dense layer takes.
    pub fn load(vb: VarBuilder<'_>, channels: usize, side: usize) -> Result<Self> {
        let input = |key| vb.pp("input").get(channels, key);
        let mut input = Some(BatchNorm::new(input("scale")?, input("shift")?));
        let mut layers = Vec::new();
        let mut shape = [channels, side, side];
        while vb.contains_tensor(&format!("layers.{}.weight", layers.len())) {
            let (layer, after) = Layer::load(vb.pp("layers").pp(layers.len()), shape)?;
            let Layer { conv, rectifier } = layer;
            layers.push(match input.take() {
                Some(input) => FusedConv::after_norm(input, conv, rectifier, Rectifier::NONE, Minimal::Auto)?,
                None => FusedConv::new(conv, rectifier)?,
            });
            shape = after;
        }
        if layers.is_empty() {
            candle::bail!("there is no layers.0.weight: not the weights of a chain of convolutions");
        }
        let mean = match integers(&vb, "pool")? {
            [0] => false,
            [1] => true,
            [other] => candle::bail!("pool is {other}, not 0 or 1"),
        };
        let weight = vb.pp("fc").get_unchecked("weight")?;
        let (outputs, taken) = weight.dims2()?;
        let [c, h, w] = shape;
        let given = if mean { c } else { c * h * w };
        if taken != given {
            let how = if mean { "pooled" } else { "flattened" };
            candle::bail!(
                "fc.weight takes {taken} values, an input of {side} x {side} gives {c} planes of {h} x {w}, {how} {given}"
            );
        }
        let fc = Linear::new(weight, Some(vb.pp("fc").get(outputs, "bias")?));
        let fc = MapLinear::new(fc, if mean { [c, 1, 1] } else { shape })?;
        Ok(Self { layers, mean, fc, outputs, device: vb.device().clone(), pool: Pool::default() })
    }

    /// Number of values that the dense layer gives.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Where its activations live on the CPU, for whoever makes its input.
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The activations after each layer, `[n, c, h, w]`.
    ///
    /// # Errors
    /// Another number of input channels.
    pub fn stages(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
        let mut stages = Vec::with_capacity(self.layers.len());
        self.run(&Features::new(xs, &self.pool)?, |xs| {
            stages.push(xs.tensor()?);
            Ok(())
        })?;
        Ok(stages)
    }

    /// `[n, channels, side, side]` to the maps of the last layer; `see` gets those of every layer on the way.
    fn run(&self, xs: &Features, mut see: impl FnMut(&Features) -> Result<()>) -> Result<Features> {
        let Some((first, others)) = self.layers.split_first() else { candle::bail!("a chain without layers") };
        let mut ys = first.forward(xs)?;
        see(&ys)?;
        for layer in others {
            ys = layer.forward(&ys)?;
            see(&ys)?;
        }
        Ok(ys)
    }

    /// `[n, channels, side, side] -> [n, outputs]`
    ///
    /// # Errors
    /// Another shape.
    pub fn forward(&self, xs: &Features) -> Result<Tensor> {
        let ys = run(&self.device, || {
            let ys = self.run(xs, |_| Ok(()))?;
            self.fc.forward(&if self.mean { ys.mean()? } else { ys })
        })?;
        ys.tensor()?.flatten_from(1)
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
