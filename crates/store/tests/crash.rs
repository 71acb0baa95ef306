//! What was acknowledged is there after `kill -9`, and what was not can be sent again: of the process that writes, and of
//! Postgres under it. None is there twice.
//!
//! A second process of this test binary enrols faces and prints what the store acknowledged. This one kills it, or its
//! Postgres, in the middle, looks at what is there, and has it go on with what was not acknowledged, under the same keys.
//! `FACESOCIAL_CRASH_WRITES` says how many writes there are; 120 without it.
#![cfg(unix)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env,
    io::{self, BufRead, BufReader, Read, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
    str::FromStr,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use facesocial_store::{
    Actor, CollectionId, DEFAULT_COLLECTION, FaceId, Idempotency, NewFace, NewPerson, Outcome, PageRequest, PersonId,
    PersonRef, Result, SearchQuery, Store, StoreError, StoreOptions, Write, open,
};
use facesocial_testkit::Postgres;
use facesocial_types::{BBox, Embedding, ModelId};
use uuid::Uuid;

/// Where the writing process finds the store: a URL of Postgres, or a folder.
const WHERE: &str = "FACESOCIAL_CRASH_STORE";
/// How long the database may be away, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Writes at the same time.
const WRITERS: usize = 8;

fn writes() -> usize {
    env::var("FACESOCIAL_CRASH_WRITES").map_or(120, |n| n.parse().expect("FACESOCIAL_CRASH_WRITES is a number"))
}

fn options(place: &str) -> StoreOptions {
    if place.starts_with("postgres://") { StoreOptions::postgres(place) } else { StoreOptions::embedded(place) }
}

/// Every fifth write makes a person without a face; of the others, two after each other enrol faces of the same person.
fn makes_a_person_only(n: usize) -> bool {
    n % 5 == 4
}

fn external_id(n: usize) -> String {
    if makes_a_person_only(n) { format!("alone-{n}") } else { format!("person-{}", n / 2) }
}

/// The unit vector of write `n`; no two are alike.
fn embedding(n: usize) -> Embedding {
    let mut random = fastrand::Rng::with_seed(n as u64);
    let vector = (0..128).map(|_| random.f32() - 0.5).collect();
    Embedding::new(ModelId::new("crash-test", "1"), vector).unwrap()
}

/// Write number `n`, always the same, under its own key. Gives the identifier of the face, or of the person without one.
async fn write(store: &dyn Store, collection: CollectionId, n: usize) -> Result<Outcome<Uuid>> {
    let write = Write {
        actor: Actor::system(),
        request_id: format!("write-{n}"),
        idempotency: Some(Idempotency { key: format!("key-{n}"), fingerprint: format!("{n:064x}") }),
    };
    let person =
        NewPerson { external_id: external_id(n), name: format!("Person of {n}"), metadata: serde_json::json!({}) };
    if makes_a_person_only(n) {
        let made = store.create_person(&write, collection, person).await?;
        return Ok(Outcome { value: made.value.id.0, replayed: made.replayed });
    }
    let face = NewFace {
        person: Some(PersonRef::GetOrCreate(person)),
        face_hash: format!("{n:064x}"),
        bbox: BBox::new(1.0, 2.0, 30.0, 40.0),
        detection_score: 0.99,
        quality_score: 0.9,
        face_group: "primary".to_owned(),
        searchable: true,
        metadata: serde_json::json!({ "n": n }),
        embeddings: vec![embedding(n)],
        crop: None,
    };
    let enrolled = store.enroll(&write, collection, face).await?;
    Ok(Outcome { value: enrolled.value.face.id.0, replayed: enrolled.replayed })
}

/// The writing process: takes numbers from its input and says `ack NUMBER ID HOW` for each that the store acknowledged.
/// While the database is away it tries again with the same key, as a client would.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn writes_what_it_is_told() {
    let Ok(place) = env::var(WHERE) else { return };
    let mut numbers = String::new();
    io::stdin().read_to_string(&mut numbers).unwrap();
    let numbers: VecDeque<usize> = numbers.split_whitespace().map(|n| n.parse().unwrap()).collect();
    let numbers = Arc::new(Mutex::new(numbers));
    block_on(async {
        let store = open(&options(&place)).await.unwrap();
        let collection = store.collection(DEFAULT_COLLECTION).await.unwrap().id;
        let work = |_| {
            let (store, numbers) = (Arc::clone(&store), Arc::clone(&numbers));
            tokio::spawn(async move {
                loop {
                    let next = numbers.lock().unwrap().pop_front();
                    let Some(n) = next else { break };
                    let begun = Instant::now();
                    let done = loop {
                        match write(&*store, collection, n).await {
                            Ok(done) => break done,
                            Err(StoreError::Unavailable { .. }) if begun.elapsed() < PATIENCE => {
                                tokio::time::sleep(Duration::from_millis(50)).await;
                            }
                            Err(error) => panic!("write {n}: {error}: {error:?}"),
                        }
                    };
                    let how = if done.replayed { "replayed" } else { "new" };
                    // In one piece, and past the harness, which keeps what tests print.
                    io::stdout().write_all(format!("\nack {n} {} {how}\n", done.value).as_bytes()).unwrap();
                }
            })
        };
        let tasks: Vec<_> = (0..WRITERS).map(work).collect();
        for task in tasks {
            task.await.unwrap();
        }
        store.close().await;
    });
}

