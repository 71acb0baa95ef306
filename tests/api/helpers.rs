//! One server for all tests of this binary, and what tests do with it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use facesocial::{
    config::{
        AccessConfig, Config, DistributedConfig, JobConfig, Keeping, Limits, LiveConfig, ObserveConfig, Role, Secret,
        StoreConfig, UpkeepConfig,
    },
    engine_args::MemoryArgs,
    networks::NetworkArgs,
    startup::{Application, Stopper},
};
use facesocial_testkit::{Postgres, Redis};
use facesocial_types::Service;
use reqwest::{
    Client, Response,
    multipart::{Form, Part},
};
use serde_json::Value;

/// Networks of an unoptimised build on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A running server.
pub struct TestApp {
    addresses: Vec<(Role, SocketAddr)>,
    /// Where the figures are open, if they are.
    pub metrics: Option<SocketAddr>,
    pub stopper: Stopper,
}

static APP: LazyLock<TestApp> = LazyLock::new(|| {
    let app = spawn_app(config());
    // A thread of its own, because a test's runtime cannot block on another.
    std::thread::scope(|scope| {
        scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(app.ready())).join().unwrap();
    });
    app
});

/// The server that most tests share, ready.
pub fn app() -> &'static TestApp {
    &APP
}

/// All services, every port free, the limits of a small server.
pub fn config() -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let roles = [Role::Gateway].into_iter().chain(Service::ALL.iter().copied().map(Role::Service));
    Config {
        networks: NetworkArgs {
            weights: Some(weights()),
            // What the person running the tests has pulled must not change them.
            models_dir: Some(weights().join("no-pulled-networks")),
            ..NetworkArgs::default()
        },
        memory: MemoryArgs::default(),
        services: Service::ALL.to_vec(),
        listeners: roles.map(|role| (role, any)).collect(),
        limits: Limits {
            image_bytes: 20 << 20,
            pixels: 50_000_000,
            batch: 20,
            upload_memory: 1 << 30,
            at_once: 8,
            waiting: 64,
            request_timeout: PATIENCE,
            upload_timeout: Duration::from_secs(60),
        },
        store: StoreConfig {
            database_url: test_database(),
            data_dir: data_folder(),
            max_connections: 8,
            ef_search: 200,
            encryption_key: None,
        },
        keeping: Keeping { sessions: false, images: false, enrol_quality: 0.4 },
        access: AccessConfig { redis_url: test_redis(), ..AccessConfig::open() },
        upkeep: UpkeepConfig::default(),
        jobs: JobConfig::default(),
        // The tests of one server come from one address.
        live: LiveConfig { connections_each: 32, ..LiveConfig::default() },
        distributed: DistributedConfig::default(),
        observe: ObserveConfig::default(),
        tls: None,
        shutdown_timeout: Duration::from_secs(30),
    }
}

/// An empty database in a Postgres of the tests' own, where `FACESOCIAL_TEST_STORE` is `postgres`; else none, and the server
/// has its embedded one.
fn test_database() -> Option<Secret> {
    match std::env::var("FACESOCIAL_TEST_STORE").as_deref() {
        Ok("postgres") => {
            let postgres = Postgres::shared().expect("FACESOCIAL_TEST_STORE asks for Postgres");
            Some(Secret::new(postgres.fresh_database()))
        }
        Ok("sqlite") | Err(_) => None,
        Ok(other) => panic!("FACESOCIAL_TEST_STORE is {other}; allowed are sqlite, postgres"),
    }
}

/// One of the 16 databases in a Redis of the tests' own, where `FACESOCIAL_TEST_CACHE` is `redis`.
fn test_redis() -> Option<Secret> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    match std::env::var("FACESOCIAL_TEST_CACHE").as_deref() {
        Ok("redis") => {
            let redis = Redis::shared().expect("FACESOCIAL_TEST_CACHE asks for Redis").url();
            let (server, _) = redis.rsplit_once('/').unwrap();
            // Servers that share one would count each other's requests.
            Some(Secret::new(format!("{server}/{}", NEXT.fetch_add(1, Ordering::Relaxed) % 16)))
        }
        Ok("memory") | Err(_) => None,
        Ok(other) => panic!("FACESOCIAL_TEST_CACHE is {other}; allowed are memory, redis"),
    }
}

/// A new folder for one server's data, which is removed when the tests have ended.
fn data_folder() -> PathBuf {
    static ALL: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    ALL.path().join(NEXT.fetch_add(1, Ordering::Relaxed).to_string())
}

/// The folder of the shipped weights.
fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights")
}

