//! What need not be computed twice, counters, and ended logins: in the process, or in Redis.
//!
//! A cache is never the truth. Where Redis is dead every method answers as if nothing were stored (counters go on in the
//! process), within a few milliseconds once that is known; nothing here returns an error.

mod cache;

pub use cache::{Cache, CacheStatus};
