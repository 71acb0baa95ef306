//! `facesocial models`, run as a user runs it, without the network.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A scratch folder with a mirror and the manifest of a network of one matrix.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(scratch.path("manifests/tiny")).unwrap();
        fs::write(scratch.path("manifests/tiny/manifest.toml"), manifest("MIT", true)).unwrap();
        fs::create_dir_all(scratch.path("mirror/tiny")).unwrap();
        fs::write(scratch.path("mirror/tiny/model.safetensors"), weights()).unwrap();
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_facesocial"));
        for name in ["HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"]
        {
            command.env_remove(name).env_remove(name.to_ascii_lowercase());
        }
        for name in ["FACESOCIAL_MODELS_MIRROR", "FACESOCIAL_NETWORKS", "FACESOCIAL_ENSEMBLE", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
            .arg("models")
            .args(args)
            .env("HF_HOME", self.path("hugging-face"))
            .env("FACESOCIAL_MODELS_DIR", self.path("models"))
            .env("FACESOCIAL_WEIGHTS", root().join("weights"));
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str], code: i32) -> Output {
        let output = self.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}{}", stdout(&output), stderr(&output));
        output
    }

    /// Runs with the manifests of the scratch folder.
    #[track_caller]
    fn tiny(&self, args: &[&str], code: i32) -> Output {
        let manifests = self.path("manifests");
        self.run(&[args, &["--manifests", manifests.to_str().unwrap()]].concat(), code)
    }

    #[track_caller]
    fn pull(&self, more: &[&str], code: i32) -> Output {
        let mirror = self.path("mirror");
        self.tiny(&[&["pull", "tiny", "--from", mirror.to_str().unwrap()], more].concat(), code)
    }
}

fn manifest(licence: &str, commercial_use: bool) -> String {
    format!(
        "name = \"tiny\"\nservice = \"antispoof\"\nprofile = \"full\"\ntitle = \"A tiny network\"\n\
         paper = \"https://example.org/paper\"\nreference = \"https://example.org/code\"\nmodule = \"tiny.rs\"\n\
         licence = \"{licence}\"\ncommercial_use = {commercial_use}\n[source]\nregistry = \"huggingface\"\n\
         repository = \"owner/tiny\"\nrevision = \"main\"\nformat = \"safetensors\"\n[[source.file]]\n\
         path = \"model.safetensors\"\n[output]\nfile = \"tiny.safetensors\"\ntensors = 1\nparameters = 4\n\
         [[rule]]\nfrom = \"(.*)\"\nto = \"$1\"\n"
    )
}

