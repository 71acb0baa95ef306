//! The embedded store: one SQLite file in the user's data folder, one writer at a time, an exact search in memory.

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Connection, Sqlite, Transaction,
    sqlite::{
        SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
        SqliteSynchronous,
    },
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    encryption::Cipher,
    error::{Result, StoreError},
    migrations,
    options::StoreOptions,
};

mod backup;
mod dialect;
mod folder;
mod health;
mod index;
mod seal;
mod search;
mod time;
mod vectors;

#[path = "../shared/accounts.rs"]
mod accounts;
#[path = "../shared/api_keys.rs"]
mod api_keys;
#[path = "../shared/audit.rs"]
mod audit;
#[path = "../shared/collections.rs"]
mod collections;
#[path = "../shared/config.rs"]
mod config;
#[path = "../shared/counts.rs"]
mod counts;
#[path = "../shared/detections.rs"]
mod detections;
#[path = "../shared/embeddings.rs"]
mod embeddings;
#[path = "../shared/erase.rs"]
mod erase;
#[path = "../shared/erase_history.rs"]
mod erase_history;
#[path = "../shared/export.rs"]
mod export;
#[path = "../shared/faces.rs"]
mod faces;
#[path = "../shared/filter.rs"]
mod filter;
#[path = "../shared/gallery.rs"]
mod gallery;
#[path = "../shared/history.rs"]
mod history;
#[path = "../shared/hold.rs"]
mod hold;
#[path = "../shared/job_results.rs"]
mod job_results;
#[path = "../shared/jobs.rs"]
mod jobs;
#[path = "../shared/logins.rs"]
mod logins;
#[path = "../shared/marks.rs"]
mod marks;
#[path = "../shared/migrated.rs"]
mod migrated;
#[path = "../shared/operations.rs"]
mod operations;
#[path = "../shared/persons.rs"]
mod persons;
#[path = "../shared/retention.rs"]
mod retention;
#[path = "../shared/rows.rs"]
mod rows;
#[path = "../shared/sessions.rs"]
mod sessions;
#[path = "../shared/usage.rs"]
mod usage;
#[path = "../shared/users.rs"]
mod users;
#[path = "../shared/webhooks.rs"]
mod webhooks;
#[path = "../shared/write.rs"]
mod write;

pub(crate) use backup::{applied_migrations, backup, migrate, restore};
use folder::{FILE, lock};
use index::{Change, Index};
pub(crate) use time::Time;

pub(crate) type Db = Sqlite;
pub(crate) type DbRow = SqliteRow;
/// A vector as a column holds it.
pub(crate) type StoredVector = Vec<u8>;
pub(crate) type Backend = SqliteStore;

/// How long a request waits for a connection or for the writer.
const WAIT: Duration = Duration::from_secs(10);

/// The embedded store.
pub(crate) struct SqliteStore {
    readers: SqlitePool,
    writer: SqlitePool,
    /// Held from the start of a change until the index has it too, so that both see changes in the same order.
    turn: Arc<Mutex<()>>,
    index: Arc<Index>,
    /// Whether the write-ahead log may hold what was erased.
    traces: Arc<AtomicBool>,
    cipher: Option<Cipher>,
    options: StoreOptions,
    /// Keeps other processes out of the folder until the store is closed.
    lock: File,
}

/// A transaction, with what it will change in the index. Undone when dropped.
pub(crate) struct Tx {
    inner: Transaction<'static, Sqlite>,
    changes: Vec<Change>,
    /// Whether rows went that must leave no trace in the files.
    erased: bool,
    turn: Option<OwnedMutexGuard<()>>,
}

impl SqliteStore {
    /// Opens the store, and makes it on the first start.
    pub(crate) async fn open(options: &StoreOptions) -> Result<Self> {
        folder::make(&options.folder)?;
        let lock = lock(&options.folder)?;
        let file = options.folder.join(FILE);
        let connect = connect_options(&file);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .before_acquire(|connection, _| Box::pin(fit(connection)))
            .connect_with(connect.clone())
            .await?;
        folder::protect(&file)?;
        {
            let mut connection = writer.acquire().await?;
            if options.migrate {
                migrations::run(&mut *connection, |step| step.sqlite).await?;
            } else {
                migrations::demand_current(&mut *connection).await?;
            }
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(options.max_connections.max(1))
            .acquire_timeout(WAIT)
            .before_acquire(|connection, _| Box::pin(fit(connection)))
            .connect_with(connect.pragma("query_only", "ON"))
            .await?;
        let cipher = seal::agree(&writer, options.encryption.as_ref()).await?;
        let index = Arc::new(index::load(&readers, cipher.as_ref()).await?);
        Ok(Self {
            readers,
            writer,
            turn: Arc::new(Mutex::new(())),
            index,
            traces: Arc::default(),
            cipher,
            options: options.clone(),
            lock,
        })
    }

    /// Work on files ends by itself; what it waits for has limits of its own.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        work.await
    }

