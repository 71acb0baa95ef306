//! 2-D convolution: the way it is computed depends on the device and on the layer's shape.

use candle::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Module, Result, Shape, Tensor};
use candle_nn::VarBuilder;
#[cfg(feature = "cuda")]
use facesocial_cuda as cuda;
use rayon::prelude::*;

/// Zero padding on the four sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns before.
    pub left: usize,
    /// Columns after.
    pub right: usize,
}

impl Padding {
    /// The same on each side, as PyTorch's `padding=n`.
    pub const fn all(n: usize) -> Self {
        Self { top: n, bottom: n, left: n, right: n }
    }

    /// TensorFlow's `SAME`: output `ceil(input / stride)`, the odd row or column goes below or after.
    pub fn same(input: (usize, usize), kernel: (usize, usize), stride: usize) -> Self {
        let total = |n: usize, k: usize| (n.div_ceil(stride).saturating_sub(1) * stride + k).saturating_sub(n);
        let (v, h) = (total(input.0, kernel.0), total(input.1, kernel.1));
        Self { top: v / 2, bottom: v - v / 2, left: h / 2, right: h - h / 2 }
    }
}

/// How a convolution pads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaddingMode {
    Fixed(Padding),
    Same,
}

/// Stride, padding and groups.
#[derive(Debug, Clone, Copy)]
pub struct ConvConfig {
    stride: usize,
    padding: PaddingMode,
    groups: usize,
}

impl Default for ConvConfig {
    fn default() -> Self {
        Self { stride: 1, padding: PaddingMode::Fixed(Padding::default()), groups: 1 }
    }
}

impl ConvConfig {
    /// The same step in both directions.
    #[must_use]
    pub const fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Fixed zero padding.
    #[must_use]
    pub const fn padding(mut self, padding: Padding) -> Self {
        self.padding = PaddingMode::Fixed(padding);
        self
    }

    /// TensorFlow's `SAME` padding, see [`Padding::same`].
    #[must_use]
    pub const fn same(mut self) -> Self {
        self.padding = PaddingMode::Same;
        self
    }

    /// Channel groups; as many groups as channels make it depthwise.
    #[must_use]
    pub const fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    pub(super) const fn number_of_groups(&self) -> usize {
        self.groups
    }

    pub(super) const fn step(&self) -> usize {
        self.stride
    }

    pub(super) const fn padding_mode(&self) -> PaddingMode {
        self.padding
    }
}

/// Convolution with bias.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: ConvConfig,
}

/// Reads `weight` of `[c_out, c_in / groups, kh, kw]` and, where the file has one, `bias` of `[c_out]`.
///
/// # Errors
/// A missing key or another shape.
pub fn conv2d(
    vb: VarBuilder<'_>,
    c_in: usize,
    c_out: usize,
    kernel: (usize, usize),
    config: ConvConfig,
) -> Result<Conv2d> {
    let weight = vb.get((c_out, c_in / config.groups, kernel.0, kernel.1), "weight")?;
    let bias = vb.contains_tensor("bias").then(|| vb.get(c_out, "bias")).transpose()?;
    Ok(Conv2d { weight, bias, config })
}

impl Conv2d {
    /// A convolution from its tensors: `weight` `[c_out, c_in / groups, kh, kw]`, `bias` `[c_out]`.
    pub const fn new(weight: Tensor, bias: Option<Tensor>, config: ConvConfig) -> Self {
        Self { weight, bias, config }
    }

