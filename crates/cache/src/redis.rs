//! The cache in Redis.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use deadpool_redis::{
    Connection, Manager, Pool, PoolError, Runtime,
    redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, cmd, pipe},
};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    LONGEST,
    breaker::{Breaker, Leave},
    cache::{Cache, CacheStatus},
    error::CacheError,
    memory::Notes,
    seal,
};

/// Connections at the same time.
const CONNECTIONS: usize = 32;
/// Larger values are not kept.
const LARGEST_VALUE: usize = 8 << 20;
/// Groups in one command.
const GROUPS_AT_ONCE: usize = 1000;
/// Groups to be forgotten once Redis answers again. It may have lost more, or less, than was cached meanwhile.
const MOST_PENDING: usize = 100_000;

/// How long Redis is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For a connection.
    pub connect: Duration,
    /// For an answer.
    pub answer: Duration,
    /// How long nobody asks after it did not answer. Then a probe does, and no call waits for that.
    pub rest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { connect: Duration::from_millis(100), answer: Duration::from_millis(100), rest: Duration::from_secs(2) }
    }
}

/// The cache in Redis, shared by all processes that name the same one. Keys begin with `facesocial:`.
pub struct RedisCache {
    link: Arc<Link>,
    notes: Notes,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// The way to Redis, shared with the probe.
struct Link {
    pool: Pool,
    timing: Timing,
    breaker: Breaker,
    failures: AtomicU64,
    /// Whether it has been said that Redis refuses something.
    refusal_told: AtomicBool,
    /// Groups that could not be forgotten.
    pending: Mutex<BTreeSet<String>>,
}

impl RedisCache {
    /// A cache in the Redis of the URL `redis://[user:password@]host[:port][/database]`. Connects with the first call.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(url: &str, timing: Timing) -> Result<Self, CacheError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timing.connect))
            .set_response_timeout(Some(timing.answer));
        // The error's text may hold parts of the URL; its kind may not.
        let manager = Manager::new_with_config(url, config).map_err(|e| CacheError::Url(reason(url, &e)))?;
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(timing.answer))
            .create_timeout(Some(timing.connect))
            .recycle_timeout(Some(timing.answer))
            .build()
            .map_err(|e| CacheError::Url(e.to_string()))?;
        let link = Link {
            pool,
            timing,
            breaker: Breaker::new(timing.rest),
            failures: AtomicU64::new(0),
            refusal_told: AtomicBool::new(false),
            pending: Mutex::new(BTreeSet::new()),
        };
        Ok(Self { link: Arc::new(link), notes: Notes::new(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) })
    }
}

/// Why the URL cannot be used, without a part of it that may be secret.
fn reason(url: &str, error: &RedisError) -> String {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some(scheme @ ("rediss" | "valkeys")) => {
            format!("{scheme}:// needs TLS, which this program does not speak with Redis")
        }
        Some("redis" | "valkey" | "redis+unix" | "valkey+unix" | "unix") => match error.kind() {
            ErrorKind::InvalidClientConfig => "it names no host, port or database that can be used".to_owned(),
            kind => format!("{kind:?}"),
        },
        _ => "it does not begin with redis://".to_owned(),
    }
}

impl Link {
    /// Asks Redis, if it is worth it. `None` if there is no answer, or one that makes no sense.
    async fn ask<T: FromRedisValue>(self: &Arc<Self>, request: impl Request) -> Option<T> {
        match self.breaker.leave() {
            Leave::Ask => {}
            Leave::Rest => return self.count_failure(),
            Leave::RestAndProbe => {
                let link = Arc::clone(self);
                tokio::spawn(async move { link.probe().await });
                return self.count_failure();
            }
        }
        match self.exchange(request).await {
            Ok(answer) => Some(answer),
            Err(failure) => {
                self.note(&failure);
                self.count_failure()
            }
        }
    }

    async fn exchange<T: FromRedisValue>(&self, request: impl Request) -> Result<T, Failure> {
        // The parts have their own limits; this holds for all of them together.
        let exchange = async {
            let mut connection = self.pool.get().await?;
            request.send(&mut connection).await.map_err(Failure::Answer)
        };
        timeout(self.timing.connect + self.timing.answer, exchange).await.unwrap_or(Err(Failure::TooLate))
    }

    /// Looks whether Redis answers again. What had to be forgotten meanwhile is, before anybody can find it.
    async fn probe(self: Arc<Self>) {
        let answer: Result<String, Failure> = self.exchange(cmd("PING")).await;
        if !answer.is_ok_and(|answer| answer == "PONG") {
            return;
        }
        loop {
            let groups: Vec<String> = self.pending().iter().take(GROUPS_AT_ONCE).cloned().collect();
            if groups.is_empty() {
                break;
            }
            if self.exchange::<u64>(unlink(&groups)).await.is_err() {
                return;
            }
            let mut pending = self.pending();
            for group in &groups {
                pending.remove(group);
            }
        }
        self.refusal_told.store(false, Ordering::Relaxed);
        if self.breaker.answered() {
            info!("Redis answers again");
        }
    }

