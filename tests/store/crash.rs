//! `kill -9` of the server, of Postgres and of Redis under a load of registrations: each that was acknowledged is found
//! afterwards, none twice. `FACESOCIAL_CRASH_WRITES` says how many there are; 60 without it.

use std::{
    io::{self, Write},
    time::Duration,
};

use facesocial_testkit::{Postgres, Redis};

use crate::{
    load::{Load, writes},
    server::{Places, Server},
};

/// At how many acknowledged writes something is killed.
fn moments() -> [usize; 3] {
    [writes() / 10, writes() * 4 / 10, writes() * 8 / 10]
}

fn told(what: &str, load: &Load) {
    let (writes, failed, replayed) = (writes(), load.failed().len(), load.replayed());
    let line = format!(
        "{what} killed {} times in {writes} writes: {failed} attempts failed, of which {replayed} had been made",
        moments().len()
    );
    writeln!(io::stderr(), "{line}").ok();
}

async fn kill_the_server(what: &str, places: Places) {
    let mut server = Server::start(&places).await;
    let load = Load::new(&server);
    let running = load.run();
    for moment in moments() {
        load.acknowledged(moment).await;
        server.kill();
        server = Server::start(&places).await;
        load.go_on_at(&server);
        load.assert_kept().await;
    }
    running.end().await;
    load.assert_complete().await;
    assert!(!load.failed().is_empty(), "nothing was under way when the server was killed");
    told(what, &load);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_with_its_own_database_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    kill_the_server("the server", Places { folder: folder.path().join("data"), ..Places::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed() {
    let Some(mut postgres) = Postgres::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, database_url) = (folder.path().join("data"), Some(postgres.create_database("killed")));
    let server = Server::start(&Places { folder: data.clone(), database_url, ..Places::default() }).await;
    assert!(!data.exists(), "with a Postgres nothing is kept in the folder");
    let load = Load::new(&server);
    let running = load.run();
    for moment in moments() {
        load.acknowledged(moment).await;
        postgres.kill();
        // Some writes meet a database that is away.
        tokio::time::sleep(Duration::from_millis(500)).await;
        postgres.restart();
    }
    running.end().await;
    load.assert_complete().await;
    let failed = load.failed();
    assert!(!failed.is_empty(), "nothing was under way when Postgres was killed");
    assert!(failed.iter().all(|reason| reason == "503 \"STORE_UNAVAILABLE\""), "{failed:?}");
    told("Postgres", &load);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed() {
    let Some(mut redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let redis_url = Some(redis.url());
    let server = Server::start(&Places { folder: folder.path().join("data"), redis_url, ..Places::default() }).await;
    let load = Load::new(&server);
    let running = load.run();
    for (i, moment) in moments().into_iter().enumerate() {
        load.acknowledged(moment).await;
        redis.kill();
        if i % 2 == 0 {
            redis.restart();
        }
    }
    running.end().await;
    load.assert_complete().await;
    assert_eq!(load.failed(), Vec::<String>::new(), "a dead Redis is no error");
    told("Redis", &load);
}
