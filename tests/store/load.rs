//! Registrations under keys, by a client that repeats what was not acknowledged.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env, fs,
    path::Path,
    sync::{Arc, Mutex, RwLock},
    time::{Duration, Instant},
};

use reqwest::{
    Client, RequestBuilder,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::server::Server;

/// Writes at the same time.
const WRITERS: usize = 4;
/// A face takes seconds in an unoptimised build, a person without one takes none.
const ONE_FACE_IN: usize = 10;
/// How long one write may be repeated.
const PATIENCE: Duration = Duration::from_secs(300);
const COLLECTION: &str = "/api/v1/collections/default";

/// How many writes there are: `FACESOCIAL_CRASH_WRITES`, or 60.
pub fn writes() -> usize {
    env::var("FACESOCIAL_CRASH_WRITES").map_or(60, |n| n.parse().expect("FACESOCIAL_CRASH_WRITES is a number"))
}

fn enrols_a_face(n: usize) -> bool {
    n.is_multiple_of(ONE_FACE_IN)
}

/// A load under way, or done.
pub struct Load {
    client: Client,
    /// Where the server is now; it has another port after each start.
    base: RwLock<String>,
    open: Mutex<VecDeque<usize>>,
    acknowledged: Mutex<BTreeMap<usize, Acknowledged>>,
    /// Attempts that were not acknowledged.
    failed: Mutex<Vec<String>>,
    portrait: Vec<u8>,
}

/// What the server said of a write.
#[derive(Debug, Clone)]
struct Acknowledged {
    /// Identifier of the face, or of the person without one.
    id: String,
    /// Whether the write had been made before, and only its acknowledgement was lost.
    replayed: bool,
}

impl Load {
    /// All writes, none made yet.
    pub fn new(server: &Server) -> Arc<Self> {
        let portrait = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/portrait.jpg");
        Arc::new(Self {
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
            base: RwLock::new(server.url("")),
            open: Mutex::new((0..writes()).collect()),
            acknowledged: Mutex::default(),
            failed: Mutex::default(),
            portrait: fs::read(portrait).unwrap(),
        })
    }

    /// Begins the writes; they are made when [`Running::end`] returns.
    pub fn run(self: &Arc<Self>) -> Running {
        let work = |_| {
            let load = Arc::clone(self);
            tokio::spawn(async move {
                loop {
                    let next = load.open.lock().unwrap().pop_front();
                    let Some(n) = next else { break };
                    load.write(n).await;
                }
            })
        };
        Running((0..WRITERS).map(work).collect())
    }

    /// Goes on with a server elsewhere.
    pub fn go_on_at(&self, server: &Server) {
        *self.base.write().unwrap() = server.url("");
    }

    /// Waits until `n` writes are acknowledged.
    pub async fn acknowledged(&self, n: usize) {
        let begun = Instant::now();
        while self.acknowledged.lock().unwrap().len() < n {
            assert!(begun.elapsed() < PATIENCE, "no {n} writes were acknowledged");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What became of attempts that were not acknowledged.
    pub fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }

    /// How many writes were repeated that had been made.
    pub fn replayed(&self) -> usize {
        self.acknowledged.lock().unwrap().values().filter(|a| a.replayed).count()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{COLLECTION}{path}", self.base.read().unwrap())
    }

    /// Write `n`, again and again under the same key until it is acknowledged.
    async fn write(&self, n: usize) {
        let begun = Instant::now();
        loop {
            match self.attempt(n).await {
                Ok(acknowledged) => {
                    let before = self.acknowledged.lock().unwrap().insert(n, acknowledged);
                    assert!(before.is_none());
                    return;
                }
                Err(reason) => self.failed.lock().unwrap().push(reason),
            }
            assert!(begun.elapsed() < PATIENCE, "write {n} is never acknowledged: {:?}", self.failed().last());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One attempt; an error if the same may succeed later.
    async fn attempt(&self, n: usize) -> Result<Acknowledged, String> {
        let request = if enrols_a_face(n) { self.face(n) } else { self.person(n) };
        let sent = request.header("Idempotency-Key", format!("write-{n}")).send().await;
        let response = sent.map_err(|e| format!("connection: {e}"))?;
        let status = response.status();
        let replayed = response.headers().contains_key("idempotency-replayed");
        let body: Value = response.json().await.map_err(|e| format!("answer: {e}"))?;
        match status.as_u16() {
            201 => {
                let id = if enrols_a_face(n) { &body["face"]["id"] } else { &body["id"] };
                Ok(Acknowledged { id: id.as_str().unwrap_or_else(|| panic!("{body}")).to_owned(), replayed })
            }
            503 => Err(format!("503 {}", body["code"])),
            other => panic!("write {n}: {other} {body}"),
        }
    }

    fn person(&self, n: usize) -> RequestBuilder {
        let person =
            json!({ "external_id": format!("person-{n}"), "name": format!("Person {n}"), "metadata": { "n": n } });
        self.client.post(self.url("/persons")).json(&person)
    }

    fn face(&self, n: usize) -> RequestBuilder {
        // Another file each time, the same face: what follows the image's end is not read.
        let photo = [&self.portrait[..], format!("write {n}").as_bytes()].concat();
        let form = Form::new()
            .text("external_id", format!("person-{n}"))
            .text("metadata", json!({ "n": n }).to_string())
            .part("file", Part::bytes(photo).file_name("portrait.jpg"));
        self.client.post(self.url("/faces")).multipart(form)
    }

    /// What was acknowledged until now is there, and nothing is there twice. Called while no server is being killed.
    pub async fn assert_kept(&self) {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let (persons, faces) = (self.list("/persons").await, self.list("/faces").await);
        for (n, Acknowledged { id, .. }) in acknowledged {
            let found = if enrols_a_face(n) { &faces } else { &persons };
            let found: Vec<&Value> = found.iter().filter(|item| item["id"] == *id).collect();
            assert_eq!(found.len(), 1, "write {n}, {id}");
            assert_eq!(found[0]["metadata"]["n"], n);
        }
        let names: BTreeSet<&str> = persons.iter().map(|p| p["external_id"].as_str().unwrap()).collect();
        assert_eq!(names.len(), persons.len(), "a person is there twice");
        let numbers: BTreeSet<u64> = faces.iter().map(|f| f["metadata"]["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers.len(), faces.len(), "a face is there twice");
    }

    /// All writes are there, once, and a search finds the faces.
    pub async fn assert_complete(&self) {
        self.assert_kept().await;
        let faces = (0..writes()).filter(|n| enrols_a_face(*n)).count();
        assert_eq!(self.acknowledged.lock().unwrap().len(), writes());
        assert_eq!((self.list("/persons").await.len(), self.list("/faces").await.len()), (writes(), faces));
        let form = Form::new().text("top_k", "100").part("file", Part::bytes(self.portrait.clone()).file_name("p.jpg"));
        let response = self.client.post(self.url("/identify")).multipart(form).send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["searched"], faces);
        assert_eq!(body["faces"][0]["matches"].as_array().unwrap().len(), faces.min(100));
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let url = format!("{}?limit=100{cursor}", self.url(path));
            let mut page: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
            items.append(page["items"].as_array_mut().unwrap_or_else(|| panic!("{path} gives no list")));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

/// Writes under way.
pub struct Running(Vec<tokio::task::JoinHandle<()>>);

impl Running {
    /// Waits until all writes are acknowledged.
    pub async fn end(self) {
        for task in self.0 {
            task.await.unwrap();
        }
    }
}
