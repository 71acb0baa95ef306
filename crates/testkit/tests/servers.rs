//! The private servers come up, die when killed, come back, and leave nothing behind.
#![cfg(unix)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use facesocial_testkit::{Postgres, Redis};

#[test]
fn what_postgres_has_committed_survives_its_death() {
    let Some(mut postgres) = Postgres::start() else { return };
    let url = postgres.create_database("pictures");
    assert!(url.ends_with("/pictures"), "{url}");
    postgres.psql("CREATE TABLE t (n int)");
    postgres.psql("INSERT INTO t SELECT generate_series(1, 1000)");
    postgres.kill();
    assert!(!listens(&postgres.url()));
    postgres.restart();
    assert_eq!(postgres.psql("SELECT count(*), sum(n) FROM t"), "1000|500500");
    assert_ne!(postgres.psql("SHOW fsync"), "off");
    postgres.stop();
    assert!(!listens(&postgres.url()));
    postgres.restart();
    assert_eq!(postgres.psql("SELECT count(*) FROM t"), "1000");
    let port = port(&postgres.url());
    drop(postgres);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn postgres_has_pgvector() {
    let Some(postgres) = Postgres::shared() else { return };
    postgres.psql("CREATE EXTENSION vector");
    assert_eq!(postgres.psql("SELECT '[1,0]'::vector <=> '[0,1]'::vector"), "1");
    assert_ne!(postgres.fresh_database(), postgres.fresh_database());
}

#[test]
fn redis_forgets_when_killed_and_says_nothing_when_paused() {
    let Some(mut redis) = Redis::start() else { return };
    assert_eq!(ask(&redis, "SET name value"), Some("+OK".to_owned()));
    redis.pause();
    assert_eq!(ask(&redis, "PING"), None);
    redis.resume();
    assert_eq!(ask(&redis, "GET name"), Some("$5".to_owned()));
    redis.kill();
    assert!(!listens(&redis.url()));
    redis.restart();
    assert_eq!(ask(&redis, "GET name"), Some("$-1".to_owned()));
    // A paused one can be killed too.
    redis.pause();
    drop(redis);
}

/// This test's own process, started again by the test below and killed.
#[test]
#[ignore = "a part of the next test"]
fn holds_servers_until_killed() {
    let servers = (Postgres::start(), Redis::shared());
    let urls = (servers.0.as_ref().map(Postgres::url), servers.1.map(Redis::url));
    // Past the harness, which keeps what tests print.
    let urls = format!("{} {}\n", urls.0.unwrap_or_default(), urls.1.unwrap_or_default());
    std::io::stdout().write_all(urls.as_bytes()).unwrap();
    thread::sleep(Duration::from_secs(300));
}

#[test]
fn nothing_is_left_when_the_test_process_is_killed() {
    let (Some(_), Some(_)) = (Postgres::shared(), Redis::shared()) else { return };
    let temporary = tempfile::tempdir_in(env::temp_dir()).unwrap();
    // Another user's Postgres must be able to come in.
    fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "holds_servers_until_killed", "--ignored", "--nocapture"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let urls = lines.find(|line| line.contains("redis://")).unwrap();
    let urls: Vec<&str> = urls[urls.find("postgres://").unwrap()..].split(' ').collect();
    assert!(urls.iter().all(|url| listens(url)));
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    let folders = || fs::read_dir(&temporary).unwrap().map(|e| e.unwrap().path()).collect::<Vec<PathBuf>>();
    while urls.iter().any(|url| listens(url)) || !folders().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{urls:?} or {:?} is left", folders());
        thread::sleep(Duration::from_millis(100));
    }
}

fn port(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap()
}

fn listens(url: &str) -> bool {
    TcpStream::connect(("127.0.0.1", port(url))).is_ok()
}

/// The first line of the answer; `None` if there is none within a moment.
fn ask(redis: &Redis, command: &str) -> Option<String> {
    let url = redis.url();
    let password = url.trim_start_matches("redis://:").split('@').next().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port(&url))).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(format!("AUTH {password}\r\n{command}\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 256];
    while answer.iter().filter(|&&b| b == b'\n').count() < 2 {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => answer.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
    String::from_utf8(answer).unwrap().lines().nth(1).map(str::to_owned)
}
