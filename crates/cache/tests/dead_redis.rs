//! Redis killed, stopped where it stands, restarted, or another program in its place: no error, no wrong answer, and little
//! delay, once.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use facesocial_cache::{Cache, CacheError, RedisCache, Timing, open};
use facesocial_testkit::Redis;

const LONG: Duration = Duration::from_secs(600);
/// Twice 100 ms are waited at most; the rest is for a busy machine.
const ONE_CALL: Duration = Duration::from_millis(1500);

fn cache(url: &str) -> Arc<dyn Cache> {
    open(Some(url), 1 << 20).unwrap()
}

/// The call does not take long.
async fn soon<T>(call: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let answer = call.await;
    assert!(begun.elapsed() < ONE_CALL, "took {:?}", begun.elapsed());
    answer
}

/// Waits until the cache reaches Redis; one call in two seconds tries.
async fn reached(cache: &dyn Cache) {
    let begun = Instant::now();
    while !cache.status().await.reachable {
        assert!(begun.elapsed() < Duration::from_secs(60), "Redis is back, but not used");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whatever is asked, the answer is the one of a cache that holds nothing; `n` is the count of the key `clicks`.
async fn answers_as_if_empty(cache: &dyn Cache, n: u64) {
    soon(cache.put("group", "field", vec![1], LONG)).await;
    assert_eq!(soon(cache.get("group", "field")).await, None);
    assert!(!soon(cache.forget(&["group".to_owned()])).await);
    let (count, left) = soon(cache.count("clicks", LONG)).await;
    assert_eq!(count, n);
    assert!(left <= LONG && !left.is_zero());
    assert_eq!(soon(cache.is_revoked("unknown")).await, None);
    soon(cache.revoke("ended here", LONG)).await;
    assert_eq!(soon(cache.is_revoked("ended here")).await, Some(true));
    let status = soon(cache.status()).await;
    assert!(!status.reachable && status.failures > 0, "{status:?}");
}

#[tokio::test]
async fn killed_and_restarted() {
    let Some(mut redis) = Redis::start() else { return };
    let (cache, other) = (cache(&redis.url()), cache(&redis.url()));
    reached(&*cache).await;
    reached(&*other).await;
    cache.put("shared", "a", vec![7], LONG).await;
    assert_eq!(other.get("shared", "a").await, Some(vec![7]));
    cache.revoke("a login", LONG).await;
    assert_eq!(other.is_revoked("a login").await, Some(true));

    redis.kill();
    answers_as_if_empty(&*cache, 1).await;
    answers_as_if_empty(&*cache, 2).await;
    // Once it is known to be dead nobody waits for it.
    let begun = Instant::now();
    for _ in 0..1000 {
        cache.get("shared", "a").await;
    }
    assert!(begun.elapsed() < ONE_CALL, "1000 calls took {:?}", begun.elapsed());

    redis.restart();
    reached(&*cache).await;
    reached(&*other).await;
    assert_eq!(cache.get("shared", "a").await, None);
    cache.put("shared", "a", vec![8], LONG).await;
    assert_eq!(other.get("shared", "a").await, Some(vec![8]));
    // Redis lost the note: nobody may conclude that the login holds.
    assert_eq!(other.is_revoked("a login").await, None);
    assert_eq!(cache.is_revoked("a login").await, Some(true));
}

#[tokio::test]
async fn stopped_where_it_stands() {
    let Some(redis) = Redis::start() else { return };
    let cache = cache(&redis.url());
    reached(&*cache).await;
    cache.put("person", "a", vec![1], LONG).await;
    cache.put("kept", "a", vec![2], LONG).await;
    assert_eq!(cache.get("person", "a").await, Some(vec![1]));

    redis.pause();
    answers_as_if_empty(&*cache, 1).await;
    assert!(!soon(cache.forget(&["person".to_owned()])).await);
    // Longer than nobody asks, so that a probe meets the silence too.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        assert_eq!(soon(cache.get("person", "a")).await, None);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    redis.resume();
    reached(&*cache).await;
    // It kept its memory; what was to be forgotten meanwhile is gone all the same.
    assert_eq!(cache.get("person", "a").await, None);
    assert_eq!(cache.get("kept", "a").await, Some(vec![2]));
}

#[tokio::test]
async fn full_or_holding_something_else() {
    let Some(redis) = Redis::start() else { return };
    let cache = cache(&redis.url());
    reached(&*cache).await;
    let pool =
        deadpool_redis::Config::from_url(redis.url()).create_pool(Some(deadpool_redis::Runtime::Tokio1)).unwrap();
    let mut connection = pool.get().await.unwrap();
    let mut run = async |words: &[&str]| {
        let mut command = deadpool_redis::redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async::<deadpool_redis::redis::Value>(&mut connection).await.unwrap();
    };
    run(&["SET", "facesocial:group:not a group", "x"]).await;
    run(&["HSET", "facesocial:group:not sealed", "a", "x"]).await;
    run(&["SET", "facesocial:revoked:not a note", "x"]).await;
    assert_eq!(cache.get("not a group", "a").await, None);
    assert_eq!(cache.get("not sealed", "a").await, None);
    assert_eq!(cache.is_revoked("not a note").await, None);
    cache.put("kept", "a", vec![1], LONG).await;

    run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    cache.put("refused", "a", vec![1], LONG).await;
    assert_eq!(cache.get("refused", "a").await, None);
    assert_eq!(cache.count("refused", LONG).await.0, 1);
    assert_eq!(cache.count("refused", LONG).await.0, 2);
    // It still answers, and what it has is found.
    assert_eq!(cache.get("kept", "a").await, Some(vec![1]));
    assert!(cache.forget(&["kept".to_owned()]).await);
    assert!(cache.status().await.reachable);
}

#[tokio::test]
async fn nobody_there_or_the_wrong_password() {
    // The port of nobody: bound, and given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    answers_as_if_empty(&*cache(&format!("redis://127.0.0.1:{port}")), 1).await;
    let Some(redis) = Redis::shared() else { return };
    let url = redis.url();
    let (start, rest) = url.split_once("://:").unwrap();
    answers_as_if_empty(&*cache(&format!("{start}://:wrong{rest}")), 1).await;
}

/// What stands in Redis's place, by what it says to whatever it hears; `None` hangs up.
async fn in_its_place(answer: Option<&'static [u8]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let talk = move |mut stream: TcpStream| {
            let mut heard = [0; 4096];
            while let (Some(answer), Ok(1..)) = (answer, stream.read(&mut heard)) {
                if stream.write_all(answer).is_err() {
                    break;
                }
            }
        };
        listener.incoming().flatten().for_each(|stream| drop(thread::spawn(move || talk(stream))));
    });
    let cache = cache(&url);
    for n in 1..=3 {
        answers_as_if_empty(&*cache, n).await;
    }
}

