//! What a cache can do.

use std::time::Duration;

use async_trait::async_trait;

/// State of a cache, for health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheStatus {
    /// `memory` or `redis`.
    pub backend: &'static str,
    /// Whether it answers; the one in the process always does.
    pub reachable: bool,
    /// Values found, since the start.
    pub hits: u64,
    /// Values not found, since the start; those not asked for because Redis did not answer among them.
    pub misses: u64,
    /// Calls that Redis did not answer, or not sensibly, since the start.
    pub failures: u64,
}

/// Values in groups, counters in windows, revocations.
///
/// A group is whatever has to be forgotten together: the sha256 of an image, the identifier of a person.
#[async_trait]
pub trait Cache: Send + Sync {
    /// A value of a group.
    async fn get(&self, group: &str, field: &str) -> Option<Vec<u8>>;
    /// Keeps a value for `ttl`, or less where space runs out. The whole group ends with its youngest value's time.
    async fn put(&self, group: &str, field: &str, value: Vec<u8>, ttl: Duration);
    /// Forgets whole groups. False if that could not be done for certain: then values may be found until their time ends.
    async fn forget(&self, groups: &[String]) -> bool;
    /// Counts one more in the window of `window` that now lies in, and gives the count and the time until the window ends.
    async fn count(&self, key: &str, window: Duration) -> (u64, Duration);
    /// Notes for `ttl` that a login or token has ended, so that all processes know without asking the store.
    async fn revoke(&self, id: &str, ttl: Duration);
    /// `Some(true)` if that was noted. `None` proves nothing, because a note ends with the process or with Redis, or never
    /// reached it: ask the store. `Some(false)` is the answer only of a cache whose notes cannot be lost, which neither of
    /// the two here is.
    async fn is_revoked(&self, id: &str) -> Option<bool>;
    /// State.
    async fn status(&self) -> CacheStatus;
}