/// A safetensors file with one 2 x 2 matrix.
fn weights() -> Vec<u8> {
    let head = br#"{"fc.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend(head);
    file.extend([1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()));
    file
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_list_has_every_network_under_its_service() {
    let scratch = Scratch::new();
    let text = stdout(&scratch.run(&["list"], 0));
    for line in ["antispoof\n", "recognition\n", "\nbundled networks: ", "\npulled networks: "] {
        assert!(text.contains(line), "{text}");
    }
    let row = |name: &str| text.lines().find(|l| l.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(row("mtcnn ").contains("bundled  yes"), "{text}");
    assert!(row("vit-deepfake ").contains("not pulled  no"), "{text}");
    assert!(row("yolov10n-face-akanametov ").contains("GPL-3.0 (copyleft)"), "{text}");

    let document = json(&scratch.run(&["list", "--json"], 0));
    let networks = document["networks"].as_array().unwrap();
    let find = |name: &str| networks.iter().find(|n| n["name"] == name).unwrap();
    assert_eq!(find("mtcnn")["state"], "bundled");
    assert_eq!(find("mtcnn")["runs_in"][0], "mtcnn");
    assert_eq!(find("arcface-iresnet100")["restriction"], "non-commercial");
    assert_eq!(find("vit-deepfake")["state"], "not pulled");
    assert_eq!(find("vit-deepfake")["bytes"], Value::Null);
}

#[test]
fn a_network_is_pulled_from_a_folder_listed_found_and_verified() {
    let scratch = Scratch::new();
    let missing = stderr(&scratch.tiny(&["path", "tiny"], 1));
    assert!(missing.contains("bring it with `facesocial models pull tiny`"), "{missing}");

    let output = scratch.pull(&[], 0);
    let file = scratch.path("models/tiny.safetensors");
    let bytes = fs::metadata(&file).unwrap().len();
    assert_eq!(stdout(&output), format!("tiny: pulled, {bytes} B, {}\n", file.display()));
    let told = stderr(&output);
    assert!(told.starts_with("tiny (licence: MIT)\n  model.safetensors: taken from "), "{told}");
    assert_eq!(stdout(&scratch.tiny(&["path", "tiny"], 0)), format!("{}\n", file.display()));

    let again = scratch.pull(&["--json"], 0);
    assert_eq!(
        (json(&again)["networks"][0]["state"].as_str(), stderr(&again)),
        (Some("already pulled"), String::new())
    );
    assert_eq!(json(&scratch.tiny(&["list", "--json"], 0))["networks"][0]["state"], "pulled");
    let fine = stdout(&scratch.tiny(&["verify", "tiny"], 0));
    assert_eq!(fine, "1 files are as their locks say\n");

    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let damaged = stdout(&scratch.tiny(&["verify", "tiny"], 1));
    assert!(
        damaged.contains("tiny.safetensors: it has sha256 ") && damaged.contains("1 of 1 files differ"),
        "{damaged}"
    );
    assert_eq!(stderr(&scratch.pull(&["--quiet"], 0)), "");
    scratch.tiny(&["verify", "tiny"], 0);
}

#[test]
fn a_bundled_network_is_there_already() {
    let scratch = Scratch::new();
    let path = stdout(&scratch.run(&["path", "mtcnn"], 0));
    assert!(Path::new(path.trim_end()).is_file() && Path::new(path.trim_end()).is_absolute(), "{path}");
    let output = scratch.run(&["pull", "mtcnn"], 0);
    assert!(stdout(&output).starts_with("mtcnn: bundled, "), "{}", stdout(&output));
    assert!(!scratch.path("models").exists());
    scratch.run(&["verify", "mtcnn"], 0);
}

#[test]
fn a_licence_is_accepted_by_a_flag_where_nobody_can_be_asked() {
    let scratch = Scratch::new();
    fs::write(scratch.path("manifests/tiny/manifest.toml"), manifest("research only", false)).unwrap();
    let refused = stderr(&scratch.pull(&[], 1));
    assert!(refused.contains("tiny: research only") && refused.contains("--accept-licence tiny"), "{refused}");
    let unknown = stderr(&scratch.pull(&["--accept-licence", "tny"], 1));
    assert!(unknown.contains("no network is called tny; known are tiny"), "{unknown}");
    scratch.pull(&["--accept-licence", "tiny"], 0);
    // Once is enough.
    scratch.pull(&["--force"], 0);
    let lock = fs::read_to_string(scratch.path("models/sources.lock")).unwrap();
    assert!(lock.contains("licence_accepted = \"20"), "{lock}");
}

#[test]
fn faults_have_an_exit_code_and_say_what_to_do() {
    let scratch = Scratch::new();
    assert!(stderr(&scratch.run(&["pull"], 2)).contains("<NETWORK>"));
    assert!(stderr(&scratch.run(&["path", "vit"], 1)).contains("no network is called vit; known are "));
    fs::remove_file(scratch.path("mirror/tiny/model.safetensors")).unwrap();
    let output = scratch.pull(&["--json"], 1);
    assert!(stderr(&output).contains("has none of tiny/model.safetensors, model.safetensors"), "{}", stderr(&output));
    assert!(json(&output)["networks"][0]["error"].as_str().unwrap().contains("has none of"));
    let help = stdout(&scratch.run(&["pull", "--help"], 0));
    for word in ["Examples:", "HTTPS_PROXY", "SSL_CERT_FILE", "HF_TOKEN", "--accept-licence"] {
        assert!(help.contains(word), "{help}");
    }
}

#[test]
fn the_proxy_of_the_environment_is_asked_and_its_refusal_is_told() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let proxy = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").unwrap();
        String::from_utf8(head).unwrap()
    });
    // A PEM file of its own, so that the test needs no certificates of the system.
    fs::write(scratch.path("ca.pem"), CA).unwrap();
    let mut command = scratch.command(&["pull", "vit-deepfake"]);
    let output = command.env("HTTPS_PROXY", address).env("SSL_CERT_FILE", scratch.path("ca.pem")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let asked = proxy.join().unwrap();
    assert!(asked.starts_with("CONNECT huggingface.co:443 HTTP/1.1\r\n"), "{asked}");
    let told = stderr(&output);
    assert!(told.contains("the proxy of HTTPS_PROXY or ALL_PROXY") && told.contains("403"), "{told}");
}

/// A certificate that nobody's server has.
const CA: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBdDCCARugAwIBAgIUbbuTWEqgv269HXeg8ptT/g+MY44wCgYIKoZIzj0EAwIw\n\
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjYxMDAwNDNaGA8yMTI2MTEwMjEwMDA0\n\
M1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDgT\n\
r9yHmjy3KbTH3R4aFgP/i7bQWmu3jbQoMOD2YvasUdvcHCdEhgQMMv/w4ry5vZGJ\n\
mBos45g8t+Ua0D8B6jajUzBRMB0GA1UdDgQWBBSnEg5QBWuUBGhxN38m2m460iO5\n\
2zAfBgNVHSMEGDAWgBSnEg5QBWuUBGhxN38m2m460iO52zAPBgNVHRMBAf8EBTAD\n\
AQH/MAoGCCqGSM49BAMCA0cAMEQCIBxWbhkXcW3Mtz0oXerLGw6VGZ1+/dgDCDNH\n\
36XXj1RoAiBt/KQ1/zf+Yp6Nb2E/eJWWnuPYPEuqslHt9ybW75xM5Q==\n\
-----END CERTIFICATE-----\n";