#[tokio::test]
async fn one_who_hangs_up() {
    in_its_place(None).await;
}

#[tokio::test]
async fn one_who_says_nothing() {
    in_its_place(Some(b"")).await;
}

#[tokio::test]
async fn one_who_says_yes_to_everything() {
    in_its_place(Some(b"+OK\r\n")).await;
}

#[tokio::test]
async fn one_who_says_a_number() {
    in_its_place(Some(b":1\r\n:1\r\n:1\r\n:1\r\n")).await;
}

#[tokio::test]
async fn one_who_speaks_http() {
    in_its_place(Some(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")).await;
}

#[tokio::test]
async fn one_who_promises_more_than_comes() {
    in_its_place(Some(b"$536870912\r\nhello")).await;
}

#[tokio::test]
async fn one_who_speaks_nonsense() {
    in_its_place(Some(b"\x00\xff*-5\r\n*99999999999999\r\n%\r\n")).await;
}

#[tokio::test]
async fn one_who_nests_without_end() {
    in_its_place(Some(b"*1\r\n".repeat(5000).leak())).await;
}

#[test]
fn a_url_that_cannot_be_used_is_told_without_its_password() {
    for url in [
        "",
        "localhost:6379",
        "http://localhost",
        "redis://",
        "rediss://h:1",
        "redis://:secret@h/x",
        "redis://:secret@0.0.0.0",
    ] {
        let error = open(Some(url), 1).err().unwrap_or_else(|| panic!("{url} is accepted"));
        let CacheError::Url(reason) = &error else { panic!("{error}") };
        assert!(!reason.contains("secret"), "{reason}");
        assert!(error.to_string().contains("redis://"), "{error}");
    }
    assert!(open(None, 1).is_ok());
    assert!(RedisCache::new("redis://:secret@127.0.0.1:1/3", Timing::default()).is_ok());
}
