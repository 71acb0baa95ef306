//! The cache in the process.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use moka::{Expiry, policy::EvictionPolicy, sync};

use crate::{
    LONGEST,
    cache::{Cache, CacheStatus},
};

/// Most counters, and most ended logins; those not asked for the longest go first.
const MOST_NOTES: u64 = 100_000;
/// What an entry costs beside its bytes, about.
const OVERHEAD: usize = 128;

/// The cache in the process.
pub struct MemoryCache {
    groups: sync::Cache<String, Group>,
    notes: Notes,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Counters and ended logins in the process; the cache in Redis falls back on them.
pub(crate) struct Notes {
    windows: sync::Cache<(String, Duration), Window>,
    revoked: sync::Cache<String, Duration>,
}

#[derive(Clone)]
struct Group {
    fields: Arc<BTreeMap<String, Arc<[u8]>>>,
    ttl: Duration,
}

#[derive(Clone, Copy)]
struct Window {
    count: u64,
    ends: Instant,
}

impl Window {
    fn left(self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }
}

/// How long a value of the caches here lives from now on.
trait Life {
    fn life(&self) -> Duration;
}

impl Life for Group {
    fn life(&self) -> Duration {
        self.ttl
    }
}

impl Life for Window {
    fn life(&self) -> Duration {
        self.left()
    }
}

impl Life for Duration {
    fn life(&self) -> Duration {
        *self
    }
}

struct ByItsLife;

impl<K, V: Life> Expiry<K, V> for ByItsLife {
    fn expire_after_create(&self, _: &K, value: &V, _: Instant) -> Option<Duration> {
        Some(value.life())
    }

    fn expire_after_update(&self, _: &K, value: &V, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(value.life())
    }
}

impl MemoryCache {
    /// An empty cache that keeps about `max_bytes` of values at most.
    pub fn new(max_bytes: usize) -> Self {
        let weight = |name: &String, group: &Group| {
            let fields = group.fields.iter().map(|(field, value)| field.len() + value.len() + OVERHEAD);
            u32::try_from(name.len() + fields.sum::<usize>()).unwrap_or(u32::MAX)
        };
        let groups = sync::Cache::builder()
            .max_capacity(max_bytes as u64)
            .weigher(weight)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(ByItsLife)
            .build();
        Self { groups, notes: Notes::new(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }
}

impl Notes {
    pub(crate) fn new() -> Self {
        let windows = sync::Cache::builder().max_capacity(MOST_NOTES).eviction_policy(EvictionPolicy::lru());
        let revoked = sync::Cache::builder().max_capacity(MOST_NOTES).eviction_policy(EvictionPolicy::lru());
        Self { windows: windows.expire_after(ByItsLife).build(), revoked: revoked.expire_after(ByItsLife).build() }
    }

    pub(crate) fn count(&self, key: &str, window: Duration) -> (u64, Duration) {
        let entry = self.windows.entry((key.to_owned(), window)).and_upsert_with(|old| {
            // Ended ones are cleared away some time later.
            match old.map(|entry| entry.into_value()).filter(|w| !w.left().is_zero()) {
                Some(old) => Window { count: old.count.saturating_add(1), ..old },
                None => Window { count: 1, ends: Instant::now() + window.min(LONGEST) },
            }
        });
        let window = entry.into_value();
        (window.count, window.left())
    }

    pub(crate) fn revoke(&self, id: &str, ttl: Duration) {
        self.revoked.insert(id.to_owned(), ttl.min(LONGEST));
    }

    pub(crate) fn is_revoked(&self, id: &str) -> bool {
        self.revoked.contains_key(id)
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, group: &str, field: &str) -> Option<Vec<u8>> {
        let value = self.groups.get(group).and_then(|found| found.fields.get(field).cloned());
        let counter = if value.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        value.map(|value| value.to_vec())
    }

    async fn put(&self, group: &str, field: &str, value: Vec<u8>, ttl: Duration) {
        self.groups.entry(group.to_owned()).and_upsert_with(|old| {
            let mut fields = old.map(|entry| entry.into_value().fields).unwrap_or_default();
            Arc::make_mut(&mut fields).insert(field.to_owned(), value.into());
            Group { fields, ttl: ttl.min(LONGEST) }
        });
    }

    async fn forget(&self, groups: &[String]) -> bool {
        for group in groups {
            self.groups.invalidate(group);
        }
        true
    }

    async fn count(&self, key: &str, window: Duration) -> (u64, Duration) {
        self.notes.count(key, window)
    }

    async fn revoke(&self, id: &str, ttl: Duration) {
        self.notes.revoke(id, ttl);
    }

    async fn is_revoked(&self, id: &str) -> Option<bool> {
        self.notes.is_revoked(id).then_some(true)
    }

    async fn status(&self) -> CacheStatus {
        // Clears away at once what has ended or has no room, rather than with the next writes.
        self.groups.run_pending_tasks();
        CacheStatus {
            backend: "memory",
            reachable: true,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            failures: 0,
        }
    }
}
