//! Pulls from publishers that are played on this machine, with everything that goes wrong on the way.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::common::*;
use facesocial_hub::{
    How, HubError, Manifest, PullOptions, Pulled, Puller, Settings,
    disk::{Disk, RealDisk, Sink},
    mirror::Mirror,
    settings::{Proxy, Token},
};
use url::Url;
use zip::{ZipWriter, write::SimpleFileOptions};

/// Where the file of [`tiny`] is asked for.
const PATH: &str = "/owner/tiny/resolve/main/model.safetensors";
/// The files of a folder after a pull.
const PULLED: [&str; 4] = [".pull.lock", "sources.lock", "tiny.safetensors", "weights.lock"];

/// Pulls one network.
fn pull(scratch: &Scratch, settings: &Settings, manifest: &Manifest) -> Result<Pulled, HubError> {
    pull_with(scratch, settings, manifest, PullOptions::default(), &Notes::default())
}

fn pull_with(
    scratch: &Scratch,
    settings: &Settings,
    manifest: &Manifest,
    options: PullOptions,
    notes: &Notes,
) -> Result<Pulled, HubError> {
    let puller = Puller { options, observer: notes, ..Puller::new(&scratch.places, settings) };
    puller.pull(&[manifest])?.remove(0).result
}

/// A server that sends the file to everybody.
fn good(bytes: &[u8]) -> Server {
    let bytes = bytes.to_vec();
    Server::start(move |request, _| file(&bytes, request))
}

#[track_caller]
fn whole(scratch: &Scratch, pulled: &Pulled, bytes: &[u8]) {
    assert_eq!(scratch.files(), PULLED);
    let written = fs::read(&pulled.file).unwrap();
    assert_eq!(pulled.entry.sha256, sha256(&written));
    let read = |bytes: &[u8]| {
        let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
        file.tensor("fc.weight").unwrap().data().to_vec()
    };
    assert_eq!(read(&written), read(bytes));
    assert_eq!(scratch.places.pulled.lock().unwrap().networks, std::slice::from_ref(&pulled.entry));
}

#[test]
fn a_network_comes_from_hugging_face_and_the_token_stays_there() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    // 127.0.0.1 is another host than localhost.
    let server = Server::start(move |request, _| match request.path.as_str() {
        PATH => {
            let port = request.header("host").unwrap().split(':').nth(1).unwrap();
            redirect(format!("https://127.0.0.1:{port}/storage?signature=1")).with("X-Repo-Commit", "c0ffee")
        }
        _ => file(&sent, request),
    });
    let settings = Settings { token: Token::new("hf_secret"), ..server.settings(scratch.path()) };
    let pulled = pull(&scratch, &settings, &tiny()).unwrap();
    assert_eq!(pulled.how, How::Pulled);
    whole(&scratch, &pulled, &bytes);

    let requests = server.requests();
    let seen: Vec<_> = requests.iter().map(|r| (r.path.as_str(), r.header("authorization"))).collect();
    assert_eq!(seen, [(PATH, Some("Bearer hf_secret")), ("/storage?signature=1", None)]);
    assert!(requests[0].header("user-agent").unwrap().starts_with("facesocial/"));

    let sources = scratch.places.pulled.sources().unwrap();
    let entry = sources.get("tiny").unwrap();
    assert_eq!(entry.commit.as_deref(), Some("c0ffee"));
    assert_eq!(entry.licence_accepted, None);
    let file = &entry.files[0];
    assert_eq!((file.path.as_str(), file.bytes, file.pinned), ("model.safetensors", bytes.len() as u64, false));
    assert_eq!(file.sha256, sha256(&bytes));
    assert!(file.from.ends_with(PATH));
}

