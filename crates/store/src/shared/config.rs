//! Settings that outlive a restart.

use serde_json::json;
use sqlx::Row as _;

use super::{Backend, Time, write::Audit};
use crate::{
    error::{Result, StoreError},
    text::{check_key, check_text},
    types::*,
};

/// Most characters of a setting's value.
const MAX_VALUE: usize = 64 * 1024;

pub(super) async fn get(store: &Backend, key: &str) -> Result<Option<String>> {
    check_key("the setting's name", key)?;
    let row =
        sqlx::query("SELECT value FROM system_config WHERE key = $1").bind(key).fetch_optional(store.pool()).await?;
    Ok(row.map(|row| row.try_get("value")).transpose()?)
}

/// All but the secrets, by name.
pub(super) async fn all(store: &Backend) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query("SELECT key, value FROM system_config WHERE NOT is_secret ORDER BY key")
        .fetch_all(store.pool())
        .await?;
    rows.iter().map(|row| Ok((row.try_get("key")?, row.try_get("value")?))).collect()
}

/// Stays a secret if it was one; then the audit trail does not tell the value.
pub(super) async fn set(store: &Backend, write: &Write, key: &str, value: &str) -> Result<()> {
    check_key("the setting's name", key)?;
    check_text("the setting's value", value, MAX_VALUE)?;
    let (mut tx, first) = store.begin::<()>(write).await?;
    if first.is_some() {
        return Ok(());
    }
    let row = sqlx::query(
        "INSERT INTO system_config (key, value, updated_at) VALUES ($1, $2, $3) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at RETURNING is_secret",
    )
    .bind(key)
    .bind(value)
    .bind(Time::now())
    .fetch_one(tx.connection())
    .await?;
    let details = if row.try_get("is_secret")? { json!({}) } else { json!({ "value": value }) };
    let audit = Audit { action: "config.set", subject: Some(format!("config:{key}")), details, ..Audit::default() };
    store.finish(tx, write, audit, ()).await?;
    Ok(())
}

/// Of several servers that start at once, all get the value of the one that came first.
pub(super) async fn get_or_insert(store: &Backend, key: &str, value: &str) -> Result<String> {
    if let Some(there) = get(store, key).await? {
        return Ok(there);
    }
    check_text("the setting's value", value, MAX_VALUE)?;
    let mut tx = store.begin_write().await?;
    sqlx::query(
        "INSERT INTO system_config (key, value, is_secret, updated_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (key) DO NOTHING",
    )
    .bind(key)
    .bind(value)
    .bind(true)
    .bind(Time::now())
    .execute(tx.connection())
    .await?;
    store.commit(tx).await?;
    get(store, key).await?.ok_or_else(|| StoreError::NotFound { kind: "setting", id: key.to_owned() })
}
