//! Layers shared by the networks: what they compute is the reference's, how they compute it is chosen here.

mod conv;
mod input;
mod pool;
mod prelu;

pub use conv::{Conv2d, ConvConfig, Padding, conv2d};
pub use input::{ChannelOrder, Normalize};
pub use pool::max_pool2d_ceil;
pub use prelu::{PRelu, prelu};

use candle::{Result, Tensor};

/// Area (box-filter) resize, `[n, c, h, w] -> [n, c, oh, ow]`: PyTorch's `interpolate(mode="area")`.
///
/// Every output value is the mean of the input cells `floor(i * h / oh) .. ceil((i + 1) * h / oh)`; separable,
/// hence two matrix products.
pub fn area_resize(xs: &Tensor, oh: usize, ow: usize) -> Result<Tensor> {
    let (_, _, h, w) = xs.dims4()?;
    let rows = averaging_matrix(h, oh, xs)?; // [oh, h]
    let cols = averaging_matrix(w, ow, xs)?.t()?; // [w, ow]
    rows.broadcast_matmul(&xs.broadcast_matmul(&cols)?)
}

fn averaging_matrix(from: usize, to: usize, like: &Tensor) -> Result<Tensor> {
    let mut m = vec![0f32; to * from];
    for (i, row) in m.chunks_exact_mut(from).enumerate() {
        let (start, end) = (i * from / to, ((i + 1) * from).div_ceil(to));
        row[start..end].fill(1.0 / (end - start) as f32);
    }
    Tensor::from_vec(m, (to, from), like.device())?.to_dtype(like.dtype())
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
    fn bilinear_has_half_pixel_centres_and_repeats_the_edge() {
        let xs = Tensor::new(&[[[[0f32, 4.0], [8.0, 12.0]]]], &Device::Cpu).unwrap(); // [1, 1, 2, 2]
        let ys = bilinear_resize(&xs, 2, 4).unwrap().squeeze(0).unwrap().squeeze(0).unwrap();
        assert_eq!(ys.to_vec2::<f32>().unwrap(), [[0.0, 1.0, 3.0, 4.0], [8.0, 9.0, 11.0, 12.0]]);
        assert!(bilinear_resize(&xs.narrow(3, 0, 0).unwrap(), 2, 2).is_err());
    }
}
