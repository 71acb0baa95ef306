//! How much memory the program has allocated: it decides how large batches may be.

use facesocial_pipeline::Meter;
use peak_alloc::PeakAlloc;

/// The system's allocator, with a counter around it.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Reads the counter.
pub const METER: Meter = Meter {
    allocated: || ALLOCATOR.current_usage(),
    peak: || ALLOCATOR.peak_usage(),
    reset_peak: || ALLOCATOR.reset_peak_usage(),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_counted() {
        const BYTES: usize = 64 << 20;
        let before = (METER.allocated)();
        (METER.reset_peak)();
        let block = std::hint::black_box(vec![1_u8; BYTES]);
        assert!((METER.allocated)() >= before + BYTES / 2);
        drop(block);
        assert!((METER.peak)() >= BYTES);
    }
}
