//! The card as one queue of work.

use candle::{Device, Result};

/// Opens the card with this number, as CUDA counts.
///
/// All threads queue their work in one stream, so what one uploads another may use. (The stream that candle opens by itself is
/// one for each thread.)
///
/// # Errors
/// No driver, no such card, or another program holds it. Without the driver's library the loader may panic.
pub fn open(number: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(number)?;
    // SAFETY: Everything that this process does on the card goes through this device's one stream, in order: nothing is freed
    // or written while work that was queued earlier may still use it.
    #[expect(unsafe_code, reason = "the events only cost time with one stream")]
    unsafe {
        device.as_cuda_device()?.disable_event_tracking();
    }
    Ok(device)
}