#[test]
fn what_is_there_is_not_asked_for_again_and_what_is_damaged_is() {
    let bytes = weights(ROWS, 0);
    let (scratch, server) = (Scratch::new(), good(&bytes));
    let settings = server.settings(scratch.path());
    let first = pull(&scratch, &settings, &tiny()).unwrap();
    assert_eq!(pull(&scratch, &settings, &tiny()).unwrap().how, How::Already);
    assert_eq!(server.requests().len(), 1);
    let mut damaged = fs::read(&first.file).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&first.file, damaged).unwrap();
    let again = pull(&scratch, &settings, &tiny()).unwrap();
    assert_eq!((again.how, &again.entry), (How::Pulled, &first.entry));
    whole(&scratch, &again, &bytes);
    let options = PullOptions { force: true, ..PullOptions::default() };
    assert_eq!(pull_with(&scratch, &settings, &tiny(), options, &Notes::default()).unwrap().how, How::Pulled);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_cut_connection_is_gone_on_with() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    let server = Server::start(move |request, n| match n {
        0 => file(&sent, request).cut(100_000),
        1 => Reply { dropped: true, ..Reply::default() },
        _ => file(&sent, request),
    });
    let notes = Notes::default();
    let settings = server.settings(scratch.path());
    let pulled = pull_with(&scratch, &settings, &tiny(), PullOptions::default(), &notes).unwrap();
    whole(&scratch, &pulled, &bytes);
    let requests = server.requests();
    assert_eq!(requests[0].header("range"), None);
    assert_eq!(requests[2].header("range"), Some("bytes=100000-"));
    assert!(requests[2].header("if-range").is_some());
    assert_eq!(notes.count("Retry"), 2);
    assert!(notes.find("Retry").contains("the connection ended early"), "{}", notes.find("Retry"));
}

#[test]
fn an_interrupted_pull_leaves_only_a_part_that_the_next_one_goes_on_with() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    let server = Server::start(move |request, n| match n {
        0 => file(&sent, request).cut(100_000),
        1 | 2 => reply(500, ""),
        _ => file(&sent, request),
    });
    let settings = server.settings(scratch.path());
    let error = pull(&scratch, &settings, &pinned(&bytes)).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { attempts: 3, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("answers HTTP 500; 100000 bytes stay in"), "{message}");
    let part = "sources/tiny/model.safetensors.part";
    assert_eq!(scratch.files(), [".pull.lock", part, "sources/tiny/model.safetensors.part.toml"]);
    assert_eq!(fs::read(scratch.models().join(part)).unwrap(), bytes[..100_000]);

    let pulled = pull(&scratch, &settings, &pinned(&bytes)).unwrap();
    whole(&scratch, &pulled, &bytes);
    assert_eq!(server.requests()[3].header("range"), Some("bytes=100000-"));
}

#[test]
fn a_part_that_is_complete_is_taken() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    // The size is not told, so the client learns only from the 416 that it has everything.
    let server = Server::start(move |request, n| match n {
        0 => Reply { without_length: true, ..file(&sent, request).cut(sent.len()) },
        _ => file(&sent, request),
    });
    let settings = server.settings(scratch.path());
    whole(&scratch, &pull(&scratch, &settings, &pinned(&bytes)).unwrap(), &bytes);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    let server = Server::start(move |_, n| {
        let whole = reply(200, sent.clone()).with("ETag", "\"same\"");
        if n == 0 { whole.cut(100_000) } else { whole }
    });
    let notes = Notes::default();
    let settings = server.settings(scratch.path());
    let pulled = pull_with(&scratch, &settings, &tiny(), PullOptions::default(), &notes).unwrap();
    whole(&scratch, &pulled, &bytes);
    assert_eq!(server.requests()[1].header("range"), Some("bytes=100000-"));
    assert_eq!(notes.count("Restart"), 1);
}

#[test]
fn without_a_strong_validator_a_part_is_not_trusted() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    let server = Server::start(move |_, n| {
        let whole = reply(200, sent.clone()).with("ETag", "W/\"weak\"");
        if n == 0 { whole.cut(100_000) } else { whole }
    });
    whole(&scratch, &pull(&scratch, &server.settings(scratch.path()), &tiny()).unwrap(), &bytes);
    assert_eq!(server.requests()[1].header("range"), None);
}

