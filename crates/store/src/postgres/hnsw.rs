//! HNSW indexes (Malkov and Yashunin 2018): one for each model and dimension, made on the first use.
//!
//! They hold the vectors in half precision: half the memory, and a search reads half as much. The order that comes of it is
//! rounded, so a search fetches some more and scores them from the vectors as they are stored.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::{PostgresStore, in_time};
use crate::{
    error::{Result, StoreError},
    types::CheckResult,
};

/// pgvector indexes no vector in half precision of more dimensions; longer ones are searched without an index.
const MOST_INDEXED: usize = 4000;
/// Neighbours of a vector in each layer, twice as many in the lowest. pgvector's 16 lose strangers in large galleries.
const M: i32 = 24;
/// Candidates looked at for the neighbours of a new vector; pgvector's 64 lead to poor ones where all are equally far.
const EF_CONSTRUCTION: i32 = 200;
/// The longest that the making of an index may take.
const MAKING: Duration = Duration::from_secs(6 * 60 * 60);

impl PostgresStore {
    /// Makes the index for a model and dimension unless it is there. The first vector by a model waits until the table
    /// was read once; meanwhile no other vector is stored.
    pub(crate) async fn prepare_search(&self, model: &str, dimension: usize) -> Result<()> {
        let key = (model.to_owned(), dimension);
        if dimension > MOST_INDEXED || self.indexed.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
            return Ok(());
        }
        let (pool, indexed) = (self.pool.clone(), Arc::clone(&self.indexed));
        // In a task of its own: whoever waits for it gives up long before a large table has been read, and the next one finds it.
        let making = tokio::spawn(async move {
            let (model, dimension) = &key;
            in_time(MAKING, make_index(&pool, model, *dimension)).await?;
            indexed.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
            Ok(())
        });
        let cut_off =
            |_| StoreError::Unavailable { reason: "the making of an index was cut off".to_owned(), source: None };
        making.await.map_err(cut_off)?
    }

    /// Whether each model's index is there and usable.
    pub(crate) async fn check_search(&self) -> Result<CheckResult> {
        let mut connection = self.pool.acquire().await?;
        let models: Vec<(String, i32)> =
            sqlx::query_as("SELECT DISTINCT model, dimension FROM embedding_counts WHERE embeddings > 0")
                .fetch_all(&mut *connection)
                .await?;
        let mut missing = Vec::new();
        for (model, dimension) in models {
            let indexed = usize::try_from(dimension).is_ok_and(|dimension| dimension <= MOST_INDEXED);
            if indexed && !exists(&mut connection, &index_name(&model, dimension as usize)).await? {
                missing.push(format!("{model} ({dimension})"));
            }
        }
        let ok = missing.is_empty();
        let detail = if ok {
            "every model has its index".to_owned()
        } else {
            format!("searches without an index: {}; the next enrolment makes it", missing.join(", "))
        };
        Ok(CheckResult { check: "search", ok, detail })
    }
}

async fn make_index(pool: &PgPool, model: &str, dimension: usize) -> Result<()> {
    let name = index_name(model, dimension);
    let mut tx = pool.begin().await?;
    if !exists(&mut tx, &name).await? {
        sqlx::query("SET LOCAL lock_timeout = '60s'").execute(&mut *tx).await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('facesocial index', 0))").execute(&mut *tx).await?;
        // The database quotes the model's name. The dimension belongs to the condition: the cast fails on others.
        let create: String = sqlx::query_scalar(
            "SELECT format('CREATE INDEX IF NOT EXISTS %I ON face_embeddings
                 USING hnsw ((embedding::halfvec(%s)) halfvec_cosine_ops)
                 WITH (m = %s, ef_construction = %s)
                 WHERE model = %L AND dimension = %s', $1, $2, $4, $5, $3, $2)",
        )
        .bind(&name)
        .bind(dimension as i64)
        .bind(model)
        .bind(M)
        .bind(EF_CONSTRUCTION)
        .fetch_one(&mut *tx)
        .await?;
        tracing::info!(index = name, "making the search index for a model used for the first time");
        sqlx::query(AssertSqlSafe(create)).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}

async fn exists(connection: &mut PgConnection, name: &str) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(quote_ident($1)) AND indisvalid)",
    )
    .bind(name)
    .fetch_one(connection)
    .await?)
}

fn index_name(model: &str, dimension: usize) -> String {
    let digest = Sha256::digest(model);
    let hash: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("face_embeddings_hnsw_half_{hash}_{dimension}")
}
