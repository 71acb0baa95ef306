//! What it costs to run every service as a process of its own: the time of a comprehensive analysis by one process that runs
//! everything, against a gateway and seven processes, photo by photo in turn.
//!
//!     cargo build --release && cargo run --release -p facesocial-tests --example distributed -- photo.jpg
//!
//! Both share the cores, but only one of them works at a time. The photo is scaled to 1920 x 1080 unless `--as-it-is`.

#![expect(clippy::print_stdout, reason = "a program whose output is its result")]

use std::{
    error::Error,
    fs,
    io::Cursor,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use facesocial_types::Service;
use image::imageops::FilterType;
use reqwest::{
    Client,
    header::CACHE_CONTROL,
    multipart::{Form, Part},
};

#[derive(Parser)]
struct Args {
    /// The photo.
    photo: PathBuf,
    /// The program.
    #[arg(long, default_value = "target/release/facesocial")]
    program: PathBuf,
    /// Folder with weights.lock.
    #[arg(long, default_value = "weights")]
    weights: PathBuf,
    /// Analyses of each.
    #[arg(long, default_value_t = 40)]
    times: usize,
    /// Which detector looks for faces: mediapipe, yolo, mtcnn or ensemble.
    #[arg(long, default_value = "mediapipe")]
    detector: String,
    /// Sends the photo as it is.
    #[arg(long)]
    as_it_is: bool,
}

/// Time for networks to be loaded.
const START: Duration = Duration::from_secs(120);
/// Analyses before those that count.
const WARM_UP: usize = 3;

/// A process that ends with this one.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The program with its own data folder and free ports.
fn start(args: &Args, folder: &Path, name: &str, port: u16, more: &[String]) -> std::io::Result<Server> {
    let child = Command::new(&args.program)
        .args(["serve", "--auth", "off", "--data-dir"])
        .arg(folder.join(name))
        .arg("--weights")
        .arg(&args.weights)
        .args(more)
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Server { child, port })
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let photo = if args.as_it_is { fs::read(&args.photo)? } else { full_hd(&fs::read(&args.photo)?)? };
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("secret");
    fs::write(&secret, "a secret for this measurement alone, which ends with it")?;
    let secret = words(&["--internal-secret-file", secret.to_str().ok_or("a folder whose name is no text")?]);

    let port = free_port()?;
    let mut listen = words(&["--gateway-port", &port.to_string()]);
    for service in Service::ALL {
        listen.extend(words(&["--listen", &format!("{service}=127.0.0.1:0")]));
    }
    let one = start(&args, folder.path(), "one", port, &listen)?;

    let (mut servers, mut upstreams) = (Vec::new(), Vec::new());
    for service in Service::ALL {
        let port = free_port()?;
        let own = ["--no-gateway", "--services", service.as_str(), "--listen", &format!("{service}=127.0.0.1:{port}")];
        servers.push(start(&args, folder.path(), service.as_str(), port, &[words(&own), secret.clone()].concat())?);
        upstreams.extend(words(&["--upstream", &format!("{service}=http://127.0.0.1:{port}")]));
    }
    let port = free_port()?;
    let front = [words(&["--gateway-port", &port.to_string()]), upstreams, secret].concat();
    let many = start(&args, folder.path(), "gateway", port, &front)?;

    let client = Client::new();
    for server in servers.iter().chain([&one, &many]) {
        ready(&client, server).await?;
    }
    let mut took = [Vec::new(), Vec::new()];
    for n in 0..args.times + WARM_UP {
        for (server, took) in [&one, &many].into_iter().zip(&mut took) {
            let time = analyse(&client, server, &args.detector, &photo).await?;
            if n >= WARM_UP {
                took.push(time);
            }
        }
    }
    let [one, many] = took.map(|mut times| {
        times.sort_unstable();
        times
    });
    let at = |times: &[Duration], share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    println!("{} analyses each, detector {}", args.times, args.detector);
    for (name, times) in [("one process", &one), ("gateway and seven", &many)] {
        println!("{name:18} p50 {:7.1} ms  p95 {:7.1} ms", ms(at(times, 0.5)), ms(at(times, 0.95)));
    }
    println!("ratio of the p50   {:.3}", ms(at(&many, 0.5)) / ms(at(&one, 0.5)));
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The photo at 1920 x 1080, as JPEG.
fn full_hd(photo: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let photo = image::load_from_memory(photo)?.resize_to_fill(1920, 1080, FilterType::Triangle).into_rgb8();
    let mut jpeg = Cursor::new(Vec::new());
    photo.write_to(&mut jpeg, image::ImageFormat::Jpeg)?;
    Ok(jpeg.into_inner())
}

async fn ready(client: &Client, server: &Server) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    loop {
        let answer = client.get(format!("http://127.0.0.1:{}/readyz", server.port)).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        if begun.elapsed() > START {
            return Err(format!("the server on port {} did not become ready", server.port).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn analyse(client: &Client, server: &Server, detector: &str, photo: &[u8]) -> Result<Duration, Box<dyn Error>> {
    // Every analysis, as none would be only with the detector's default.
    let flags = ["assess_quality", "recognize_faces", "detect_spoofing", "predict_gender_age", "detect_deepfake"];
    let form = flags.iter().fold(Form::new(), |form, flag| form.text(*flag, "true"));
    let form = form.text("face_service", detector.to_owned());
    let form = form.part("file", Part::bytes(photo.to_vec()).file_name("photo.jpg"));
    let begun = Instant::now();
    let url = format!("http://127.0.0.1:{}/analyze/comprehensive", server.port);
    let answer = client.post(url).header(CACHE_CONTROL, "no-cache").multipart(form).send().await?;
    let answer: serde_json::Value = answer.error_for_status()?.json().await?;
    let took = begun.elapsed();
    let data = &answer["data"];
    if data["total_faces_detected"] == 0 || data.to_string().contains("\"unavailable\"") {
        return Err("the analysis has no faces, or says nothing of them: there is nothing to measure".into());
    }
    Ok(took)
}
