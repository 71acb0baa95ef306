//! What a store can do, in words of the domain. Each method that changes something is one transaction, together with its
//! entry in the audit trail and the record of its idempotency key: after the answer, all of it is there, or none.

use async_trait::async_trait;
use facesocial_types::{Embedding, ModelId};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{error::Result, types::*};

/// Collections, persons, faces and the search.
///
/// Everything below a collection is asked for with the collection: what another one holds is not found.
#[async_trait]
pub trait Gallery: Send + Sync {
    /// Makes a collection. [`StoreError::Taken`](crate::StoreError::Taken) if the name is.
    async fn create_collection(&self, write: &Write, new: NewCollection) -> Result<Outcome<Collection>>;
    /// A collection by name.
    async fn collection(&self, name: &str) -> Result<Collection>;
    /// A collection by identifier.
    async fn collection_by_id(&self, id: CollectionId) -> Result<Collection>;
    /// Collections; only those of `only`, unless that is empty.
    async fn collections(&self, only: &[CollectionId], page: PageRequest) -> Result<Page<Collection>>;
    /// Deletes a collection with everything in it, history included.
    async fn delete_collection(&self, write: &Write, id: CollectionId) -> Result<Outcome<Erased>>;

    /// Makes a person. [`StoreError::Taken`](crate::StoreError::Taken) with the existing one's identifier if the external
    /// identifier is.
    async fn create_person(&self, write: &Write, collection: CollectionId, new: NewPerson) -> Result<Outcome<Person>>;
    /// A person by identifier.
    async fn person(&self, collection: CollectionId, id: PersonId) -> Result<Person>;
    /// A person by the client's own name for it.
    async fn person_by_external_id(&self, collection: CollectionId, external_id: &str) -> Result<Person>;
    /// Persons of a collection.
    async fn persons(&self, collection: CollectionId, page: PageRequest) -> Result<Page<Person>>;
    /// Persons whose name or external identifier has `part` in it, in the order of [`Self::persons`]. Whether a letter is a
    /// capital does not matter; the embedded database knows that of ASCII letters alone.
    async fn persons_like(&self, collection: CollectionId, part: &str, page: PageRequest) -> Result<Page<Person>>;
    /// Changes a person.
    async fn update_person(
        &self,
        write: &Write,
        collection: CollectionId,
        id: PersonId,
        change: PersonChange,
    ) -> Result<Outcome<Person>>;
    /// Forgets a person: faces, embeddings, crops and where it was recognised. Stored images that show the person go too.
    async fn delete_person(&self, write: &Write, collection: CollectionId, id: PersonId) -> Result<Outcome<Erased>>;
    /// Everything about a person.
    async fn export_person(&self, collection: CollectionId, id: PersonId) -> Result<PersonExport>;

    /// Enrols a face. [`StoreError::Taken`](crate::StoreError::Taken) with the existing face's identifier if the same face
    /// of the same image is enrolled already.
    async fn enroll(&self, write: &Write, collection: CollectionId, face: NewFace) -> Result<Outcome<Enrolled>>;
    /// A face by identifier.
    async fn face(&self, collection: CollectionId, id: FaceId) -> Result<FaceRecord>;
    /// The crop of a face as JPEG; `None` where none is kept.
    async fn face_crop(&self, collection: CollectionId, id: FaceId) -> Result<Option<Vec<u8>>>;
    /// Faces of a collection; of one person, or of nobody known (`Some(None)`), or all (`None`).
    async fn faces(
        &self,
        collection: CollectionId,
        person: Option<Option<PersonId>>,
        page: PageRequest,
    ) -> Result<Page<FaceRecord>>;
    /// Changes a face.
    async fn update_face(
        &self,
        write: &Write,
        collection: CollectionId,
        id: FaceId,
        change: FaceChange,
    ) -> Result<Outcome<FaceRecord>>;
    /// Deletes a face with its embeddings and crop, and where it was the match.
    async fn delete_face(&self, write: &Write, collection: CollectionId, id: FaceId) -> Result<Outcome<Erased>>;

    /// Embeddings by one model of a person's faces.
    async fn embeddings_of(
        &self,
        collection: CollectionId,
        person: PersonId,
        model: &ModelId,
    ) -> Result<Vec<(FaceId, Embedding)>>;
    /// Embeddings by one model of a collection in the order of faces, for jobs that go through all.
    async fn embeddings_after(
        &self,
        collection: CollectionId,
        model: &ModelId,
        after: Option<FaceId>,
        limit: u32,
    ) -> Result<Vec<(FaceId, Option<PersonId>, Embedding)>>;
    /// Faces that have no embedding by `model` yet, with their crop where one is kept, in the order of faces.
    async fn faces_without(
        &self,
        collection: CollectionId,
        model: &ModelId,
        after: Option<FaceId>,
        limit: u32,
    ) -> Result<Vec<(FaceId, Option<Vec<u8>>)>>;
    /// Adds an embedding by another model to a face; replaces one by the same.
    async fn put_embedding(&self, collection: CollectionId, face: FaceId, embedding: &Embedding) -> Result<()>;
    /// The most similar faces. Postgres answers from an HNSW index, approximately; SQLite exactly.
    async fn search(&self, query: &SearchQuery) -> Result<SearchResult>;
    /// How much there is.
    async fn gallery_stats(&self) -> Result<GalleryStats>;
}

