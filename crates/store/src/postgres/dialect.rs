//! What statements that both backends share say differently here.

use sqlx::Row;

use super::{Time, Tx};
use crate::error::Result;

/// Holds the rows read against other changes until the transaction ends.
pub(super) const FOR_UPDATE: &str = " FOR UPDATE";
/// Holds the rows read against changes; several transactions may hold them so.
pub(super) const FOR_SHARE: &str = " FOR SHARE";
/// Holds the rows read against being deleted.
pub(super) const FOR_KEY_SHARE: &str = " FOR KEY SHARE";
/// Takes rows that nobody else holds, and passes over the others.
pub(super) const SKIP_LOCKED: &str = " FOR UPDATE SKIP LOCKED";

/// Keeps other transactions from changing accounts until this one ends.
pub(super) async fn lock_users(tx: &mut Tx) -> Result<()> {
    sqlx::query("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE").execute(tx.connection()).await?;
    Ok(())
}

/// The clock that all who use the database share.
pub(super) async fn database_time(tx: &mut Tx) -> Result<Time> {
    let row = sqlx::query("SELECT clock_timestamp() AS now").fetch_one(tx.connection()).await?;
    Ok(row.try_get("now")?)
}

impl Tx {
    /// What was deleted is the server's to overwrite: it does so when it cleans the table.
    pub(super) fn leave_no_trace(&mut self) {}
}
