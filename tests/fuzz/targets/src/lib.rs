//! One function for each door through which bytes of others come in. Each takes any bytes, hands them to the function that the
//! server or the program hands them to, and panics where what comes of them must not be.
//!
//! `cargo fuzz` calls them with what it finds (`../fuzz_targets`), the test `replay` with the corpus and changes of it.

mod files;
mod http;
mod images;
mod networks;
mod weights;
mod words;

/// One door.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its corpus and of its program.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Whether a run takes milliseconds rather than microseconds: whole requests, files, networks.
    pub slow: bool,
}

const fn fast(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, slow: false }
}

const fn slow(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, slow: true }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    slow("access", http::access),
    fast("archive", files::archive),
    slow("cli", words::cli),
    fast("crop", images::crop),
    slow("faces", images::faces),
    slow("http", http::http),
    fast("image", images::image),
    fast("labels", files::labels),
    slow("live", http::live),
    slow("multipart", http::multipart),
    fast("onnx", weights::onnx),
    fast("outbound", words::outbound),
    fast("package", weights::package),
    fast("query", words::query),
    slow("remote", networks::remote),
    fast("safetensors", weights::safetensors),
    fast("settings", files::settings),
    fast("tfjs", weights::tfjs),
    fast("tflite", weights::tflite),
    fast("token", words::token),
    fast("torch", weights::torch),
    fast("video", images::video),
    fast("wire", networks::wire),
];

/// Calls a target by its name.
///
/// # Panics
/// There is none of this name; the target found a fault.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name}")).run)(bytes);
}
