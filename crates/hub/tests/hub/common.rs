//! A publisher on this machine: an HTTPS server with a certificate of its own, a proxy, a tiny network.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::Duration,
};

use facesocial_hub::{Catalog, Event, Manifest, Observer, Places, PulledFolder, Settings, retry::Retry};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use safetensors::{Dtype, tensor::TensorView};
use tempfile::TempDir;

/// Certificate authority of this test process, as PEM, and what a server needs.
struct Tls {
    ca: String,
    config: Arc<ServerConfig>,
}

fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(leaf.der().to_vec())], key)
            .unwrap();
        Tls { ca, config: Arc::new(config) }
    })
}

#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection breaks after so many bytes of the body.
    pub cut: Option<usize>,
    /// The size is not told.
    pub without_length: bool,
    /// The connection breaks before the answer.
    pub dropped: bool,
}

pub fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, body: body.into(), ..Reply::default() }
}

impl Reply {
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn cut(self, after: usize) -> Self {
        Self { cut: Some(after), ..self }
    }
}

pub fn redirect(to: impl Into<String>) -> Reply {
    reply(302, "").with("Location", to)
}

/// A file as a good server sends it: with an ETag, in parts if asked for.
pub fn file(bytes: &[u8], request: &Request) -> Reply {
    let etag = format!("\"{}-{}\"", bytes.len(), bytes.iter().map(|b| u64::from(*b)).sum::<u64>());
    let first =
        request.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match first {
        Some(first) if request.header("if-range") == Some(&etag) && first < bytes.len() => reply(206, &bytes[first..])
            .with("Content-Range", format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len()))
            .with("ETag", etag),
        Some(first) if request.header("if-range") == Some(&etag) => {
            assert_eq!(first, bytes.len());
            reply(416, "").with("Content-Range", format!("bytes */{}", bytes.len()))
        }
        _ => reply(200, bytes).with("ETag", etag),
    }
}

/// An HTTPS server that keeps what it was asked.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `answer` gets each request and how many came before it.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                // A client that refuses the certificate ends the connection: no fault of the server.
                thread::spawn(move || serve(stream?, &seen, answer.as_ref()));
            }
        });
        Self { port, requests }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Settings that ask this server in place of every publisher, and trust it.
    pub fn settings(&self, dir: &Path) -> Settings {
        let ca = dir.join("ca.pem");
        fs::write(&ca, &tls().ca).unwrap();
        let url = url::Url::parse(&self.url()).unwrap();
        Settings {
            huggingface: url.clone(),
            github: url.clone(),
            github_raw: url,
            ca_file: Some(ca),
            retry: Retry { attempts: 3, base: Duration::from_millis(2), ..Retry::default() },
            ..Settings::bare().unwrap()
        }
    }
}

fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request, usize) -> Reply + Send + Sync),
) -> io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(&tls().config)).unwrap();
    let mut tls = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    tls.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        if tls.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let request = Request { path, headers };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let reply = answer(&request, number);
    let tls = tls.get_mut();
    if !reply.dropped {
        let mut head = format!("HTTP/1.1 {} Reply\r\nConnection: close\r\n", reply.status);
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !reply.without_length {
            head += &format!("Content-Length: {}\r\n", reply.body.len());
        }
        tls.write_all((head + "\r\n").as_bytes())?;
        tls.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())])?;
        tls.flush()?;
    }
    if reply.cut.is_none() && !reply.dropped {
        tls.conn.send_close_notify();
        tls.flush()?;
    }
    tls.sock.shutdown(Shutdown::Both)
}

/// A proxy that tunnels to this machine, whatever host is asked for; gives its address and what it was asked.
pub fn proxy(to: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap().lines().next().unwrap().to_owned());
            let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            // Either side may close first; the tunnel then ends.
            thread::spawn(move || io::copy(&mut back_from, &mut back_to));
            thread::spawn(move || io::copy(&mut client, &mut server));
        }
    });
    (address, asked)
}

