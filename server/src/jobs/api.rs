//! Jobs over HTTP: asking for one, following it, stopping it.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::{self, ServiceConfig},
};
use facesocial_store::{CollectionId, Job, JobId, JobStatus, NewJob, Outcome, Role, StoreError};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::{
    Kind, analyze, archive_of,
    import::{self, archive, archive::Layout},
    options::JobRequest,
    worker,
};
use crate::{
    auth::{GalleryWrite, Jobs, Permission, Principal},
    error::{ApiError, ApiResult, Code},
    extract::{Fingerprint, Listed, builder, changed},
    gallery::{Ask, running_model},
    routing::{get, post, resource},
};

/// Adds the paths of jobs, under `/api/v1`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(post("/collections/{name}/imports", import))
        .service(post("/collections/{name}/jobs", start))
        .service(resource("/jobs", "GET and POST", [web::get().to(list), web::post().to(analyze::start)]))
        .service(get("/jobs/{id}", show))
        .service(get("/jobs/{id}/results", analyze::results))
        .service(post("/jobs/{id}/cancel", cancel));
}

/// A job as it is answered.
#[derive(Debug, Serialize)]
struct JobDto {
    id: JobId,
    kind: String,
    status: JobStatus,
    collection_id: Option<CollectionId>,
    total_items: u64,
    processed_items: u64,
    failed_items: u64,
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Value>,
    /// What it found so far; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Value>,
    /// Why it failed.
    error: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    completed_at: Option<OffsetDateTime>,
}

impl JobDto {
    fn brief(job: Job) -> Self {
        Self { results: None, ..Self::whole(job) }
    }

    fn whole(mut job: Job) -> Self {
        // Where an import's archive lies is nobody's concern.
        let options = analyze::told(&job).or_else(|| archive_of(&job).is_none().then(|| job.input.clone()));
        if let Some(results) = job.results.as_object_mut() {
            results.remove("position");
        }
        let results = Some(job.results).filter(|r| !r.is_null());
        Self {
            id: job.id,
            kind: job.kind,
            status: job.status,
            collection_id: job.collection_id,
            total_items: job.total_items,
            processed_items: job.processed_items,
            failed_items: job.failed_items,
            options,
            results,
            error: job.error_message,
            created_at: job.created_at,
            started_at: job.started_at,
            completed_at: job.completed_at,
        }
    }
}

/// Takes an archive of `person/photo.jpg` and enrols it as a job.
async fn import(ask: Ask<GalleryWrite>, path: web::Path<String>, payload: web::Payload) -> ApiResult<HttpResponse> {
    let collection = ask.collection(&path).await?;
    running_model(&ask.state)?;
    let uploaded = import::receive(&ask.state, &ask.req, payload).await?;
    let (file, limits) = (uploaded.path(), ask.state.jobs.limits());
    let survey = tokio::task::spawn_blocking(move || archive::survey(&file, &limits, Layout::Persons));
    let survey = survey.await.map_err(|e| ApiError::internal(&e))??;
    if survey.photos == 0 {
        return Err(ApiError::invalid("the archive has no photo at a path like person/photo.jpg"));
    }
    let files = survey.photos + survey.refused;
    let input = import::Input { archive: uploaded.id, files };
    let new = NewJob {
        kind: Kind::Import.as_str().to_owned(),
        user_id: ask.principal().user_id(),
        collection_id: Some(collection.id),
        total_items: files,
        input: serde_json::to_value(input).map_err(|e| ApiError::internal(&e))?,
        ..NewJob::default()
    };
    let write = ask.write(Fingerprint::of(&ask.req).part("archive", &uploaded.sha256).finish());
    let outcome = ask.store()?.create_job(&write, new).await?;
    if !outcome.replayed {
        uploaded.keep();
    }
    Ok(accepted(&ask, outcome))
}

/// Starts a job on a collection.
async fn start(ask: Ask<Jobs>, path: web::Path<String>, payload: web::Payload) -> ApiResult<HttpResponse> {
    let collection = ask.collection(&path).await?;
    let (request, write) = ask.body::<JobRequest>(payload).await?;
    if let Some(outcome) = ask.replayed(&write).await? {
        return Ok(accepted(&ask, outcome));
    }
    let (kind, input) = request.check(&ask.state)?;
    let new = NewJob {
        kind: kind.as_str().to_owned(),
        user_id: ask.principal().user_id(),
        collection_id: Some(collection.id),
        total_items: 0,
        input,
        ..NewJob::default()
    };
    Ok(accepted(&ask, ask.store()?.create_job(&write, new).await?))
}

pub(super) fn accepted<P: Permission>(ask: &Ask<P>, outcome: Outcome<Job>) -> HttpResponse {
    ask.state.jobs.announce();
    let location = format!("/api/v1/jobs/{}", outcome.value.id);
    let mut response = builder(StatusCode::ACCEPTED, outcome.replayed);
    response.insert_header((header::LOCATION, location)).json(JobDto::whole(outcome.value))
}

