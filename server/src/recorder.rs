//! What the database keeps of the server's own figures: by the minute, for whoever looks back without a Prometheus.

use std::time::{Duration, Instant};

use facesocial_store::{NewHealthLog, Store, StoreError};
use facesocial_types::Service;

use crate::{metrics::size::Size, services::health::Health, state::State};

/// Time between two records.
const EVERY: Duration = Duration::from_secs(60);
/// Time until the first look at the size of a database that was just opened.
const SOON: Duration = Duration::from_secs(1);

/// Writes records again and again, and looks up how much the database holds; ends where there is none.
pub async fn keep(state: &State) {
    if !state.has_store {
        return;
    }
    while state.store().is_err() {
        tokio::time::sleep(SOON).await;
    }
    loop {
        if let Ok(store) = state.store() {
            state.size.note(size(&**store).await);
            tell_failure(store.add_health_logs(&health(state)).await);
        }
        tokio::time::sleep(EVERY).await;
        flush(state).await;
    }
}

/// Writes what was answered since the last time.
pub async fn flush(state: &State) {
    let Ok(store) = state.store() else { return };
    tell_failure(store.add_service_metrics(&state.metrics.minute.take()).await);
}

/// What cannot be written is left out: nobody waits for these rows.
fn tell_failure(written: Result<(), StoreError>) {
    if let Err(error) = written {
        tracing::debug!(%error, "the figures of a minute cannot be recorded");
    }
}

/// How the services are, and how long it took to say so.
fn health(state: &State) -> Vec<NewHealthLog> {
    let look = |service: &Service| {
        let asked = Instant::now();
        let Health { status, reason, .. } = Health::of(state, *service);
        NewHealthLog {
            service_name: service.as_str().to_owned(),
            status: status.to_owned(),
            response_time_ms: Some(asked.elapsed().as_secs_f64() * 1e3),
            error_message: reason,
        }
    };
    state.services.iter().map(look).collect()
}

/// `None` if the database does not answer.
async fn size(store: &dyn Store) -> Option<Size> {
    let (status, gallery) = (store.status().await.ok()?, store.gallery_stats().await.ok()?);
    let (collections, persons, faces) = (gallery.collections, gallery.persons, gallery.faces);
    Some(Size { bytes: status.bytes, collections, persons, faces })
}
