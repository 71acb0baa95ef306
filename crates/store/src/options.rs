//! How a store is opened.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use crate::{encryption::EncryptionKey, error::Result, postgres::PostgresStore, sqlite::SqliteStore, traits::Store};

/// How long a request waits for a Postgres, unless told.
const ANSWER: Duration = Duration::from_secs(30);

/// How a store is opened.
#[derive(Clone)]
pub struct StoreOptions {
    /// `postgres://…`; `None` for the embedded store.
    pub url: Option<String>,
    /// The embedded store's folder; made on first use, readable by its user only.
    pub folder: PathBuf,
    /// Most connections at a time.
    pub max_connections: u32,
    /// Postgres: how many candidates the HNSW index looks at, 1..=1000. More find more and take longer.
    pub ef_search: u32,
    /// Seals embeddings and images in the embedded store.
    pub encryption: Option<EncryptionKey>,
    /// Postgres: how long a request waits for all that it asks, the wait for a connection included. A machine that is gone without
    /// a word would else be waited for without end: nothing tells that no answer comes.
    pub answer_within: Duration,
    /// Whether to bring the schema up to date; otherwise an older one is refused.
    pub migrate: bool,
}

impl StoreOptions {
    /// The embedded store in `folder`.
    pub fn embedded(folder: impl Into<PathBuf>) -> Self {
        Self {
            url: None,
            folder: folder.into(),
            max_connections: 8,
            ef_search: 100,
            encryption: None,
            answer_within: ANSWER,
            migrate: true,
        }
    }

    /// A Postgres.
    pub fn postgres(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), max_connections: 16, ..Self::embedded(PathBuf::new()) }
    }
}

/// The URL may hold a password, so it is not shown.
impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("url", &self.url.as_ref().map(|_| ".."))
            .field("folder", &self.folder)
            .field("max_connections", &self.max_connections)
            .field("ef_search", &self.ef_search)
            .field("encryption", &self.encryption)
            .field("answer_within", &self.answer_within)
            .field("migrate", &self.migrate)
            .finish()
    }
}

/// Opens a store, and makes it on the first start.
///
/// # Errors
/// [`StoreError::Locked`](crate::StoreError::Locked) if another process has the folder,
/// [`StoreError::Incompatible`](crate::StoreError::Incompatible) if data, key, extension and program do not fit together,
/// [`StoreError::Unavailable`](crate::StoreError::Unavailable) if the database does not answer.
pub async fn open(options: &StoreOptions) -> Result<Arc<dyn Store>> {
    Ok(match &options.url {
        Some(url) => Arc::new(PostgresStore::open(url, options).await?),
        None => Arc::new(SqliteStore::open(options).await?),
    })
}
