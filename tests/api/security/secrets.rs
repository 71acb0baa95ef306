//! Faces are data that cannot be changed once leaked: after a whole day of work, no embedding, photo, password, token or key
//! stands in anything that the server wrote or answered, but where it was asked for by somebody who may have it.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use facesocial_store::PostgresTools;
use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Method, RequestBuilder, multipart::Form};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use super::process::Server;
use crate::{
    accounts::{PASSWORD, SECRET, created, seed},
    helpers::{config, form, ok, part, photo},
    jobs::{again, archive},
};

/// Whose password nobody else has.
const OWN: &str = "a password of this test alone";
/// Numbers of an embedding that are looked for: one or two could stand anywhere.
const NUMBERS: usize = 3;

/// What must stand nowhere, by what it is.
struct Secrets(BTreeMap<String, Vec<Vec<u8>>>);

impl Secrets {
    fn add(&mut self, what: &str, bytes: impl Into<Vec<u8>>) {
        self.0.entry(what.to_owned()).or_default().push(bytes.into());
    }

    /// Bytes, and how they could be written.
    fn add_bytes(&mut self, what: &str, bytes: &[u8]) {
        self.add(what, bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(what, hex.to_uppercase());
        self.add(what, hex);
        // In the middle of something, base64 begins at any of three places.
        for skipped in 0..3 {
            let text = BASE64_STANDARD.encode(&bytes[skipped..]);
            self.add(what, text[..text.len() / 4 * 4 - 4].to_owned());
            let text = BASE64_URL_SAFE_NO_PAD.encode(&bytes[skipped..]);
            self.add(what, text[..text.len() / 4 * 4 - 4].to_owned());
        }
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        self.add(what, list.join(", "));
        self.add(what, list.join(","));
    }

    /// An embedding: as text with every number of digits from three on, and as bytes.
    fn add_embedding(&mut self, vector: &[f32]) {
        for window in [&vector[..NUMBERS], &vector[NUMBERS..2 * NUMBERS], &vector[vector.len() - NUMBERS..]] {
            for digits in 3..9 {
                for between in [",", ", ", " "] {
                    let numbers: Vec<String> = window.iter().map(|value| format!("{value:.digits$}")).collect();
                    self.add("an embedding", numbers.join(between));
                }
            }
            for text in [|v: &f32| format!("{v}"), |v: &f32| format!("{v:?}"), |v: &f32| f64::from(*v).to_string()] {
                for between in [",", ", ", " "] {
                    self.add("an embedding", window.iter().map(text).collect::<Vec<_>>().join(between));
                }
            }
        }
        for part in [&vector[..4], &vector[vector.len() - 4..]] {
            self.add_bytes("an embedding", &part.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
        }
    }

    /// What of it stands in something.
    fn found_in(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let stands = |secret: &Vec<u8>| memchr(bytes, secret);
        let found = self.0.iter().filter_map(|(what, forms)| Some((what, forms.iter().find(|form| stands(form))?)));
        found
            .map(|(what, form)| format!("{what} in {place}: {}", String::from_utf8_lossy(&form[..form.len().min(80)])))
            .collect()
    }
}

fn memchr(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return false };
    let mut at = 0;
    while let Some(next) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| byte == first)) {
        at += next;
        if bytes[at..].starts_with(wanted) {
            return true;
        }
        at += 1;
    }
    false
}

/// A client that keeps every answer.
struct Keeping<'a> {
    server: &'a Server,
    token: String,
    answers: std::sync::Mutex<Vec<(String, Vec<u8>)>>,
}

