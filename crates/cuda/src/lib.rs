//! What candle lacks on an NVIDIA card: kernels for convolutions and what follows them, one stream for all threads, and how
//! much memory the card has lent.
//!
//! Candle computes a depthwise convolution channel by channel, copies the input to pad it, and runs bias, rectifier and
//! shortcut as kernels of their own; here each is one kernel. Every one has its twin in `facesocial-kernels` for the
//! processor, and is tested against candle's operations there. All tensors are `[n, c, h, w]`, of `f32`, `f16` or `bf16`; sums
//! are single precision. Without the feature `cuda` the crate is empty.
#![cfg(feature = "cuda")]

mod conv;
mod device;
mod element;
mod epilogue;
mod memory;
mod normalize;

pub use conv::{Geometry, conv2d};
pub use device::open;
pub use epilogue::Epilogue;
pub use memory::DeviceMemory;
pub use normalize::{Normalization, normalize};

mod ptx {
    include!(concat!(env!("OUT_DIR"), "/ptx.rs"));
}
