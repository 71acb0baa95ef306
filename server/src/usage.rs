//! Requests as rows: collected in memory, written in the background, left out rather than waited for.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use facesocial_store::NewApiUsage;
use tokio::sync::{Mutex, mpsc};

use crate::state::State;

/// Rows that wait to be written.
const WAITING: usize = 4096;
/// Rows of one write.
const BATCH: usize = 256;
/// Time between writes.
const PAUSE: Duration = Duration::from_secs(2);

/// The rows that wait to be written.
#[derive(Debug)]
pub struct Usage {
    sender: mpsc::Sender<NewApiUsage>,
    waiting: Mutex<mpsc::Receiver<NewApiUsage>>,
    lost: AtomicU64,
}

impl Default for Usage {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, waiting: Mutex::new(receiver), lost: AtomicU64::new(0) }
    }
}

impl Usage {
    /// Adds a row, unless too many wait.
    pub fn add(&self, row: NewApiUsage) {
        if self.sender.try_send(row).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn take(&self) -> Vec<NewApiUsage> {
        let mut waiting = self.waiting.lock().await;
        let mut rows = Vec::new();
        while rows.len() < BATCH
            && let Ok(row) = waiting.try_recv()
        {
            rows.push(row);
        }
        rows
    }
}

/// Writes rows again and again.
pub async fn keep(state: &State) {
    loop {
        tokio::time::sleep(PAUSE).await;
        flush(state).await;
    }
}

/// Writes the rows that wait. What cannot be written is left out: these rows are for statistics, and nobody waits for them.
pub async fn flush(state: &State) {
    let Ok(store) = state.store() else { return };
    loop {
        let rows = state.usage.take().await;
        if rows.is_empty() {
            break;
        }
        if let Err(error) = store.add_api_usage(&rows).await {
            state.usage.lost.fetch_add(rows.len() as u64, Ordering::Relaxed);
            tracing::debug!(%error, "requests cannot be recorded");
            break;
        }
    }
    let lost = state.usage.lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        tracing::warn!(lost, "requests that were not recorded in api_usage");
    }
}

#[cfg(test)]
mod tests {
    use facesocial_store::Actor;

    use super::*;

    #[tokio::test]
    async fn rows_beyond_the_line_are_counted_and_left_out() {
        let usage = Usage::default();
        let row = NewApiUsage {
            endpoint: "/detect".to_owned(),
            method: "POST".to_owned(),
            actor: Actor::system(),
            request_size_bytes: 1,
            response_size_bytes: 1,
            response_status: 200,
            processing_time_ms: 1,
        };
        (0..WAITING + 3).for_each(|_| usage.add(row.clone()));
        assert_eq!(usage.lost.load(Ordering::Relaxed), 3);
        assert_eq!(usage.take().await.len(), BATCH);
        usage.add(row);
        assert_eq!(usage.lost.load(Ordering::Relaxed), 3);
    }
}
