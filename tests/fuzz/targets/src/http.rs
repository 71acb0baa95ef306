//! Whole requests, to the app as the server makes it: everything behind the HTTP parser, a database in a folder of its own, the
//! bundled networks, small limits.

use std::{
    cell::Cell, collections::HashMap, mem::ManuallyDrop, net::SocketAddr, path::Path, pin::Pin, rc::Rc, time::Duration,
};

use actix_web::{
    FromRequest, HttpResponse,
    body::to_bytes,
    dev::{Payload, Service as _, ServiceResponse},
    error::PayloadError,
    http::{
        Method, StatusCode, Uri,
        header::{self, HeaderName, HeaderValue},
    },
    rt::Runtime,
    test::{TestRequest, init_service},
    web::{self, Bytes},
};
use facesocial::{
    config::{
        AccessConfig, Audience, Config, DistributedConfig, JobConfig, Keeping, Limits, LiveConfig, ObserveConfig, Role,
        StoreConfig, UpkeepConfig,
    },
    engine_args::MemoryArgs,
    extract::{Batch, Pair, PhotoRequest, Single},
    middleware::rate::Limiter,
    networks::NetworkArgs,
    startup::app,
    state::{Loaded, State},
    usage,
};
use facesocial_types::Service;
use futures_util::{StreamExt, stream};
use tempfile::TempDir;

use crate::{files::scratch_folder, networks};

/// How long one request may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests after which what other requests need is made again, if they removed it.
const AGAIN: u32 = 500;
/// Bytes of a photo at most.
const PHOTO: usize = 32 << 10;

type Answer = Result<ServiceResponse, actix_web::Error>;
type Answering = Pin<Box<dyn Future<Output = Answer>>>;

/// The app, and the thread's own runtime for it.
struct Server {
    runtime: Runtime,
    state: web::Data<State>,
    call: Box<dyn Fn(TestRequest, Option<Payload>) -> Answering>,
    runs: Cell<u32>,
    /// What requests speak of in braces.
    names: HashMap<&'static str, String>,
}

/// A server to the end of its thread, of which nothing but its folder is removed then: the framework keeps values of its own in
/// the thread, which may be gone by then.
struct Kept {
    server: ManuallyDrop<Server>,
    _folder: TempDir,
}

impl Kept {
    fn start(auth: bool) -> Self {
        let folder = scratch_folder();
        Self { server: ManuallyDrop::new(Server::start(folder.path(), auth)), _folder: folder }
    }
}

thread_local! {
    /// Whoever asks may do everything.
    static OPEN: Kept = Kept::start(false);
    /// Nobody has an account.
    static CLOSED: Kept = Kept::start(true);
}

fn config(folder: &Path, auth: bool) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        networks: NetworkArgs::default(),
        memory: MemoryArgs::default(),
        services: Service::ALL.to_vec(),
        listeners: vec![(Role::Gateway, any)],
        limits: Limits {
            image_bytes: PHOTO,
            pixels: 1 << 16,
            batch: 3,
            upload_memory: 4 << 20,
            at_once: 2,
            waiting: 8,
            request_timeout: PATIENCE,
            upload_timeout: PATIENCE,
        },
        store: StoreConfig {
            database_url: None,
            data_dir: folder.to_owned(),
            max_connections: 2,
            ef_search: 40,
            encryption_key: None,
        },
        keeping: Keeping { sessions: true, images: true, enrol_quality: 0.0 },
        access: AccessConfig { auth, ..AccessConfig::open() },
        upkeep: UpkeepConfig::default(),
        jobs: JobConfig::default(),
        live: LiveConfig::default(),
        distributed: DistributedConfig::default(),
        observe: ObserveConfig::default(),
        tls: None,
        shutdown_timeout: PATIENCE,
    }
}

impl Server {
    fn start(folder: &Path, auth: bool) -> Self {
        let config = config(folder, auth);
        let cache = facesocial_cache::open(None, 4 << 20).expect("a cache of this process needs nothing");
        let state = web::Data::new(State::new(&config, cache));
        state.set_loaded(Loaded::load(&networks::options()).expect("the weights of the checkout are fine"));
        let runtime = Runtime::new().expect("the system has room for a runtime");
        let store = config.store.options();
        let opened = runtime.block_on(facesocial_store::open(&store));
        state.set_store(opened.expect("an empty folder is a database"));
        state.auth.set_secret("a secret that nothing of the corpus is signed with");
        let limiter = web::Data::new(Limiter::new(&config.access));
        let origins = ["https://app.example".to_owned()];
        let made = app(Role::Gateway, state.clone(), limiter, &origins, Audience::All);
        let service = Rc::new(runtime.block_on(init_service(made)));
        let call = Box::new(move |request: TestRequest, payload: Option<Payload>| {
            let service = Rc::clone(&service);
            let mut request = request.to_request();
            if let Some(payload) = payload {
                request = request.replace_payload(payload).0;
            }
            let answering = async move {
                let answer = service.call(request).await;
                answer.map(|answer| answer.map_into_boxed_body())
            };
            Box::pin(answering) as Answering
        });
        let mut server = Self { runtime, state, call, runs: Cell::new(0), names: HashMap::new() };
        if !auth {
            server.furnish();
        }
        server
    }

