//! Element types, and how a kernel is found and started.

use candle::{
    CudaDevice, CudaStorage, Layout, Result, WithDType,
    cuda_backend::{
        CudaDType,
        cudarc::driver::{CudaFunction, CudaView, DeviceRepr, LaunchConfig},
    },
};
use half::{bf16, f16};

/// What a kernel can compute with.
pub(crate) trait Element: CudaDType + DeviceRepr + WithDType {
    /// The end of the kernels' names.
    const SUFFIX: &'static str;
}

impl Element for f32 {
    const SUFFIX: &'static str = "f32";
}

impl Element for f16 {
    const SUFFIX: &'static str = "f16";
}

impl Element for bf16 {
    const SUFFIX: &'static str = "bf16";
}

/// Calls a method with the type parameter that the storage's type is.
macro_rules! by_type {
    ($storage:expr, $this:ident . $method:ident ( $($arg:expr),* )) => {
        match candle::backend::BackendStorage::dtype($storage) {
            candle::DType::F32 => $this.$method::<f32>($($arg),*),
            candle::DType::F16 => $this.$method::<half::f16>($($arg),*),
            candle::DType::BF16 => $this.$method::<half::bf16>($($arg),*),
            other => candle::bail!("a kernel for {other:?} does not exist; there are f32, f16 and bf16"),
        }
    };
}
pub(crate) use by_type;

/// The values of a tensor that lies in one piece.
pub(crate) fn contiguous<'a, T: Element>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, T>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle::bail!("the input of a kernel is not contiguous");
    };
    Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
}

/// The kernel of a file for elements of `T`.
pub(crate) fn kernel<T: Element>(device: &CudaDevice, name: &str, file: &str, ptx: &str) -> Result<CudaFunction> {
    Ok(device.get_or_load_custom_func(&format!("{name}_{}", T::SUFFIX), file, ptx)?.into_cuda_function())
}

/// One thread for each of `total` elements; kernels count them with 32 bits.
pub(crate) fn grid(total: usize) -> Result<(u32, LaunchConfig)> {
    match u32::try_from(total) {
        // The last step of a thread must not go beyond what 32 bits count.
        Ok(total) if total <= u32::MAX / 2 => Ok((total, LaunchConfig::for_num_elems(total))),
        _ => candle::bail!("{total} elements are more than a kernel counts"),
    }
}

/// A size as the kernels count it.
pub(crate) fn size(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(candle::Error::wrap)
}
