//! Jobs, audit trail, usage, configuration.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    ids::{CollectionId, JobId, UserId},
    jobs::NewWebhook,
    write::Actor,
};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waits for a worker.
    Pending,
    /// A worker has it.
    Processing,
    /// Done; single items may have failed.
    Completed,
    /// Given up.
    Failed,
    /// Stopped by a client.
    Cancelled,
}

impl JobStatus {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// From the stored name.
    pub fn parse(s: &str) -> Option<Self> {
        [Self::Pending, Self::Processing, Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == s)
    }
}

/// A job to be made.
#[derive(Debug, Clone, Default)]
pub struct NewJob {
    /// Kind, such as `import` or `reembed`.
    pub kind: String,
    /// Who asked.
    pub user_id: Option<UserId>,
    /// The gallery it works on.
    pub collection_id: Option<CollectionId>,
    /// Items to do, where known.
    pub total_items: u64,
    /// What the worker needs.
    pub input: Value,
    /// Where its images lie, in their order; none of a job that has an archive, or no images.
    pub items: Vec<String>,
    /// Whom it tells how it goes.
    pub webhook: Option<NewWebhook>,
}

/// Work that goes on after its request was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// Kind.
    pub kind: String,
    /// Who asked.
    pub user_id: Option<UserId>,
    /// The gallery it works on.
    pub collection_id: Option<CollectionId>,
    /// Where it stands.
    pub status: JobStatus,
    /// Items to do.
    pub total_items: u64,
    /// Items done, failed ones included.
    pub processed_items: u64,
    /// Items that failed.
    pub failed_items: u64,
    /// What the worker needs.
    pub input: Value,
    /// What it has found so far; a resumed worker goes on from here.
    pub results: Value,
    /// Why it failed.
    pub error_message: Option<String>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When a worker took it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub completed_at: Option<OffsetDateTime>,
}

/// Progress of a job.
#[derive(Debug, Clone)]
pub struct JobProgress {
    /// Items to do.
    pub total_items: u64,
    /// Items done, failed ones included.
    pub processed_items: u64,
    /// Items that failed.
    pub failed_items: u64,
    /// What a resumed worker goes on from.
    pub results: Value,
}

/// An entry of the audit trail. Holds no biometric data, no image, no secret.
#[derive(Debug, Clone)]
pub struct NewAudit {
    /// Who.
    pub actor: Actor,
    /// In which request.
    pub request_id: String,
    /// What, such as `person.delete` or `auth.login`.
    pub action: String,
    /// What it was done to, such as `person:0198…`.
    pub subject: Option<String>,
    /// The gallery concerned.
    pub collection_id: Option<CollectionId>,
    /// `ok`, `denied`, `failed`.
    pub outcome: String,
    /// Numbers and names.
    pub details: Value,
}

/// A stored entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its identifier.
    pub id: Uuid,
    /// Kind of actor.
    pub actor_kind: String,
    /// The actor.
    pub actor_id: Option<Uuid>,
    /// Address of the client.
    pub address: Option<String>,
    /// The request.
    pub request_id: String,
    /// What.
    pub action: String,
    /// What it was done to.
    pub subject: Option<String>,
    /// The gallery concerned.
    pub collection_id: Option<CollectionId>,
    /// `ok`, `denied`, `failed`.
    pub outcome: String,
    /// Numbers and names.
    pub details: Value,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// Figures of a service over a minute.
#[derive(Debug, Clone)]
pub struct NewServiceMetric {
    /// Service.
    pub service_name: String,
    /// Endpoint.
    pub endpoint: String,
    /// Requests.
    pub request_count: u64,
    /// Mean time.
    pub avg_response_time_ms: f64,
    /// Shortest.
    pub min_response_time_ms: f64,
    /// Longest.
    pub max_response_time_ms: f64,
    /// Requests that failed.
    pub error_count: u64,
}

/// One look at a service's health.
#[derive(Debug, Clone)]
pub struct NewHealthLog {
    /// Service.
    pub service_name: String,
    /// `healthy`, `starting`, `unavailable`.
    pub status: String,
    /// How long the answer took.
    pub response_time_ms: Option<f64>,
    /// Why it is not healthy.
    pub error_message: Option<String>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct NewApiUsage {
    /// Path pattern, never with identifiers in it.
    pub endpoint: String,
    /// Method.
    pub method: String,
    /// Who.
    pub actor: Actor,
    /// Bytes received.
    pub request_size_bytes: u64,
    /// Bytes sent.
    pub response_size_bytes: u64,
    /// Status.
    pub response_status: u16,
    /// How long it took.
    pub processing_time_ms: u64,
}

/// How long rows are kept, in days; `None` keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Stored analyses.
    pub sessions: Option<u32>,
    /// Figures of services and their health.
    pub metrics: Option<u32>,
    /// Requests.
    pub api_usage: Option<u32>,
    /// Ended jobs.
    pub jobs: Option<u32>,
    /// The audit trail.
    pub audit: Option<u32>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { sessions: Some(90), metrics: Some(30), api_usage: Some(30), jobs: Some(30), audit: Some(365) }
    }
}

/// What retention took away, by table.
pub type Swept = Vec<(&'static str, u64)>;

/// State of the database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreStatus {
    /// `sqlite` or `postgres`.
    pub backend: &'static str,
    /// Version of the database, and of pgvector.
    pub version: String,
    /// Migrations that are applied: number and name.
    pub applied: Vec<(i64, String)>,
    /// Migrations that are not yet.
    pub pending: Vec<(i64, String)>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Connections open.
    pub connections: u32,
    /// Of those, idle.
    pub idle: u32,
}

/// The connections of this process to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// `sqlite` or `postgres`.
    pub backend: &'static str,
    /// Connections open.
    pub connections: u32,
    /// Of those, idle.
    pub idle: u32,
    /// Most connections at a time.
    pub most: u32,
}

/// One thing that `check` looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    /// What.
    pub check: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}