    /// Makes the collection `crew` with the person `eileen`, one face and one job, where they are not there.
    fn furnish(&mut self) {
        let json = |path: &str, body: &'static str| {
            TestRequest::post().uri(path).insert_header((header::CONTENT_TYPE, "application/json")).set_payload(body)
        };
        let id = |server: &Self, request| {
            let (status, body) = server.answer(request);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let id =
                body["face"]["id"].as_str().or_else(|| body["id"].as_str()).or_else(|| body["items"][0]["id"].as_str());
            (status, id.unwrap_or("none").to_owned())
        };
        id(self, json("/api/v1/collections", r#"{"name":"crew"}"#));
        let persons = "/api/v1/collections/crew/persons";
        let (status, mut person) = id(self, json(persons, r#"{"external_id":"eileen","name":"Eileen"}"#));
        if status == StatusCode::CONFLICT {
            person = id(self, TestRequest::get().uri(persons)).1;
        }
        let photo = include_bytes!("../../corpus/image/portrait.jpg");
        let form = [
            &b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n"[..],
            photo,
            b"\r\n--x--\r\n",
        ];
        let faces = format!("{persons}/{person}/faces");
        let enrol =
            TestRequest::post().uri(&faces).insert_header((header::CONTENT_TYPE, "multipart/form-data; boundary=x"));
        let (_, face) = id(self, enrol.set_payload(form.concat()));
        let (_, job) = id(self, json("/api/v1/collections/crew/jobs", r#"{"kind":"group"}"#));
        let (_, session) = id(self, TestRequest::get().uri("/api/v1/sessions"));
        self.names = HashMap::from([("{person}", person), ("{face}", face), ("{job}", job), ("{session}", session)]);
    }

    /// Status and body of the answer to one request.
    fn answer(&self, request: TestRequest) -> (StatusCode, Bytes) {
        self.runtime.block_on(async {
            let answering = tokio::time::timeout(PATIENCE, (self.call)(request, None));
            let answer = match answering.await.expect("a request is answered in time") {
                Ok(answer) => answer.into_parts().1,
                Err(error) => HttpResponse::from_error(error),
            };
            let status = answer.status();
            let body = tokio::time::timeout(PATIENCE, to_bytes(answer.into_body())).await;
            (status, body.expect("an answer ends in time").unwrap_or_default())
        })
    }

    /// Counts a run, and does now and then what runs beside a server.
    fn note(&self) {
        self.runs.set(self.runs.get() + 1);
        if self.runs.get().is_multiple_of(AGAIN) {
            self.runtime.block_on(usage::flush(&self.state));
            let crew = TestRequest::post()
                .uri("/api/v1/collections")
                .insert_header((header::CONTENT_TYPE, "application/json"));
            self.answer(crew.set_payload(r#"{"name":"crew"}"#));
        }
    }
}

/// A request as text: method and path, headers, an empty line, the body. `None` where an HTTP parser would refuse it.
fn request(bytes: &[u8], names: &HashMap<&str, String>) -> Option<(TestRequest, Method, String)> {
    let end = bytes.windows(2).position(|w| w == b"\n\n").unwrap_or(bytes.len());
    let (head, body) = (str::from_utf8(&bytes[..end]).ok()?, bytes.get(end + 2..).unwrap_or_default());
    let mut lines = head.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let mut path = path.to_owned();
    for (name, id) in names {
        path = path.replace(name, id);
    }
    let uri = Uri::try_from(&path).ok().filter(|uri| uri.path().starts_with('/'))?;
    let mut request = TestRequest::default().method(method.clone()).uri(&uri.to_string());
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = HeaderValue::from_str(value.trim()).ok()?;
        request = request.append_header((HeaderName::try_from(name).ok()?, value));
    }
    if !body.is_empty() {
        request = request.set_payload(body.to_vec());
    }
    Some((request, method, uri.path().to_owned()))
}

/// A request of somebody who may do everything: it is answered, and not by a fault of the server.
pub fn http(bytes: &[u8]) {
    OPEN.with(|Kept { server, .. }| {
        let Some((request, method, path)) = request(bytes, &server.names) else { return };
        // A connection that goes on is for the target `live`.
        if path.ends_with("/live") {
            return;
        }
        let (status, body) = server.answer(request);
        let fault = status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE;
        assert!(!fault, "{method} {path}: {status}: {}", String::from_utf8_lossy(&body));
        if status.is_client_error() && method != Method::HEAD {
            let problem = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
            assert!(problem["code"].is_string(), "{method} {path}: {status} is no problem document");
        }
        server.note();
    });
}

/// A request of a stranger, where accounts are needed: nobody gets in.
pub fn access(bytes: &[u8]) {
    CLOSED.with(|Kept { server, .. }| {
        let Some((request, method, path)) = request(bytes, &HashMap::new()) else { return };
        let (status, body) = server.answer(request);
        let open =
            ["/", "/healthz", "/readyz", "/health", "/services", "/docs", "/openapi.json", "/api/v1/auth/status"];
        // What says of a service that it runs.
        let service = |path: &str| matches!(path.trim_matches('/').split_once('/'), None | Some((_, "health")));
        let open = open.contains(&path.as_str()) || path.starts_with("/console") || service(&path);
        let preflight = method == Method::OPTIONS;
        assert!(
            open || preflight || !(status.is_success() || status.is_informational()),
            "{method} {path}: {status}: {}",
            String::from_utf8_lossy(&body)
        );
        assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{method} {path}: {status}");
        server.note();
    });
}

/// Parts of a body, one after the other, and maybe a pause before it ends.
fn payload(parts: Vec<Bytes>, pause: Option<Duration>) -> Payload {
    let whole = stream::iter(parts.into_iter().map(Ok::<_, PayloadError>));
    let end = stream::iter(pause).then(tokio::time::sleep).filter_map(|()| async { None });
    Payload::Stream { payload: Box::pin(whole.chain(end)) }
}

/// A form: the first byte chooses who reads it, the second how many bytes come at a time; then the media type up to the end of
/// the line, and the body.
pub fn multipart(bytes: &[u8]) {
    let Some((&[kind, step], rest)) = bytes.split_first_chunk() else { return };
    let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    let Ok(media_type) = HeaderValue::from_bytes(&rest[..end]) else { return };
    let body = rest.get(end + 1..).unwrap_or_default();
    let parts = body.chunks(usize::from(step) * 8 + 1).map(Bytes::copy_from_slice).collect();
    OPEN.with(|Kept { server, .. }| {
        let state = server.state.clone();
        let request = TestRequest::post().insert_header((header::CONTENT_TYPE, media_type)).app_data(state.clone());
        let request = request.to_http_request();
        server.runtime.block_on(async {
            let mut payload = payload(parts, None);
            let fits = |bytes: Result<&[u8], _>| bytes.is_ok_and(|bytes| bytes.len() > PHOTO);
            let reading = async {
                match kind % 5 {
                    0 => Single::from_request(&request, &mut payload).await.is_ok_and(|form| fits(form.file.bytes())),
                    1 => Batch::<0>::from_request(&request, &mut payload).await.is_ok_and(|form| {
                        assert!(form.files.len() <= 3, "{} files", form.files.len());
                        form.files.iter().any(|file| fits(file.bytes()))
                    }),
                    2 => Batch::<5>::from_request(&request, &mut payload).await.is_ok_and(|form| form.files.len() > 5),
                    3 => {
                        Pair::from_request(&request, &mut payload).await.is_ok_and(|Pair(files)| fits(files[0].bytes()))
                    }
                    _ => {
                        let payload =
                            web::Payload::from_request(&request, &mut payload).await.expect("it is taken once");
                        PhotoRequest::read(&request, payload, &state).await.is_ok_and(|photo| fits(photo.image.bytes()))
                    }
                }
            };
            let too_much = tokio::time::timeout(PATIENCE, reading).await.expect("a form is read in time");
            assert!(!too_much, "more was taken than is allowed");
        });
        assert_eq!(server.state.upload_memory().0, 0, "memory of an upload that has ended");
    });
}

/// What comes over a live connection: messages, each a kind, the length of its text or picture in two bytes, and that.
pub fn live(mut bytes: &[u8]) {
    let mut sent = Vec::new();
    while let Some((&[kind, high, low], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (data, rest) = rest.split_at(length);
        bytes = rest;
        // Whole messages of every kind, beginnings and continuations, and bytes as they are.
        let first = match kind & 15 {
            0..=4 => 0x81,
            5..=8 => 0x82,
            9 => 0x89,
            10 => 0x8A,
            11 => 0x88,
            12 => 0x01,
            13 => 0x00,
            14 => 0x80,
            _ => {
                sent.extend_from_slice(data);
                continue;
            }
        };
        // Clients mask what they send, here by zeros.
        match u8::try_from(length) {
            Ok(short @ ..126) if kind & 64 == 0 => sent.extend([first, 0x80 | short]),
            _ => sent.extend([first, 0x80 | 126, high, low]),
        }
        sent.extend([0; 4]);
        sent.extend_from_slice(data);
    }
    let parts = sent.chunks(1000).map(Bytes::copy_from_slice).collect();
    OPEN.with(|Kept { server, .. }| {
        let handshake = TestRequest::get()
            .uri("/api/v1/live")
            .insert_header((header::CONNECTION, "Upgrade"))
            .insert_header((header::UPGRADE, "websocket"))
            .insert_header((header::SEC_WEBSOCKET_VERSION, "13"))
            .insert_header((header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="));
        server.runtime.block_on(async {
            // A frame gets some time before the client is gone.
            let payload = payload(parts, Some(Duration::from_millis(2)));
            let answer = (server.call)(handshake, Some(payload)).await.expect("a handshake is answered");
            assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
            let told = tokio::time::timeout(PATIENCE, to_bytes(answer.into_body())).await;
            let told = told.expect("a connection whose client is gone ends").unwrap_or_default();
            assert!(told.windows(5).any(|w| w == b"hello"), "the server says nothing");
        });
        server.note();
    });
}
