//! The real program as a child process: where it listens, what it logs, what the system says of it.

use std::{
    env, fs,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use facesocial_testkit::free_port;
use serde::Serialize;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// All services.
const SERVICES: [&str; 7] = ["mediapipe", "yolo", "mtcnn", "recognition", "antispoof", "gender_age", "deepfake"];

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program.
    pub binary: PathBuf,
    /// Folder of the embedded database, and of the log.
    pub folder: PathBuf,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Its environment, beside what every program has.
    pub environment: Vec<(String, String)>,
    /// Programs in front of it, such as `taskset -c 0`.
    pub wrapper: Vec<String>,
    /// Services that run behind a gateway, on ports that nobody uses here; `None` where `arguments` say what runs.
    pub behind: Option<Vec<&'static str>>,
    /// Port of the gateway, or of the only service; the same at each start.
    pub port: u16,
    /// Port on which it tells its figures.
    pub figures: u16,
}

impl Start {
    /// A server with everything in one process, whose data are in `folder`.
    pub fn new(binary: &Path, folder: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            wrapper: Vec::new(),
            behind: Some(SERVICES.to_vec()),
            port: free_port(),
            figures: free_port(),
        }
    }

    /// With further arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&a| a.to_owned()));
        self
    }

    /// With a variable of its environment.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The log of all its runs.
    pub fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The program with these arguments, its environment its own alone.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.wrapper.iter().map(String::as_str).chain(self.binary.to_str());
        let mut command = Command::new(words.next().unwrap_or("facesocial"));
        command.args(words).args(arguments);
        // What the person at the keyboard has set must not change what is measured.
        let set = |name: &str| name.starts_with("FACESOCIAL_") || ["DATABASE_URL", "REDIS_URL"].contains(&name);
        for (name, _) in env::vars().filter(|(name, _)| set(name)) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the process; it may not be ready yet.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&self) -> anyhow::Result<Server> {
        fs::create_dir_all(&self.folder)?;
        let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../weights");
        let weights = weights.canonicalize().context("the folder weights is missing")?;
        let (data, none) = (self.data(), weights.join("no-pulled-networks"));
        let mut arguments = vec!["--log-format=json".to_owned(), "serve".to_owned()];
        arguments.push(format!("--weights={}", weights.display()));
        arguments.push(format!("--models-dir={}", none.display()));
        arguments.push(format!("--metrics-listen=127.0.0.1:{}", self.figures));
        if let Some(services) = &self.behind {
            arguments.push(format!("--data-dir={}", data.display()));
            arguments.push(format!("--gateway-port={}", self.port));
            arguments.extend(services.iter().map(|service| format!("--listen={service}=127.0.0.1:0")));
        }
        arguments.extend(self.arguments.iter().cloned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = self.command(&arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.binary.display()))?;
        Ok(Server { child, port: self.port, figures: self.figures, log: self.log(), ended: None })
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub async fn ready(&self) -> anyhow::Result<Server> {
        let mut server = self.spawn()?;
        server.wait_ready(PATIENCE).await?;
        Ok(server)
    }
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    port: u16,
    figures: u16,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Server {
    /// Address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether `/readyz` says so.
    pub async fn is_ready(&self) -> bool {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build();
        let Ok(client) = client else { return false };
        client.get(self.url("/readyz")).send().await.is_ok_and(|answer| answer.status() == 200)
    }

    /// Waits until it is ready; gives the time that took.
    ///
    /// # Errors
    /// It ends, or `patience` does.
    pub async fn wait_ready(&mut self, patience: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        while !self.is_ready().await {
            if let Some(status) = self.ended()? {
                bail!("the server ended ({status}); its log is {}", self.log.display());
            }
            if begun.elapsed() > patience {
                bail!("the server is not ready after {} s; its log is {}", patience.as_secs(), self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(begun.elapsed())
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(name, self.child.id());
    }

    /// Waits for its end; `None` if it is still there after `patience`.
    ///
    /// # Errors
    /// The system does not tell.
    pub async fn wait_end(&mut self, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let begun = Instant::now();
        loop {
            match self.ended()? {
                None if begun.elapsed() < patience => tokio::time::sleep(Duration::from_millis(20)).await,
                ended => return Ok(ended),
            }
        }
    }

    /// `kill -9`, and waits for it.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.ended = self.child.wait().ok();
    }

    /// What the system says of the process now.
    pub fn process(&self) -> Option<Process> {
        let folder = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
        };
        Some(Process {
            resident: field("VmRSS:")? * 1024,
            anonymous: field("RssAnon:")? * 1024,
            most: field("VmHWM:")? * 1024,
            threads: field("Threads:")?,
            descriptors: fs::read_dir(folder.join("fd")).ok()?.count() as u64,
        })
    }

    /// The figures that it tells of itself, by name; labels are left out and their values added up.
    pub async fn figures(&self, client: &reqwest::Client) -> Option<Figures> {
        let url = format!("http://127.0.0.1:{}/metrics", self.figures);
        let answer = client.get(url).timeout(Duration::from_secs(10)).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let mut figures = Figures::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split('{').next().unwrap_or(name).trim_start_matches("facesocial_").to_owned();
            *figures.0.entry(name).or_default() += value.parse::<f64>().unwrap_or(0.0);
        }
        Some(figures)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
        }
    }
}