    /// `[c_out, c_in / groups, kh, kw]`
    pub const fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[c_out]`
    pub const fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    pub(super) const fn config(&self) -> &ConvConfig {
        &self.config
    }

    /// Folds a following per-channel `x * scale + shift` (a batch norm at inference) into weight and bias.
    ///
    /// # Errors
    /// `scale` or `shift` is not `[c_out]`.
    pub fn fold(self, scale: &Tensor, shift: &Tensor) -> Result<Self> {
        let weight = self.weight.broadcast_mul(&scale.reshape((scale.dim(0)?, 1, 1, 1))?)?;
        let bias = match self.bias {
            Some(bias) => ((bias * scale)? + shift)?,
            None => shift.clone(),
        };
        Ok(Self { weight, bias: Some(bias), config: self.config })
    }

    /// The layer of some of its outputs, in the order given.
    ///
    /// # Errors
    /// There is no such output, or the layer has groups.
    pub(crate) fn outputs(&self, outputs: &[u32]) -> Result<Self> {
        if self.config.groups != 1 {
            candle::bail!("some of the outputs of a layer with groups");
        }
        let outputs = Tensor::new(outputs, self.weight.device())?;
        let pick = |xs: &Tensor| xs.index_select(&outputs, 0);
        let bias = self.bias.as_ref().map(pick).transpose()?;
        Ok(Self { weight: pick(&self.weight)?, bias, config: self.config })
    }

    /// Folds a per-channel `x * scale + shift` before it into weight and bias. With padding the result is another near the
    /// edge, unless what is padded with is what scale and shift take to zero.
    ///
    /// # Errors
    /// `scale` or `shift` is not `[c_in]`, or the layer has groups.
    pub(super) fn fold_before(self, scale: &Tensor, shift: &Tensor) -> Result<Self> {
        let column = |xs: &Tensor| xs.reshape((1, xs.dim(0)?, 1, 1));
        let added = self.weight.broadcast_mul(&column(shift)?)?.sum((1, 2, 3))?;
        let bias = match self.bias {
            Some(bias) => (bias + added)?,
            None => added,
        };
        Ok(Self { weight: self.weight.broadcast_mul(&column(scale)?)?, bias: Some(bias), config: self.config })
    }

    fn padding(&self, h: usize, w: usize) -> Result<Padding> {
        let (_, _, kh, kw) = self.weight.dims4()?;
        Ok(match self.config.padding {
            PaddingMode::Fixed(padding) => padding,
            PaddingMode::Same => Padding::same((h, w), (kh, kw), self.config.stride),
        })
    }
}

impl Module for Conv2d {
    /// `[n, c_in, h, w] -> [n, c_out, oh, ow]`
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (_, c_in, h, w) = xs.dims4()?;
        let (c_out, _, kh, kw) = self.weight.dims4()?;
        #[cfg(feature = "cuda")]
        if self.has_kernel(xs) {
            return self.on_card(xs, cuda::Epilogue::default());
        }
        let pad = self.padding(h, w)?;
        let ConvConfig { stride, groups, .. } = self.config;
        let on_cpu = xs.device().is_cpu() && xs.dtype() == DType::F32;
        let ys = if on_cpu && groups == c_in && c_in == c_out {
            let window = Window::new((h, w), (kh, kw), stride, pad)?;
            return xs.contiguous()?.apply_op2_no_bwd(&self.depthwise_weights()?, &Depthwise(window));
        } else if on_cpu && groups == 1 {
            self.by_matmul(xs, Window::new((h, w), (kh, kw), stride, pad)?)?
        } else {
            let padded = xs.pad_with_zeros(2, pad.top, pad.bottom)?.pad_with_zeros(3, pad.left, pad.right)?;
            padded.conv2d(&self.weight, 0, stride, 1, groups)?
        };
        match &self.bias {
            Some(bias) => ys.broadcast_add(&bias.reshape((1, c_out, 1, 1))?),
            None => Ok(ys),
        }
    }
}

#[cfg(feature = "cuda")]
impl Conv2d {
    /// Whether the project's kernels for a card compute this layer: all but groups of several channels.
    pub(super) fn has_kernel(&self, xs: &Tensor) -> bool {
        let typed = matches!(xs.dtype(), DType::F32 | DType::F16 | DType::BF16);
        let depthwise = self.weight.dims4().is_ok_and(|(c_out, inside, ..)| inside == 1 && c_out == self.config.groups);
        xs.device().is_cuda() && typed && (self.config.groups == 1 || depthwise)
    }

    /// The layer with its bias and what follows it, on a card.
    pub(super) fn on_card(&self, xs: &Tensor, after: cuda::Epilogue<'_>) -> Result<Tensor> {
        let (_, _, h, w) = xs.dims4()?;
        let Padding { top, bottom, left, right } = self.padding(h, w)?;
        let ConvConfig { stride, groups, .. } = self.config;
        let geometry = cuda::Geometry { stride, top, bottom, left, right, groups };
        cuda::conv2d(xs, &self.weight, geometry, &cuda::Epilogue { bias: self.bias.as_ref(), ..after })
    }
}

/// Columns of at most this many floats are unfolded at a time, so that they stay in the cache.
const UNFOLD_FLOATS: usize = 1 << 20;

impl Conv2d {
    /// Unfolds the windows into columns and multiplies: candle's own kernel repacks the weights on every call.
    fn by_matmul(&self, xs: &Tensor, window: Window) -> Result<Tensor> {
        let (n, c_in, ..) = xs.dims4()?;
        let (c_out, ..) = self.weight.dims4()?;
        let taps = c_in * window.kernel.0 * window.kernel.1;
        let weight = self.weight.reshape((c_out, taps))?;
        let (oh, ow) = window.out;
        let xs = xs.contiguous()?;
        let mut images = Vec::with_capacity(n);
        for i in 0..n {
            let image = xs.narrow(0, i, 1)?;
            let ys = if window.is_pointwise() {
                weight.matmul(&image.reshape((c_in, oh * ow))?)? // [c_out, oh*ow]
            } else {
                let rows_at_once = (UNFOLD_FLOATS / (taps * ow)).clamp(1, oh);
                let mut parts = Vec::new();
                for first in (0..oh).step_by(rows_at_once) {
                    let rows = first..oh.min(first + rows_at_once);
                    let columns = image.apply_op1_no_bwd(&Unfold { window, c_in, rows })?; // [taps, rows*ow]
                    parts.push(weight.matmul(&columns)?);
                }
                if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 1)? }
            };
            images.push(ys.reshape((1, c_out, oh, ow))?);
        }
        if n == 1 { Ok(images.remove(0)) } else { Tensor::cat(&images, 0) }
    }

    /// `[c, kh * kw + 1]`: the taps of each channel, then its bias.
    fn depthwise_weights(&self) -> Result<Tensor> {
        let (c, _, kh, kw) = self.weight.dims4()?;
        let taps = self.weight.reshape((c, kh * kw))?;
        let bias = match &self.bias {
            Some(bias) => bias.reshape((c, 1))?,
            None => taps.zeros_like()?.narrow(1, 0, 1)?,
        };
        Tensor::cat(&[taps, bias], 1)?.contiguous()
    }
}

/// Where a kernel's taps fall on the input.
#[derive(Debug, Clone, Copy)]
struct Window {
    input: (usize, usize),
    kernel: (usize, usize),
    stride: usize,
    pad: Padding,
    out: (usize, usize),
}

impl Window {
    fn new(input: (usize, usize), kernel: (usize, usize), stride: usize, pad: Padding) -> Result<Self> {
        let out = |n: usize, k: usize| match n.checked_sub(k) {
            Some(steps) => Ok(steps / stride + 1),
            None => candle::bail!("a kernel of {k} does not fit into a padded extent of {n}"),
        };
        let out = (out(input.0 + pad.top + pad.bottom, kernel.0)?, out(input.1 + pad.left + pad.right, kernel.1)?);
        Ok(Self { input, kernel, stride, pad, out })
    }

    fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.stride == 1 && self.pad == Padding::default()
    }

    /// The input row under output row `oy` and tap `ky`, if it is not padding.
    fn row(&self, oy: usize, ky: usize) -> Option<usize> {
        (oy * self.stride + ky).checked_sub(self.pad.top).filter(|y| *y < self.input.0)
    }

    /// The output columns whose input column under tap `kx` is not padding.
    fn columns(&self, kx: usize) -> std::ops::Range<usize> {
        let start = self.pad.left.saturating_sub(kx).div_ceil(self.stride);
        let end = (self.input.1 + self.pad.left).saturating_sub(kx).div_ceil(self.stride).min(self.out.1);
        start.min(end)..end
    }
}

/// `[1, c, h, w] -> [c * kh * kw, rows * ow]`
struct Unfold {
    window: Window,
    c_in: usize,
    rows: std::ops::Range<usize>,
}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(storage, layout)?;
        let Self { window: w, c_in, rows } = self;
        let (plane, (kh, kw), ow) = (w.input.0 * w.input.1, w.kernel, w.out.1);
        let width = rows.len() * ow;
        let mut columns = vec![0f32; c_in * kh * kw * width];
        columns.par_chunks_mut(width).enumerate().for_each(|(tap, out)| {
            let (c, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            let image = &input[c * plane..(c + 1) * plane];
            let xs = w.columns(kx);
            for (oy, out) in rows.clone().zip(out.chunks_exact_mut(ow)) {
                let Some(y) = w.row(oy, ky) else { continue };
                if xs.is_empty() {
                    continue;
                }
                let source = &image[y * w.input.1 + xs.start * w.stride + kx - w.pad.left..(y + 1) * w.input.1];
                if w.stride == 1 {
                    out[xs.clone()].copy_from_slice(&source[..xs.len()]);
                } else {
                    for (o, v) in out[xs.clone()].iter_mut().zip(source.iter().step_by(w.stride)) {
                        *o = *v;
                    }
                }
            }
        });
        Ok((CpuStorage::F32(columns), (c_in * kh * kw, width).into()))
    }
}

/// `[n, c, h, w] -> [n, c, oh, ow]`, one kernel a channel; the second argument is [`Conv2d::depthwise_weights`].
struct Depthwise(Window);

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise-conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (input, weights) = (contiguous(s1, l1)?, contiguous(s2, l2)?);
        let (n, c, ..) = l1.shape().dims4()?;
        let w = &self.0;
        let (plane, (kh, kw), (oh, ow)) = (w.input.0 * w.input.1, w.kernel, w.out);
        let mut output = vec![0f32; n * c * oh * ow];
        output.par_chunks_mut(oh * ow).zip(input.par_chunks(plane)).enumerate().for_each(|(i, (out, image))| {
            let weights = &weights[i % c * (kh * kw + 1)..][..kh * kw + 1];
            let (taps, bias) = weights.split_at(kh * kw);
            out.fill(bias[0]);
            for (oy, out) in out.chunks_exact_mut(ow).enumerate() {
                for ky in 0..kh {
                    let Some(y) = w.row(oy, ky) else { continue };
                    for kx in 0..kw {
                        let xs = w.columns(kx);
                        if xs.is_empty() {
                            continue;
                        }
                        let tap = taps[ky * kw + kx];
                        let source = &image[y * w.input.1 + xs.start * w.stride + kx - w.pad.left..(y + 1) * w.input.1];
                        if w.stride == 1 {
                            for (o, v) in out[xs.clone()].iter_mut().zip(&source[..xs.len()]) {
                                *o += tap * v;
                            }
                        } else {
                            for (o, v) in out[xs.clone()].iter_mut().zip(source.iter().step_by(w.stride)) {
                                *o += tap * v;
                            }
                        }
                    }
                }
            }
        });
        Ok((CpuStorage::F32(output), (n, c, oh, ow).into()))
    }
}

pub(super) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle::bail!("the input of a convolution is not contiguous");
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::*;

    fn random(shape: &[usize], seed: u64) -> Tensor {
        // SplitMix64: reproducible without another dependency.
        let mut state = seed;
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                ((z ^ (z >> 27)) >> 40) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Every path against candle's own convolution.
    #[test]
    fn agrees_with_candle_over_shapes_strides_and_paddings() {
        let uneven = Padding { top: 0, bottom: 1, left: 0, right: 1 };
        let mut worst = 0f32;
        for (case, (groups, c_in, c_out)) in [(1, 3, 8), (6, 6, 6), (2, 4, 6)].into_iter().enumerate() {
            for (kh, kw) in [(1, 1), (3, 3), (5, 3)] {
                for stride in [1, 2] {
                    for pad in [Padding::default(), Padding::all(1), uneven] {
                        let xs = random(&[2, c_in, 9, 7], case as u64);
                        let weight = random(&[c_out, c_in / groups, kh, kw], 7);
                        let bias = random(&[c_out], 8);
                        let config = ConvConfig::default().stride(stride).padding(pad).groups(groups);
                        let padded = xs
                            .pad_with_zeros(2, pad.top, pad.bottom)
                            .and_then(|x| x.pad_with_zeros(3, pad.left, pad.right))
                            .unwrap();
                        let want = padded.conv2d(&weight, 0, stride, 1, groups).unwrap();
                        let want = want.broadcast_add(&bias.reshape((1, c_out, 1, 1)).unwrap()).unwrap();
                        let got = Conv2d::new(weight, Some(bias), config).forward(&xs).unwrap();
                        assert_eq!(got.dims(), want.dims());
                        let diff = (got - want).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
                        worst = worst.max(diff.to_scalar().unwrap());
                    }
                }
            }
        }
        assert!(worst < 1e-5, "{worst}");
    }

    #[test]
    fn same_padding_is_tensorflows() {
        assert_eq!(Padding::same((128, 128), (5, 5), 2), Padding { top: 1, bottom: 2, left: 1, right: 2 });
        assert_eq!(Padding::same((7, 7), (3, 3), 1), Padding::all(1));
        assert_eq!(Padding::same((8, 8), (1, 1), 2), Padding::default());
    }

    #[test]
    fn a_folded_scale_equals_scaling_afterwards() {
        let (xs, weight) = (random(&[1, 3, 5, 5], 1), random(&[4, 3, 3, 3], 2));
        let (scale, shift) = (random(&[4], 3), random(&[4], 4));
        let conv = Conv2d::new(weight, Some(random(&[4], 5)), ConvConfig::default());
        let per_channel = |t: &Tensor| t.reshape((1, 4, 1, 1)).unwrap();
        let want = conv.forward(&xs).unwrap().broadcast_mul(&per_channel(&scale)).unwrap();
        let want = want.broadcast_add(&per_channel(&shift)).unwrap();
        let got = conv.fold(&scale, &shift).unwrap().forward(&xs).unwrap();
        let diff = (got - want).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        assert!(diff.to_scalar::<f32>().unwrap() < 1e-5);
    }

    #[test]
    fn a_kernel_larger_than_the_input_is_an_error() {
        let conv = Conv2d::new(random(&[1, 1, 3, 3], 1), None, ConvConfig::default());
        assert!(conv.forward(&random(&[1, 1, 2, 2], 2)).is_err());
    }
}
