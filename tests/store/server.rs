//! A server in a process of its own, which can be killed.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use facesocial::{
    cli::{self, Cli},
    config::{Config, Role},
    startup::Application,
    telemetry,
};
use reqwest::Client;

/// Networks of an unoptimised build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// The server's arguments, a line each.
const ARGUMENTS: &str = "FACESOCIAL_TEST_ARGUMENTS";
/// Whether the server goes on when whoever started it is gone.
const STAYS: &str = "FACESOCIAL_TEST_STAYS";

/// A running server: gateway and recognition, without authentication. Ends when dropped, and when this process ends.
pub struct Server {
    process: Child,
    address: SocketAddr,
}

/// Where a server keeps what it keeps.
#[derive(Default)]
pub struct Places {
    /// Folder of the embedded database; used unless there is a Postgres.
    pub folder: PathBuf,
    /// A Postgres instead.
    pub database_url: Option<String>,
    /// A Redis for the cache.
    pub redis_url: Option<String>,
    /// Hosts that jobs may tell.
    pub webhook_hosts: Option<String>,
    /// Seconds to end in.
    pub shutdown_timeout: Option<u32>,
}

impl Server {
    /// Starts one; it is ready when this returns.
    pub async fn start(places: &Places) -> Self {
        let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
        // Nothing is there: what the person running the tests has pulled must not change them.
        let nothing = weights.join("no-pulled-networks");
        let arguments = [
            "facesocial",
            "serve",
            "--auth=off",
            "--services=recognition",
            "--gateway-port=0",
            "--listen=recognition=127.0.0.1:0",
            "--weights",
            weights.to_str().unwrap(),
            "--models-dir",
            nothing.to_str().unwrap(),
            "--data-dir",
            places.folder.to_str().unwrap(),
        ];
        let told = places.webhook_hosts.as_ref().map(|hosts| format!("--webhook-hosts={hosts}"));
        let end = places.shutdown_timeout.map(|seconds| format!("--shutdown-timeout={seconds}"));
        let arguments: Vec<&str> = arguments.into_iter().chain(told.as_deref()).chain(end.as_deref()).collect();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "server::serves_until_killed", "--ignored", "--nocapture"]);
        // Likewise what that person has set.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|n| n.starts_with("FACESOCIAL_")))
        {
            command.env_remove(name);
        }
        for (name, url) in [("DATABASE_URL", &places.database_url), ("REDIS_URL", &places.redis_url)] {
            match url {
                Some(url) => command.env(name, url),
                None => command.env_remove(name),
            };
        }
        let mut process =
            command.env(ARGUMENTS, arguments.join("\n")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.find_map(|line| line.strip_prefix("gateway at ")?.parse().ok());
        // Read on: the harness over there says after a minute that it still runs, and ends if nobody listens.
        thread::spawn(move || lines.for_each(drop));
        let server = Self { process, address: address.expect("the server tells its address") };
        let begun = Instant::now();
        while !server.is_ready().await {
            assert!(begun.elapsed() < PATIENCE, "the server did not become ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    async fn is_ready(&self) -> bool {
        Client::new().get(self.url("/readyz")).send().await.is_ok_and(|response| response.status() == 200)
    }

    /// Address of a path of the gateway.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Resident memory now, and the most so far, in bytes. `None` where the system does not tell.
    pub fn memory(&self) -> Option<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let read = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
        };
        Some((read("VmRSS:")?, read("VmHWM:")?))
    }

    /// Where the gateway listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks it to end: SIGTERM.
    pub fn terminate(&self) {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(told.unwrap().success());
    }

    /// How it ended; `None` if it still runs after `patience`.
    pub async fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A program that is `facesocial`, as far as `serve` goes.
pub fn program(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;

    let path = folder.join("facesocial");
    let script = format!(
        "#!/bin/sh\nexport {STAYS}=1 {ARGUMENTS}=\"$(printf '%s\\n' facesocial \"$@\")\"\n\
         exec '{}' --exact server::serves_until_killed --ignored --nocapture\n",
        env::current_exe().unwrap().display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The other process: what `facesocial serve` does, and a line about where.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn serves_until_killed() {
    let Ok(arguments) = env::var(ARGUMENTS) else { return };
    let cli = Cli::try_parse_from(arguments.lines()).unwrap();
    let cli::Command::Serve(serve) = cli.command else { panic!("not a server's arguments") };
    let application = Application::build(Config::try_from(*serve).unwrap()).unwrap();
    if let Some((_, gateway)) = application.addresses().iter().find(|(role, _)| *role == Role::Gateway) {
        // In one piece, and past the harness, which keeps what tests print.
        io::stdout().write_all(format!("\ngateway at {gateway}\n").as_bytes()).unwrap();
    }
    let stays = env::var_os(STAYS).is_some();
    let _telemetry = stays.then(|| telemetry::init(telemetry::LogFormat::Text, "info").unwrap());
    if !stays {
        thread::spawn(|| {
            // Whoever started it is gone when its input ends.
            io::stdin().read_to_end(&mut Vec::new()).ok();
            std::process::exit(1);
        });
    }
    tokio::runtime::Runtime::new().unwrap().block_on(application.run_until_stopped()).unwrap();
}