#[test]
fn a_wrong_checksum_is_refused_and_the_file_removed() {
    let (right, wrong) = (weights(ROWS, 0), weights(ROWS, 1));
    let (scratch, server) = (Scratch::new(), good(&wrong));
    let error = pull(&scratch, &server.settings(scratch.path()), &pinned(&right)).unwrap_err().to_string();
    assert!(error.contains(&sha256(&right)) && error.contains(&sha256(&wrong)) && error.contains("removed"), "{error}");
    assert_eq!(scratch.files(), [".pull.lock"]);
}

#[test]
fn the_digest_of_the_first_pull_is_recorded_and_enforced() {
    let (first, second) = (weights(ROWS, 0), weights(ROWS, 1));
    let scratch = Scratch::new();
    let sent = [first.clone(), second.clone()];
    let server = Server::start(move |request, n| file(&sent[n.min(1)], request));
    let settings = server.settings(scratch.path());
    pull(&scratch, &settings, &tiny()).unwrap();
    let force = PullOptions { force: true, ..PullOptions::default() };
    let error = pull_with(&scratch, &settings, &tiny(), force.clone(), &Notes::default()).unwrap_err();
    assert!(matches!(error, HubError::Changed { removed: true, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("models pull tiny --accept-changed"), "{message}");
    // The weights of the first pull are still good.
    assert_eq!(pull(&scratch, &settings, &tiny()).unwrap().how, How::Already);
    let accept = PullOptions { accept_changed: true, ..force };
    let pulled = pull_with(&scratch, &settings, &tiny(), accept, &Notes::default()).unwrap();
    whole(&scratch, &pulled, &second);
    assert_eq!(scratch.places.pulled.sources().unwrap().get("tiny").unwrap().files[0].sha256, sha256(&second));
}

#[test]
fn an_absent_or_forbidden_file_says_what_to_do() {
    let scratch = Scratch::new();
    for (status, token, expected) in [
        (404, None, "pass --from DIR with model.safetensors"),
        (410, None, "HTTP 410"),
        (401, None, "set HF_TOKEN"),
        (403, Some("hf_old"), "has expired, or its owner has not accepted the terms at https://localhost"),
        (418, None, "HTTP 418"),
    ] {
        let server = Server::start(move |_, _| reply(status, "no"));
        let settings = Settings { token: token.and_then(Token::new), ..server.settings(scratch.path()) };
        let error = pull(&scratch, &settings, &tiny()).unwrap_err().to_string();
        assert!(error.contains(PATH) && error.contains(expected), "{error}");
        assert_eq!(server.requests().len(), 1, "{status} is not asked for again");
    }
}

#[test]
fn a_busy_server_is_waited_for_as_it_asks() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    let server = Server::start(move |request, n| match n {
        0 => reply(429, "").with("Retry-After", "1"),
        1 => reply(503, ""),
        _ => file(&sent, request),
    });
    let notes = Notes::default();
    let settings = server.settings(scratch.path());
    let start = Instant::now();
    let pulled = pull_with(&scratch, &settings, &tiny(), PullOptions::default(), &notes).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    whole(&scratch, &pulled, &bytes);
    let first = notes.find("Retry");
    assert!(first.contains("answers HTTP 429") && first.contains("delay: 1s"), "{first}");
    assert_eq!(notes.count("Retry"), 2);
}

#[test]
fn redirects_lead_neither_to_http_nor_in_circles() {
    let scratch = Scratch::new();
    let server = Server::start(|_, _| redirect("http://127.0.0.1:9/file"));
    let error = pull(&scratch, &server.settings(scratch.path()), &tiny()).unwrap_err();
    assert!(matches!(error, HubError::Insecure { .. }), "{error}");
    let server = Server::start(|_, _| redirect(PATH));
    let error = pull(&scratch, &server.settings(scratch.path()), &tiny()).unwrap_err().to_string();
    assert!(error.contains("more than 10 redirects"), "{error}");
}

#[test]
fn a_proxy_is_asked_for_the_tunnel() {
    let bytes = weights(ROWS, 0);
    let (scratch, server) = (Scratch::new(), good(&bytes));
    let (address, asked) = proxy(server.port);
    let settings = Settings { proxy: Proxy::Url(address), ..server.settings(scratch.path()) };
    whole(&scratch, &pull(&scratch, &settings, &tiny()).unwrap(), &bytes);
    assert_eq!(*asked.lock().unwrap(), [format!("CONNECT localhost:{} HTTP/1.1", server.port)]);
}

#[test]
fn a_certificate_of_somebody_else_is_refused_at_once() {
    let (scratch, server) = (Scratch::new(), good(&weights(1, 0)));
    let settings = server.settings(scratch.path());
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(settings.ca_file.as_ref().unwrap(), other.pem()).unwrap();
    let error = pull(&scratch, &settings, &tiny()).unwrap_err();
    assert!(matches!(error, HubError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
}

#[test]
fn a_server_that_cannot_be_reached_is_given_up() {
    let (scratch, server) = (Scratch::new(), good(b""));
    let mut settings = server.settings(scratch.path());
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    settings.huggingface = Url::parse(&format!("https://localhost:{port}/")).unwrap();
    let error = pull(&scratch, &settings, &tiny()).unwrap_err().to_string();
    assert!(error.contains("could not be downloaded in 3 attempts") && error.contains("nothing was kept"), "{error}");
}

/// A disk with room for so many bytes in each file, which may tell so beforehand.
struct SmallDisk {
    room: usize,
    free: Option<u64>,
}

struct SmallFile {
    file: Box<dyn Sink>,
    room: usize,
}

impl Disk for SmallDisk {
    fn append(&self, path: &Path, fresh: bool) -> io::Result<Box<dyn Sink>> {
        Ok(Box::new(SmallFile { file: RealDisk.append(path, fresh)?, room: self.room }))
    }

    fn free(&self, _: &Path) -> Option<u64> {
        self.free
    }
}

impl Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let n = self.file.write(&bytes[..bytes.len().min(self.room)])?;
        self.room -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for SmallFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

#[test]
fn a_full_disk_is_told_and_the_part_waits_for_room() {
    let bytes = weights(ROWS, 0);
    let (scratch, server) = (Scratch::new(), good(&bytes));
    let settings = server.settings(scratch.path());
    let (manifest, disk) = (tiny(), SmallDisk { room: 70_000, free: None });
    let puller = Puller { disk: &disk, ..Puller::new(&scratch.places, &settings) };
    let error = puller.pull(&[&manifest]).unwrap().remove(0).result.unwrap_err();
    assert!(matches!(error, HubError::NoSpace { free: None, .. }), "{error}");
    let needed = format!("{} bytes are needed", bytes.len() - 70_000);
    let message = error.to_string();
    assert!(message.contains(&needed) && message.contains("70000 bytes stay in"), "{message}");

    let pulled = pull(&scratch, &settings, &manifest).unwrap();
    whole(&scratch, &pulled, &bytes);
    assert_eq!(server.requests()[1].header("range"), Some("bytes=70000-"));
}

#[test]
fn too_little_room_is_seen_before_the_first_byte() {
    let bytes = weights(ROWS, 0);
    let (scratch, server) = (Scratch::new(), good(&bytes));
    let settings = server.settings(scratch.path());
    let (manifest, disk) = (tiny(), SmallDisk { room: usize::MAX, free: Some(1000) });
    let puller = Puller { disk: &disk, ..Puller::new(&scratch.places, &settings) };
    let error = puller.pull(&[&manifest]).unwrap().remove(0).result.unwrap_err().to_string();
    let expected = format!("{} bytes are needed, 1000 are free; nothing was kept", bytes.len());
    assert!(error.contains(&expected), "{error}");
    assert_eq!(scratch.files(), [".pull.lock"]);
}

#[test]
fn a_full_disk_at_the_end_keeps_the_old_weights_and_the_download() {
    let bytes = weights(ROWS, 0);
    let (scratch, server) = (Scratch::new(), good(&bytes));
    let settings = server.settings(scratch.path());
    let manifest = tiny();
    // The weight file is a little larger than its source: it has metadata.
    let disk = SmallDisk { room: bytes.len(), free: None };
    let puller = Puller { disk: &disk, ..Puller::new(&scratch.places, &settings) };
    let error = puller.pull(&[&manifest]).unwrap().remove(0).result.unwrap_err().to_string();
    assert!(error.contains("the downloaded files were kept"), "{error}");
    assert_eq!(scratch.files(), [".pull.lock", "sources.lock", "sources/tiny/model.safetensors"]);
    let notes = Notes::default();
    let pulled = pull_with(&scratch, &settings, &manifest, PullOptions::default(), &notes).unwrap();
    whole(&scratch, &pulled, &bytes);
    assert_eq!((server.requests().len(), notes.count("Found")), (1, 1));
}

#[test]
fn a_file_larger_than_it_may_be_is_not_written() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    let endless = Server::start(move |request, _| Reply { without_length: true, ..file(&sent, request) });
    let settings = Settings { max_bytes: 100_000, ..endless.settings(scratch.path()) };
    let error = pull(&scratch, &settings, &tiny()).unwrap_err();
    assert!(matches!(error, HubError::TooLarge { limit: 100_000, .. }), "{error}");
    assert_eq!(scratch.files(), [".pull.lock"]);

    let server = good(&bytes);
    let settings = Settings { max_bytes: 100_000, ..server.settings(scratch.path()) };
    let error = pull(&scratch, &settings, &tiny()).unwrap_err();
    assert!(matches!(error, HubError::TooLarge { .. }), "{error}");

    let sized = manifest("tiny", HUGGING_FACE, &format!("{FILE}\nbytes = 1000"), MIT);
    let error = pull(&scratch, &server.settings(scratch.path()), &sized).unwrap_err().to_string();
    assert!(error.contains(&format!("the file has {} bytes, 1000 are expected", bytes.len())), "{error}");
}

#[test]
fn a_folder_takes_the_place_of_the_network() {
    let bytes = weights(ROWS, 0);
    let server = Server::start(|_, _| panic!("nobody may be asked"));
    for place in ["tiny/model.safetensors", "model.safetensors"] {
        let scratch = Scratch::new();
        let from = scratch.path().join("from");
        fs::create_dir_all(from.join("tiny")).unwrap();
        let settings = Settings { mirror: Some(Mirror::Folder(from.clone())), ..server.settings(scratch.path()) };
        let error = pull(&scratch, &settings, &tiny()).unwrap_err().to_string();
        assert!(error.contains("has none of tiny/model.safetensors, model.safetensors"), "{error}");

        fs::write(from.join(place), weights(ROWS, 1)).unwrap();
        let error = pull(&scratch, &settings, &pinned(&bytes)).unwrap_err();
        assert!(matches!(error, HubError::Digest { removed: false, .. }), "{error}");
        assert!(from.join(place).is_file());

        fs::write(from.join(place), &bytes).unwrap();
        whole(&scratch, &pull(&scratch, &settings, &pinned(&bytes)).unwrap(), &bytes);
        assert!(from.join(place).is_file());
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_server_of_ones_own_takes_the_place_of_the_publisher() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    let server = Server::start(move |request, _| match request.path.as_str() {
        "/mirror/model.safetensors" => file(&sent, request),
        _ => reply(404, ""),
    });
    let mirror = Mirror::parse(&format!("{}mirror", server.url())).unwrap();
    let token = Token::new("hf_secret");
    let settings = Settings { mirror: Some(mirror), token, ..server.settings(scratch.path()) };
    whole(&scratch, &pull(&scratch, &settings, &tiny()).unwrap(), &bytes);
    let seen = server.requests();
    let paths: Vec<_> = seen.iter().map(|r| (r.path.as_str(), r.header("authorization"))).collect();
    assert_eq!(paths, [("/mirror/tiny/model.safetensors", None), ("/mirror/model.safetensors", None)]);
}

fn zip(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
    zip.start_file(path, SimpleFileOptions::default()).unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_file_comes_out_of_the_zip_of_a_release() {
    let bytes = weights(ROWS, 0);
    let pack = zip("pack/model.safetensors", &bytes);
    let (scratch, server) = (Scratch::new(), good(&pack));
    let file = |sha256: &str| format!("path = \"pack/model.safetensors\"\nsha256 = \"{sha256}\"");
    let network = manifest("tiny", RELEASE_ZIP, &file(&sha256(&bytes)), MIT);
    let pulled = pull(&scratch, &server.settings(scratch.path()), &network).unwrap();
    whole(&scratch, &pulled, &bytes);
    assert_eq!(server.requests()[0].path, "/o/n/releases/download/v1/pack.zip");
    let sources = scratch.places.pulled.sources().unwrap();
    let files: Vec<_> = sources.get("tiny").unwrap().files.iter().map(|f| (&*f.path, &f.sha256, f.pinned)).collect();
    let expected = [("pack.zip", &sha256(&pack), false), ("pack/model.safetensors", &sha256(&bytes), true)];
    assert_eq!(files, expected);

    // The digest of the file in the zip is checked, and that it is there at all.
    let scratch = Scratch::new();
    let other = manifest("tiny", RELEASE_ZIP, &file(&sha256(b"other")), MIT);
    let error = pull(&scratch, &server.settings(scratch.path()), &other).unwrap_err();
    assert!(matches!(error, HubError::Digest { removed: true, .. }), "{error}");
    assert_eq!(scratch.files(), [".pull.lock"]);
    let server = good(&zip("elsewhere", b""));
    let error = pull(&scratch, &server.settings(scratch.path()), &network).unwrap_err().to_string();
    assert!(error.contains("pack/model.safetensors"), "{error}");
}

#[test]
fn a_folder_may_have_the_zip_or_the_file_out_of_it() {
    let bytes = weights(ROWS, 0);
    let server = Server::start(|_, _| panic!("nobody may be asked"));
    let network = manifest("tiny", RELEASE_ZIP, "path = \"pack/model.safetensors\"", MIT);
    for (place, content) in [("pack.zip", zip("pack/model.safetensors", &bytes)), ("model.safetensors", bytes.clone())]
    {
        let scratch = Scratch::new();
        let from = scratch.path().join("from");
        fs::create_dir(&from).unwrap();
        let settings = Settings { mirror: Some(Mirror::Folder(from.clone())), ..server.settings(scratch.path()) };
        let error = pull(&scratch, &settings, &network).unwrap_err().to_string();
        assert!(error.contains("tiny/pack.zip, pack.zip, tiny/model.safetensors"), "{error}");
        fs::write(from.join(place), content).unwrap();
        whole(&scratch, &pull(&scratch, &settings, &network).unwrap(), &bytes);

        // What the first pull found is what later ones must find, in whatever form.
        fs::remove_file(from.join(place)).unwrap();
        fs::write(from.join("model.safetensors"), weights(ROWS, 1)).unwrap();
        let force = PullOptions { force: true, ..PullOptions::default() };
        let error = pull_with(&scratch, &settings, &network, force, &Notes::default()).unwrap_err();
        assert!(matches!(error, HubError::Changed { removed: false, .. }), "{error}");
    }
}

#[test]
fn two_pulls_at_the_same_time_do_the_work_once() {
    let bytes = weights(ROWS, 0);
    let scratch = Scratch::new();
    let sent = bytes.clone();
    let server = Server::start(move |request, _| {
        thread::sleep(Duration::from_millis(100));
        file(&sent, request)
    });
    let settings = server.settings(scratch.path());
    let pulls: Vec<Pulled> = thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| pull(&scratch, &settings, &tiny()).unwrap())).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let mut how: Vec<_> = pulls.iter().map(|p| p.how == How::Already).collect();
    how.sort();
    assert_eq!(how, [false, true]);
    assert_eq!(server.requests().len(), 1);
    whole(&scratch, &pulls[0], &bytes);
}

#[test]
fn a_restricted_licence_is_accepted_once_or_nothing_is_asked_for() {
    let bytes = weights(ROWS, 0);
    let (scratch, server) = (Scratch::new(), good(&bytes));
    let settings = server.settings(scratch.path());
    for licence in ["licence = \"research only\"\ncommercial_use = false", "licence = \"GPL-3.0\""] {
        let network = manifest("tiny", HUGGING_FACE, FILE, licence);
        let error = pull(&scratch, &settings, &network).unwrap_err();
        assert!(matches!(error, HubError::Licence(_)), "{error}");
        assert!(error.to_string().contains("add --accept-licence tiny"), "{error}");
        assert!(!scratch.models().exists() && server.requests().is_empty());
    }
    let network = manifest("tiny", HUGGING_FACE, FILE, "licence = \"research only\"\ncommercial_use = false");
    let accepted = PullOptions { accepted: ["tiny".to_owned()].into(), ..PullOptions::default() };
    pull_with(&scratch, &settings, &network, accepted, &Notes::default()).unwrap();
    let when =
        |scratch: &Scratch| scratch.places.pulled.sources().unwrap().get("tiny").unwrap().licence_accepted.clone();
    let first = when(&scratch);
    assert!(first.is_some());

    let force = PullOptions { force: true, ..PullOptions::default() };
    pull_with(&scratch, &settings, &network, force.clone(), &Notes::default()).unwrap();
    assert_eq!(when(&scratch), first);
    let stricter = manifest("tiny", HUGGING_FACE, FILE, "licence = \"nobody\"\ncommercial_use = false");
    let error = pull_with(&scratch, &settings, &stricter, force.clone(), &Notes::default()).unwrap_err();
    assert!(matches!(error, HubError::Licence(_)), "{error}");
    let all = PullOptions { accept_all: true, ..force };
    pull_with(&scratch, &settings, &stricter, all, &Notes::default()).unwrap();
}

#[test]
fn kept_sources_are_used_again_unless_they_were_changed() {
    let bytes = weights(ROWS, 0);
    let (scratch, server) = (Scratch::new(), good(&bytes));
    let settings = server.settings(scratch.path());
    let keep = PullOptions { keep_sources: true, force: true, ..PullOptions::default() };
    let again = || pull_with(&scratch, &settings, &tiny(), keep.clone(), &Notes::default()).unwrap();
    again();
    let source = scratch.models().join("sources/tiny/model.safetensors");
    assert_eq!(fs::read(&source).unwrap(), bytes);
    again();
    assert_eq!(server.requests().len(), 1);
    fs::write(&source, "changed").unwrap();
    again();
    assert_eq!((server.requests().len(), fs::read(&source).unwrap()), (2, bytes));
}

#[test]
fn a_source_that_does_not_convert_is_kept_and_the_others_come() {
    let bytes = weights(ROWS, 0);
    let (scratch, server) = (Scratch::new(), good(&bytes));
    let settings = server.settings(scratch.path());
    let other = manifest_of("other", ROWS + 1, HUGGING_FACE, FILE, MIT);
    let good = tiny();
    let outcomes = Puller::new(&scratch.places, &settings).pull(&[&other, &good]).unwrap();
    let error = outcomes[0].result.as_ref().unwrap_err();
    assert!(matches!(error, HubError::Convert { .. }), "{error}");
    assert!(error.to_string().contains("sources/other"), "{error}");
    assert_eq!(outcomes[1].result.as_ref().unwrap().how, How::Pulled);
    assert!(scratch.models().join("sources/other/model.safetensors").is_file());
    assert!(!scratch.models().join("sources/tiny").exists());
}
