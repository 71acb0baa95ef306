//! Convolutions and what stands between them on the CPU.

mod activation;
mod aligned;
mod conv;
mod error;
mod instructions;
mod kernel;
mod map;
mod pool;
mod threads;

pub use activation::Activation;
pub use conv::{Conv2d, ConvSpec, Minimal, Padding};
pub use error::{KernelError, Result};
pub use instructions::Instructions;
pub use map::Map;
pub use pool::Pool;
pub use threads::run;
