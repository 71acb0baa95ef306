//! A network of the full profile through command line and server, with seeded weights: the ways that pulled weights take.
//!
//! Only builds with the feature `untrained` run such weights, as those of `cargo test --workspace` do; the others must
//! refuse them, and that is what this tests there.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use facesocial_testkit::seeded;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Whether this build runs untrained weights.
const RUNS: bool = cfg!(feature = "untrained");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A folder of pulled networks: YOLOv10n and MN3, seeded.
fn pulled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut lock = "version = 1\n".to_owned();
    // The architecture's key list has the name of the network that ships.
    for (name, keys) in [("yolov10n-face-akanametov", "yolov10n-face"), ("anti-spoof-mn3", "anti-spoof-mn3")] {
        let file = format!("{}.safetensors", name.replace('-', "_"));
        let keys = seeded::keys(&root().join(format!("tests/golden/models/{keys}.keys")));
        seeded::write_weights(&keys, &dir.path().join(&file));
        let digest = Sha256::digest(fs::read(dir.path().join(&file)).unwrap());
        let sha256: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        lock += &format!(
            "[[network]]\nname = \"{name}\"\nfile = \"{file}\"\nsha256 = \"{sha256}\"\nbytes = 0\ntensors = {}\n\
             parameters = 0\nsource = \"seeded\"\nlicence = \"none\"\nuntrained = true\n",
            keys.len()
        );
    }
    fs::write(dir.path().join("weights.lock"), lock).unwrap();
    dir
}

fn facesocial(pulled: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_facesocial"));
    command
        .args(args)
        .env("FACESOCIAL_WEIGHTS", root().join("weights"))
        .env("FACESOCIAL_MODELS_DIR", pulled)
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .env_remove("RUST_LOG")
        .env_remove("FACESOCIAL_LOG");
    command
}

fn refused(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "untrained weights were run");
    assert!(stderr.contains("untrained"), "{stderr}");
}

#[test]
fn the_command_line_runs_seeded_weights_in_a_test_build_alone() {
    let pulled = pulled();
    let portrait = root().join("tests/images/portrait.jpg");
    let args = ["analyze", portrait.to_str().unwrap(), "--json", "--services", "antispoof", "--detector", "mtcnn"];
    let output = facesocial(pulled.path(), &args).output().unwrap();
    if !RUNS {
        return refused(&output);
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answer = &document["images"][0]["faces"][0]["antispoof"];
    assert!(answer["model"].as_str().unwrap().starts_with("anti-spoof-mn3@"), "{answer}");
    assert!((0.0..=1.0).contains(&answer["score"].as_f64().unwrap()), "{answer}");

    // A choice goes before what is best.
    let chosen = [&args[..], &["--network", "antispoof=face-antispoofing"]].concat();
    let output = facesocial(pulled.path(), &chosen).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let model = document["images"][0]["faces"][0]["antispoof"]["model"].as_str().unwrap().to_owned();
    assert!(model.starts_with("face-antispoofing@"), "{model}");
}

/// A server that is stopped when the test ends, however it ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_server_runs_seeded_weights_in_a_test_build_alone() {
    let pulled = pulled();
    let data = tempfile::tempdir().unwrap();
    let args = [
        "serve",
        "--auth",
        "off",
        "--data-dir",
        data.path().to_str().unwrap(),
        "--services",
        "yolo,antispoof",
        "--gateway-port",
        "0",
        "--listen",
        "yolo=127.0.0.1:0",
        "--listen",
        "antispoof=127.0.0.1:0",
        "--log-format",
        "json",
    ];
    let mut child = facesocial(pulled.path(), &args).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let server = Server(child);
    if !RUNS {
        let mut said = String::new();
        BufReader::new(stderr).read_to_string(&mut said).unwrap();
        assert!(said.contains("untrained"), "{said}");
        return;
    }
    let mut address = String::new();
    // Kept open: the server goes on writing its log.
    let mut log = BufReader::new(stderr).lines();
    for line in log.by_ref() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let fields = &line["fields"];
        if fields["service"] == "antispoof" {
            address = fields["address"].as_str().unwrap().to_owned();
        }
        if fields["message"] == "ready" {
            break;
        }
    }
    let health: Value = serde_json::from_str(&get(&address, "/health")).unwrap();
    assert!(health["model"].as_str().unwrap().starts_with("anti-spoof-mn3@"), "{health}");
    drop((server, log, stdout));
}

/// The body of an answer over plain HTTP.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
