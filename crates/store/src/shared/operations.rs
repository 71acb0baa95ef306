//! Jobs, audit trail, usage, configuration, the database itself: which file does what.

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;

use super::{Backend, audit, config, health, job_results, jobs, marks, retention, usage, webhooks};
use crate::{
    error::Result,
    traits::{JobResults, Operations},
    types::*,
};

#[async_trait]
impl Operations for Backend {
    async fn create_job(&self, write: &Write, new: NewJob) -> Result<Outcome<Job>> {
        self.within(jobs::create(self, write, new)).await
    }

    async fn claim_job(&self, worker: &str, kinds: &[&str], lease_seconds: u32) -> Result<Option<Job>> {
        self.within(jobs::claim(self, worker, kinds, lease_seconds)).await
    }

    async fn progress_job(&self, id: JobId, worker: &str, progress: &JobProgress) -> Result<bool> {
        self.within(jobs::progress(self, id, worker, progress)).await
    }

    async fn finish_job(&self, id: JobId, worker: &str, progress: &JobProgress, error: Option<&str>) -> Result<bool> {
        self.within(jobs::finish(self, id, worker, progress, error)).await
    }

    async fn cancel_job(&self, write: &Write, id: JobId) -> Result<Outcome<Job>> {
        self.within(jobs::cancel(self, write, id)).await
    }

    async fn job(&self, id: JobId) -> Result<Job> {
        self.within(jobs::get(self, id)).await
    }

    async fn jobs(&self, user: Option<UserId>, collections: &[CollectionId], page: PageRequest) -> Result<Page<Job>> {
        self.within(jobs::list(self, user, collections, page)).await
    }

    async fn replay(&self, actor: &Actor, idempotency: &Idempotency) -> Result<Option<Value>> {
        self.within(self.recorded_answer(actor, idempotency)).await
    }

    async fn set_mark(&self, digest: &str, expires_at: OffsetDateTime, now: OffsetDateTime) -> Result<bool> {
        self.within(marks::set(self, digest, expires_at, now)).await
    }

    async fn take_mark(&self, digest: &str, now: OffsetDateTime) -> Result<bool> {
        self.within(marks::take(self, digest, now)).await
    }

    async fn audit(&self, entry: NewAudit) -> Result<()> {
        self.within(audit::add(self, entry)).await
    }

    async fn audit_trail(&self, page: PageRequest) -> Result<Page<AuditEntry>> {
        self.within(audit::trail(self, page)).await
    }

    async fn add_service_metrics(&self, metrics: &[NewServiceMetric]) -> Result<()> {
        self.within(usage::add_service_metrics(self, metrics)).await
    }

    async fn add_health_logs(&self, logs: &[NewHealthLog]) -> Result<()> {
        self.within(usage::add_health_logs(self, logs)).await
    }

    async fn add_api_usage(&self, usage: &[NewApiUsage]) -> Result<()> {
        self.within(usage::add_api_usage(self, usage)).await
    }

    async fn config(&self, key: &str) -> Result<Option<String>> {
        self.within(config::get(self, key)).await
    }

    async fn configs(&self) -> Result<Vec<(String, String)>> {
        self.within(config::all(self)).await
    }

    async fn set_config(&self, write: &Write, key: &str, value: &str) -> Result<()> {
        self.within(config::set(self, write, key, value)).await
    }

    async fn config_or_insert(&self, key: &str, value: &str) -> Result<String> {
        self.within(config::get_or_insert(self, key, value)).await
    }

    async fn sweep(&self, retention: &Retention, now: OffsetDateTime) -> Result<Swept> {
        self.within_long(retention::sweep(self, retention, now)).await
    }

    async fn ping(&self) -> Result<()> {
        self.within(async {
            sqlx::query("SELECT 1 FROM collections LIMIT 1").fetch_optional(self.pool()).await?;
            Ok(())
        })
        .await
    }

    fn pool(&self) -> PoolStatus {
        health::pool(self)
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.within(health::status(self)).await
    }

    async fn check(&self) -> Result<Vec<CheckResult>> {
        health::check(self).await
    }

    async fn close(&self) {
        health::close(self).await;
    }
}

#[async_trait]
impl JobResults for Backend {
    async fn job_items(&self, id: JobId, from: u64, limit: u32) -> Result<Vec<(u64, String)>> {
        self.within(job_results::items(self, id, from, limit)).await
    }

    async fn add_job_results(
        &self,
        id: JobId,
        worker: &str,
        progress: &JobProgress,
        results: &[NewJobResult],
    ) -> Result<bool> {
        self.within(job_results::add(self, id, worker, progress, results)).await
    }

    async fn job_results(&self, id: JobId, from: u64, limit: u32) -> Result<Vec<JobResult>> {
        self.within(job_results::list(self, id, from, limit)).await
    }

    async fn claim_webhooks(&self, lease_seconds: u32, limit: u32) -> Result<Vec<Webhook>> {
        self.within(webhooks::claim(self, lease_seconds, limit)).await
    }

    async fn webhook_told(&self, job: JobId, told_items: u64) -> Result<()> {
        self.within(webhooks::told(self, job, told_items)).await
    }

    async fn webhook_failed(&self, job: JobId, pause_seconds: u32) -> Result<()> {
        self.within(webhooks::failed(self, job, pause_seconds)).await
    }

    async fn forget_webhook(&self, job: JobId) -> Result<()> {
        self.within(webhooks::forget(self, job)).await
    }
}
