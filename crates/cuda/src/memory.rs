//! How much of a card's memory this process has taken.

use std::ffi::c_void;

use candle::{
    CudaDevice, Device, Result,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{
            result::{device::get_mem_pool, mem_pool},
            sys::{CUmemPool_attribute, CUmemoryPool},
        },
    },
};

/// The pool that all tensors of a card come from.
///
/// The pool keeps what was freed for the next batch; [`trim`](Self::trim) gives it back to the card.
#[derive(Debug, Clone)]
pub struct DeviceMemory {
    device: CudaDevice,
}

impl DeviceMemory {
    /// The memory of `device`, from here on kept between batches.
    ///
    /// # Errors
    /// The device is no card, or the driver has no pools.
    pub fn of(device: &Device) -> Result<Self> {
        let this = Self { device: device.as_cuda_device()?.clone() };
        // Without it every wait for the card gives all free memory back, and the next batch asks for it anew.
        this.set(CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX)?;
        Ok(this)
    }

    /// Bytes that tensors hold now. Waits for the work that was queued.
    ///
    /// # Errors
    /// The card fails.
    pub fn allocated(&self) -> Result<u64> {
        self.device.cuda_stream().synchronize().w()?;
        self.get(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
    }

    /// Most bytes that tensors held at a time since [`reset_peak`](Self::reset_peak). Waits for the work that was queued.
    ///
    /// # Errors
    /// The card fails.
    pub fn peak(&self) -> Result<u64> {
        self.device.cuda_stream().synchronize().w()?;
        self.get(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    /// Lets [`peak`](Self::peak) begin anew.
    ///
    /// # Errors
    /// The card fails.
    pub fn reset_peak(&self) -> Result<()> {
        // Zero is the one value that the driver takes.
        self.set(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)
    }

    /// Bytes that the pool holds, with those kept for the next batch.
    ///
    /// # Errors
    /// The card fails.
    pub fn reserved(&self) -> Result<u64> {
        self.get(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)
    }

    /// Gives back to the card what no tensor holds.
    ///
    /// # Errors
    /// The card fails.
    pub fn trim(&self) -> Result<()> {
        self.device.cuda_stream().synchronize().w()?;
        let pool = self.pool()?;
        // SAFETY: The pool is the device's own and lives as long as the device.
        #[expect(unsafe_code, reason = "the driver's interface")]
        unsafe { mem_pool::trim_to(pool, 0) }.w()
    }

    fn pool(&self) -> Result<CUmemoryPool> {
        let stream = self.device.cuda_stream();
        let context = stream.context();
        context.bind_to_thread().w()?;
        // SAFETY: The device is the context's.
        #[expect(unsafe_code, reason = "the driver's interface")]
        unsafe { get_mem_pool(context.cu_device()) }.w()
    }

    fn get(&self, attribute: CUmemPool_attribute) -> Result<u64> {
        let pool = self.pool()?;
        let mut value = 0u64;
        // SAFETY: The pool is the device's own; the attributes asked for here are 64 bits wide.
        #[expect(unsafe_code, reason = "the driver's interface")]
        unsafe { mem_pool::get_attribute(pool, attribute, (&raw mut value).cast::<c_void>()) }.w()?;
        Ok(value)
    }

    fn set(&self, attribute: CUmemPool_attribute, mut value: u64) -> Result<()> {
        let pool = self.pool()?;
        // SAFETY: As in `get`.
        #[expect(unsafe_code, reason = "the driver's interface")]
        unsafe { mem_pool::set_attribute(pool, attribute, (&raw mut value).cast::<c_void>()) }.w()
    }
}
