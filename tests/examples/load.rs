//! Closed-loop clients against a running server: throughput, latencies and refusals by the number of clients.
//!
//!     cargo run --release -p facesocial-tests --example load -- http://127.0.0.1:8000/analyze/comprehensive photo.jpg
//!
//! Each client sends the photo again as soon as it has its answer; after a refusal it waits as long as the answer says,
//! but for `--hammer`. Answers that the server remembers are asked not to be used.

#![expect(clippy::print_stdout, reason = "a program whose output is its result")]

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use reqwest::{
    Client,
    header::{CACHE_CONTROL, RETRY_AFTER},
    multipart::{Form, Part},
};

#[derive(Parser)]
struct Args {
    /// Where the photo is posted to, in the field `file`.
    url: String,
    /// The photo.
    photo: PathBuf,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32")]
    clients: Vec<usize>,
    /// Seconds for each number.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Fields of the form beside the file, as detect_faces=true.
    #[arg(long, value_delimiter = ',')]
    field: Vec<String>,
    /// Token or key of the caller.
    #[arg(long, env = "FACESOCIAL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Asks again at once after a refusal.
    #[arg(long)]
    hammer: bool,
    /// Process whose resident memory is shown.
    #[arg(long)]
    pid: Option<u32>,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    answered: Vec<Duration>,
    others: BTreeMap<String, usize>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Arc::new(Args::parse());
    let photo = fs::read(&args.photo)?;
    println!("clients  answers/s    p50 ms    p95 ms    p99 ms  slowest ms  RSS MiB  other answers");
    for &clients in &args.clients {
        let begun = Instant::now();
        let until = begun + Duration::from_secs_f64(args.seconds);
        let running: Vec<_> =
            (0..clients).map(|_| tokio::spawn(client(Arc::clone(&args), photo.clone(), until))).collect();
        let mut seen = Seen::default();
        for one in running {
            let one = one.await?;
            seen.answered.extend(one.answered);
            for (answer, times) in one.others {
                *seen.others.entry(answer).or_default() += times;
            }
        }
        report(clients, begun.elapsed(), seen, args.pid);
    }
    Ok(())
}

async fn client(args: Arc<Args>, photo: Vec<u8>, until: Instant) -> Seen {
    let client = Client::new();
    let mut seen = Seen::default();
    while Instant::now() < until {
        let form = args
            .field
            .iter()
            .filter_map(|f| f.split_once('='))
            .fold(Form::new(), |form, (name, value)| form.text(name.to_owned(), value.to_owned()));
        let form = form.part("file", Part::bytes(photo.clone()).file_name("photo.jpg"));
        let mut request = client.post(&args.url).header(CACHE_CONTROL, "no-cache").multipart(form);
        if let Some(token) = &args.token {
            request = request.bearer_auth(token);
        }
        let begun = Instant::now();
        match request.send().await {
            Ok(answer) if answer.status().is_success() => match answer.bytes().await {
                Ok(_) => seen.answered.push(begun.elapsed()),
                Err(_) => *seen.others.entry("cut off".to_owned()).or_default() += 1,
            },
            Ok(answer) => {
                let told = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
                *seen.others.entry(answer.status().as_u16().to_string()).or_default() += 1;
                if let (false, Some(seconds)) = (args.hammer, told) {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
            }
            Err(_) => *seen.others.entry("no answer".to_owned()).or_default() += 1,
        }
    }
    seen
}

fn report(clients: usize, took: Duration, mut seen: Seen, pid: Option<u32>) {
    seen.answered.sort_unstable();
    let at = |share: f64| {
        let index = ((seen.answered.len() as f64 * share).ceil() as usize).saturating_sub(1);
        seen.answered.get(index).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
    };
    let others: Vec<String> = seen.others.iter().map(|(answer, times)| format!("{answer} x {times}")).collect();
    println!(
        "{clients:7} {:10.2} {:9.0} {:9.0} {:9.0} {:11.0} {:>8}  {}",
        seen.answered.len() as f64 / took.as_secs_f64(),
        at(0.50),
        at(0.95),
        at(0.99),
        at(1.0),
        pid.and_then(resident_mib).map_or_else(|| "-".to_owned(), |mib| mib.to_string()),
        others.join(", "),
    );
}

/// Resident memory of a process, where the system tells it.
fn resident_mib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? / 1024)
}
