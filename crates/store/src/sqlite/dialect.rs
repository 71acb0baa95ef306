//! What statements that both backends share say differently here: changes come one after the other, so nothing is locked.

use super::{Time, Tx};
use crate::error::Result;

/// Holds the rows read against other changes until the transaction ends.
pub(super) const FOR_UPDATE: &str = "";
/// Holds the rows read against changes; several transactions may hold them so.
pub(super) const FOR_SHARE: &str = "";
/// Holds the rows read against being deleted.
pub(super) const FOR_KEY_SHARE: &str = "";
/// Takes rows that nobody else holds, and passes over the others.
pub(super) const SKIP_LOCKED: &str = "";

/// Keeps other transactions from changing accounts until this one ends.
pub(super) async fn lock_users(_tx: &mut Tx) -> Result<()> {
    Ok(())
}

/// The clock that all who use the database share.
pub(super) async fn database_time(_tx: &mut Tx) -> Result<Time> {
    Ok(Time::now())
}

impl Tx {
    /// What is deleted must not be left in the files, the write-ahead log included.
    pub(super) fn leave_no_trace(&mut self) {
        self.erased = true;
    }
}