/// Weights of a network with one matrix of `rows` x 16; each row count and seed gives other bytes.
pub fn weights(rows: usize, seed: u8) -> Vec<u8> {
    let data: Vec<u8> = (0..rows * 16).flat_map(|i| (i as f32 + f32::from(seed)).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![rows, 16], &data).unwrap();
    safetensors::serialize([("fc.weight", view)], None).unwrap()
}

/// Number of rows whose file is worth interrupting: 300 KiB.
pub const ROWS: usize = 4800;

/// The manifest of a tiny network; `source` are the lines of `[source]` before `format`.
pub fn manifest(name: &str, source: &str, file: &str, licence: &str) -> Manifest {
    manifest_of(name, ROWS, source, file, licence)
}

pub fn manifest_of(name: &str, rows: usize, source: &str, file: &str, licence: &str) -> Manifest {
    Manifest::parse(name, &manifest_text(name, rows, source, file, licence)).unwrap()
}

pub fn manifest_text(name: &str, rows: usize, source: &str, file: &str, licence: &str) -> String {
    format!(
        "name = \"{name}\"\nservice = \"antispoof\"\nprofile = \"full\"\ntitle = \"A tiny network\"\n\
         paper = \"https://example.org/paper\"\nreference = \"https://example.org/code\"\nmodule = \"tiny.rs\"\n\
         {licence}\n[source]\n{source}\nformat = \"safetensors\"\n[[source.file]]\n{file}\n\
         [output]\nfile = \"{name}.safetensors\"\ntensors = 1\nparameters = {}\n\
         [[rule]]\nfrom = \"(.*)\"\nto = \"$1\"\n",
        rows * 16
    )
}

pub const MIT: &str = "licence = \"MIT\"\ncommercial_use = true";
pub const HUGGING_FACE: &str = "registry = \"huggingface\"\nrepository = \"owner/tiny\"\nrevision = \"main\"";
pub const RELEASE_ZIP: &str = "registry = \"github\"\nrepository = \"o/n\"\ntag = \"v1\"\nasset = \"pack.zip\"";
pub const FILE: &str = "path = \"model.safetensors\"";

/// A tiny network on Hugging Face whose file is not pinned.
pub fn tiny() -> Manifest {
    manifest("tiny", HUGGING_FACE, FILE, MIT)
}

/// The same with a pinned digest.
pub fn pinned(bytes: &[u8]) -> Manifest {
    let file = format!("{FILE}\nsha256 = \"{}\"", sha256(bytes));
    manifest("tiny", HUGGING_FACE, &file, MIT)
}

pub fn sha256(bytes: &[u8]) -> String {
    facesocial_convert::output::sha256(bytes)
}

/// A scratch folder with a pulled folder in it.
pub struct Scratch {
    dir: TempDir,
    pub places: Places,
}

impl Scratch {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { bundled: None, pulled: PulledFolder::new(dir.path().join("models")) };
        Self { dir, places }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn models(&self) -> PathBuf {
        self.dir.path().join("models")
    }

    /// Files of the pulled folder, relative, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.models()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(path.strip_prefix(self.models()).unwrap().to_str().unwrap().replace('\\', "/"));
                }
            }
        }
        found.sort();
        found
    }
}

/// Keeps what it is told, in words.
#[derive(Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn event(&self, event: Event<'_>) {
        if !matches!(event, Event::Bytes(_)) {
            self.0.lock().unwrap().push(format!("{event:?}"));
        }
    }
}

impl Notes {
    pub fn count(&self, start: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|e| e.starts_with(start)).count()
    }

    pub fn find(&self, start: &str) -> String {
        let notes = self.0.lock().unwrap();
        notes.iter().find(|e| e.starts_with(start)).unwrap_or_else(|| panic!("no {start} in {notes:?}")).clone()
    }
}

pub fn catalog(manifests: &[&Manifest]) -> Catalog {
    Catalog::new(manifests.iter().map(|m| (*m).clone()).collect())
}
