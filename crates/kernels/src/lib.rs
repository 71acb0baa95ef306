//! Convolutions and what stands between them on the CPU, faster than from general libraries.
//!
//! A [`Conv2d`] packs its weights once, for the processor at hand, and computes bias, rectifier and shortcut in the pass
//! that computes the sums. Between layers stand [`Map`]s, channels last, in memory of a [`Pool`] that is used again, so
//! that a network allocates nothing when it runs. [`attention`] and [`LayerNorm`] serve transformers, whose tokens are pixels
//! in a row. The rest is small: pooling, sums, concatenation, resizing.
//!
//! # Where candle ends
//!
//! This crate does not know candle. Two ways to join them were weighed:
//!
//! - A custom operation for each layer, on candle's tensors. Nothing changes for the networks, but every layer allocates its
//!   result, activations go to channels last and back or lie about their layout, and a shortcut or rectifier that is to
//!   be fused becomes an argument that candle's interface for operations has no place for.
//! - A second executor, for whole networks. Fast, but then each network exists twice, once for the CPU and once for
//!   other devices, and the two drift apart.
//!
//! Taken is what lies between: `facesocial-models` has a type that is either a [`Map`] or a candle tensor, and layers on it.
//! A network is written once, over that type; on the CPU its steps are those of this crate, elsewhere candle's. A tensor is
//! converted once on the way in and once on the way out.
//!
//! # How the time is spent
//!
//! - Every dense convolution is a product of windows with weights (`kernel::gemm`): a tile of sums stays in registers,
//!   windows are read where they lie, one run of memory for each row of the kernel, because channels are last. Only a band of
//!   rows with its padding is copied, and stays in the cache.
//! - 3 x 3 kernels at stride 1 use Winograd's minimal filtering where there are channels enough, and no tiles: [`Minimal`].
//! - Depthwise kernels run over vectors of channels.
//! - Where the processor has AMX, products are of tiles of bfloat16: every factor is the sum of two of them, which keeps sixteen
//!   bits of it (`kernel::split`). A plain convolution on tiles is faster than minimal filtering without them.
//! - A depthwise and the pointwise convolution behind it are computed band by band: [`separable`].
//! - One generic source serves AVX-512, AVX2, NEON and plain Rust: [`Instructions`], chosen when the first layer is loaded.
//! - Work is shared between the threads of rayon's current pool by rows or by columns; little work is not shared at all.
//!   The other threads stay awake while a network [`run`]s: to wake one takes longer than most layers.
//! - Weights do not stay in a cache from one pass to the next: while the sums of one panel run, the next is on its way from
//!   memory.
//!
//! # Memory beforehand
//!
//! A forward pass on a map of [`Pool::dry`] computes shapes alone, and [`Pool::peak_bytes`] then tells what the same pass
//! takes in earnest. Beside it each thread keeps room to work in: a band of input rows, or tiles of about 3 MiB.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod activation;
mod aligned;
mod attention;
mod bytes;
mod combine;
mod conv;
mod error;
mod instructions;
mod kernel;
mod layer_norm;
mod map;
mod pool;
mod pooling;
mod threads;

pub use activation::Activation;
pub use attention::attention;
pub use bytes::add_weighted_bytes;
pub use combine::{activate, add, bilinear, channels, concat, enlarge, expectation, first_pixel, image, scale, stack};
pub use conv::{Conv2d, ConvSpec, Minimal, Padding, separable};
pub use error::{KernelError, Result};
pub use instructions::Instructions;
pub use layer_norm::LayerNorm;
pub use map::Map;
pub use pool::Pool;
pub use pooling::{PoolSpec, avg_pool, max_pool, mean};
pub use threads::run;
