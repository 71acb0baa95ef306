//! What every cache does, asked of both.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use facesocial_cache::{Cache, MemoryCache, RedisCache, Timing};
use facesocial_testkit::Redis;
use tokio::time::sleep;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(1);
const AFTER_SHORT: Duration = Duration::from_millis(1500);

/// Each check with the cache in the process, and with the one in Redis.
macro_rules! conformance {
    ($($check:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $check() {
                super::$check(std::sync::Arc::new(super::MemoryCache::new(1 << 20))).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $check() {
                let Some(cache) = super::redis_cache() else { return };
                super::$check(cache).await;
            })*
        }
    };
}

conformance! {
    a_value_is_found_where_it_was_put
    a_group_ends_with_its_youngest_value
    forgetting_takes_whole_groups
    hits_and_misses_are_told
    counts_go_up_within_a_window
    counts_of_many_at_once_are_exact
    an_ended_login_is_known_for_its_time
    names_may_hold_anything
    any_time_is_allowed
}

/// Patient, because the machine of the tests may be busy.
fn redis_cache() -> Option<Arc<dyn Cache>> {
    let timing = Timing { connect: Duration::from_secs(20), answer: Duration::from_secs(20), ..Timing::default() };
    Some(Arc::new(RedisCache::new(&Redis::shared()?.url(), timing).unwrap()))
}

async fn a_value_is_found_where_it_was_put(cache: Arc<dyn Cache>) {
    assert_eq!(cache.get("found", "a").await, None);
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    cache.put("found", "a", bytes.clone(), LONG).await;
    cache.put("found", "b", Vec::new(), LONG).await;
    assert_eq!(cache.get("found", "a").await, Some(bytes));
    assert_eq!(cache.get("found", "b").await, Some(Vec::new()));
    assert_eq!(cache.get("found", "c").await, None);
    assert_eq!(cache.get("other", "a").await, None);
    cache.put("found", "a", b"new".to_vec(), LONG).await;
    assert_eq!(cache.get("found", "a").await, Some(b"new".to_vec()));
}

async fn a_group_ends_with_its_youngest_value(cache: Arc<dyn Cache>) {
    cache.put("short", "a", vec![1], LONG).await;
    cache.put("short", "b", vec![2], SHORT).await;
    cache.put("long", "a", vec![3], SHORT).await;
    cache.put("long", "b", vec![4], LONG).await;
    sleep(AFTER_SHORT).await;
    assert_eq!((cache.get("short", "a").await, cache.get("short", "b").await), (None, None));
    assert_eq!((cache.get("long", "a").await, cache.get("long", "b").await), (Some(vec![3]), Some(vec![4])));
    // What has ended does not come back with the next value.
    cache.put("short", "c", vec![5], LONG).await;
    assert_eq!(cache.get("short", "a").await, None);
}

async fn forgetting_takes_whole_groups(cache: Arc<dyn Cache>) {
    for group in ["one", "two", "three"] {
        cache.put(group, "a", vec![1], LONG).await;
        cache.put(group, "b", vec![2], LONG).await;
    }
    assert!(cache.forget(&[]).await);
    assert!(cache.forget(&["one".to_owned(), "never seen".to_owned(), "two".to_owned()]).await);
    for group in ["one", "two"] {
        assert_eq!((cache.get(group, "a").await, cache.get(group, "b").await), (None, None), "{group}");
    }
    assert_eq!(cache.get("three", "a").await, Some(vec![1]));
    cache.put("three", "a", vec![1], LONG).await;
    let many: Vec<String> = (0..2500).map(|i| format!("many {i}")).chain(["three".to_owned()]).collect();
    assert!(cache.forget(&many).await);
    assert_eq!(cache.get("three", "a").await, None);
}

async fn hits_and_misses_are_told(cache: Arc<dyn Cache>) {
    cache.put("told", "a", vec![1], LONG).await;
    cache.get("told", "a").await;
    cache.get("told", "a").await;
    cache.get("told", "b").await;
    let status = cache.status().await;
    assert_eq!((status.reachable, status.hits, status.misses, status.failures), (true, 2, 1, 0));
}

