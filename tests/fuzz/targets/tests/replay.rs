//! Every target over its corpus, and over changes of it: what the fuzzer once found stays found, without a fuzzer.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use facesocial_fuzz_targets::{TARGETS, run};
use fastrand::Rng;

/// Bytes of a target's corpus at most.
const CORPUS: u64 = 100 * 1024;
/// Changed inputs of a target whose runs take microseconds, and of one whose runs take milliseconds.
const CHANGES: (usize, usize) = (5000, 30);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The inputs of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let path = folder().join("corpus").join(target);
    let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut found: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// Says which input it was, if the test ends here.
struct Told<'a> {
    target: &'a str,
    input: &'a str,
    bytes: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("facesocial-{}-{}", self.target, std::process::id()));
            let kept = fs::write(&path, self.bytes).is_ok();
            let path = if kept { path.display().to_string() } else { "nowhere".to_owned() };
            let _ = writeln!(io::stderr(), "target {}: {}; the input is kept in {path}", self.target, self.input);
        }
    }
}

fn tried(target: &str, input: &str, bytes: &[u8]) {
    let _told = Told { target, input, bytes };
    run(target, bytes);
}

/// One input with a few changes: bytes, lengths, order, a piece of another.
fn changed(rng: &mut Rng, inputs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = inputs[rng.usize(..inputs.len())].1.clone();
    for _ in 0..rng.usize(1..=4) {
        let at = rng.usize(..=bytes.len());
        let end = (at + rng.usize(..=32)).min(bytes.len());
        match rng.u8(..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            1 if at < bytes.len() => bytes[at] = *rng.choice(&[0, 1, 0x7F, 0x80, 0xFF, b'\n', b'"', b'.']).unwrap(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            5 if end - at >= 4 => {
                bytes[at..at + 4].copy_from_slice(&rng.choice([0, u32::MAX, 1 << 31, 65_536]).unwrap().to_le_bytes())
            }
            _ => {
                let other = &inputs[rng.usize(..inputs.len())].1;
                let from = rng.usize(..=other.len());
                let piece = other[from..(from + rng.usize(..=64)).min(other.len())].to_vec();
                drop(bytes.splice(at..end, piece));
            }
        }
    }
    bytes
}

fn replay(target: &str) {
    let inputs = corpus(target);
    for (name, bytes) in &inputs {
        tried(target, name, bytes);
    }
    let slow = TARGETS.iter().any(|t| t.name == target && t.slow);
    let mut rng = Rng::with_seed(7);
    for i in 0..if slow { CHANGES.1 } else { CHANGES.0 } {
        tried(target, &format!("change {i}"), &changed(&mut rng, &inputs));
    }
}

macro_rules! replayed {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*

        #[test]
        fn every_target_is_replayed_and_has_a_program_and_a_small_corpus() {
            let replayed = [$(stringify!($target)),*];
            assert_eq!(replayed.to_vec(), TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
            let listed = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
            for target in replayed {
                let program = fs::read_to_string(folder().join("fuzz_targets").join(format!("{target}.rs"))).unwrap();
                assert!(program.contains(&format!("\"{target}\"")) && listed.contains(&format!("name = \"{target}\"")));
                let bytes: u64 = corpus(target).iter().map(|(_, bytes)| bytes.len() as u64).sum();
                assert!((1..=CORPUS).contains(&bytes), "the corpus of {target} has {bytes} bytes");
            }
        }
    };
}

replayed! {
    access archive cli crop faces http image labels live multipart onnx outbound package query remote safetensors settings tfjs
    tflite token torch video wire
}
