//! Convolution, with everything that follows it up to the next one.

mod dense;
mod depthwise;
mod separable;
#[cfg(test)]
mod tests;
mod weights;
mod winograd;

use crate::activation::Activation;
use crate::error::{Result, shape_error};
use crate::instructions::Instructions;
use crate::kernel::{Epilogue, Kernel, MatrixMut, Residual};
use crate::map::Map;
use crate::pool::Pool;
use dense::Dense;
use depthwise::Depthwise;
pub use separable::separable;
use winograd::Winograd;

/// How a convolution pads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Rows above and below, columns before and after.
    Fixed {
        /// Rows above.
        top: usize,
        /// Rows below.
        bottom: usize,
        /// Columns before.
        left: usize,
        /// Columns after.
        right: usize,
    },
    /// TensorFlow's `SAME`: the result is `ceil(input / stride)`, the odd row or column goes below or after.
    Same,
}

impl Padding {
    /// The same on each side.
    pub const fn all(n: usize) -> Self {
        Self::Fixed { top: n, bottom: n, left: n, right: n }
    }

    /// Rows above and below, columns before and after.
    fn resolve(self, input: (usize, usize), kernel: (usize, usize), stride: usize) -> [usize; 4] {
        match self {
            Self::Fixed { top, bottom, left, right } => [top, bottom, left, right],
            Self::Same => {
                let total = |n: usize, k: usize| (n.div_ceil(stride).saturating_sub(1) * stride + k).saturating_sub(n);
                let (v, h) = (total(input.0, kernel.0), total(input.1, kernel.1));
                [v / 2, v - v / 2, h / 2, h - h / 2]
            }
        }
    }
}

/// Whether 3 x 3 kernels at stride 1 are computed by Winograd's minimal filtering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Minimal {
    /// Where it is faster, with tiles of 4 x 4 where those of 6 x 6 would take too much memory.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Tiles of 4 x 4: 2.25 times fewer products, rounding as in a plain convolution.
    Tiles4,
    /// Tiles of 6 x 6: 4 times fewer products, about ten times the rounding error of a plain convolution.
    Tiles6,
}

/// The shape of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSpec {
    /// Channels of the input.
    pub c_in: usize,
    /// Channels of the result.
    pub c_out: usize,
    /// Rows and columns of the kernel.
    pub kernel: (usize, usize),
    /// Step in both directions.
    pub stride: usize,
    /// Around the input.
    pub padding: Padding,
    /// Of channels; as many as channels make it depthwise.
    pub groups: usize,
    /// For 3 x 3 kernels at stride 1.
    pub minimal: Minimal,
}

impl ConvSpec {
    /// A square kernel at stride 1 without padding.
    pub const fn new(c_in: usize, c_out: usize, kernel: usize) -> Self {
        Self {
            c_in,
            c_out,
            kernel: (kernel, kernel),
            stride: 1,
            padding: Padding::all(0),
            groups: 1,
            minimal: Minimal::Auto,
        }
    }
}

/// The extents of one call.
#[derive(Clone, Copy)]
struct Extent {
    n: usize,
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
    /// Rows above and below, columns before and after.
    pad: [usize; 4],
}

/// A convolution whose weights are packed for the processor at hand, with bias, rectifier and a shortcut added to it.
///
/// `then(activation(conv(x) + bias) + shortcut)`
#[derive(Debug, Clone)]
pub struct Conv2d {
    spec: ConvSpec,
    instructions: Instructions,
    plan: Plan,
    /// Padded to whole vectors.
    bias: Vec<f32>,
    slopes: Vec<f32>,
    activation: Activation,
    then: Activation,
    /// The padding's value for each channel; zero where empty.
    fill: Vec<f32>,
}

#[derive(Debug, Clone)]
enum Plan {
    /// One for each group.
    Dense(Vec<Dense>),
    Depthwise(Depthwise),
    Winograd(Winograd),
}

impl Conv2d {
    /// Packs `weight`, `[c_out, c_in / groups, kh, kw]`; `bias` is `[c_out]`.
    ///
    /// # Errors
    /// Another number of weights or biases, sizes that do not fit each other, or kernels that this processor cannot run.
    pub fn new(spec: ConvSpec, weight: &[f32], bias: Option<&[f32]>) -> Result<Self> {
        Self::with_instructions(Instructions::chosen()?, spec, weight, bias)
    }

