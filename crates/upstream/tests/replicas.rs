//! Questions to replicas of which only the answers are made up.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use facesocial_engine::{Caller, ClientId, Question, Remote, RemoteError, Reply, WireError};
use facesocial_types::{ModelId, Service};
use facesocial_upstream::{Credentials, ReplicaState, Upstreams};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

const NETWORK: (&str, &str) = ("net", "0123abcd");
/// What a good answer is here.
const GOOD: &str = "good";

/// What a replica does with a question.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Answers with this status and body.
    Says(u16, &'static str),
    /// Ends the connection without a word.
    HangsUp,
    /// Never answers.
    Waits,
}

/// A server that does what it is told.
struct Fake {
    address: SocketAddr,
    does: Arc<Mutex<Does>>,
    seen: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Fake {
    async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (does, seen, asked) = (Arc::new(Mutex::new(does)), Arc::default(), Arc::default());
        let shared = (Arc::clone(&does), Arc::clone(&seen), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (does, seen, asked) = shared.clone();
                open.spawn(serve(stream, does, seen, asked));
            }
        });
        Self { address, does, seen, asked, serving }
    }

    fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    does: Arc<Mutex<Does>>,
    seen: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicUsize>,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while bytes.len() < end + length {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        bytes.drain(..end + length);
        let question = head.starts_with("post ");
        let now = *does.lock().unwrap();
        if question {
            asked.fetch_add(1, Ordering::SeqCst);
            seen.lock().unwrap().push(head);
        }
        let (status, body) = match now {
            Does::HangsUp => return None,
            Does::Waits => std::future::pending().await,
            // A probe is answered as the networks are, unless the server does not answer at all.
            Does::Says(503, body) => (503, body.to_owned()),
            Does::Says(401, body) => (401, body.to_owned()),
            Does::Says(..) if !question => {
                (200, format!(r#"{{"networks":[{{"name":"{}","version":"{}"}}]}}"#, NETWORK.0, NETWORK.1))
            }
            Does::Says(status, body) => (status, body.to_owned()),
        };
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nretry-after: 7\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// Waits for one answer.
struct Slot(Mutex<Option<oneshot::Sender<Result<(), RemoteError>>>>);

impl Reply for Slot {
    fn accept(&self, bytes: &[u8]) -> Result<(), WireError> {
        if bytes != GOOD.as_bytes() {
            return Err(WireError::Magic);
        }
        if let Some(sender) = self.0.lock().unwrap().take() {
            let _ = sender.send(Ok(()));
        }
        Ok(())
    }

    fn fail(&self, error: RemoteError) {
        if let Some(sender) = self.0.lock().unwrap().take() {
            let _ = sender.send(Err(error));
        }
    }

    fn wanted(&self) -> bool {
        self.0.lock().unwrap().as_ref().is_some_and(|sender| !sender.is_closed())
    }
}

struct Asked {
    upstreams: Upstreams,
    remote: Arc<dyn Remote>,
}

impl Asked {
    fn of(addresses: &[SocketAddr]) -> Self {
        let origins = addresses.iter().map(|a| format!("http://{a}").parse().unwrap()).collect();
        let credentials: Credentials = Arc::new(|| Some("a-token".to_owned()));
        let upstreams = Upstreams::start(BTreeMap::from([(Service::Yolo, origins)]), &credentials).unwrap();
        let remote = Arc::clone(&upstreams.remotes()[&Service::Yolo]);
        remote.expect(&ModelId::new(NETWORK.0, NETWORK.1));
        Self { upstreams, remote }
    }

    async fn ask_for(&self, time: Duration) -> Result<(), RemoteError> {
        let deadline = tokio::time::Instant::now() + time;
        let (sender, receiver) = oneshot::channel();
        self.remote.ask(Question {
            id: ModelId::new(NETWORK.0, NETWORK.1),
            body: b"a question".to_vec(),
            caller: Caller::new(ClientId::from_number(0xabc), Some(deadline)),
            reply: Arc::new(Slot(Mutex::new(Some(sender)))),
        });
        receiver.await.unwrap()
    }

    async fn ask(&self) -> Result<(), RemoteError> {
        self.ask_for(Duration::from_secs(60)).await
    }

    fn states(&self) -> Vec<ReplicaState> {
        self.upstreams.replicas(Service::Yolo).unwrap().iter().map(|replica| replica.state).collect()
    }

    async fn wait_for(&self, wanted: &[ReplicaState]) {
        let begun = Instant::now();
        while self.states() != wanted {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", self.upstreams.replicas(Service::Yolo));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

use ReplicaState::{Ejected, Healthy};

#[tokio::test]
async fn a_question_carries_its_token_its_time_and_its_client() {
    let fake = Fake::start(Does::Says(200, GOOD)).await;
    let asked = Asked::of(&[fake.address]);
    assert_eq!(asked.ask_for(Duration::from_secs(9)).await, Ok(()));
    let seen = fake.seen.lock().unwrap()[0].clone();
    assert!(seen.starts_with("post /internal/v1/networks/net http/1.1\r\n"), "{seen}");
    let header = |name: &str| seen.lines().find_map(|l| l.strip_prefix(&format!("{name}: "))).unwrap().to_owned();
    assert_eq!((header("authorization"), header("x-facesocial-client")), ("bearer a-token".into(), "abc".into()));
    let left: u64 = header("x-facesocial-time-left").parse().unwrap();
    assert!((1..=9000).contains(&left), "{left}");
    asked.wait_for(&[Healthy]).await;
}

#[tokio::test]
async fn what_fails_because_of_a_replica_is_asked_again_of_another() {
    for bad in [
        Does::HangsUp,
        Does::Says(502, "x"),
        Does::Says(503, r#"{"detail":"is stopping"}"#),
        Does::Says(429, "x"),
        Does::Says(200, "no answer"),
        Does::Says(409, r#"{"detail":"runs other weights"}"#),
        Does::Says(401, "x"),
    ] {
        let (first, second) = (Fake::start(bad).await, Fake::start(Does::Says(200, GOOD)).await);
        let asked = Asked::of(&[first.address, second.address]);
        for _ in 0..4 {
            assert_eq!(asked.ask().await, Ok(()), "{bad:?}");
        }
        assert!(second.asked() >= 4, "{bad:?}");
    }
}

#[tokio::test]
async fn what_fails_because_of_the_question_is_not() {
    for (bad, expected) in [
        (Does::Says(400, r#"{"detail":"no question"}"#), RemoteError::Failed { reason: "no question".to_owned() }),
        (Does::Says(500, "{}"), RemoteError::Failed { reason: "500 Internal Server Error".to_owned() }),
        (Does::Says(504, "{}"), RemoteError::Expired),
    ] {
        let (first, second) = (Fake::start(bad).await, Fake::start(bad).await);
        let asked = Asked::of(&[first.address, second.address]);
        assert_eq!(asked.ask().await, Err(expected), "{bad:?}");
        assert_eq!(first.asked() + second.asked(), 1, "{bad:?}");
        // Nor is a replica to blame.
        asked.wait_for(&[Healthy, Healthy]).await;
    }
}

#[tokio::test]
async fn all_that_have_too_much_to_do_are_asked_once_and_not_blamed() {
    let fakes = [Fake::start(Does::Says(429, "x")).await, Fake::start(Does::Says(429, "x")).await];
    let asked = Asked::of(&fakes.each_ref().map(|fake| fake.address));
    for _ in 0..5 {
        assert_eq!(asked.ask().await, Err(RemoteError::Overloaded { retry_after: Duration::from_secs(7) }));
    }
    assert_eq!(fakes.each_ref().map(Fake::asked), [5, 5]);
    asked.wait_for(&[Healthy, Healthy]).await;
}

#[tokio::test]
async fn the_lost_are_left_alone_and_told_at_once_until_a_probe_finds_them_back() {
    let fake = Fake::start(Does::Says(200, GOOD)).await;
    let asked = Asked::of(&[fake.address]);
    assert_eq!(asked.ask().await, Ok(()));
    fake.now(Does::HangsUp);
    let error = asked.ask().await.unwrap_err();
    let RemoteError::Unreachable(outage) = error else { panic!("{error:?}") };
    assert!(outage.reason.contains("yolo") && !outage.reason.contains("127.0.0.1"), "{outage:?}");
    assert!(outage.retry_after >= Duration::from_secs(1));
    assert_eq!(asked.states(), [Ejected], "three attempts in a row");
    let report = asked.upstreams.replicas(Service::Yolo).unwrap().remove(0);
    assert!(report.ejected_until.is_some() && report.reason.is_some() && report.outstanding == 0, "{report:?}");
    assert_eq!((report.answered, report.failed), (1, 3));
    let before = fake.asked();
    assert!(asked.remote.reachable().is_err() && asked.ask().await.is_err());
    assert_eq!(fake.asked(), before, "nobody is asked while it is left alone");
    fake.now(Does::Says(200, GOOD));
    asked.wait_for(&[Healthy]).await;
    assert!(asked.remote.reachable().is_ok());
    assert_eq!(asked.ask().await, Ok(()));
}

#[tokio::test]
async fn whoever_refuses_or_runs_another_version_is_named_as_such() {
    for (bad, says) in [
        (Does::Says(409, r#"{"detail":"the service runs net@ffffffff here"}"#), "another version"),
        (Does::Says(401, "x"), "secret"),
        (Does::Says(404, "x"), "secret"),
    ] {
        let fake = Fake::start(bad).await;
        let asked = Asked::of(&[fake.address]);
        let error = asked.ask().await.unwrap_err();
        let RemoteError::Unreachable(outage) = error else { panic!("{error:?}") };
        assert!(outage.reason.contains(says), "{bad:?}: {outage:?}");
    }
    // A probe tells before anything is asked.
    let fake = Fake::start(Does::Says(200, GOOD)).await;
    let asked = Asked::of(&[fake.address]);
    asked.remote.expect(&ModelId::new("net", "ffffffff"));
    asked.wait_for(&[Ejected]).await;
    let reason = asked.upstreams.replicas(Service::Yolo).unwrap()[0].reason.clone().unwrap();
    assert!(reason.contains("net@ffffffff") && reason.contains("net@0123abcd"), "{reason}");
}

#[tokio::test]
async fn nobody_is_waited_for_beyond_the_time_or_when_nobody_waits() {
    let fake = Fake::start(Does::Waits).await;
    let asked = Asked::of(&[fake.address]);
    assert_eq!(asked.ask_for(Duration::from_millis(300)).await, Err(RemoteError::Expired));
    let outstanding = || asked.upstreams.replicas(Service::Yolo).unwrap()[0].outstanding;
    let begun = Instant::now();
    while outstanding() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Whoever asked leaves while the replica works.
    let asking = asked.ask();
    tokio::select! {
        answer = asking => panic!("{answer:?}"),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
    let begun = Instant::now();
    while outstanding() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "its place is still taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_busy_replica_gets_less() {
    let (slow, quick) = (Fake::start(Does::Waits).await, Fake::start(Does::Says(200, GOOD)).await);
    let asked = Asked::of(&[slow.address, quick.address]);
    let answered = AtomicUsize::new(0);
    let all = async {
        for _ in 0..20 {
            // One that the slow one has is not waited for.
            if tokio::time::timeout(Duration::from_secs(1), asked.ask()).await.is_ok_and(|a| a.is_ok()) {
                answered.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let held = async {
        // Two that stay under way at the slow one, if they get there.
        let _ = tokio::join!(asked.ask(), asked.ask(), asked.ask());
    };
    tokio::select! {
        () = all => {}
        () = held => panic!("the slow one answered"),
    }
    assert!(answered.load(Ordering::SeqCst) >= 15, "{answered:?} of 20 went to the one that answers");
}