    /// As [`Self::within`].
    pub(crate) async fn within_long<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        work.await
    }

    /// Connections for reading.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.readers
    }

    /// A transaction that sees one state of the database.
    pub(crate) async fn begin_read(&self) -> Result<Tx> {
        let inner = self.readers.begin().await?;
        Ok(Tx { inner, changes: Vec::new(), erased: false, turn: None })
    }

    /// A transaction that changes the database: the only one at its time.
    pub(crate) async fn begin_write(&self) -> Result<Tx> {
        let turn = tokio::time::timeout(WAIT, Arc::clone(&self.turn).lock_owned())
            .await
            .map_err(|_| StoreError::Unavailable { reason: "other changes take too long".to_owned(), source: None })?;
        let inner = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Tx { inner, changes: Vec::new(), erased: false, turn: Some(turn) })
    }

    /// Makes a change permanent. The answer comes when the index has the change too.
    pub(crate) async fn commit(&self, tx: Tx) -> Result<()> {
        let index = Arc::clone(&self.index);
        let (writer, traces) = (self.writer.clone(), Arc::clone(&self.traces));
        // In a task of its own: a client that hangs up between the commit and the index must not part the two.
        let task = tokio::spawn(async move {
            let Tx { inner, changes, erased, turn } = tx;
            inner.commit().await?;
            if !changes.is_empty() {
                let applied = tokio::task::spawn_blocking(move || index.apply(changes)).await;
                applied.map_err(|_| StoreError::Damaged("the index in memory; restart the server".to_owned()))??;
            }
            // If readers were in the way, each later change tries it again.
            if erased || traces.load(Ordering::Relaxed) {
                traces.store(!folder::empty_log(&writer).await, Ordering::Relaxed);
            }
            drop(turn);
            Ok(())
        });
        task.await.map_err(|_| StoreError::Unavailable { reason: "the commit was cut off".to_owned(), source: None })?
    }
}

/// Whether a connection can be used again. SQLite ends a transaction by itself when the disk is full, the driver does not
/// take note of it, and such a connection would never begin another.
async fn fit(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    Ok(!connection.is_in_transaction())
}

fn connect_options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        // Three vectors of 512 floats fill a page; of the usual size only one would fit.
        .page_size(8192)
        .journal_mode(SqliteJournalMode::Wal)
        // The write-ahead log reaches the disk before a commit returns: an acknowledged change survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        // Deleted rows are overwritten, not only unlinked.
        .pragma("secure_delete", "ON")
        .pragma("journal_size_limit", "67108864")
        .optimize_on_close(true, None)
}

/// Which of a collection's rows of counts a change adds to: one is enough for one writer.
fn slot() -> i16 {
    0
}

impl Tx {
    /// What statements are executed on.
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.inner
    }

    /// Changes come one after the other anyway.
    pub(crate) async fn lock_key(&mut self, _principal: &str, _key: &str) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use facesocial_types::{BBox, Embedding, ModelId};

    use super::*;
    use crate::{
        traits::{Gallery, Operations},
        types::{CollectionId, NewFace, SearchQuery, Write},
    };

    fn face(seed: usize) -> NewFace {
        NewFace {
            person: None,
            face_hash: seed.to_string(),
            bbox: BBox::default(),
            detection_score: 1.0,
            quality_score: 1.0,
            face_group: "primary".to_owned(),
            searchable: true,
            metadata: serde_json::Value::Null,
            embeddings: vec![Embedding::new(ModelId::new("net", "1"), vec![1.0, seed as f32]).unwrap()],
            crop: Some(vec![0; 100_000]),
        }
    }

    /// Faces enrolled until the disk is full, by which the store is still sound and goes on once there is space.
    #[tokio::test]
    async fn a_full_disk_is_told_and_passes() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&StoreOptions::embedded(folder.path())).await.unwrap();
        let collection: CollectionId = store.collection("default").await.unwrap().id;
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
        let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 60));
        sqlx::query(limit).execute(&store.writer).await.unwrap();
        let mut enrolled = 0;
        let error = loop {
            assert!(enrolled < 100, "the disk is never full");
            match store.enroll(&Write::system(), collection, face(enrolled)).await {
                Ok(_) => enrolled += 1,
                Err(error) => break error,
            }
        };
        assert!(enrolled > 0);
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        // The connection that the full disk left unusable was replaced by one without the limit.
        store.enroll(&Write::system(), collection, face(enrolled)).await.unwrap();
        let probe = face(enrolled).embeddings.remove(0);
        let query = SearchQuery { collection, probe, limit: 1, min_similarity: 0.0, groups: Vec::new(), person: None };
        let found = store.search(&query).await.unwrap();
        assert_eq!((found.searched, found.matches[0].similarity), (enrolled as u64 + 1, 1.0));
        for result in store.check().await.unwrap() {
            assert!(result.ok, "{}: {}", result.check, result.detail);
        }
    }
}