/// Figures by name.
#[derive(Debug, Default)]
pub struct Figures(std::collections::BTreeMap<String, f64>);

impl Figures {
    /// One of them; 0 where it is not told.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }
}

/// What the system says of a process.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Process {
    /// Bytes in use.
    pub resident: u64,
    /// Of these, bytes that belong to no file.
    pub anonymous: u64,
    /// The most bytes in use so far.
    pub most: u64,
    /// Threads.
    pub threads: u64,
    /// Open files and connections.
    pub descriptors: u64,
}

/// Sends a signal by its name, such as `STOP`, to a process; one that is gone does not matter.
pub fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status();
    drop(status);
}

/// How a process ended, in words.
pub fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// What the log says of requests: when each was answered, in seconds since 1970, and the milliseconds from its head to the
/// head of its answer. Probes and the reading of figures are left out.
///
/// # Errors
/// It cannot be read.
pub fn answers(log: &Path) -> anyhow::Result<Vec<(f64, f64)>> {
    let mut found = Vec::new();
    for line in BufReader::new(File::open(log)?).lines() {
        let Ok(entry) = serde_json::from_str::<Value>(&line?) else { continue };
        let route = entry["fields"]["route"].as_str().unwrap_or_default();
        if entry["target"] != "facesocial::access" || ["/metrics", "/healthz", "/readyz"].contains(&route) {
            continue;
        }
        let at = entry["timestamp"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
        let (Some(at), Some(took)) = (at, entry["fields"]["duration_ms"].as_f64()) else { continue };
        found.push((at.unix_timestamp_nanos() as f64 / 1e9, took));
    }
    Ok(found)
}

/// Lines of a log that tell of trouble.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Trouble {
    /// Lines that tell of a panic.
    pub panics: Vec<String>,
    /// Lines of level ERROR.
    pub errors: Vec<String>,
    /// How many lines of level WARN.
    pub warnings: usize,
}

/// Reads a log from the byte `from`; gives what is in it and where it ends.
///
/// # Errors
/// It cannot be read.
pub fn trouble(log: &Path, from: u64) -> anyhow::Result<(Trouble, u64)> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let (mut found, mut end) = (Trouble::default(), from);
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.by_ref().read_until(b'\n', &mut line)? > 0 {
        end += line.len() as u64;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        let level = serde_json::from_str::<Value>(&text).ok().and_then(|v| Some(v["level"].as_str()?.to_owned()));
        if text.contains("panicked at") {
            found.panics.push(text);
        } else if level.as_deref() == Some("ERROR") {
            found.errors.push(text);
        } else if level.as_deref() == Some("WARN") {
            found.warnings += 1;
        }
    }
    Ok((found, end))
}
