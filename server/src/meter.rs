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
        // Tests beside this one free memory meanwhile; a hundred times in a row, so much of it, they do not.
        let counted = (0..100).any(|_| {
            let before = (METER.allocated)();
            let block = std::hint::black_box(vec![1_u8; BYTES]);
            let after = (METER.allocated)();
            drop(block);
            after >= before + BYTES / 2
        });
        assert!(counted);
        assert!((METER.peak)() >= BYTES);
    }
}
