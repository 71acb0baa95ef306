//! A server in a process of its own, everything that it writes kept: what it logs can be read whole.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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
use serde_json::Value;

use crate::helpers::{PATIENCE, get};

/// The server's arguments, a line each.
const ARGUMENTS: &str = "FACESOCIAL_TEST_ARGUMENTS";
/// How the line begins that tells the gateway's address.
const TOLD: &str = "gateway at ";

/// A running server. Ends when dropped, and when this process ends.
pub struct Server {
    process: Child,
    /// Its gateway, as http://HOST:PORT.
    pub url: String,
    /// Its folder of data, and what it wrote.
    pub folder: PathBuf,
}

impl Server {
    /// Starts one with all networks; it logs as JSON, and everything. `more`: further arguments.
    pub async fn start(folder: &Path, more: &[&str]) -> Self {
        Self::logging(folder, more, Some("trace,hyper=debug,mio=info,polling=info,rustls=debug")).await
    }

    /// The same, logging by this filter; by the server's own if `None`.
    pub async fn logging(folder: &Path, more: &[&str], filter: Option<&str>) -> Self {
        let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
        let data = folder.join("data");
        let mut arguments = vec!["facesocial", "serve", "--log-format=json", "--gateway-port=0"];
        let ports: Vec<String> =
            facesocial_types::Service::ALL.iter().map(|service| format!("--listen={service}=127.0.0.1:0")).collect();
        arguments.extend(ports.iter().map(String::as_str));
        // Nothing is there: what the person running the tests has pulled must not change them.
        let nothing = weights.join("no-pulled-networks");
        for (name, path) in [("--weights", &weights), ("--models-dir", &nothing), ("--data-dir", &data)] {
            arguments.extend([name, path.to_str().unwrap()]);
        }
        arguments.extend(more);
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "security::process::serves", "--ignored", "--nocapture"]);
        // Likewise what that person has set.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|n| n.starts_with("FACESOCIAL_")))
        {
            command.env_remove(name);
        }
        command.env_remove("DATABASE_URL").env_remove("REDIS_URL");
        command.env_remove("RUST_LOG");
        if let Some(filter) = filter {
            command.env("FACESOCIAL_LOG", filter);
        }
        let open = |name: &str| File::create(folder.join(name)).unwrap();
        command
            .env(ARGUMENTS, arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(open("stdout"))
            .stderr(open("stderr"));
        let mut server = Self { process: command.spawn().unwrap(), url: String::new(), folder: folder.to_owned() };
        let begun = Instant::now();
        let url = loop {
            assert!(begun.elapsed() < PATIENCE, "the server did not start: {}", server.written());
            let written = std::fs::read_to_string(folder.join("stdout")).unwrap();
            let told = written.lines().find_map(|line| line.strip_prefix(TOLD)).filter(|_| written.ends_with('\n'));
            match told {
                Some(address) => break format!("http://{address}"),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        while get(format!("{url}/readyz")).await.status() != 200 {
            assert!(begun.elapsed() < PATIENCE, "the server did not become ready: {}", server.written());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        server.url = url;
        server
    }

    /// Everything that it wrote to standard output and standard error.
    pub fn written(&self) -> String {
        let read = |name: &str| {
            let bytes = std::fs::read(self.folder.join(name)).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        read("stdout") + &read("stderr")
    }

    /// Its log: each line is JSON, or the log is broken.
    pub fn log(&self) -> Vec<Value> {
        let bytes = std::fs::read(self.folder.join("stderr")).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        // What the harness and the first start write to the same place is no part of the log.
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The other process: what `facesocial serve` does, and a line about where.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn serves() {
    let Ok(arguments) = env::var(ARGUMENTS) else { return };
    let cli = Cli::try_parse_from(arguments.lines()).unwrap();
    let cli::Command::Serve(serve) = cli.command else { panic!("not a server's arguments") };
    let _telemetry = telemetry::init(telemetry::LogFormat::Json, "info").unwrap();
    let application = Application::build(Config::try_from(*serve).unwrap()).unwrap();
    let gateway = application.addresses().iter().find(|(role, _)| *role == Role::Gateway).unwrap().1;
    // In one piece, and past the harness, which keeps what tests print.
    io::Write::write_all(&mut io::stdout(), format!("\n{TOLD}{gateway}\n").as_bytes()).unwrap();
    thread::spawn(|| {
        // Whoever started it is gone when its input ends.
        io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(1);
    });
    tokio::runtime::Runtime::new().unwrap().block_on(application.run_until_stopped()).unwrap();
}
