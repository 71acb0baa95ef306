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
