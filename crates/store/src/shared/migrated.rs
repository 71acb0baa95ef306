//! Which migrations a store has.

use sqlx::Row as _;

use super::Backend;
use crate::{error::Result, types::CheckResult};

/// Migrations that were applied, oldest first.
pub(super) async fn applied(store: &Backend) -> Result<Vec<i64>> {
    let rows = sqlx::query("SELECT version FROM schema_migrations ORDER BY version").fetch_all(store.pool()).await?;
    rows.iter().map(|row| Ok(row.try_get("version")?)).collect()
}

/// Whether the schema is the one that this program knows.
pub(super) async fn check(store: &Backend) -> Result<CheckResult> {
    let (applied, pending) = crate::migrations::split(&applied(store).await?);
    let detail = match pending.first() {
        None => format!("{} applied, none pending", applied.len()),
        Some((_, name)) => format!("{} applied, {} pending, the first of them {name}", applied.len(), pending.len()),
    };
    Ok(CheckResult { check: "migrations", ok: pending.is_empty(), detail })
}
