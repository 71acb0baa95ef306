//! Layers shared by the networks: what they compute is the reference's, how they compute it is chosen here.

mod batch_norm;
mod chain;
mod conv;
mod features;
mod fused;
mod input;
mod linear;
mod pool;
mod prelu;
mod tokens;

pub use batch_norm::{BatchNorm, batch_norm, batch_norm_plain, conv2d_bn};
pub use chain::ConvChain;
pub use conv::{Conv2d, ConvConfig, Padding, conv2d};
pub use features::Features;
pub use fused::{FusedConv, Rectifier, by_image, first_by_image, run, separable};
pub use input::{ChannelOrder, Normalize};
pub use linear::MapLinear;
pub use pool::max_pool2d_ceil;
pub use prelu::{PRelu, prelu};
pub use tokens::{TokenLinear, TokenNorm, Tokens};

use std::ops::Range;

use candle::{Result, Tensor};

/// `[windows, from]`: each row is the mean over its window.
fn averaging_matrix(from: usize, windows: impl Iterator<Item = Range<usize>>, like: &Tensor) -> Result<Tensor> {
    let mut m = Vec::new();
    for window in windows {
        let start = m.len();
        m.resize(start + from, 0f32);
        m[start + window.start..start + window.end].fill(1.0 / window.len() as f32);
    }
    let rows = m.len() / from;
    Tensor::from_vec(m, (rows, from), like.device())?.to_dtype(like.dtype())
}

/// Average pooling that keeps the incomplete window at the end and averages only what lies inside: TensorFlow's `SAME`
/// where it pads the end alone. `[n, c, h, w] -> [n, c, ceil((h - k) / s) + 1, ceil((w - k) / s) + 1]`
///
/// # Errors
/// The input is smaller than the kernel.
pub fn avg_pool2d_ceil(xs: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let (_, _, h, w) = xs.dims4()?;
    if h.min(w) < kernel || stride > kernel {
        candle::bail!("average pooling of {kernel} with stride {stride} does not fit {h} x {w}");
    }
    let matrix = |from: usize| {
        let windows = (0..=(from - kernel).div_ceil(stride)).map(|i| i * stride..from.min(i * stride + kernel));
        averaging_matrix(from, windows, xs)
    };
    // The mean over a rectangle is the mean over its rows of the means over its columns.
    matrix(h)?.broadcast_matmul(&xs.broadcast_matmul(&matrix(w)?.t()?)?)
}

/// Bilinear resize with half-pixel centres and a repeated edge, `[n, c, h, w] -> [n, c, oh, ow]`: TensorFlow's
/// `RESIZE_BILINEAR` with `half_pixel_centers`, PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
///
/// No smoothing beforehand: made for enlarging feature maps.
///
/// # Errors
/// `xs` has not four axes, or one of them is empty.
pub fn bilinear_resize(xs: &Tensor, oh: usize, ow: usize) -> Result<Tensor> {
    let (_, _, h, w) = xs.dims4()?;
    if h * w == 0 {
        candle::bail!("an empty image of {h} x {w} cannot be resized");
    }
    let rows = interpolation_matrix(h, oh, xs)?; // [oh, h]
    let cols = interpolation_matrix(w, ow, xs)?.t()?; // [w, ow]
    rows.broadcast_matmul(&xs.broadcast_matmul(&cols)?)
}

fn interpolation_matrix(from: usize, to: usize, like: &Tensor) -> Result<Tensor> {
    let mut m = vec![0f32; to * from];
    for (i, row) in m.chunks_exact_mut(from).enumerate() {
        let position = ((i as f32 + 0.5) * from as f32 / to as f32 - 0.5).clamp(0.0, (from - 1) as f32);
        let (low, part) = (position as usize, position.fract());
        row[low] += 1.0 - part;
        row[(low + 1).min(from - 1)] += part;
    }
    Tensor::from_vec(m, (to, from), like.device())?.to_dtype(like.dtype())
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::*;

    #[test]
    fn averages_count_only_what_is_inside() {
        let xs = Tensor::arange(0f32, 16.0, &Device::Cpu).unwrap().reshape((1, 1, 4, 4)).unwrap();
        let ys = avg_pool2d_ceil(&xs, 3, 2).unwrap().squeeze(0).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        let want = [[5.0, 6.5], [11.0, 12.5]];
        assert!(ys.iter().flatten().zip(want.as_flattened()).all(|(g, w)| (g - w).abs() < 1e-5), "{ys:?}");
        assert!(avg_pool2d_ceil(&xs, 5, 2).is_err());
    }

    #[test]
    fn bilinear_has_half_pixel_centres_and_repeats_the_edge() {
        let xs = Tensor::new(&[[[[0f32, 4.0], [8.0, 12.0]]]], &Device::Cpu).unwrap(); // [1, 1, 2, 2]
        let ys = bilinear_resize(&xs, 2, 4).unwrap().squeeze(0).unwrap().squeeze(0).unwrap();
        assert_eq!(ys.to_vec2::<f32>().unwrap(), [[0.0, 1.0, 3.0, 4.0], [8.0, 9.0, 11.0, 12.0]]);
        assert!(bilinear_resize(&xs.narrow(3, 0, 0).unwrap(), 2, 2).is_err());
    }
}