async fn counts_go_up_within_a_window(cache: Arc<dyn Cache>) {
    for expected in 1..=5 {
        let (count, left) = cache.count("clicks", LONG).await;
        assert_eq!(count, expected);
        assert!(left <= LONG && left > LONG - Duration::from_secs(60), "{left:?}");
    }
    // Another key, and another window, are counted apart.
    assert_eq!(cache.count("other clicks", LONG).await.0, 1);
    assert_eq!(cache.count("clicks", SHORT).await.0, 1);
    sleep(AFTER_SHORT).await;
    let (count, left) = cache.count("clicks", SHORT).await;
    assert_eq!(count, 1);
    assert!(left <= SHORT);
    assert_eq!(cache.count("clicks", LONG).await.0, 6);
}

async fn counts_of_many_at_once_are_exact(cache: Arc<dyn Cache>) {
    let counting = |_| {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..25 {
                seen.push(cache.count("crowd", LONG).await.0);
            }
            seen
        })
    };
    let tasks: Vec<_> = (0..8).map(counting).collect();
    let mut seen = BTreeSet::new();
    for task in tasks {
        seen.extend(task.await.unwrap());
    }
    assert_eq!(seen, (1..=200).collect());
}

async fn an_ended_login_is_known_for_its_time(cache: Arc<dyn Cache>) {
    assert_ne!(cache.is_revoked("a login").await, Some(true));
    cache.revoke("a login", LONG).await;
    cache.revoke("a short one", SHORT).await;
    assert_eq!(cache.is_revoked("a login").await, Some(true));
    assert_eq!(cache.is_revoked("a short one").await, Some(true));
    sleep(AFTER_SHORT).await;
    assert_eq!(cache.is_revoked("a login").await, Some(true));
    assert_ne!(cache.is_revoked("a short one").await, Some(true));
}

async fn names_may_hold_anything(cache: Arc<dyn Cache>) {
    let long = "x".repeat(10_000);
    let names = ["", " ", "\0", "a:b", "a", "b", "a\r\nDEL b\r\n", "*", "\u{1f642}", "' OR 1=1 --", &long];
    for (i, group) in names.iter().enumerate() {
        for (j, field) in names.iter().enumerate() {
            cache.put(group, field, vec![i as u8, j as u8], LONG).await;
        }
    }
    for (i, group) in names.iter().enumerate() {
        for (j, field) in names.iter().enumerate() {
            assert_eq!(cache.get(group, field).await, Some(vec![i as u8, j as u8]), "{group:?} {field:?}");
        }
    }
    for name in names {
        assert_eq!(cache.count(&format!("name {name}"), LONG).await.0, 1, "{name:?}");
        cache.revoke(name, LONG).await;
        assert_eq!(cache.is_revoked(name).await, Some(true), "{name:?}");
    }
}

async fn any_time_is_allowed(cache: Arc<dyn Cache>) {
    cache.put("forever", "a", vec![1], Duration::MAX).await;
    assert_eq!(cache.get("forever", "a").await, Some(vec![1]));
    cache.put("never", "a", vec![1], Duration::ZERO).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(cache.get("never", "a").await, None);
    assert_eq!(cache.count("forever", Duration::MAX).await.0, 1);
    assert_eq!(cache.count("forever", Duration::MAX).await.0, 2);
    assert_eq!(cache.count("never", Duration::ZERO).await.0, 1);
    cache.revoke("forever", Duration::MAX).await;
    assert_eq!(cache.is_revoked("forever").await, Some(true));
}

#[tokio::test]
async fn the_cache_in_the_process_keeps_to_its_bytes() {
    let cache = MemoryCache::new(1 << 20);
    for i in 0..500 {
        cache.put(&format!("group {i}"), "a", vec![0; 10_000], LONG).await;
    }
    cache.put("larger than all", "a", vec![0; 2 << 20], LONG).await;
    cache.status().await;
    let mut found = 0;
    for i in 0..500 {
        found += usize::from(cache.get(&format!("group {i}"), "a").await.is_some());
    }
    assert!((80..=104).contains(&found), "{found} of 500 values of 10 000 bytes in 1 MiB");
    assert_eq!(cache.get("larger than all", "a").await, None);
}
