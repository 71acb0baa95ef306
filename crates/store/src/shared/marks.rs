//! What may happen once.

use time::OffsetDateTime;

use super::{Backend, Time};
use crate::{error::Result, text::check_key};

/// One statement: of two at the same time, one alone makes the mark. One that has run out is as good as none.
pub(super) async fn set(
    store: &Backend,
    digest: &str,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<bool> {
    check_key("the mark's digest", digest)?;
    let mut tx = store.begin_write().await?;
    let done = sqlx::query(
        "INSERT INTO marks (digest, expires_at) VALUES ($1, $2) ON CONFLICT (digest) DO UPDATE \
         SET expires_at = excluded.expires_at WHERE marks.expires_at <= $3",
    )
    .bind(digest)
    .bind(Time::from(expires_at))
    .bind(Time::from(now))
    .execute(tx.connection())
    .await?;
    store.commit(tx).await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn take(store: &Backend, digest: &str, now: OffsetDateTime) -> Result<bool> {
    if check_key("the mark's digest", digest).is_err() {
        return Ok(false);
    }
    // Looked for outside of a change: marks made up must not keep changes waiting.
    let there = sqlx::query("SELECT 1 FROM marks WHERE digest = $1").bind(digest).fetch_optional(store.pool()).await?;
    if there.is_none() {
        return Ok(false);
    }
    let mut tx = store.begin_write().await?;
    let done = sqlx::query("DELETE FROM marks WHERE digest = $1 AND expires_at > $2")
        .bind(digest)
        .bind(Time::from(now))
        .execute(tx.connection())
        .await?;
    store.commit(tx).await?;
    Ok(done.rows_affected() == 1)
}