    /// As [`Self::new`], for certain instructions.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_instructions(
        instructions: Instructions,
        spec: ConvSpec,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Self> {
        let kernel = instructions.kernel()?;
        let ConvSpec { c_in, c_out, kernel: (kh, kw), stride, groups, .. } = spec;
        let divides = groups > 0 && c_in.is_multiple_of(groups) && c_out.is_multiple_of(groups);
        if !divides || c_in * c_out * kh * kw * stride == 0 {
            return Err(shape_error!(
                "no convolution: {c_in} to {c_out} channels, {groups} groups, {kh} x {kw} / {stride}"
            ));
        }
        let inside = c_in / groups;
        if weight.len() != c_out * inside * kh * kw || bias.is_some_and(|bias| bias.len() != c_out) {
            let biases = bias.map_or(0, <[f32]>::len);
            return Err(shape_error!(
                "{} weights and {biases} biases, not those of {c_out} x {inside} x {kh} x {kw}",
                weight.len()
            ));
        }
        let plan = if groups == c_in && c_in == c_out && groups > 1 {
            Plan::Depthwise(Depthwise::pack(kernel, spec, weight))
        } else if let Some(tile) = winograd::tile(kernel, spec) {
            Plan::Winograd(Winograd::pack(kernel, spec, tile, weight))
        } else {
            let per_group = weight.chunks_exact(c_out / groups * inside * kh * kw);
            Plan::Dense(per_group.map(|weight| Dense::pack(kernel, spec, weight)).collect())
        };
        let bias = kernel.pad(bias.unwrap_or(&vec![0.0; c_out]));
        let (slopes, fill) = (Vec::new(), Vec::new());
        let (activation, then) = (Activation::None, Activation::None);
        Ok(Self { spec, instructions, plan, bias, slopes, activation, then, fill })
    }

    /// Rectifies the sum; not for [`Activation::PRelu`], see [`Self::prelu`].
    ///
    /// # Errors
    /// A PReLU without slopes.
    pub fn activation(mut self, activation: Activation) -> Result<Self> {
        if activation == Activation::PRelu && self.slopes.is_empty() {
            return Err(shape_error!("a prelu needs its slopes"));
        }
        self.activation = activation;
        Ok(self)
    }

    /// Rectifies the sum by PReLU with one slope for each channel.
    ///
    /// # Errors
    /// Another number of slopes.
    pub fn prelu(mut self, slopes: &[f32]) -> Result<Self> {
        self.slopes = self.slopes_of(slopes)?;
        self.activation = Activation::PRelu;
        Ok(self)
    }

    /// Rectifies once more, after the shortcut: by nothing, ReLU, or PReLU with the slopes given.
    ///
    /// # Errors
    /// Another rectifier, or another number of slopes.
    pub fn then(mut self, then: Activation, slopes: &[f32]) -> Result<Self> {
        match then {
            Activation::PRelu => self.slopes = self.slopes_of(slopes)?,
            Activation::None | Activation::Relu => {}
            other => return Err(shape_error!("no {other:?} after a shortcut")),
        }
        self.then = then;
        Ok(self)
    }

    /// Pads with these values, one for each channel of the input, instead of zeros.
    ///
    /// A batch norm before a padded convolution folds into it if the padding is what the norm takes to zero.
    ///
    /// # Errors
    /// Another number of values, or a depthwise convolution, which knows zeros alone.
    pub fn pad_with(mut self, fill: &[f32]) -> Result<Self> {
        if fill.len() != self.spec.c_in || matches!(self.plan, Plan::Depthwise(_)) {
            return Err(shape_error!("{} padding values for {} channels", fill.len(), self.spec.c_in));
        }
        fill.clone_into(&mut self.fill);
        Ok(self)
    }

    fn slopes_of(&self, slopes: &[f32]) -> Result<Vec<f32>> {
        if slopes.len() != self.spec.c_out {
            return Err(shape_error!("{} slopes for {} channels", slopes.len(), self.spec.c_out));
        }
        Ok(self.instructions.kernel()?.pad(slopes))
    }

