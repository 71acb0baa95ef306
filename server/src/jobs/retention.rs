//! What happens by the hour: rows that were kept long enough go, and archives whose job never was.

use std::time::Duration;

use facesocial_store::{JobStatus, PageRequest, Retention};
use time::OffsetDateTime;
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;

use super::{SharedState, archive_of};
use crate::error::ApiResult;

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Time until a round that failed is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// An archive without a job may still be on its way to one for this long.
const ARRIVING: Duration = Duration::from_secs(2 * 60 * 60);

/// Makes its rounds until `stop` says so.
pub(super) async fn keep_house(state: SharedState, retention: Retention, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let pause = match round(&state, &retention).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::debug!(%error, "the hourly round has to wait");
                AGAIN
            }
        };
        tokio::select! { () = sleep(pause) => {}, _ = stop.changed() => {} }
    }
}

async fn round(state: &SharedState, retention: &Retention) -> ApiResult<()> {
    let store = state.store()?;
    let swept = store.sweep(retention, OffsetDateTime::now_utc()).await?;
    let rows: u64 = swept.iter().map(|(_, rows)| rows).sum();
    if rows > 0 {
        // The store's audit trail has the counts.
        tracing::info!(rows, "retention took away what was kept long enough");
    }
    let wanted = archives_wanted(state).await?;
    let shared = state.clone();
    let removed = tokio::task::spawn_blocking(move || shared.jobs.remove_orphans(&wanted, ARRIVING)).await;
    match removed {
        Ok(Ok(0)) => {}
        Ok(Ok(removed)) => tracing::info!(removed, "archives without a job were removed"),
        Ok(Err(error)) => tracing::warn!(%error, "the folder of archives cannot be looked through"),
        Err(error) => tracing::error!(%error, "the look through the folder of archives failed"),
    }
    Ok(())
}

/// Archives of jobs that have not ended.
async fn archives_wanted(state: &SharedState) -> ApiResult<Vec<Uuid>> {
    let store = state.store()?;
    let (mut wanted, mut after) = (Vec::new(), None);
    loop {
        let page = store.jobs(None, &[], PageRequest { after, limit: 100 }).await?;
        let open = page.items.iter().filter(|j| matches!(j.status, JobStatus::Pending | JobStatus::Processing));
        wanted.extend(open.filter_map(archive_of));
        after = page.next;
        if after.is_none() {
            return Ok(wanted);
        }
    }
}
