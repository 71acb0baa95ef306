//! One suite that both backends must pass: the embedded store, and Postgres with pgvector where
//! `FACESOCIAL_TEST_PG_BIN` names its programs. What only one of them can do is tested next to it.

#![allow(clippy::print_stderr, reason = "a test that was not run says so")]

/// Runs each test against both backends, each time with a new and empty store.
macro_rules! conformance {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::backend::Fixture::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(fixture) = crate::backend::Fixture::postgres().await {
                    super::$test(fixture).await;
                }
            })+
        }
    };
}

mod accounts;
mod backend;
mod collections;
mod embedded;
mod erasure;
mod faces;
mod history;
mod idempotency;
mod job_results;
mod maintenance;
mod operations;
mod persons;
mod pgvector;
mod search;
mod strings;