    /// Its shape.
    pub const fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// `[n, h, w, c_in] -> [n, oh, ow, c_out]`
    ///
    /// # Errors
    /// Another number of channels, or an input smaller than the kernel.
    pub fn forward(&self, xs: &Map) -> Result<Map> {
        self.compute(xs, None)
    }

    /// As [`Self::forward`], with `shortcut` of the result's shape added.
    ///
    /// # Errors
    /// As [`Self::forward`], or a shortcut of another shape.
    pub fn forward_add(&self, xs: &Map, shortcut: &Map) -> Result<Map> {
        self.compute(xs, Some(shortcut))
    }

    fn extent(&self, [n, h, w, c]: [usize; 4]) -> Result<Extent> {
        let ConvSpec { c_in, kernel, stride, padding, .. } = self.spec;
        let pad = padding.resolve((h, w), kernel, stride);
        let out = |extent: usize, k: usize| extent.checked_sub(k).map(|steps| steps / stride + 1);
        let (oh, ow) = (out(h + pad[0] + pad[1], kernel.0), out(w + pad[2] + pad[3], kernel.1));
        match (oh, ow) {
            (Some(oh), Some(ow)) if c == c_in => Ok(Extent { n, h, w, oh, ow, pad }),
            _ => Err(shape_error!("a kernel of {kernel:?} over {c_in} channels does not take {h} x {w} x {c}")),
        }
    }

    fn compute(&self, xs: &Map, shortcut: Option<&Map>) -> Result<Map> {
        self.onto(xs.shape(), xs.pool(), shortcut, |job, out| {
            let job = Job { input: xs.values(), ..job };
            self.run(&job, out);
        })
    }

    /// Makes the result for an input of this shape and has it written by `f`, which gets a job without its input; `f` is not
    /// called where there is nothing to write.
    fn onto(
        &self,
        shape: [usize; 4],
        pool: &Pool,
        shortcut: Option<&Map>,
        f: impl FnOnce(Job<'_>, MatrixMut<'_>),
    ) -> Result<Map> {
        let extent = self.extent(shape)?;
        let Extent { n, oh, ow, .. } = extent;
        let c_out = self.spec.c_out;
        let shape = [n, oh, ow, c_out];
        if let Some(shortcut) = shortcut.filter(|shortcut| shortcut.shape() != shape) {
            return Err(shape_error!("a shortcut of {:?} for {shape:?}", shortcut.shape()));
        }
        let mut out = Map::unwritten(pool, shape);
        if out.is_dry() || n * oh * ow == 0 {
            return Ok(out);
        }
        let epilogue = Epilogue {
            residual: shortcut.map(|map| Residual { values: map.values(), stride: c_out }),
            then: if shortcut.is_some() { self.then } else { Activation::None },
            ..self.epilogue()
        };
        let kernel = self.instructions.kernel()?;
        let job = Job { kernel, spec: &self.spec, extent, input: &[], fill: &self.fill, epilogue };
        f(job, MatrixMut::new(out.values_mut(), n * oh * ow, c_out, c_out));
        Ok(out)
    }

    /// What follows the sum where there is no shortcut.
    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue {
            bias: &self.bias,
            slopes: &self.slopes,
            activation: self.activation,
            residual: None,
            then: Activation::None,
        }
    }

    fn run(&self, job: &Job<'_>, out: MatrixMut<'_>) {
        match &self.plan {
            Plan::Depthwise(plan) => plan.run(job, out),
            Plan::Winograd(plan) => plan.run(job, out),
            Plan::Dense(groups) => {
                let mut rest = out;
                for (g, plan) in groups.iter().enumerate() {
                    let (of_group, others) = rest.split_cols(self.spec.c_out / groups.len());
                    plan.run(job, g, of_group);
                    rest = others;
                }
            }
        }
    }
}

/// One call of a convolution.
#[derive(Clone, Copy)]
struct Job<'a> {
    kernel: &'static Kernel,
    spec: &'a ConvSpec,
    extent: Extent,
    input: &'a [f32],
    fill: &'a [f32],
    epilogue: Epilogue<'a>,
}

impl Job<'_> {
    /// One image of the input.
    fn image(&self, i: usize) -> &[f32] {
        let size = self.extent.h * self.extent.w * self.spec.c_in;
        &self.input[i * size..][..size]
    }
}
