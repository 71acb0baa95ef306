//! Pixels to a network's input.

use candle::{
    CpuStorage, CudaStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor,
    backend::BackendStorage,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{DeviceRepr, PushKernelArg},
    },
};
use half::{bf16, f16};

use crate::{
    element::{Element, grid, kernel, size},
    ptx,
};

/// `(pixel - mean) / std` of each channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Subtracted from pixels of 0..=255, in the network's order of channels.
    pub mean: [f32; 3],
    /// Divides the difference.
    pub std: [f32; 3],
    /// Where in an RGB pixel each of the network's channels stands, 0 to 2.
    pub source: [u32; 3],
}

/// Pixels of `n` images, `[h, w, 3]` one behind the other, as `[n, 3, h, w]`: a quarter of the bytes travel to the card.
///
/// # Errors
/// Another number of bytes, a source beyond a pixel, a type without kernels, or no memory on the card.
pub fn normalize(
    pixels: Vec<u8>,
    [n, h, w]: [usize; 3],
    how: Normalization,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    if how.source.iter().any(|at| *at > 2) {
        candle::bail!("a pixel has three values, not one at {:?}", how.source);
    }
    Tensor::from_vec(pixels, (n, h, w, 3), device)?.apply_op1_no_bwd(&Op { how, dtype })
}

struct Op {
    how: Normalization,
    dtype: DType,
}

/// As `Normalization` in `kernels/normalize.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Params {
    how: Laid,
    plane: u32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Laid {
    mean: [f32; 3],
    std: [f32; 3],
    source: [u32; 3],
}

// SAFETY: Ten 32-bit numbers, laid out as the kernel's struct.
#[expect(unsafe_code, reason = "an argument of a kernel")]
unsafe impl DeviceRepr for Params {}

impl Op {
    fn run<T: Element>(&self, xs: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (n, h, w, _) = layout.shape().dims4()?;
        let Some((start, end)) = layout.contiguous_offsets() else { candle::bail!("pixels in several pieces") };
        let (total, config) = grid(end - start)?;
        let Normalization { mean, std, source } = self.how;
        let params = Params { how: Laid { mean, std, source }, plane: size(h * w)? };
        let (device, input) = (xs.device(), xs.as_cuda_slice::<u8>()?.slice(start..end));
        let function = kernel::<T>(device, "normalize", "facesocial-normalize", ptx::NORMALIZE)?;
        // SAFETY: The kernel writes every element.
        #[expect(unsafe_code, reason = "zeros would be written twice")]
        let mut out = unsafe { device.alloc::<T>(end - start) }?;
        let stream = device.cuda_stream();
        let mut args = stream.launch_builder(&function);
        args.arg(&input).arg(&mut out).arg(&total).arg(&params);
        // SAFETY: The kernel takes these arguments in this order; it reads and writes `total` elements, three a pixel.
        #[expect(unsafe_code, reason = "starts a kernel")]
        unsafe { args.launch(config) }.w()?;
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (n, 3, h, w).into()))
    }
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle::bail!("on the processor the pixels are normalised as they are read")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        match self.dtype {
            DType::F32 => self.run::<f32>(storage, layout),
            DType::F16 => self.run::<f16>(storage, layout),
            DType::BF16 => self.run::<bf16>(storage, layout),
            other => candle::bail!("a kernel for {other:?} does not exist; there are f32, f16 and bf16"),
        }
    }
}
