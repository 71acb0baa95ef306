//! State of the embedded store, and looks for damage.

use sqlx::Row;

use super::{FILE, SqliteStore, migrated};
use crate::{
    error::Result,
    migrations,
    types::{CheckResult, PoolStatus, StoreStatus},
};

/// What sealing adds to a value: a nonce of 12 bytes and a tag of 16.
const SEAL: i64 = 28;
/// Most findings that are told one by one.
const MOST_TOLD: usize = 10;

/// The readers and the writer together.
pub(super) fn pool(store: &SqliteStore) -> PoolStatus {
    let pools = [&store.readers, &store.writer];
    PoolStatus {
        backend: "sqlite",
        connections: pools.iter().map(|pool| pool.size()).sum(),
        idle: pools.iter().map(|pool| pool.num_idle() as u32).sum(),
        most: pools.iter().map(|pool| pool.options().get_max_connections()).sum(),
    }
}

pub(super) async fn status(store: &SqliteStore) -> Result<StoreStatus> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(store.pool()).await?;
    let (applied, pending) = migrations::split(&migrated::applied(store).await?);
    let files = [FILE.to_owned(), format!("{FILE}-wal")];
    let PoolStatus { connections, idle, .. } = pool(store);
    let sizes = files.iter().filter_map(|file| std::fs::metadata(store.options.folder.join(file)).ok());
    Ok(StoreStatus {
        backend: "sqlite",
        version: format!("SQLite {version}"),
        applied,
        pending,
        bytes: sizes.map(|file| file.len()).sum(),
        connections,
        idle,
    })
}

pub(super) async fn check(store: &SqliteStore) -> Result<Vec<CheckResult>> {
    Ok(vec![
        integrity(store).await?,
        foreign_keys(store).await?,
        migrated::check(store).await?,
        vectors(store).await?,
        store.check_counts().await?,
        store.check_search().await?,
    ])
}

/// The writer is closed last: its end moves the write-ahead log into the database. Then another process may have the
/// folder.
pub(super) async fn close(store: &SqliteStore) {
    store.readers.close().await;
    store.writer.close().await;
    if let Err(error) = store.lock.unlock() {
        tracing::warn!(%error, "the lock of the store's folder ends only with this process");
    }
}

async fn integrity(store: &SqliteStore) -> Result<CheckResult> {
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(10)").fetch_all(store.pool()).await?;
    let ok = found == ["ok"];
    Ok(CheckResult { check: "integrity", ok, detail: if ok { "no damaged page".to_owned() } else { found.join(", ") } })
}

async fn foreign_keys(store: &SqliteStore) -> Result<CheckResult> {
    let rows = sqlx::query("PRAGMA foreign_key_check").fetch_all(store.pool()).await?;
    let told: Vec<String> = rows
        .iter()
        .take(MOST_TOLD)
        .map(|row| Ok(format!("{} without {}", row.try_get::<String, _>(0)?, row.try_get::<String, _>(2)?)))
        .collect::<Result<_>>()?;
    Ok(CheckResult {
        check: "references",
        ok: rows.is_empty(),
        detail: match rows.len() {
            0 => "every row has what it refers to".to_owned(),
            all => format!("{all} rows: {}", told.join(", ")),
        },
    })
}

async fn vectors(store: &SqliteStore) -> Result<CheckResult> {
    let seal = if store.cipher.is_some() { SEAL } else { 0 };
    let wrong: i64 =
        sqlx::query_scalar("SELECT count(*) FROM face_embeddings WHERE length(embedding) <> dimension * 4 + $1")
            .bind(seal)
            .fetch_one(store.pool())
            .await?;
    Ok(CheckResult {
        check: "vectors",
        ok: wrong == 0,
        detail: match wrong {
            0 => "every vector has the length of its dimension".to_owned(),
            wrong => format!("{wrong} vectors of the wrong length"),
        },
    })
}
