//! State of the Postgres, and looks for damage.

use sqlx::Row;

use super::{CLOSE, PostgresStore, extension, migrated, references};
use crate::{
    error::{Result, StoreError},
    migrations,
    types::{CheckResult, PoolStatus, StoreStatus},
};

pub(super) fn pool(store: &PostgresStore) -> PoolStatus {
    let pool = store.pool();
    PoolStatus {
        backend: "postgres",
        connections: pool.size(),
        idle: pool.num_idle() as u32,
        most: pool.options().get_max_connections(),
    }
}

pub(super) async fn status(store: &PostgresStore) -> Result<StoreStatus> {
    let row = sqlx::query(
        "SELECT current_setting('server_version') AS server, pg_database_size(current_database()) AS bytes, \
                (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector",
    )
    .fetch_one(store.pool())
    .await?;
    let (applied, pending) = migrations::split(&migrated::applied(store).await?);
    Ok(StoreStatus {
        backend: "postgres",
        version: format!(
            "Postgres {}, pgvector {}",
            row.try_get::<String, _>("server")?,
            row.try_get::<Option<String>, _>("vector")?.as_deref().unwrap_or("absent")
        ),
        applied,
        pending,
        bytes: row.try_get::<i64, _>("bytes")?.max(0) as u64,
        connections: store.pool().size(),
        idle: store.pool().num_idle() as u32,
    })
}

pub(super) async fn check(store: &PostgresStore) -> Result<Vec<CheckResult>> {
    Ok(vec![
        checksums(store).await?,
        indexes(store).await?,
        constraints(store).await?,
        vector(store).await?,
        migrated::check(store).await?,
        references::references(store).await?,
        vectors(store).await?,
        store.check_counts().await?,
        store.check_search().await?,
    ])
}

pub(super) async fn close(store: &PostgresStore) {
    if tokio::time::timeout(CLOSE, store.pool().close()).await.is_err() {
        tracing::warn!("connections that the database does not answer on are left");
    }
}

/// Whether the server has met a page that is not what it wrote.
async fn checksums(store: &PostgresStore) -> Result<CheckResult> {
    let row = sqlx::query("SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()")
        .fetch_optional(store.pool())
        .await?;
    let failures: Option<i64> = row.map(|row| row.try_get("checksum_failures")).transpose()?.flatten();
    Ok(CheckResult {
        check: "checksums",
        ok: failures.unwrap_or(0) == 0,
        detail: match failures {
            None => "the server keeps no checksums of pages, or does not tell".to_owned(),
            Some(0) => "no damaged page met".to_owned(),
            Some(failures) => format!("{failures} damaged pages met"),
        },
    })
}

async fn indexes(store: &PostgresStore) -> Result<CheckResult> {
    let broken: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = current_schema() AND NOT (i.indisvalid AND i.indisready) ORDER BY 1",
    )
    .fetch_all(store.pool())
    .await?;
    Ok(CheckResult {
        check: "indexes",
        ok: broken.is_empty(),
        detail: if broken.is_empty() {
            "every index is valid".to_owned()
        } else {
            format!("not valid, run `REINDEX INDEX` for each: {}", broken.join(", "))
        },
    })
}

async fn constraints(store: &PostgresStore) -> Result<CheckResult> {
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT c.conname::text FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace \
         WHERE n.nspname = current_schema() AND NOT c.convalidated ORDER BY 1",
    )
    .fetch_all(store.pool())
    .await?;
    Ok(CheckResult {
        check: "constraints",
        ok: open.is_empty(),
        detail: if open.is_empty() {
            "every constraint is validated".to_owned()
        } else {
            format!("not validated: {}", open.join(", "))
        },
    })
}

async fn vector(store: &PostgresStore) -> Result<CheckResult> {
    let mut connection = store.pool().acquire().await?;
    match extension::demand(&mut connection).await {
        Ok(()) => Ok(CheckResult { check: "pgvector", ok: true, detail: "there, and new enough".to_owned() }),
        Err(StoreError::Incompatible(detail)) => Ok(CheckResult { check: "pgvector", ok: false, detail }),
        Err(other) => Err(other),
    }
}

async fn vectors(store: &PostgresStore) -> Result<CheckResult> {
    let wrong: i64 =
        sqlx::query_scalar("SELECT count(*) FROM face_embeddings WHERE vector_dims(embedding) <> dimension")
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