/// Accounts, keys, logins.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// How many accounts there are; none on the first start.
    async fn count_users(&self) -> Result<u64>;
    /// Makes an account. [`StoreError::Taken`](crate::StoreError::Taken) if somebody goes by the user name or the address.
    async fn create_user(&self, write: &Write, new: NewUser) -> Result<Outcome<User>>;
    /// Makes the first account, unless there is one already: then [`StoreError::Taken`](crate::StoreError::Taken).
    async fn create_first_user(&self, write: &Write, new: NewUser) -> Result<User>;
    /// An account.
    async fn user(&self, id: UserId) -> Result<User>;
    /// What a login with this user name or email address is checked with.
    async fn credentials(&self, login: &str) -> Result<Credentials>;
    /// Accounts.
    async fn users(&self, page: PageRequest) -> Result<Page<User>>;
    /// Changes an account; an empty address takes it away. [`StoreError::Invalid`](crate::StoreError::Invalid) if no active
    /// administrator would be left.
    async fn update_user(&self, write: &Write, id: UserId, change: UserChange) -> Result<Outcome<User>>;
    /// Deletes an account with its keys and logins, unless it is the last active administrator.
    async fn delete_user(&self, write: &Write, id: UserId) -> Result<Outcome<()>>;

    /// Makes a key.
    async fn create_api_key(&self, write: &Write, new: NewApiKey) -> Result<Outcome<ApiKey>>;
    /// The key with this hash and its user, if neither is expired, revoked or inactive. Notes the use, to the minute.
    async fn api_key_by_hash(&self, key_hash: &str, now: OffsetDateTime) -> Result<Option<(ApiKey, User)>>;
    /// Keys; of one user, or all.
    async fn api_keys(&self, user: Option<UserId>, page: PageRequest) -> Result<Page<ApiKey>>;
    /// A key.
    async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey>;
    /// Ends a key; of several ends the first counts.
    async fn revoke_api_key(&self, write: &Write, id: ApiKeyId) -> Result<Outcome<ApiKey>>;

    /// Stores the first refresh token of a login.
    async fn start_login(&self, write: &Write, token: NewRefreshToken) -> Result<()>;
    /// Replaces a refresh token by the next, `next.login_id` and `next.user_id` being taken from the old one.
    async fn rotate_refresh_token(
        &self,
        write: &Write,
        token_hash: &str,
        next: NewRefreshToken,
        now: OffsetDateTime,
    ) -> Result<Rotation>;
    /// Whether a login still holds: neither ended nor its user inactive. Access tokens name their login.
    async fn login_active(&self, login: LoginId) -> Result<bool>;
    /// Ends a login.
    async fn end_login(&self, write: &Write, login: LoginId) -> Result<()>;
    /// Ends all logins of a user; gives them, so that caches can be told.
    async fn end_logins(&self, write: &Write, user: UserId) -> Result<Vec<LoginId>>;
}

/// Stored analyses.
#[async_trait]
pub trait History: Send + Sync {
    /// Stores an analysis. A match whose face was erased meanwhile, or is of another collection, is left out.
    async fn save_session(&self, write: &Write, new: NewSession) -> Result<Outcome<Session>>;
    /// An analysis with its faces.
    async fn session(&self, id: SessionId) -> Result<SessionDetail>;
    /// The stored image of an analysis.
    async fn session_image(&self, id: SessionId) -> Result<Option<(String, Vec<u8>)>>;
    /// Analyses: of one user, or all; within `collections`, unless that is empty. A user's own that are of no collection
    /// are always among them.
    async fn sessions(
        &self,
        user: Option<UserId>,
        collections: &[CollectionId],
        page: PageRequest,
    ) -> Result<Page<Session>>;
    /// Deletes an analysis.
    async fn delete_session(&self, write: &Write, id: SessionId) -> Result<Outcome<()>>;
}

