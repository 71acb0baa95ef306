//! `kill -9` of the server in the middle of a job of analyses: afterwards every image has its line, once and in its place.
//! `FACESOCIAL_CRASH_IMAGES` says how many images there are; 240 without it.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Cursor, Write},
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use image::{ImageFormat, imageops::FilterType};
use reqwest::{
    Client,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::server::{Places, Server};

/// Longest time without an image more. A job that was cut off is taken up after a minute at the latest; an unoptimised build
/// on a busy machine takes its time as well.
const PATIENCE: Duration = Duration::from_secs(300);

fn images() -> usize {
    env::var("FACESOCIAL_CRASH_IMAGES").map_or(240, |n| n.parse().expect("FACESOCIAL_CRASH_IMAGES is a number"))
}

/// At how many lines the server is killed. Each time costs a minute.
fn moments() -> Vec<usize> {
    let all = images();
    if all < 1000 { vec![all / 3] } else { vec![all / 10, all * 4 / 10, all * 8 / 10] }
}

fn name(n: usize) -> String {
    format!("folder-{}/{n:05}.jpg", n % 7)
}

/// Small photos, each another file; every tenth is none.
fn archive() -> Vec<u8> {
    let portrait = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("images/portrait.jpg")).unwrap();
    let portrait = image::load_from_memory(&portrait).unwrap().resize(160, 160, FilterType::Triangle);
    let mut small = Cursor::new(Vec::new());
    portrait.write_to(&mut small, ImageFormat::Jpeg).unwrap();
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for n in 0..images() {
        zip.start_file(name(n), SimpleFileOptions::default()).unwrap();
        let content = if is_photo(n) { small.get_ref().as_slice() } else { b"no photo" };
        // What follows an image's end is not read.
        zip.write_all(&[content, format!(" {n}").as_bytes()].concat()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn is_photo(n: usize) -> bool {
    n % 10 != 9
}

/// A receiver that keeps the identifiers of what it was told.
fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let shared = Arc::clone(&told);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            let id = head.iter().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("x-facesocial-delivery").then(|| value.trim().to_owned())
            });
            shared.lock().unwrap().extend(id);
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").ok();
        }
    });
    (format!("http://{address}"), told)
}

/// The lines that are there, each checked to be the next one.
async fn lines(server: &Server, job: &str) -> Vec<Value> {
    let url = server.url(&format!("/api/v1/jobs/{job}/results"));
    let text = Client::new().get(url).send().await.unwrap().text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(
            (line["index"].as_u64(), line["source"].as_str()),
            (Some(n as u64), Some(name(n).as_str())),
            "{line}"
        );
        let expected = if is_photo(n) { "done" } else { "failed" };
        assert_eq!(line["status"], expected, "{line}");
    }
    lines
}

/// Sees to it that a job gets on.
struct Watch {
    processed: usize,
    since: Instant,
}

impl Watch {
    fn begin() -> Self {
        Self { processed: 0, since: Instant::now() }
    }

    /// How many images are done.
    fn look(&mut self, job: &Value) -> usize {
        let processed = job["processed_items"].as_u64().unwrap() as usize;
        if processed != self.processed {
            *self = Self { processed, since: Instant::now() };
        }
        assert!(self.since.elapsed() < PATIENCE, "nothing happens: {job}");
        processed
    }
}

async fn job(server: &Server, id: &str) -> Value {
    let url = server.url(&format!("/api/v1/jobs/{id}"));
    Client::new().get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_on_after_the_server_was_killed() {
    let (hook, told) = receiver();
    let folder = tempfile::tempdir().unwrap();
    let places = Places {
        folder: folder.path().join("data"),
        webhook_hosts: Some(format!("{hook}=private")),
        ..Places::default()
    };
    let mut server = Server::start(&places).await;
    let form = Form::new()
        .text("kind", "analyze")
        .text("options", json!({ "assess_quality": true }).to_string())
        .text("webhook", json!({ "url": format!("{hook}/hook"), "secret": "of sixteen bytes" }).to_string())
        .part("file", Part::bytes(archive()).file_name("photos.zip"));
    let sent = Client::new().post(server.url("/api/v1/jobs")).multipart(form).send().await.unwrap();
    let status = sent.status();
    let made: Value = sent.json().await.unwrap();
    assert_eq!((status.as_u16(), &made["total_items"]), (202, &json!(images())), "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let (begun, mut watch) = (Instant::now(), Watch::begin());
    let mut at_kill = Vec::new();
    for moment in moments() {
        loop {
            let now = job(&server, &id).await;
            let processed = watch.look(&now);
            if processed >= moment {
                assert_eq!(now["status"], "processing", "it was killed too late: {now}");
                // Whatever the progress says is there.
                assert!(lines(&server, &id).await.len() >= processed);
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill();
        server = Server::start(&places).await;
        let kept = lines(&server, &id).await.len();
        assert!(kept >= moment && kept < images(), "{kept}");
        at_kill.push(kept);
    }
    let done = loop {
        let now = job(&server, &id).await;
        if now["status"] == "completed" {
            break now;
        }
        assert_eq!(now["status"], "processing", "{now}");
        watch.look(&now);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(lines(&server, &id).await.len(), images());
    let failed = (0..images()).filter(|n| !is_photo(*n)).count();
    assert_eq!((&done["processed_items"], &done["failed_items"]), (&json!(images()), &json!(failed)), "{done}");
    let results = &done["results"];
    assert_eq!((&results["analysed"], &results["failed"]), (&json!(images() - failed), &json!(failed)), "{done}");
    let ended = Instant::now();
    while told.lock().unwrap().is_empty() {
        assert!(ended.elapsed() < PATIENCE, "the end is never told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = told.lock().unwrap().clone();
    assert!(told.iter().all(|delivery| *delivery == format!("{id}-end")), "{told:?}");
    let line = format!(
        "a job of {} images whose server was killed with {at_kill:?} lines stored: {} lines, each once, after {:.0?}; {} images a \
         second by the last worker",
        images(),
        images(),
        begun.elapsed(),
        results["images_per_second"],
    );
    writeln!(io::stderr(), "{line}").ok();
}
