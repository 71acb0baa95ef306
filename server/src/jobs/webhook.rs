//! Telling others how a job goes. What is due follows from the job's row, so that it is told at least once whatever ends
//! the server; a receiver tells repetitions by the delivery's identifier.

use std::time::Duration;

use facesocial_store::{JobStatus, Webhook};
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{sync::watch, time::sleep};

use super::SharedState;
use crate::{
    error::{ApiError, ApiResult},
    extract::hex,
};

/// Time for a receiver to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds after which another server tells what this one was about to.
const LEASE_SECONDS: u32 = 60;
/// Receivers that are told at a time.
const AT_ONCE: u32 = 8;
/// Time between two looks for jobs that ended elsewhere, and for attempts that are due.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Seconds before the second attempt, the third, and so on: a day and a half in all.
const PAUSES: [u32; 11] = [1, 5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 57_600];

/// Tells what is due until `stop` says so.
pub(super) async fn tell(state: SharedState, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let due = match due(&state).await {
            Ok(due) => due,
            Err(error) => {
                tracing::debug!(%error, "whom jobs tell cannot be found out now");
                Vec::new()
            }
        };
        if due.is_empty() {
            tokio::select! {
                () = state.jobs.ended() => {}
                () = sleep(LOOK_EVERY) => {}
                _ = stop.changed() => {}
            }
            continue;
        }
        // What is cut off here is told again after its lease.
        tokio::select! {
            _ = join_all(due.iter().map(|webhook| deliver(&state, webhook))) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn due(state: &SharedState) -> ApiResult<Vec<Webhook>> {
    Ok(state.store()?.claim_webhooks(LEASE_SECONDS, AT_ONCE).await?)
}

async fn deliver(state: &SharedState, webhook: &Webhook) {
    let message = Message::of(webhook);
    let told = post(state, webhook, &message).await;
    if let Err(error) = settle(state, webhook, &message, told).await {
        tracing::debug!(job = %webhook.job_id(), %error, "what became of a message cannot be stored; it is sent again");
    }
}

async fn settle(state: &SharedState, webhook: &Webhook, message: &Message, told: ApiResult<()>) -> ApiResult<()> {
    let (store, job) = (state.store()?, webhook.job_id());
    if let Err(error) = told {
        let pause = usize::try_from(webhook.attempts).ok().and_then(|attempt| PAUSES.get(attempt));
        if let Some(pause) = pause {
            tracing::info!(job = %job, %error, attempts = webhook.attempts + 1, "a webhook could not be told");
            return Ok(store.webhook_failed(job, *pause).await?);
        }
        tracing::warn!(job = %job, %error, "a webhook is given up");
    }
    match message.upto {
        Some(items) => store.webhook_told(job, items).await?,
        None => store.forget_webhook(job).await?,
    }
    Ok(())
}

async fn post(state: &SharedState, webhook: &Webhook, message: &Message) -> ApiResult<()> {
    // The list may have become shorter since the job was made.
    let target = state.jobs.config().webhook_hosts.target(&webhook.url)?;
    let signature = webhook
        .secret
        .as_ref()
        .map(|secret| signature(secret.as_bytes(), OffsetDateTime::now_utc().unix_timestamp(), &message.body));
    let signature = signature.transpose()?;
    let (state, id, body) = (state.clone(), message.id.clone(), message.body.clone());
    let sent = tokio::task::spawn_blocking(move || {
        let mut headers = vec![("content-type", "application/json"), ("x-facesocial-delivery", id.as_str())];
        if let Some(signature) = &signature {
            headers.push(("x-facesocial-signature", signature.as_str()));
        }
        state.jobs.client().post(&target, &headers, body.as_bytes(), PATIENCE)
    });
    Ok(sent.await.map_err(|e| ApiError::internal(&e))??)
}

/// `t=SECONDS,v1=HEX`: the time, and the HMAC-SHA256 over the time, a point and the body.
fn signature(secret: &[u8], seconds: i64, body: &str) -> ApiResult<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|e| ApiError::internal(&e))?;
    mac.update(format!("{seconds}.{body}").as_bytes());
    Ok(format!("t={seconds},v1={}", hex(&mac.finalize().into_bytes())))
}

/// What is told once.
struct Message {
    /// The same for each attempt.
    id: String,
    body: String,
    /// The images that are told of; `None` of the end.
    upto: Option<u64>,
}

impl Message {
    fn of(webhook: &Webhook) -> Self {
        let job = &webhook.job;
        let event = match job.status {
            JobStatus::Completed => "job.completed",
            JobStatus::Failed => "job.failed",
            JobStatus::Cancelled => "job.cancelled",
            JobStatus::Pending | JobStatus::Processing => "job.progress",
        };
        let upto = (event == "job.progress").then(|| {
            let every = webhook.every_items.max(1);
            job.processed_items / every * every
        });
        let id = upto.map_or_else(|| format!("{}-end", job.id), |upto| format!("{}-{upto}", job.id));
        let body = json!({
            "id": id,
            "event": event,
            "job": {
                "id": job.id,
                "kind": job.kind,
                "status": job.status,
                "total_items": job.total_items,
                "processed_items": job.processed_items,
                "failed_items": job.failed_items,
                "error": job.error_message,
                "created_at": time(Some(job.created_at)),
                "started_at": time(job.started_at),
                "completed_at": time(job.completed_at),
            },
            "results": format!("/api/v1/jobs/{}/results", job.id),
        });
        Self { id, body: body.to_string(), upto }
    }
}

fn time(time: Option<OffsetDateTime>) -> Value {
    time.and_then(|time| time.format(&Rfc3339).ok()).into()
}

#[cfg(test)]
mod tests {
    use facesocial_store::{Job, JobId};

    use super::*;

    fn webhook(status: JobStatus, processed_items: u64) -> Webhook {
        let job = Job {
            id: JobId::new(),
            kind: "analyze".to_owned(),
            user_id: None,
            collection_id: None,
            status,
            total_items: 100,
            processed_items,
            failed_items: 0,
            input: json!({ "options": "not told" }),
            results: Value::Null,
            error_message: None,
            created_at: OffsetDateTime::UNIX_EPOCH,
            started_at: None,
            completed_at: None,
        };
        Webhook { job, url: String::new(), secret: Some("not told".to_owned()), every_items: 10, attempts: 0 }
    }

    #[test]
    fn a_signature_is_that_of_the_published_algorithm() {
        // printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'sixteen bytes ok'
        let told = signature(b"sixteen bytes ok", 1_700_000_000, "{\"a\":1}").unwrap();
        assert_eq!(told, "t=1700000000,v1=78630ef9b11f6acdbd19f29a83f37af37e04ebd1256616baf168cca5d353b112");
    }

    #[test]
    fn a_message_has_an_identifier_of_its_own_and_tells_no_insides() {
        let halfway = webhook(JobStatus::Processing, 57);
        let message = Message::of(&halfway);
        assert_eq!((message.id.clone(), message.upto), (format!("{}-50", halfway.job.id), Some(50)));
        let end = webhook(JobStatus::Completed, 100);
        let message = Message::of(&end);
        assert_eq!((message.id.clone(), message.upto), (format!("{}-end", end.job.id), None));
        let body: Value = serde_json::from_str(&message.body).unwrap();
        assert_eq!((&body["event"], &body["job"]["processed_items"]), (&json!("job.completed"), &json!(100)));
        assert_eq!(body["job"]["created_at"], "1970-01-01T00:00:00Z");
        assert!(!message.body.contains("not told"));
    }
}
