//! SIGTERM in the middle of a write.

use std::{sync::Arc, thread, time::Duration};

use facesocial_testkit::Postgres;
use reqwest::Client;

use crate::server::{Places, Server};

/// How long the table is held: longer than the pause between two writes of the requests that were counted.
const HELD: u64 = 8;

/// The write ends when its table is free again, and so does the server: a write that nobody drives any more would keep its
/// connection, and closing the store would wait for that one for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_while_it_writes_ends() {
    let Some(postgres) = Postgres::start().map(Arc::new) else { return };
    let database_url = Some(postgres.url());
    let mut server = Server::start(&Places { database_url, ..Places::default() }).await;
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
    assert_eq!(postgres.psql("SELECT count(*) >= 20 FROM api_usage"), "t", "what was counted is kept");
}
