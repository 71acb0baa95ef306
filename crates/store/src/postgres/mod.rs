//! The store of a server, or of several: Postgres with pgvector.

use std::{
    collections::HashSet,
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{
    Connection, Postgres, Transaction,
    postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow},
};

use uuid::Uuid;

use crate::{
    error::{Result, StoreError},
    migrations,
    options::StoreOptions,
};

mod backup;
mod client;
mod dialect;
mod extension;
mod former;
mod health;
mod hnsw;
mod references;
mod scratch;
mod search;
mod time;

#[path = "../shared/accounts.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod accounts;
#[path = "../shared/api_keys.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod api_keys;
#[path = "../shared/audit.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod audit;
#[path = "../shared/collections.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod collections;
#[path = "../shared/config.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod config;
#[path = "../shared/counts.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod counts;
#[path = "../shared/detections.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod detections;
#[path = "../shared/embeddings.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod embeddings;
#[path = "../shared/erase.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod erase;
#[path = "../shared/erase_history.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod erase_history;
#[path = "../shared/export.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod export;
#[path = "../shared/faces.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod faces;
#[path = "../shared/filter.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod filter;
#[path = "../shared/gallery.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod gallery;
#[path = "../shared/history.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod history;
#[path = "../shared/hold.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod hold;
#[path = "../shared/job_results.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod job_results;
#[path = "../shared/jobs.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod jobs;
#[path = "../shared/logins.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod logins;
#[path = "../shared/marks.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod marks;
#[path = "../shared/migrated.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod migrated;
#[path = "../shared/operations.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod operations;
#[path = "../shared/persons.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod persons;
#[path = "../shared/retention.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod retention;
#[path = "../shared/rows.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod rows;
#[path = "../shared/sessions.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod sessions;
#[path = "../shared/usage.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod usage;
#[path = "../shared/users.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod users;
#[path = "../shared/webhooks.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod webhooks;
#[path = "../shared/write.rs"]
#[expect(clippy::duplicate_mod, reason = "one text for both backends, compiled once for each")]
mod write;

pub(crate) use backup::{applied_migrations, backup, migrate, restore};
pub(crate) use scratch::Scratch;
pub(crate) use time::Time;

pub(crate) type Db = Postgres;
pub(crate) type DbRow = PgRow;
/// A vector as a column holds it.
pub(crate) type StoredVector = pgvector::Vector;
pub(crate) type Backend = PostgresStore;

/// How long a request waits for a connection.
const WAIT: Duration = Duration::from_secs(10);
/// How long a request waits for what may touch every row.
const LONG_ANSWER: Duration = Duration::from_secs(10 * 60);
/// How long a connection that was let go may take to end what it was in the middle of. Then it is closed.
const SETTLE: Duration = Duration::from_secs(5);
/// How long connections that are in use are waited for in the end.
const CLOSE: Duration = Duration::from_secs(5);

/// The store in a Postgres.
pub(crate) struct PostgresStore {
    pool: PgPool,
    ef_search: u32,
    answer_within: Duration,
    /// Models and dimensions whose index is known to be there.
    indexed: Arc<Mutex<HashSet<(String, usize)>>>,
}

/// A transaction. Undone when dropped.
pub(crate) struct Tx {
    inner: Transaction<'static, Postgres>,
}

impl PostgresStore {
    /// Opens the store, and makes the schema on the first start.
    pub(crate) async fn open(url: &str, options: &StoreOptions) -> Result<Self> {
        if options.encryption.is_some() {
            return Err(StoreError::Incompatible(
                "embeddings in Postgres cannot be encrypted by the server, because pgvector compares them in the database; \
                 unset the encryption key and encrypt the database's disk, or use the embedded store"
                    .to_owned(),
            ));
        }
        let connect = connect_options(url)?;
        let mut connection = connect_once(url).await?;
        // The connection is closed in any case, and with it goes the migration's lock.
        let ready = prepare(&mut connection, options.migrate).await;
        connection.close().await.ok();
        ready?;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections.max(1))
            .acquire_timeout(WAIT)
            .after_release(|connection, _| Box::pin(settle(connection)))
            .connect_lazy_with(connect);
        Ok(Self {
            pool,
            ef_search: options.ef_search.clamp(1, 1000),
            answer_within: options.answer_within,
            indexed: Arc::default(),
        })
    }

    /// The answer to what a request asks, if it comes in time. What is given up is undone, or was done: the same change under the
    /// same key tells which.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        in_time(self.answer_within, work).await
    }

    /// [`Self::within`] for what may touch every row.
    pub(crate) async fn within_long<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        in_time(LONG_ANSWER, work).await
    }

    /// Connections.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A transaction that sees one state of the database.
    pub(crate) async fn begin_read(&self) -> Result<Tx> {
        Ok(Tx { inner: self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await? })
    }

    /// A transaction that changes the database.
    pub(crate) async fn begin_write(&self) -> Result<Tx> {
        Ok(Tx { inner: self.pool.begin().await? })
    }

    /// Makes a change permanent.
    pub(crate) async fn commit(&self, tx: Tx) -> Result<()> {
        Ok(tx.inner.commit().await?)
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| StoreError::Unavailable { reason: "it did not answer in time".to_owned(), source: None };
    tokio::time::timeout(limit, work).await.map_err(late)?
}

/// Whether a connection answers now that its user let go of it, perhaps in the middle of something. The pool itself asks without
/// a limit, and a connection that never answers would keep its place in the pool.
async fn settle(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(SETTLE, connection.ping()).await {
        Ok(answered) => answered.map(|()| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

fn connect_options(url: &str) -> Result<PgConnectOptions> {
    let written_so = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    let options = PgConnectOptions::from_str(url).ok().filter(|_| written_so).ok_or_else(|| {
        StoreError::Incompatible(
            "DATABASE_URL must read postgres://user:password@host:port/database; unset it for the embedded store"
                .to_owned(),
        )
    })?;
    Ok(options
        .application_name("facesocial")
        .options([("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "60s")]))
}

/// A connection of its own, not one of the store's.
async fn connect_once(url: &str) -> Result<PgConnection> {
    let connect = connect_options(url)?;
    let connection = tokio::time::timeout(WAIT, PgConnection::connect_with(&connect)).await;
    let silent = |_| StoreError::Unavailable { reason: "it does not answer".to_owned(), source: None };
    Ok(connection.map_err(silent)??)
}

async fn prepare(connection: &mut PgConnection, migrate: bool) -> Result<()> {
    if migrate {
        extension::create(connection).await?;
        // Waits without end for another server that migrates at this moment.
        sqlx::query("SET lock_timeout = 0").execute(&mut *connection).await?;
        migrations::run(connection, |step| step.postgres).await
    } else {
        extension::demand(connection).await?;
        migrations::demand_current(connection).await
    }
}

/// Which of a collection's rows of counts a change adds to: one of sixteen, so that changes side by side seldom wait.
fn slot() -> i16 {
    let [.., last] = Uuid::new_v4().into_bytes();
    i16::from(last % 16)
}

impl Tx {
    /// What statements are executed on.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Waits until no other transaction works on this idempotency key.
    pub(crate) async fn lock_key(&mut self, principal: &str, key: &str) -> Result<()> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(format!("idempotency\u{1}{principal}\u{1}{key}"))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