/// Jobs, audit trail, usage, configuration, the database itself.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Makes a job.
    async fn create_job(&self, write: &Write, new: NewJob) -> Result<Outcome<Job>>;
    /// The oldest job that waits, or whose worker has not been heard of for `lease_seconds`; it is the caller's now. One
    /// whose workers were lost five times without progress is given up instead.
    async fn claim_job(&self, worker: &str, kinds: &[&str], lease_seconds: u32) -> Result<Option<Job>>;
    /// Notes progress and that the worker lives; false if the job was cancelled or is another worker's now.
    async fn progress_job(&self, id: JobId, worker: &str, progress: &JobProgress) -> Result<bool>;
    /// Ends a job: completed, or failed with a reason.
    async fn finish_job(&self, id: JobId, worker: &str, progress: &JobProgress, error: Option<&str>) -> Result<bool>;
    /// Stops a job. [`StoreError::Invalid`](crate::StoreError::Invalid) if it has ended by itself.
    async fn cancel_job(&self, write: &Write, id: JobId) -> Result<Outcome<Job>>;
    /// A job.
    async fn job(&self, id: JobId) -> Result<Job>;
    /// Jobs: of one user, or all; within `collections`, unless that is empty.
    async fn jobs(&self, user: Option<UserId>, collections: &[CollectionId], page: PageRequest) -> Result<Page<Job>>;

    /// The first answer to a change with this key, if there was one; before anything costly is done for a repetition.
    async fn replay(&self, actor: &Actor, idempotency: &Idempotency) -> Result<Option<Value>>;

    /// Marks something that may happen once, until `expires_at`. `false` if it is marked already: of any number at the same time,
    /// one alone gets `true`.
    async fn set_mark(&self, digest: &str, expires_at: OffsetDateTime, now: OffsetDateTime) -> Result<bool>;
    /// Removes a mark; `false` if there is none, or it has run out. Here as well one alone gets `true`.
    async fn take_mark(&self, digest: &str, now: OffsetDateTime) -> Result<bool>;

    /// Adds to the audit trail what is no change of data: logins, refusals.
    async fn audit(&self, entry: NewAudit) -> Result<()>;
    /// The audit trail, newest first; `after` names the last entry of the page before.
    async fn audit_trail(&self, page: PageRequest) -> Result<Page<AuditEntry>>;

    /// Adds figures of services.
    async fn add_service_metrics(&self, metrics: &[NewServiceMetric]) -> Result<()>;
    /// Adds looks at services' health.
    async fn add_health_logs(&self, logs: &[NewHealthLog]) -> Result<()>;
    /// Adds requests.
    async fn add_api_usage(&self, usage: &[NewApiUsage]) -> Result<()>;

    /// A setting.
    async fn config(&self, key: &str) -> Result<Option<String>>;
    /// All settings, by name, except for those that [`config_or_insert`](Self::config_or_insert) made: secrets.
    async fn configs(&self) -> Result<Vec<(String, String)>>;
    /// Changes a setting.
    async fn set_config(&self, write: &Write, key: &str, value: &str) -> Result<()>;
    /// Stores a setting unless it is there, and gives the one that is: for secrets made on the first start.
    async fn config_or_insert(&self, key: &str, value: &str) -> Result<String>;

    /// Deletes what is older than `retention` says at the time `now`, and idempotency keys of more than a day.
    async fn sweep(&self, retention: &Retention, now: OffsetDateTime) -> Result<Swept>;
    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;
    /// The connections of this process, without asking the database.
    fn pool(&self) -> PoolStatus;
    /// State of the database.
    async fn status(&self) -> Result<StoreStatus>;
    /// Looks for damage: the database's own check, foreign keys, vectors of the wrong length, the search's agreement with
    /// the rows.
    async fn check(&self) -> Result<Vec<CheckResult>>;
    /// Closes the connections once running calls have ended.
    async fn close(&self);
}

/// What jobs work through, what they find, and whom they tell.
#[async_trait]
pub trait JobResults: Send + Sync {
    /// Where a job's images lie: those from number `from` on, at most `limit`, each with its number.
    async fn job_items(&self, id: JobId, from: u64, limit: u32) -> Result<Vec<(u64, String)>>;
    /// Adds what was found and notes progress, both or neither; false, and nothing is added, if the job was cancelled or is
    /// another worker's now. A result that is there stays as it is. One that names a face which was erased meanwhile is
    /// kept as erased.
    async fn add_job_results(
        &self,
        id: JobId,
        worker: &str,
        progress: &JobProgress,
        results: &[NewJobResult],
    ) -> Result<bool>;
    /// What was found: the results from number `from` on, at most `limit`, in the order of the images.
    async fn job_results(&self, id: JobId, from: u64, limit: u32) -> Result<Vec<JobResult>>;

    /// At most `limit` jobs that have something to tell, with whom; they are due again after `lease_seconds` unless the
    /// caller says what became of them.
    async fn claim_webhooks(&self, lease_seconds: u32, limit: u32) -> Result<Vec<Webhook>>;
    /// Notes that progress was told, up to `told_items`. The next is due at once.
    async fn webhook_told(&self, job: JobId, told_items: u64) -> Result<()>;
    /// Notes an attempt that failed; the next is due after `pause_seconds`.
    async fn webhook_failed(&self, job: JobId, pause_seconds: u32) -> Result<()>;
    /// Forgets whom a job tells, with the secret: its end was told, or telling it was given up.
    async fn forget_webhook(&self, job: JobId) -> Result<()>;
}

/// A store: the embedded one, or Postgres.
pub trait Store: Gallery + Accounts + History + Operations + JobResults {}

impl<T: Gallery + Accounts + History + Operations + JobResults> Store for T {}
