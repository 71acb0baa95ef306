//! Maxima and means over windows.

use candle::{CpuStorage, CustomOp1, DType, Error, Layout, Result, Shape, Tensor};
use facesocial_kernels::{self as kernels, PoolSpec};
use rayon::prelude::*;

use super::conv::contiguous;
use super::features::Features;

impl Features {
    /// The mean of each channel, `[n, c, h, w] -> [n, c, 1, 1]`.
    ///
    /// # Errors
    /// The images have no pixels.
    pub fn mean(&self) -> Result<Self> {
        match self {
            Self::Map(map) => Ok(Self::Map(kernels::mean(map).map_err(Error::wrap)?)),
            Self::Tensor(xs) => Ok(Self::Tensor(xs.mean_keepdim((2, 3))?)),
        }
    }

    /// The greatest value of each complete window.
    ///
    /// # Errors
    /// No window fits.
    pub fn max_pool(&self, kernel: usize, stride: usize) -> Result<Self> {
        match self {
            Self::Map(map) => {
                let spec = PoolSpec::new(kernel, stride);
                Ok(Self::Map(kernels::max_pool(map, spec).map_err(Error::wrap)?))
            }
            Self::Tensor(xs) => Ok(Self::Tensor(xs.max_pool2d_with_stride(kernel, stride)?)),
        }
    }

    /// As [`Self::max_pool`], with the incomplete windows at the end, see [`max_pool2d_ceil`].
    ///
    /// # Errors
    /// The images are smaller than the kernel.
    pub fn max_pool_ceil(&self, kernel: usize, stride: usize) -> Result<Self> {
        match self {
            Self::Map(map) => {
                let spec = PoolSpec { ceil: true, ..PoolSpec::new(kernel, stride) };
                Ok(Self::Map(kernels::max_pool(map, spec).map_err(Error::wrap)?))
            }
            Self::Tensor(xs) => Ok(Self::Tensor(max_pool2d_ceil(xs, kernel, stride)?)),
        }
    }

    /// The greatest value of the window around each pixel; `kernel` is odd.
    ///
    /// # Errors
    /// The images are smaller than half a kernel.
    pub fn max_around(&self, kernel: usize) -> Result<Self> {
        let padding = kernel / 2;
        match self {
            Self::Map(map) => {
                let spec = PoolSpec { padding, ..PoolSpec::new(kernel, 1) };
                Ok(Self::Map(kernels::max_pool(map, spec).map_err(Error::wrap)?))
            }
            Self::Tensor(xs) => {
                // A repeated edge adds no new value to a window, so its maximum stays that of what lies inside.
                let padded = xs.pad_with_same(2, padding, padding)?.pad_with_same(3, padding, padding)?;
                Ok(Self::Tensor(padded.max_pool2d_with_stride(kernel, 1)?))
            }
        }
    }

    /// The mean of what lies inside of each window, incomplete ones at the end too, see
    /// [`avg_pool2d_ceil`](super::avg_pool2d_ceil).
    ///
    /// # Errors
    /// The images are smaller than the kernel.
    pub fn avg_pool_ceil(&self, kernel: usize, stride: usize) -> Result<Self> {
        match self {
            Self::Map(map) => {
                let spec = PoolSpec { ceil: true, ..PoolSpec::new(kernel, stride) };
                Ok(Self::Map(kernels::avg_pool(map, spec).map_err(Error::wrap)?))
            }
            Self::Tensor(xs) => Ok(Self::Tensor(super::avg_pool2d_ceil(xs, kernel, stride)?)),
        }
    }

    /// The mean of each complete window of the size of the step.
    ///
    /// # Errors
    /// No window fits.
    pub fn avg_pool(&self, kernel: usize) -> Result<Self> {
        match self {
            Self::Map(map) => {
                let spec = PoolSpec::new(kernel, kernel);
                Ok(Self::Map(kernels::avg_pool(map, spec).map_err(Error::wrap)?))
            }
            Self::Tensor(xs) => Ok(Self::Tensor(xs.avg_pool2d(kernel)?)),
        }
    }
}

