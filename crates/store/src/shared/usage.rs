//! Figures of services, their health, requests. Many rows in one transaction, because nobody waits for one of them.

use uuid::Uuid;

use super::{Backend, Time};
use crate::{error::Result, numbers::to_db, types::*};

/// Most characters of an endpoint, a name or a reason; what is longer is cut, because figures are no reason to fail.
const MAX_TEXT: usize = 500;

pub(super) async fn add_service_metrics(store: &Backend, metrics: &[NewServiceMetric]) -> Result<()> {
    if metrics.is_empty() {
        return Ok(());
    }
    let now = Time::now();
    let mut tx = store.begin_write().await?;
    for metric in metrics {
        sqlx::query(
            "INSERT INTO service_metrics (id, service_name, endpoint, request_count, avg_response_time_ms, \
             min_response_time_ms, max_response_time_ms, error_count, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(Uuid::now_v7())
        .bind(cut(&metric.service_name))
        .bind(cut(&metric.endpoint))
        .bind(to_db(metric.request_count))
        .bind(finite(metric.avg_response_time_ms))
        .bind(finite(metric.min_response_time_ms))
        .bind(finite(metric.max_response_time_ms))
        .bind(to_db(metric.error_count))
        .bind(now)
        .execute(tx.connection())
        .await?;
    }
    store.commit(tx).await
}

pub(super) async fn add_health_logs(store: &Backend, logs: &[NewHealthLog]) -> Result<()> {
    if logs.is_empty() {
        return Ok(());
    }
    let now = Time::now();
    let mut tx = store.begin_write().await?;
    for log in logs {
        sqlx::query(
            "INSERT INTO health_logs (id, service_name, status, response_time_ms, error_message, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(Uuid::now_v7())
        .bind(cut(&log.service_name))
        .bind(cut(&log.status))
        .bind(log.response_time_ms.map(finite))
        .bind(log.error_message.as_deref().map(cut))
        .bind(now)
        .execute(tx.connection())
        .await?;
    }
    store.commit(tx).await
}

pub(super) async fn add_api_usage(store: &Backend, usage: &[NewApiUsage]) -> Result<()> {
    if usage.is_empty() {
        return Ok(());
    }
    let now = Time::now();
    let mut tx = store.begin_write().await?;
    for request in usage {
        sqlx::query(
            "INSERT INTO api_usage (id, endpoint, method, actor_kind, actor_id, address, request_size_bytes, \
             response_size_bytes, response_status, processing_time_ms, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(Uuid::now_v7())
        .bind(cut(&request.endpoint))
        .bind(cut(&request.method))
        .bind(request.actor.kind.as_str())
        .bind(request.actor.id)
        .bind(request.actor.address.as_deref().map(cut))
        .bind(to_db(request.request_size_bytes))
        .bind(to_db(request.response_size_bytes))
        .bind(i32::from(request.response_status))
        .bind(to_db(request.processing_time_ms))
        .bind(now)
        .execute(tx.connection())
        .await?;
    }
    store.commit(tx).await
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(MAX_TEXT).collect()
}

/// SQLite keeps what is no number as NULL.
fn finite(figure: f64) -> f64 {
    if figure.is_finite() { figure } else { 0.0 }
}
