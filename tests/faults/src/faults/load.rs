//! A steady load: writes under keys, repeated until they are acknowledged; searches, analyses and reads beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    client::{Answer, Asker, How},
    photos::Photos,
};

const COLLECTION: &str = "/api/v1/collections/default";
/// One write in so many enrols a face; the others make a person without one.
const ONE_FACE_IN: usize = 5;
/// Pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(40);
/// Pause before a write is repeated.
const AGAIN: Duration = Duration::from_millis(250);
/// Who is verified, enrolled before anything goes wrong.
const KNOWN: &str = "known";

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A person, or a face, under an idempotency key.
    Write,
    /// Whose face it is.
    Identify,
    /// Whether it is this person's face.
    Verify,
    /// All analyses of a photo.
    Analyze,
    /// A page of persons.
    Read,
}

/// One attempt, and when.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub kind: Kind,
    pub sent: Instant,
    pub answer: Answer,
}

impl Attempt {
    /// When the answer was there.
    pub fn ended(&self) -> Instant {
        self.sent + self.answer.took
    }
}

/// A load under way.
pub struct Load {
    asker: Asker,
    photos: Photos,
    stop: AtomicBool,
    numbers: AtomicUsize,
    attempts: Mutex<Vec<Attempt>>,
    /// Identifier of the face or person that each write gave.
    acknowledged: Mutex<BTreeMap<usize, String>>,
}

/// What became of the writes.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Of these, those that are not there.
    pub lost: Vec<String>,
    /// Persons and faces that are there more than once.
    pub twice: Vec<String>,
}

fn enrols_a_face(n: usize) -> bool {
    n.is_multiple_of(ONE_FACE_IN)
}

impl Load {
    /// A load of a running server, which has one person enrolled then.
    ///
    /// # Errors
    /// The server refuses that person.
    pub async fn new(asker: Asker) -> anyhow::Result<Arc<Self>> {
        let photos = Photos::new(false)?;
        let portrait = photos.faces[0].clone();
        let fields = [("external_id", KNOWN)];
        let answer = asker.photo(&format!("{COLLECTION}/faces"), portrait, &fields, How::default()).await;
        if !answer.is(201) {
            bail!("nobody can be enrolled: {} {}", answer.label(), answer.body);
        }
        Ok(Arc::new(Self {
            asker,
            photos,
            stop: AtomicBool::new(false),
            numbers: AtomicUsize::new(0),
            attempts: Mutex::default(),
            acknowledged: Mutex::default(),
        }))
    }

    /// Begins: three clients that write, and one for each other kind.
    pub fn run(self: &Arc<Self>) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for kind in [Kind::Write, Kind::Write, Kind::Write, Kind::Identify, Kind::Verify, Kind::Analyze, Kind::Read] {
            let load = Arc::clone(self);
            clients.spawn(async move {
                while !load.stop.load(Ordering::Relaxed) {
                    match kind {
                        Kind::Write => load.write().await,
                        other => drop(load.ask(other).await),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        clients
    }

    /// No further requests.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Everything so far.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.lock(&self.attempts).clone()
    }

    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One write, repeated under its key until it is acknowledged or the load ends.
    async fn write(&self) {
        let n = self.numbers.fetch_add(1, Ordering::Relaxed);
        while !self.attempt(n).await && !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// One more write, tried once; whether it was acknowledged.
    pub async fn probe(&self) -> bool {
        // With a face: networks and database are asked for.
        let n = loop {
            let n = self.numbers.fetch_add(1, Ordering::Relaxed);
            if enrols_a_face(n) {
                break n;
            }
        };
        self.attempt(n).await
    }

    async fn attempt(&self, n: usize) -> bool {
        let (key, sent, name) = (format!("write-{n}"), Instant::now(), format!("person-{n}"));
        let metadata = json!({ "n": n });
        let answer = if enrols_a_face(n) {
            let fields = [("external_id", name.as_str()), ("metadata", &metadata.to_string())];
            let how = How { key: Some(&key), cached: false };
            self.asker.photo(&format!("{COLLECTION}/faces"), self.photos.variant(n), &fields, how).await
        } else {
            let person = json!({ "external_id": name, "name": "Somebody", "metadata": metadata });
            self.asker.post(&format!("{COLLECTION}/persons"), &person, Some(&key)).await
        };
        let id = if enrols_a_face(n) { &answer.body["face"]["id"] } else { &answer.body["id"] };
        let acknowledged = answer.is(201);
        if acknowledged {
            self.lock(&self.acknowledged).insert(n, id.as_str().unwrap_or_default().to_owned());
        }
        self.lock(&self.attempts).push(Attempt { kind: Kind::Write, sent, answer });
        acknowledged
    }

    /// One request that changes nothing.
    pub async fn ask(&self, kind: Kind) -> Answer {
        let (sent, face) = (Instant::now(), self.photos.faces[0].clone());
        let answer = match kind {
            Kind::Identify => self.asker.photo(&format!("{COLLECTION}/identify"), face, &[], How::default()).await,
            Kind::Verify => {
                let person = format!("external:{KNOWN}");
                let fields = [("person", person.as_str())];
                self.asker.photo(&format!("{COLLECTION}/verify"), face, &fields, How::default()).await
            }
            Kind::Analyze => self.asker.photo("/analyze/comprehensive", face, &[], How::default()).await,
            Kind::Read | Kind::Write => self.asker.get(&format!("{COLLECTION}/persons?limit=20")).await,
        };
        self.lock(&self.attempts).push(Attempt { kind, sent, answer: answer.clone() });
        answer
    }

    /// Looks up every acknowledged write.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn kept(&self) -> anyhow::Result<Kept> {
        let acknowledged = self.lock(&self.acknowledged).clone();
        let (persons, faces) = (self.list("/persons").await?, self.list("/faces").await?);
        let mut kept = Kept { acknowledged: acknowledged.len(), lost: Vec::new(), twice: Vec::new() };
        for (n, id) in acknowledged {
            let among = if enrols_a_face(n) { &faces } else { &persons };
            let found: Vec<&Value> = among.iter().filter(|item| item["id"] == *id).collect();
            match found[..] {
                [one] if one["metadata"]["n"] == n => {}
                [] | [_] => kept.lost.push(format!("write {n}, {id}")),
                _ => kept.twice.push(format!("write {n}, {id}")),
            }
        }
        let mut seen = BTreeSet::new();
        for name in persons.iter().map(|p| p["external_id"].to_string()) {
            if !seen.insert(name.clone()) {
                kept.twice.push(name);
            }
        }
        let mut seen = BTreeSet::new();
        for n in faces.iter().filter_map(|face| face["metadata"]["n"].as_u64()) {
            if !seen.insert(n) {
                kept.twice.push(format!("face of write {n}"));
            }
        }
        Ok(kept)
    }

    async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = self.asker.get(&format!("{COLLECTION}{path}?limit=100{cursor}")).await;
            let page = answer.body["items"].as_array();
            items.extend(page.with_context(|| format!("{path}: {}", answer.label()))?.iter().cloned());
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }
}