/// A running writing process.
struct Writer {
    process: Child,
    output: BufReader<ChildStdout>,
}

/// What the store acknowledged: the identifier by the write's number.
type Acknowledged = BTreeMap<usize, Uuid>;

/// What was heard from a writing process.
struct Heard {
    /// Whether it has ended.
    ended: bool,
    /// How many writes had been made before without an acknowledgement.
    replayed: usize,
}

impl Writer {
    /// One that makes all writes that are not acknowledged yet.
    fn start(place: &str, acknowledged: &Acknowledged) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "writes_what_it_is_told", "--ignored", "--nocapture"])
            .env(WHERE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let open = (0..writes()).filter(|n| !acknowledged.contains_key(n));
        let numbers: String = open.map(|n| format!("{n}\n")).collect();
        process.stdin.take().unwrap().write_all(numbers.as_bytes()).unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// Notes acknowledgements until `enough` more have come, or the process has ended.
    fn listen(&mut self, acknowledged: &mut Acknowledged, enough: usize) -> Heard {
        let (mut count, mut replayed) = (0, 0);
        let mut line = String::new();
        while count < enough {
            line.clear();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return Heard { ended: true, replayed };
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            // A line that was cut off says nothing.
            if let (["ack", n, id, how], true) = (&words[..], line.ends_with('\n')) {
                let (n, id) = (n.parse().unwrap(), Uuid::from_str(id).unwrap());
                assert_eq!(acknowledged.insert(n, id), None, "write {n} was acknowledged before");
                replayed += usize::from(*how == "replayed");
                count += 1;
            }
        }
        Heard { ended: false, replayed }
    }

    /// `kill -9`; what it had said until then counts. Gives how many writes had been made before.
    fn kill(mut self, acknowledged: &mut Acknowledged) -> usize {
        self.process.kill().unwrap();
        let heard = self.listen(acknowledged, usize::MAX);
        self.process.wait().unwrap();
        heard.replayed
    }

    fn assert_ended_well(mut self) {
        assert!(self.process.wait().unwrap().success(), "the writing process failed");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Everything acknowledged is there and can be found; nothing is there twice; the store finds no damage.
async fn assert_intact(place: &str, acknowledged: &Acknowledged) {
    let store = open(&options(place)).await.unwrap();
    let collection = store.collection(DEFAULT_COLLECTION).await.unwrap().id;
    for result in store.check().await.unwrap() {
        assert!(result.ok, "{}: {}", result.check, result.detail);
    }
    for (&n, &id) in acknowledged {
        let person = store.person_by_external_id(collection, &external_id(n)).await.unwrap();
        if makes_a_person_only(n) {
            assert_eq!(person.id, PersonId(id), "write {n}");
            continue;
        }
        let face = store.face(collection, FaceId(id)).await.unwrap();
        assert_eq!((face.person_id, &face.metadata["n"]), (Some(person.id), &n.into()), "write {n}");
        let probe = embedding(n);
        let query = SearchQuery { collection, probe, limit: 1, min_similarity: 0.9, groups: Vec::new(), person: None };
        let found = store.search(&query).await.unwrap().matches;
        assert_eq!(found.first().map(|m| m.face_id), Some(face.id), "write {n}: {found:?}");
    }
    let (faces, persons) = (numbers_of_faces(&*store, collection).await, external_ids(&*store, collection).await);
    assert_eq!(faces.iter().collect::<BTreeSet<_>>().len(), faces.len(), "a face is there twice");
    assert_eq!(persons.iter().collect::<BTreeSet<_>>().len(), persons.len(), "a person is there twice");
    let stats = store.gallery_stats().await.unwrap();
    assert_eq!((stats.faces, stats.persons), (faces.len() as u64, persons.len() as u64));
    assert_eq!(stats.embeddings.iter().map(|(_, n)| n).sum::<u64>(), stats.faces);
    if acknowledged.len() == writes() {
        assert_eq!(faces.len(), (0..writes()).filter(|n| !makes_a_person_only(*n)).count());
        assert_eq!(persons.len(), (0..writes()).map(external_id).collect::<BTreeSet<_>>().len());
        // Once more under the same keys: the first answers, and no change.
        for n in (0..writes()).step_by(7) {
            let again = write(&*store, collection, n).await.unwrap();
            assert_eq!((again.value, again.replayed), (acknowledged[&n], true), "write {n}");
        }
        assert_eq!(store.gallery_stats().await.unwrap(), stats);
    }
    store.close().await;
}

/// Which write made each face.
async fn numbers_of_faces(store: &dyn Store, collection: CollectionId) -> Vec<u64> {
    let (mut numbers, mut request) = (Vec::new(), PageRequest::first(100));
    loop {
        let page = store.faces(collection, None, request).await.unwrap();
        numbers.extend(page.items.iter().filter_map(|face| face.metadata["n"].as_u64()));
        let Some(next) = page.next else { return numbers };
        request.after = Some(next);
    }
}

async fn external_ids(store: &dyn Store, collection: CollectionId) -> Vec<String> {
    let (mut ids, mut request) = (Vec::new(), PageRequest::first(100));
    loop {
        let page = store.persons(collection, request).await.unwrap();
        ids.extend(page.items.into_iter().map(|person| person.external_id));
        let Some(next) = page.next else { return ids };
        request.after = Some(next);
    }
}

/// Kills the writing process again and again in the middle of the load.
fn kill_the_writer(what: &str, place: &str) {
    let mut acknowledged = Acknowledged::new();
    let (mut kills, mut replayed) = (0, 0);
    loop {
        let mut writer = Writer::start(place, &acknowledged);
        let heard = writer.listen(&mut acknowledged, fastrand::usize(1..=writes() / 4));
        replayed += heard.replayed;
        if heard.ended {
            writer.assert_ended_well();
            break;
        }
        replayed += writer.kill(&mut acknowledged);
        kills += 1;
        block_on(assert_intact(place, &acknowledged));
    }
    conclude(what, place, &acknowledged, kills, replayed);
}

fn conclude(what: &str, place: &str, acknowledged: &Acknowledged, kills: u32, replayed: usize) {
    assert_eq!(acknowledged.len(), writes());
    assert!(kills > 1, "{kills} kills");
    block_on(assert_intact(place, acknowledged));
    let writes = writes();
    writeln!(io::stderr(), "{what} killed {kills} times in {writes} writes; {replayed} were made but not acknowledged")
        .ok();
}

#[test]
fn sqlite_survives_the_death_of_its_process() {
    let folder = tempfile::tempdir().unwrap();
    kill_the_writer("process with SQLite", folder.path().join("store").to_str().unwrap());
}

#[test]
fn postgres_survives_the_death_of_its_client() {
    let Some(postgres) = Postgres::start() else { return };
    kill_the_writer("client of Postgres", &postgres.create_database("client_killed"));
}

#[test]
fn postgres_dies_during_the_load_and_comes_back() {
    let Some(mut postgres) = Postgres::start() else { return };
    let place = postgres.create_database("server_killed");
    let mut acknowledged = Acknowledged::new();
    let mut writer = Writer::start(&place, &acknowledged);
    let (mut kills, mut replayed) = (0, 0);
    loop {
        let heard = writer.listen(&mut acknowledged, fastrand::usize(1..=writes() / 4));
        replayed += heard.replayed;
        if heard.ended {
            break;
        }
        postgres.kill();
        kills += 1;
        // The writers meet a closed port for a while, then a server that recovers.
        thread::sleep(Duration::from_millis(200));
        postgres.restart();
    }
    writer.assert_ended_well();
    conclude("Postgres", &place, &acknowledged, kills, replayed);
}
