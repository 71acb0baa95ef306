//! The end of a server that is in the middle of something.

use std::{sync::Arc, thread, time::Duration};

use facesocial_testkit::Postgres;
use reqwest::Client;

use crate::server::{Places, Server};

/// How long the table is held: longer than the pause between two writes of the requests that were counted.
const HELD: u64 = 8;
/// Seconds that requests under way get.
const SHUTDOWN_TIMEOUT: u32 = 3;

/// The write ends when its table is free again, and so does the server: a write that nobody drives any more would keep its
/// connection, and closing the store would wait for that one for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_while_it_writes_ends() {
    let Some(postgres) = Postgres::start().map(Arc::new) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, database_url) = (folder.path().join("data"), Some(postgres.url()));
    let mut server = Server::start(&Places { folder: data, database_url, ..Places::default() }).await;
    let holding = thread::spawn({
        let postgres = Arc::clone(&postgres);
        move || postgres.psql(&format!("BEGIN; LOCK TABLE api_usage; SELECT pg_sleep({HELD}); COMMIT"))
    });
    for _ in 0..20 {
        assert_eq!(Client::new().get(server.url("/api/v1/models")).send().await.unwrap().status(), 200);
    }
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%api_usage%'";
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if postgres.psql(waits) != "0" {
            break;
        }
    }
    assert_ne!(postgres.psql(waits), "0", "the server writes down what was asked");
    server.terminate();
    let ended = server.ended_within(Duration::from_secs(HELD + 30)).await;
    holding.join().unwrap();
    assert!(ended.expect("the server ends").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_ends_in_time_though_its_database_does_not_answer() {
    let Some(postgres) = Postgres::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&Places {
        folder: folder.path().join("data"),
        database_url: Some(postgres.create_database("stopped")),
        shutdown_timeout: Some(SHUTDOWN_TIMEOUT),
        ..Places::default()
    })
    .await;
    let url = server.url("/api/v1/collections/default/persons");
    assert_eq!(Client::new().get(&url).send().await.unwrap().status(), 200);
    postgres.pause();
    // Each holds a connection that nobody answers on.
    let asking = (0..4).map(|_| tokio::spawn(Client::new().get(&url).send())).collect::<Vec<_>>();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Requests get the time that they are given, what the database is told in the end what is left of it, and a little.
    server.terminate();
    let ended = server.ended_within(Duration::from_secs(u64::from(SHUTDOWN_TIMEOUT) + 9)).await;
    postgres.resume();
    assert!(ended.is_some(), "the server waits for a database that does not answer");
    asking.iter().for_each(tokio::task::JoinHandle::abort);
}