async fn list(ask: Ask<Jobs>) -> ApiResult<web::Json<Listed<JobDto>>> {
    let principal = ask.principal();
    let user = if sees_all(principal) {
        None
    } else {
        let nobody = || ApiError::new(Code::Forbidden, "jobs belong to accounts; the caller has none");
        Some(principal.user_id().ok_or_else(nobody)?)
    };
    let page = ask.store()?.jobs(user, principal.collections(), ask.page()?).await?;
    Ok(web::Json(Listed::of(page, JobDto::brief)))
}

async fn show(ask: Ask<Jobs>, path: web::Path<String>) -> ApiResult<web::Json<JobDto>> {
    Ok(web::Json(JobDto::whole(find(&ask, &path).await?)))
}

async fn cancel(ask: Ask<Jobs>, path: web::Path<String>) -> ApiResult<HttpResponse> {
    let job = find(&ask, &path).await?;
    let outcome = ask.store()?.cancel_job(&ask.bare_write(), job.id).await?;
    worker::clean_up(&ask.state, &outcome.value);
    ask.state.jobs.announce_end();
    Ok(changed(StatusCode::OK, outcome, JobDto::whole))
}

/// A job that the caller may see. Of one that it may not, the existence is not told.
pub(super) async fn find(ask: &Ask<Jobs>, id: &str) -> ApiResult<Job> {
    let none = || ApiError::from(StoreError::NotFound { kind: "job", id: id.chars().take(64).collect() });
    let id: JobId = id.parse().map_err(|_| none())?;
    let job = ask.store()?.job(id).await?;
    if may_see(ask.principal(), &job) { Ok(job) } else { Err(none()) }
}

/// One's own jobs; operators see everybody's. Either way only those on collections that the caller may see.
fn may_see(principal: &Principal, job: &Job) -> bool {
    let own = principal.user_id().is_some() && principal.user_id() == job.user_id;
    (own || sees_all(principal)) && job.collection_id.is_none_or(|id| principal.may_see(id))
}

fn sees_all(principal: &Principal) -> bool {
    matches!(principal.role(), Role::Admin | Role::Operator)
}

#[cfg(test)]
mod tests {
    use facesocial_store::{ApiKey, ApiKeyId, LoginId, User, UserId};
    use serde_json::json;

    use super::*;

    fn user(role: Role, collections: &[CollectionId]) -> User {
        let now = OffsetDateTime::UNIX_EPOCH;
        User {
            id: UserId::new(),
            username: "ann".to_owned(),
            email: None,
            first_name: String::new(),
            last_name: String::new(),
            role,
            collections: collections.to_vec(),
            is_active: true,
            is_verified: false,
            created_at: now,
            updated_at: now,
        }
    }

    fn job(user: Option<UserId>, collection: CollectionId) -> Job {
        Job {
            id: JobId::new(),
            kind: "group".to_owned(),
            user_id: user,
            collection_id: Some(collection),
            status: JobStatus::Pending,
            total_items: 0,
            processed_items: 0,
            failed_items: 0,
            input: json!({ "min_faces": 3 }),
            results: Value::Null,
            error_message: None,
            created_at: OffsetDateTime::UNIX_EPOCH,
            started_at: None,
            completed_at: None,
        }
    }

    #[test]
    fn a_job_is_seen_by_its_owner_and_by_operators_of_its_collection() {
        let [here, there] = [CollectionId::new(), CollectionId::new()];
        let ann = user(Role::User, &[]);
        let login = |user: &User| Principal::of_login(user, LoginId::new(), None);
        assert!(may_see(&login(&ann), &job(Some(ann.id), here)));
        assert!(!may_see(&login(&user(Role::User, &[])), &job(Some(ann.id), here)));
        assert!(!may_see(&login(&ann), &job(None, here)));
        assert!(may_see(&login(&user(Role::Operator, &[])), &job(Some(ann.id), here)));
        assert!(!may_see(&login(&user(Role::Operator, &[there])), &job(Some(ann.id), here)));
        assert!(!may_see(&login(&user(Role::ReadOnly, &[])), &job(Some(ann.id), here)));
        assert!(!may_see(&Principal::of_service(None), &job(None, here)));
        let key = ApiKey {
            id: ApiKeyId::new(),
            name: "k".to_owned(),
            prefix: "k".to_owned(),
            user_id: ann.id,
            scopes: vec!["jobs".to_owned()],
            collections: vec![there],
            created_at: OffsetDateTime::UNIX_EPOCH,
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        };
        let bound = Principal::of_key(&key, &ann, None);
        assert!(may_see(&bound, &job(Some(ann.id), there)) && !may_see(&bound, &job(Some(ann.id), here)));
    }

    #[test]
    fn the_answer_tells_no_insides() {
        let mut import = job(None, CollectionId::new());
        import.kind = "import".to_owned();
        import.input = json!({ "archive": uuid::Uuid::nil(), "files": 3 });
        import.results = json!({ "enrolled": 1, "position": { "entries": 1, "bytes": 9 } });
        let told = serde_json::to_value(JobDto::whole(import.clone())).unwrap();
        assert_eq!(told["results"], json!({ "enrolled": 1 }));
        assert!(told.get("options").is_none());
        let brief = serde_json::to_value(JobDto::brief(import)).unwrap();
        assert!(brief.get("results").is_none());
    }
}
