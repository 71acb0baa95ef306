//! Stores to test, and values to put into them.

use std::sync::Arc;

use facesocial_store::{
    Actor, ActorKind, CollectionId, DEFAULT_COLLECTION, Enrolled, Idempotency, NewFace, NewPerson, PageRequest,
    PersonRef, SearchQuery, Store, StoreError, StoreOptions, Write, open,
};
use facesocial_testkit::Postgres;
use facesocial_types::{BBox, Embedding, ModelId};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// A store of its own for one test.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    pub options: StoreOptions,
    folder: Option<TempDir>,
}

impl Fixture {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::embedded(folder.path());
        Self { store: open(&options).await.unwrap(), options, folder: Some(folder) }
    }

    pub async fn postgres() -> Option<Self> {
        let server = tokio::task::spawn_blocking(Postgres::shared).await.unwrap()?;
        let url = tokio::task::spawn_blocking(|| server.fresh_database()).await.unwrap();
        let options = StoreOptions { max_connections: 8, ..StoreOptions::postgres(url) };
        Some(Self { store: open(&options).await.unwrap(), options, folder: None })
    }

    pub fn is_postgres(&self) -> bool {
        self.folder.is_none()
    }

    /// The default collection.
    pub async fn collection(&self) -> CollectionId {
        self.store.collection(DEFAULT_COLLECTION).await.unwrap().id
    }

    /// Closes the store and opens it again.
    pub async fn reopen(self) -> Self {
        let Self { store, options, folder } = self;
        store.close().await;
        drop(store);
        Self { store: open(&options).await.unwrap(), options, folder }
    }

    /// The number that a statement gives, by a connection of its own.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.options.url {
            Some(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
            None => {
                let file = self.options.folder.join("facesocial.db");
                let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// How many rows a table has.
    pub async fn rows(&self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {table}")).await
    }

    /// Enrols a face.
    pub async fn enroll(&self, collection: CollectionId, face: NewFace) -> Enrolled {
        self.store.enroll(&Write::system(), collection, face).await.unwrap().value
    }

    /// Every part of the store's own check holds.
    pub async fn assert_sound(&self) {
        for result in self.store.check().await.unwrap() {
            assert!(result.ok, "{}: {}", result.check, result.detail);
        }
    }
}

pub fn model() -> ModelId {
    ModelId::new("net", "00000001")
}

/// A vector that is the same for the same seed.
pub fn vector(seed: u64, dimension: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..dimension).map(|_| random.f32() * 2.0 - 1.0).collect()
}

pub fn embedding(seed: u64) -> Embedding {
    Embedding::new(model(), vector(seed, 64)).unwrap()
}

/// A face of nobody known; its hash and its vector follow from `seed`.
pub fn face(seed: u64) -> NewFace {
    NewFace {
        person: None,
        face_hash: format!("{seed:064x}"),
        bbox: BBox::new(1.5, 2.25, 100.125, 99.0),
        detection_score: 0.875,
        quality_score: 0.5,
        face_group: "primary".to_owned(),
        searchable: true,
        metadata: serde_json::json!({ "seed": seed }),
        embeddings: vec![embedding(seed)],
        crop: None,
    }
}

pub fn person(external_id: &str) -> NewPerson {
    NewPerson {
        external_id: external_id.to_owned(),
        name: format!("Name of {external_id}"),
        metadata: serde_json::json!({ "of": external_id }),
    }
}

/// A face of the person with this external identifier.
pub fn face_of(external_id: &str, seed: u64) -> NewFace {
    NewFace { person: Some(PersonRef::GetOrCreate(person(external_id))), ..face(seed) }
}

pub fn query(collection: CollectionId, probe: Embedding, limit: usize) -> SearchQuery {
    SearchQuery { collection, probe, limit, min_similarity: -1.0, groups: Vec::new(), person: None }
}

/// A change by some user with an idempotency key.
pub fn keyed(user: Uuid, key: &str, fingerprint: &str) -> Write {
    Write {
        actor: Actor { kind: ActorKind::User, id: Some(user), address: Some("192.0.2.1".to_owned()) },
        request_id: "request-1".to_owned(),
        idempotency: Some(Idempotency { key: key.to_owned(), fingerprint: fingerprint.to_owned() }),
    }
}

pub fn page(after: Option<Uuid>, limit: u32) -> PageRequest {
    PageRequest { after, limit }
}

pub fn is_not_found<T: std::fmt::Debug>(result: Result<T, StoreError>, expected: &str) {
    match result {
        Err(StoreError::NotFound { kind, .. }) => assert_eq!(kind, expected),
        other => panic!("{expected} should not be found: {other:?}"),
    }
}

/// Gives the identifier of what holds the value.
pub fn is_taken<T: std::fmt::Debug>(result: Result<T, StoreError>, expected: &str) -> Option<String> {
    match result {
        Err(StoreError::Taken { kind, existing, .. }) => {
            assert_eq!(kind, expected);
            existing
        }
        other => panic!("{expected} should be taken: {other:?}"),
    }
}

pub fn is_invalid<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Invalid(reason)) => reason,
        other => panic!("should be invalid: {other:?}"),
    }
}
