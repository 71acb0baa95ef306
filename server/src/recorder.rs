//! What the database keeps of the server's own figures: by the minute, for whoever looks back without a Prometheus.

use std::time::{Duration, Instant};

use facesocial_store::{NewHealthLog, Store};

use crate::{metrics::size::Size, services::health::Health, state::State};

/// Time between two records.
const EVERY: Duration = Duration::from_secs(60);
/// Time until the first look at the size of a database that was just opened.
const SOON: Duration = Duration::from_secs(1);

/// Writes records again and again, and looks up how much the database holds.
pub async fn keep(state: &State) {
    while state.store().is_err() {
        tokio::time::sleep(SOON).await;
    }
    loop {
        if let Ok(store) = state.store() {
            state.size.note(size(&**store).await);
        }
        tokio::time::sleep(EVERY).await;
        record(state).await;
    }
}

/// Writes what was answered since the last record, and how the services are. What cannot be written is left out: nobody
/// waits for these rows.
pub async fn record(state: &State) {
    let Ok(store) = state.store() else { return };
    let answered = state.metrics.minute.take();
    let health: Vec<NewHealthLog> = state
        .services
        .iter()
        .map(|service| {
            let asked = Instant::now();
            let Health { status, reason, .. } = Health::of(state, *service);
            NewHealthLog {
                service_name: service.as_str().to_owned(),
                status: status.to_owned(),
                response_time_ms: Some(asked.elapsed().as_secs_f64() * 1e3),
                error_message: reason,
            }
        })
        .collect();
    let written = match store.add_service_metrics(&answered).await {
        Ok(()) => store.add_health_logs(&health).await,
        failed => failed,
    };
    if let Err(error) = written {
        tracing::debug!(%error, "the figures of a minute cannot be recorded");
    }
}

/// `None` if the database does not answer.
async fn size(store: &dyn Store) -> Option<Size> {
    let (status, gallery) = (store.status().await.ok()?, store.gallery_stats().await.ok()?);
    let (collections, persons, faces) = (gallery.collections, gallery.persons, gallery.faces);
    Some(Size { bytes: status.bytes, collections, persons, faces })
}