/// A server that has the weights of these networks alone and runs `services` behind the gateway; it may not be ready yet.
/// The folder must outlive it.
pub fn app_with(networks: &[&str], services: &[Service]) -> (tempfile::TempDir, TestApp) {
    let (folder, config) = config_with(networks, services);
    (folder, spawn_app(config))
}

/// [`config`] with the weights of these networks alone, in a folder that must outlive the server.
pub fn config_with(networks: &[&str], services: &[Service]) -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    let lock = fs::read_to_string(weights().join("weights.lock")).unwrap();
    let mut kept = "version = 1\n".to_owned();
    for entry in lock.split("[[network]]").skip(1) {
        let field = |name: &str| {
            let line = entry.lines().find_map(|l| l.strip_prefix(&format!("{name} = ")));
            line.unwrap().trim_matches('"').to_owned()
        };
        if networks.contains(&field("name").as_str()) {
            kept += &format!("[[network]]{entry}");
            fs::copy(weights().join(field("file")), folder.path().join(field("file"))).unwrap();
        }
    }
    fs::write(folder.path().join("weights.lock"), kept).unwrap();
    let mut config = config();
    config.networks.weights = Some(folder.path().to_owned());
    config.services = services.to_vec();
    config.listeners.retain(|(role, _)| match role {
        Role::Gateway => true,
        Role::Service(service) => services.contains(service),
    });
    (folder, config)
}

/// Starts a server on a thread of its own; it may not be ready yet.
pub fn spawn_app(config: Config) -> TestApp {
    let application = Application::build(config).unwrap();
    let addresses = application.addresses().to_vec();
    let (metrics, stopper) = (application.metrics_address(), application.stopper());
    std::thread::spawn(|| {
        tokio::runtime::Runtime::new().unwrap().block_on(application.run_until_stopped()).unwrap();
    });
    TestApp { addresses, metrics, stopper }
}

impl TestApp {
    pub fn address(&self, role: Role) -> SocketAddr {
        self.addresses.iter().find(|(r, _)| *r == role).unwrap().1
    }

    pub fn gateway(&self, path: &str) -> String {
        format!("http://{}{path}", self.address(Role::Gateway))
    }

    pub fn service(&self, service: Service, path: &str) -> String {
        format!("http://{}{path}", self.address(Role::Service(service)))
    }

    /// Waits until the networks are loaded.
    pub async fn ready(&self) {
        let (_, address) = self.addresses[0];
        let begun = Instant::now();
        while get(format!("http://{address}/readyz")).await.status() != 200 {
            assert!(begun.elapsed() < PATIENCE, "the server did not become ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The server still answers. What it holds meanwhile is looked at where it has a process of its own (`store/memory.rs`).
    pub async fn assert_unharmed(&self) {
        assert_eq!(get(self.gateway("/healthz")).await.status(), 200);
    }
}

/// A photo of `tests/images`.
pub fn photo(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(name)).unwrap()
}

pub fn part(name: &str, bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name(name.to_owned())
}

/// A form with one photo of `tests/images` in the field `file`.
pub fn form(name: &str) -> Form {
    Form::new().part("file", part(name, photo(name)))
}

/// A form with photos of `tests/images` in the field `files`.
pub fn batch(names: &[&str]) -> Form {
    names.iter().fold(Form::new(), |form, name| form.part("files", part(name, photo(name))))
}

pub async fn get(url: String) -> Response {
    Client::new().get(url).send().await.unwrap()
}

pub async fn post(url: String, form: Form) -> Response {
    Client::new().post(url).multipart(form).send().await.unwrap()
}

/// The JSON of a successful answer.
pub async fn ok(response: Response) -> Value {
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

/// Checks a whole problem document and gives its detail.
pub async fn problem(response: Response, status: u16, code: &str) -> String {
    let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    let (media_type, id, retry_after) = (header("content-type"), header("x-request-id"), header("retry-after"));
    let found = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!((found.as_u16(), body["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!(media_type.as_deref(), Some("application/problem+json"));
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("urn:facesocial:problem:{code}"));
    assert_eq!(body["request_id"].as_str(), id.as_deref());
    assert_eq!(body["retryable"], retry_after.is_some());
    assert!(body["title"].as_str().is_some_and(|t| !t.is_empty()));
    assert_speaks_to_people(&body);
    body["detail"].as_str().unwrap().to_owned()
}

/// No path, no debug print.
pub fn assert_speaks_to_people(body: &Value) {
    let text = body.to_string();
    for inside in ["/home", "/root", "/usr", "/tmp", ".rs", "Some(", "Err(", "Error {", "panicked", "\\n"] {
        assert!(!text.contains(inside), "{inside} in {text}");
    }
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}