    fn note(&self, failure: &Failure) {
        match failure {
            // It lives; its "no" costs no time, and other commands may succeed.
            Failure::Answer(error) if is_an_answer(error) => {
                if !self.refusal_told.swap(true, Ordering::Relaxed) {
                    warn!(code = error.code(), kind = ?error.kind(), "Redis refuses commands; this is said once");
                }
            }
            failure => {
                if self.breaker.failed() {
                    warn!(reason = %failure, "Redis does not answer; going on without, and looking again");
                }
            }
        }
    }

    fn count_failure<T>(&self) -> Option<T> {
        self.failures.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn pending(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no connection: {0}")]
    Connection(#[from] PoolError),
    #[error("{0}")]
    Answer(RedisError),
    #[error("no answer in time")]
    TooLate,
}

/// Whether Redis itself said so, in time.
fn is_an_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType)
}

/// One command, or some that nothing comes between.
trait Request {
    /// Sends it and waits for the answer.
    fn send<T: FromRedisValue>(self, connection: &mut Connection)
    -> impl Future<Output = Result<T, RedisError>> + Send;
}

impl Request for Cmd {
    async fn send<T: FromRedisValue>(self, connection: &mut Connection) -> Result<T, RedisError> {
        self.query_async(connection).await
    }
}

impl Request for Pipeline {
    async fn send<T: FromRedisValue>(self, connection: &mut Connection) -> Result<T, RedisError> {
        self.query_async(connection).await
    }
}

fn group_key(group: &str) -> String {
    format!("facesocial:group:{group}")
}

fn revoked_key(id: &str) -> String {
    format!("facesocial:revoked:{id}")
}

fn unlink(groups: &[String]) -> Cmd {
    let mut unlink = cmd("UNLINK");
    for group in groups {
        unlink.arg(group_key(group));
    }
    unlink
}

/// Milliseconds, of which Redis wants at least one.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, group: &str, field: &str) -> Option<Vec<u8>> {
        let mut hget = cmd("HGET");
        hget.arg(group_key(group)).arg(field);
        let sealed: Option<Vec<u8>> = self.link.ask(hget).await.flatten();
        let value = sealed.and_then(|sealed| seal::open([group, field], sealed));
        let counter = if value.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        value
    }

    async fn put(&self, group: &str, field: &str, value: Vec<u8>, ttl: Duration) {
        if value.len() > LARGEST_VALUE {
            return;
        }
        let key = group_key(group);
        let mut pipe = pipe();
        pipe.atomic().cmd("HSET").arg(&key).arg(field).arg(seal::seal([group, field], &value)).ignore();
        pipe.cmd("PEXPIRE").arg(&key).arg(millis(ttl)).ignore();
        let _: Option<()> = self.link.ask(pipe).await;
    }

    async fn forget(&self, groups: &[String]) -> bool {
        let mut all = true;
        for groups in groups.chunks(GROUPS_AT_ONCE) {
            if self.link.ask::<u64>(unlink(groups)).await.is_none() {
                all = false;
                let mut pending = self.link.pending();
                let room = MOST_PENDING.saturating_sub(pending.len());
                pending.extend(groups.iter().take(room).cloned());
            }
        }
        all
    }

    async fn count(&self, key: &str, window: Duration) -> (u64, Duration) {
        let ms = millis(window);
        let full_key = format!("facesocial:count:{ms}:{key}");
        let mut pipe = pipe();
        pipe.atomic().cmd("SET").arg(&full_key).arg(0).arg("PX").arg(ms).arg("NX").ignore();
        pipe.cmd("INCR").arg(&full_key).cmd("PTTL").arg(&full_key);
        match self.link.ask::<(u64, i64)>(pipe).await {
            Some((count @ 1.., left)) => {
                let left = u64::try_from(left).ok().filter(|left| *left <= ms);
                if left.is_none() {
                    // It ended between the two commands, and the second made it anew, without an end.
                    let mut expire = cmd("PEXPIRE");
                    expire.arg(&full_key).arg(ms);
                    let _: Option<i64> = self.link.ask(expire).await;
                }
                (count, Duration::from_millis(left.unwrap_or(ms)))
            }
            _ => self.notes.count(key, window),
        }
    }

    async fn revoke(&self, id: &str, ttl: Duration) {
        self.notes.revoke(id, ttl);
        let mut set = cmd("SET");
        set.arg(revoked_key(id)).arg(seal::seal(["revoked", id], &[])).arg("PX").arg(millis(ttl));
        let _: Option<()> = self.link.ask(set).await;
    }

    async fn is_revoked(&self, id: &str) -> Option<bool> {
        if self.notes.is_revoked(id) {
            return Some(true);
        }
        let mut get = cmd("GET");
        get.arg(revoked_key(id));
        let note: Option<Vec<u8>> = self.link.ask(get).await.flatten();
        note.and_then(|note| seal::open(["revoked", id], note)).map(|_| true)
    }

    async fn status(&self) -> CacheStatus {
        let answer: Option<String> = self.link.ask(cmd("PING")).await;
        CacheStatus {
            backend: "redis",
            reachable: answer.is_some_and(|answer| answer == "PONG"),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            failures: self.link.failures.load(Ordering::Relaxed),
        }
    }
}