/// Max pooling with PyTorch's `ceil_mode=True`, `[n, c, h, w] -> [n, c, ceil((h - k) / s) + 1, ceil((w - k) / s) + 1]`.
///
/// A window that reaches over the edge takes the maximum of what lies inside; `stride <= kernel`, so none is empty.
///
/// # Errors
/// The input is smaller than the kernel.
pub fn max_pool2d_ceil(xs: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let (_, _, h, w) = xs.dims4()?;
    if h.min(w) < kernel || stride > kernel {
        candle::bail!("max pooling of {kernel} with stride {stride} does not fit {h} x {w}");
    }
    if xs.device().is_cpu() && xs.dtype() == DType::F32 {
        return xs.contiguous()?.apply_op1_no_bwd(&MaxPoolCeil { kernel, stride });
    }
    // A repeated edge adds no new value to a window, so its maximum stays the same.
    let missing = |n: usize| (n - kernel).next_multiple_of(stride) - (n - kernel);
    let padded = xs.pad_with_same(2, 0, missing(h))?.pad_with_same(3, 0, missing(w))?;
    padded.max_pool2d_with_stride(kernel, stride)
}

struct MaxPoolCeil {
    kernel: usize,
    stride: usize,
}

impl CustomOp1 for MaxPoolCeil {
    fn name(&self) -> &'static str {
        "max-pool-ceil"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(storage, layout)?;
        let (n, c, h, w) = layout.shape().dims4()?;
        let out = |n: usize| (n - self.kernel).div_ceil(self.stride) + 1;
        let (oh, ow) = (out(h), out(w));
        let mut output = vec![0f32; n * c * oh * ow];
        output.par_chunks_mut(ow).enumerate().for_each_init(
            || vec![0f32; w],
            |column_max, (row, out)| {
                let (plane, y) = (row / oh, row % oh * self.stride);
                let rows = &input[(plane * h + y) * w..(plane * h + (y + self.kernel).min(h)) * w];
                column_max.fill(f32::NEG_INFINITY);
                for source in rows.chunks_exact(w) {
                    column_max.iter_mut().zip(source).for_each(|(m, v)| *m = max(*m, *v));
                }
                for (x, o) in out.iter_mut().enumerate() {
                    let start = x * self.stride;
                    *o = column_max[start..(start + self.kernel).min(w)].iter().copied().fold(f32::NEG_INFINITY, max);
                }
            },
        );
        Ok((CpuStorage::F32(output), (n, c, oh, ow).into()))
    }
}

/// The greater one; NaN wins, so that a broken activation is seen and not pooled away.
fn max(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::*;

    #[test]
    fn the_incomplete_window_counts_only_what_is_inside() {
        let xs: Vec<f32> = (0..15).map(|v| -1.0 - v as f32).collect();
        let xs = Tensor::from_vec(xs, (1, 1, 3, 5), &Device::Cpu).unwrap();
        let got = max_pool2d_ceil(&xs, 2, 2).unwrap();
        assert_eq!(got.dims(), [1, 1, 2, 3]);
        assert_eq!(got.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [-1.0, -3.0, -5.0, -11.0, -13.0, -15.0]);
    }

    #[test]
    fn agrees_with_candle_where_the_windows_are_complete() {
        let xs = Tensor::randn(0f32, 1.0, (2, 3, 9, 7), &Device::Cpu).unwrap();
        let got = max_pool2d_ceil(&xs, 3, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let want = xs.max_pool2d_with_stride(3, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got, want);
    }

    #[test]
    fn the_general_path_gives_the_same() {
        let xs = Tensor::randn(0f32, 1.0, (2, 3, 8, 10), &Device::Cpu).unwrap();
        let fast = max_pool2d_ceil(&xs, 3, 2).unwrap();
        let general = max_pool2d_ceil(&xs.to_dtype(DType::F64).unwrap(), 3, 2).unwrap().to_dtype(DType::F32).unwrap();
        assert_eq!(fast.dims(), general.dims());
        let values = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(fast), values(general));
    }

    #[test]
    fn an_input_below_the_kernel_is_an_error() {
        let xs = Tensor::zeros((1, 1, 2, 5), DType::F32, &Device::Cpu).unwrap();
        assert!(max_pool2d_ceil(&xs, 3, 2).is_err());
    }
}