impl Keeping<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        Client::new().request(method, format!("{}{path}", self.server.url)).bearer_auth(&self.token)
    }

    /// Sends, and keeps what came back under a name.
    async fn kept(&self, name: &str, request: RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let headers = format!("{:?}", answer.headers());
        let bytes = answer.bytes().await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        self.answers.lock().unwrap().push((name.to_owned(), [headers.into_bytes(), bytes.to_vec()].concat()));
        (status, json)
    }

    async fn get(&self, path: &str) -> Value {
        self.kept(&format!("GET {path}"), self.request(Method::GET, path)).await.1
    }

    async fn send(&self, path: &str, form: Form) -> (u16, Value) {
        self.kept(&format!("POST {path}"), self.request(Method::POST, path).multipart(form)).await
    }

    async fn ended(&self, job: &Value) -> Value {
        let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
        for _ in 0..1800 {
            let now = ok(self.request(Method::GET, &path).send().await.unwrap()).await;
            if !matches!(now["status"].as_str(), Some("pending" | "processing")) {
                return self.get(&path).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the job did not end");
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn live(server: &Server, token: &str) -> String {
    let request = server.url.replace("http://", "ws://") + "/api/v1/live";
    let (mut socket, _) = tokio_tungstenite::connect_async(request.into_client_request().unwrap()).await.unwrap();
    let mut told = String::new();
    let say = |value: Value| Message::text(value.to_string());
    socket.send(say(json!({ "type": "auth", "token": token }))).await.unwrap();
    socket.send(say(json!({ "type": "start", "analyses": ["recognition"], "collection": "default" }))).await.unwrap();
    // Whatever is said until one of these stands in it. Before it is known who asks, no frame is taken.
    let mut until = async |socket: &mut Socket, ends: &[&str]| {
        loop {
            let message = socket.next().await.expect("the connection lasts").unwrap().into_text().unwrap();
            told += message.as_str();
            if ends.iter().any(|end| message.contains(end)) {
                break;
            }
        }
    };
    until(&mut socket, &["\"started\""]).await;
    for seq in 0..3 {
        socket.send(say(json!({ "type": "frame", "seq": seq }))).await.unwrap();
        socket.send(Message::binary(photo("portrait.jpg"))).await.unwrap();
        until(&mut socket, &["\"seq\":", "\"error\""]).await;
    }
    socket.close(None).await.ok();
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_the_server_writes_or_answers_holds_what_must_not_leak() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let encryption = BASE64_STANDARD.encode([7; 32]);
    let scrape = "a token for scraping alone, and for this test";
    let (key_file, secret_file, scrape_file) =
        (write("key", &encryption), write("secret", SECRET), write("scrape", scrape));
    let mut settings = config();
    settings.store.database_url = None;
    settings.store.data_dir = folder.path().join("data");
    settings.store.encryption_key = Some(encryption.parse().unwrap());
    seed(&settings).await;
    let argument = |name: &str, path: &Path| format!("{name}={}", path.display());
    let arguments = [
        argument("--encryption-key-file", &key_file),
        argument("--jwt-secret-file", &secret_file),
        argument("--metrics-token-file", &scrape_file),
        "--store-images".to_owned(),
        "--store-sessions".to_owned(),
        "--rate-limit=0".to_owned(),
        "--upload-rate-limit=0".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Server::start(folder.path(), &arguments).await;

    let mut secrets = Secrets(BTreeMap::new());
    for (what, text) in
        [("the secret of tokens", SECRET), ("the encryption key", &encryption), ("the token of the figures", scrape)]
    {
        secrets.add(what, text);
    }
    secrets.add_bytes("the encryption key", &[7; 32]);
    for password in [PASSWORD, OWN, "guess of a password"] {
        secrets.add("a password", password);
    }
    // A day's work. What gives a secret to whoever asks for it is asked for past the keeper of answers.
    let plain = |method: Method, path: &str| Client::new().request(method, format!("{}{path}", server.url));
    let login = json!({ "username": "admin", "password": PASSWORD });
    let tokens = ok(plain(Method::POST, "/api/v1/auth/login").json(&login).send().await.unwrap()).await;
    let renewed = json!({ "refresh_token": tokens["refresh_token"] });
    let renewed = ok(plain(Method::POST, "/api/v1/auth/refresh").json(&renewed).send().await.unwrap()).await;
    for pair in [&tokens, &renewed] {
        for name in ["access_token", "refresh_token"] {
            secrets.add("a token", pair[name].as_str().unwrap());
        }
    }
    let me = Keeping {
        server: &server,
        token: renewed["access_token"].as_str().unwrap().to_owned(),
        answers: Default::default(),
    };
    let new = json!({ "name": "robot", "scopes": ["analyze", "search", "gallery:read", "operate"] });
    let robot = created(me.request(Method::POST, "/api/v1/keys").json(&new).send().await.unwrap()).await;
    let robot = robot["key"].as_str().unwrap().to_owned();
    secrets.add("a key", robot.as_str());
    let person = json!({ "username": "own", "password": OWN, "role": "user" });
    me.kept("POST /users", me.request(Method::POST, "/api/v1/users").json(&person)).await;
    let guess = json!({ "username": "own", "password": "guess of a password" });
    me.kept("a wrong password", plain(Method::POST, "/api/v1/auth/login").json(&guess)).await;
    me.kept(
        "a wrong name",
        plain(Method::POST, "/api/v1/auth/login").json(&json!({ "username": OWN, "password": "own" })),
    )
    .await;
    for forged in [format!("{}x", me.token), format!("{robot}x"), me.token.replace('.', "!")] {
        me.kept("a wrong token", plain(Method::GET, "/api/v1/account").bearer_auth(&forged)).await;
    }
    let change = json!({ "password": "another horse battery", "current_password": "guess of a password" });
    me.kept("a wrong change", me.request(Method::PATCH, "/api/v1/account").json(&change)).await;

    let faces = "/api/v1/collections/default/faces";
    let named = |name: &str, photo: Vec<u8>| {
        Form::new().part("file", part("x.jpg", photo)).text("external_id", name.to_owned())
    };
    let photos = [photo("portrait.jpg"), photo("portrait_2.jpg"), again("portrait.jpg", 5)];
    let mut persons = Vec::new();
    for (name, bytes) in ["ann", "bob", "cem"].iter().zip(&photos) {
        let (status, made) = me.send(faces, named(name, bytes.clone())).await;
        assert_eq!(status, 201, "{made}");
        persons
            .push((made["person"]["id"].as_str().unwrap().to_owned(), made["face"]["id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(me.send(faces, named("ann", photos[0].clone())).await.0, 409);
    assert_eq!(me.send(faces, form("no_face.jpg")).await.0, 422);
    assert_eq!(me.send(faces, form("group.jpg")).await.0, 422);
    assert_eq!(me.send(faces, Form::new().part("file", part("x.jpg", photos[0][..3000].to_vec()))).await.0, 422);
    let claim = || form("grey.jpg").text("person", "external:ann");
    assert_eq!(me.send("/api/v1/collections/default/verify", claim()).await.0, 200);
    assert_eq!(
        me.send("/api/v1/collections/default/verify", form("grey.jpg").text("person", "external:none")).await.0,
        404
    );
    for path in
        ["/api/v1/collections/default/identify", "/face-recognition/identify", "/api/v1/face-recognition/identify"]
    {
        assert_eq!(me.send(path, form("grey.jpg").text("min_similarity", "-1")).await.0, 200);
    }
    let stored = form("grey.jpg").text("collection", "default").text("store", "true").text("recognize_faces", "true");
    let session =
        me.send("/analyze/comprehensive", stored).await.1["metadata"]["session_id"].as_str().unwrap().to_owned();
    let two =
        Form::new().part("file1", part("a.jpg", photo("portrait.jpg"))).part("file2", part("b.jpg", photo("grey.jpg")));
    assert_eq!(me.send("/face-recognition/compare", two).await.0, 200);
    let told = live(&server, &me.token).await;
    me.answers.lock().unwrap().push(("live".to_owned(), told.into_bytes()));
    let zip = archive(&[
        ("dan/1.jpg", again("portrait_2.jpg", 6)),
        ("dan/broken.jpg", photo("portrait.jpg")[..3000].to_vec()),
    ]);
    let (status, import) =
        me.send("/api/v1/collections/default/imports", Form::new().part("file", part("p.zip", zip.clone()))).await;
    assert_eq!(status, 202, "{import}");
    me.ended(&import).await;
    let asked = Form::new().text("kind", "analyze").part("file", part("p.zip", zip));
    let options = json!({ "recognize_faces": true, "collection": "default" }).to_string();
    let (_, job) = me.send("/api/v1/jobs", asked.text("options", options)).await;
    me.ended(&job).await;
    me.get(&format!("/api/v1/jobs/{}/results", job["id"].as_str().unwrap())).await;
    for kind in ["group", "duplicates", "reembed"] {
        let start = me.request(Method::POST, "/api/v1/collections/default/jobs").json(&json!({ "kind": kind }));
        let (_, job) = me.kept(kind, start).await;
        me.ended(&job).await;
    }
    for path in [
        "/health",
        "/services",
        "/metrics?format=prometheus&scope=all",
        "/metrics?format=json",
        "/api/v1/models",
        "/api/v1/stats",
        "/face-recognition/stats",
        "/api/v1/users?limit=100",
        "/api/v1/keys?all=true",
        "/api/v1/audit?limit=100",
        "/api/v1/sessions?limit=100",
        "/api/v1/jobs?limit=100",
        "/api/v1/collections/default/faces?limit=100",
        "/api/v1/collections/default/persons?limit=100",
        "/api/v1/account",
        "/api/v1/nowhere",
        "/openapi.json",
    ] {
        me.get(path).await;
    }
    me.get(&format!("/api/v1/sessions/{session}")).await;

    // What must not have been in any of it: the embeddings as they are stored, and the photos.
    let mut exports = 0;
    for (person, _) in &persons {
        let path = format!("/api/v1/collections/default/persons/{person}/export");
        let export = ok(me.request(Method::GET, &path).send().await.unwrap()).await;
        for embedding in
            export["faces"].as_array().unwrap().iter().flat_map(|face| face["embeddings"].as_array().unwrap())
        {
            let vector: Vec<f32> =
                embedding["vector"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
            assert!(vector.len() >= 128);
            secrets.add_embedding(&vector);
            exports += 1;
        }
    }
    assert_eq!(exports, 3);
    let probe = ok(me
        .request(Method::POST, "/analyze/comprehensive")
        .multipart(form("grey.jpg").text("recognize_faces", "1").text("return_embeddings", "1"))
        .send()
        .await
        .unwrap())
    .await;
    let vector = probe["data"]["faces"][0]["recognition"]["embedding"].as_array().unwrap_or_else(|| panic!("{probe}"));
    secrets.add_embedding(&vector.iter().map(|v| v.as_f64().unwrap() as f32).collect::<Vec<_>>());
    for bytes in &photos {
        // From the middle, where one JPEG is like no other.
        secrets.add_bytes("a photo", &bytes[bytes.len() / 2..bytes.len() / 2 + 48]);
    }
    // The test looks in the right way: an answer that was asked for it holds it.
    let shown = probe.to_string();
    assert!(!secrets.found_in("the answer with embeddings", shown.as_bytes()).is_empty());

    // One that is backed up while it runs.
    let backup = folder.path().join("backup.db");
    facesocial_store::backup(&settings.store.options(), &backup, &PostgresTools::default()).await.unwrap();

    let mut found = secrets.found_in("the log", server.written().as_bytes());
    for line in server.log() {
        assert!(line["timestamp"].is_string(), "{line}");
    }
    for (name, bytes) in me.answers.lock().unwrap().iter() {
        found.extend(secrets.found_in(name, bytes));
    }
    // The database and its backup: sealed, and of tokens, keys and passwords only digests.
    let data = folder.path().join("data");
    let kept: Vec<_> = files(&data).into_iter().chain([backup]).collect();
    assert!(kept.iter().any(|path| path.extension().is_some_and(|ending| ending == "db")), "{kept:?}");
    for path in &kept {
        found.extend(secrets.found_in(path.to_str().unwrap(), &fs::read(path).unwrap()));
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(server.log().len() > 300 && me.answers.lock().unwrap().len() > 50);
}
