//! One server for each database and cache, and a collection of its own for each test.

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use facesocial::config::{Config, Secret};
use facesocial_store::{NewCollection, NewFace, NewPerson, PersonRef, Write};
use facesocial_testkit::{Postgres, Redis};
use facesocial_types::{BBox, Embedding, ModelId};
use reqwest::Method;
use serde_json::{Value, json};

use super::{answered, send};
use crate::helpers::{TestApp, config, form, photo, post, spawn_app};

/// The collection whose faces were embedded by a network that does not run.
pub const OLD: &str = "old-model";

/// A server with its database and cache.
pub struct Backend {
    pub app: TestApp,
}

/// SQLite and the cache of the process.
pub static SQLITE: LazyLock<Option<Backend>> = LazyLock::new(|| start(|_| Some(())));

/// Postgres and the cache of the process.
pub static POSTGRES: LazyLock<Option<Backend>> = LazyLock::new(|| start(with_postgres));

/// Postgres and Redis.
pub static POSTGRES_AND_REDIS: LazyLock<Option<Backend>> = LazyLock::new(|| {
    start(|config| {
        with_postgres(config)?;
        config.access.redis_url = Some(Secret::new(Redis::shared()?.url()));
        Some(())
    })
});

fn with_postgres(config: &mut Config) -> Option<()> {
    config.store.database_url = Some(Secret::new(Postgres::shared()?.fresh_database()));
    Some(())
}

/// `None` where the database or cache is not installed, which the test kit says.
fn start(change: impl FnOnce(&mut Config) -> Option<()>) -> Option<Backend> {
    let mut config = config();
    (config.store.database_url, config.access.redis_url) = (None, None);
    change(&mut config)?;
    // A thread of its own, because a test's runtime cannot block on another.
    let starting = || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            seed(&config).await;
            let app = spawn_app(config.clone());
            app.ready().await;
            Backend { app }
        })
    };
    Some(std::thread::scope(|scope| scope.spawn(starting).join().unwrap()))
}

/// What an earlier version of the server left.
async fn seed(config: &Config) {
    let store = facesocial_store::open(&config.store.options()).await.unwrap();
    let write = Write::system();
    let new = NewCollection { name: OLD.to_owned(), description: String::new() };
    let collection = store.create_collection(&write, new).await.unwrap().value.id;
    let person = NewPerson { external_id: "old".to_owned(), name: String::new(), metadata: json!({}) };
    let face = NewFace {
        person: Some(PersonRef::GetOrCreate(person)),
        face_hash: "0".repeat(64),
        bbox: BBox::new(0.0, 0.0, 100.0, 100.0),
        detection_score: 0.9,
        quality_score: 0.9,
        face_group: "primary".to_owned(),
        searchable: true,
        metadata: json!({}),
        embeddings: vec![Embedding::new(ModelId::new("retired", "1"), vec![1.0; 128]).unwrap()],
        crop: None,
    };
    store.enroll(&write, collection, face).await.unwrap();
    store.close().await;
}

/// A collection that no other test uses.
pub struct Gallery<'a> {
    backend: &'a Backend,
    pub name: String,
}

impl<'a> Gallery<'a> {
    pub async fn new(backend: &'a Backend) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = backend.app.gateway("/api/v1/collections");
        answered(send(Method::POST, url, json!({ "name": name, "description": "of a test" })).await, 201).await;
        Self { backend, name }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/collections/{}{rest}", self.name)
    }

    pub fn url(&self, rest: &str) -> String {
        self.backend.app.gateway(&self.path(rest))
    }

    pub async fn person(&self, person: Value) -> Value {
        answered(send(Method::POST, self.url("/persons"), person).await, 201).await
    }

    /// Enrols the only face of a photo of `tests/images`.
    pub async fn enrol(&self, external_id: &str, photo: &str) -> Value {
        let url = self.url(&format!("/persons/external:{external_id}/faces"));
        answered(post(url, form(photo)).await, 201).await
    }
}

/// A photo of `tests/images` as bytes that no other test sends, so that nobody else makes the server forget them.
pub fn own(name: &str, owner: &Gallery<'_>) -> Vec<u8> {
    // What follows the end of a JPEG belongs to no picture.
    [photo(name), owner.name.clone().into_bytes()].concat()
}

/// A photo of `tests/images` for JSON.
pub fn base64(name: &str) -> String {
    BASE64_STANDARD.encode(photo(name))
}

/// Each test on each server.
macro_rules! on_every_backend {
    ($($test:ident),+ $(,)?) => {
        $crate::gallery::backend::on_every_backend! { @ sqlite SQLITE $($test)+ }
        $crate::gallery::backend::on_every_backend! { @ postgres POSTGRES $($test)+ }
        $crate::gallery::backend::on_every_backend! { @ postgres_and_redis POSTGRES_AND_REDIS $($test)+ }
    };
    (@ $module:ident $backend:ident $($test:ident)+) => {
        mod $module {
            $(#[tokio::test]
            async fn $test() {
                if let Some(backend) = &*$crate::gallery::backend::$backend {
                    super::$test(backend).await;
                }
            })+
        }
    };
}

pub(crate) use on_every_backend;
