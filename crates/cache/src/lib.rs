//! What need not be computed twice, counters, and ended logins: in the process, or in Redis.
//!
//! A cache is never the truth. Where Redis is dead every method answers as if nothing were stored (counters go on in the
//! process), within a few milliseconds once that is known; nothing here returns an error.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod breaker;
mod cache;
mod error;
mod memory;
mod redis;
mod seal;

use std::{sync::Arc, time::Duration};

pub use cache::{Cache, CacheStatus};
pub use error::CacheError;
pub use memory::MemoryCache;
pub use redis::{RedisCache, Timing};

/// Nothing is kept for longer.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// The cache that the configuration asks for: Redis where there is a URL, else one in the process of at most `max_bytes`.
///
/// Redis need not answer yet.
///
/// # Errors
/// The URL cannot be used.
pub fn open(redis_url: Option<&str>, max_bytes: usize) -> Result<Arc<dyn Cache>, CacheError> {
    Ok(match redis_url {
        Some(url) => Arc::new(RedisCache::new(url, Timing::default())?),
        None => Arc::new(MemoryCache::new(max_bytes)),
    })
}
