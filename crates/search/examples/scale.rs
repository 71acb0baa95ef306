//! Measures the search: time to insert, time to identify, memory, and whether the answers are exact.
//!
//! ```text
//! cargo run --release -p facesocial-search --example scale -- --faces 1000000
//! ```
//!
//! The faces are synthetic: identities in random directions, a few faces around each. The vectors themselves go to a
//! file, as the store keeps them, and candidates are scored exactly from there. `--folder` says where the file goes
//! (2 KiB per face), `--queries` how many searches are timed, `--check` how many are compared with a full scan.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is its result")]

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use facesocial_search::{Matrix, cosine};
use fastrand::Rng;

const DIMENSION: usize = 512;
/// Nearest faces asked for.
const K: usize = 10;
/// Noise relative to the identity's direction: two faces of one person have a cosine of about 0.6.
const NOISE: f32 = 0.8;

type Failure = Box<dyn std::error::Error>;

struct Options {
    faces: Vec<usize>,
    queries: usize,
    check: usize,
    folder: PathBuf,
}

fn options() -> Result<Options, Failure> {
    let mut options =
        Options { faces: vec![10_000, 100_000, 1_000_000], queries: 300, check: 20, folder: std::env::temp_dir() };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--faces" => options.faces = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--queries" => options.queries = value.parse()?,
            "--check" => options.check = value.parse()?,
            "--folder" => options.folder = value.into(),
            _ => return Err(format!("{name} is not one of --faces, --queries, --check, --folder").into()),
        }
    }
    if options.queries == 0 || options.faces.contains(&0) {
        return Err("--faces and --queries must be at least 1".into());
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    println!("processor: {}", processor());
    println!("load of the machine before: {}", read("/proc/loadavg").split(' ').next().unwrap_or("unknown"));
    println!("kernel: {}, {} components, k = {K}", Matrix::new(1).kernel(), DIMENSION);
    println!("CPU ms: processor time per search on all cores; by the number of cores, the time on a machine at rest");
    println!();
    println!(
        "| faces | at least | insert/s | p50 ms | p99 ms | max ms | CPU ms | candidates | scoring p99 ms | RSS MiB | recall@10 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for &faces in &options.faces {
        measure(options, faces)?;
    }
    Ok(())
}

fn measure(options: &Options, faces: usize) -> Result<(), Failure> {
    let path = options.folder.join(format!("facesocial-scale-{}.f32", std::process::id()));
    let result = measure_in(options, faces, &path);
    std::fs::remove_file(&path)?;
    result
}

fn measure_in(options: &Options, faces: usize, path: &Path) -> Result<(), Failure> {
    let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
    let mut rng = Rng::with_seed(0x5ca1e);
    let mut matrix = Matrix::new(DIMENSION);
    let mut probes = Vec::new();
    let mut inserting = Duration::ZERO;
    let mut writer = BufWriter::with_capacity(1 << 20, &mut file);
    let mut key = 0;
    while key < faces {
        let identity: Vec<f32> = (0..DIMENSION).map(|_| normal(&mut rng)).collect();
        let of_identity = rng.usize(1..=9).min(faces - key);
        for _ in 0..of_identity {
            let face = face_of(&identity, &mut rng);
            for x in &face {
                writer.write_all(&x.to_le_bytes())?;
            }
            let start = Instant::now();
            matrix.insert(key as u128, &face)?;
            inserting += start.elapsed();
            key += 1;
        }
        // A few of the identities come back with a new face, spread over the gallery.
        if probes.len() < options.queries / 2 && key >= (probes.len() + 1) * faces / (options.queries / 2 + 1) {
            probes.push(face_of(&identity, &mut rng));
        }
    }
    writer.flush()?;
    drop(writer);
    // The others are of persons whom the gallery does not know.
    while probes.len() < options.queries {
        let identity: Vec<f32> = (0..DIMENSION).map(|_| normal(&mut rng)).collect();
        probes.push(face_of(&identity, &mut rng));
    }
    rng.shuffle(&mut probes);

    for at_least in [-1.0, 0.4] {
        // The first searches wake the threads.
        for probe in probes.iter().take(5) {
            matrix.candidates_above(probe, K, at_least, None)?;
        }
        let (mut total, mut scoring, mut candidates) = (Vec::new(), Vec::new(), 0);
        let mut answers = Vec::new();
        let cpu = cpu_seconds();
        for probe in &probes {
            let start = Instant::now();
            let found = matrix.candidates_above(probe, K, at_least, None)?;
            let scanned = start.elapsed();
            answers.push(score(&found, probe, &file)?);
            total.push(start.elapsed());
            scoring.push(start.elapsed() - scanned);
            candidates += found.len();
        }
        let cpu = (cpu_seconds() - cpu) / probes.len() as f64;
        let rss = resident();
        let recall = recall(&mut file, &probes, &answers, options.check, at_least)?;
        println!(
            "| {faces} | {} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {rss:.0} ({:.0} matrix) | {recall} |",
            if at_least < 0.0 { "none".to_owned() } else { at_least.to_string() },
            faces as f64 / inserting.as_secs_f64(),
            percentile(&mut total, 0.50),
            percentile(&mut total, 0.99),
            percentile(&mut total, 1.0),
            1e3 * cpu,
            candidates as f64 / probes.len() as f64,
            percentile(&mut scoring, 0.99),
            matrix.bytes() as f64 / f64::from(1 << 20),
        );
    }
    Ok(())
}

/// The k best of the candidates, scored from the file: in their order, until no other can be better.
fn score(found: &[facesocial_search::Candidate], probe: &[f32], mut file: &File) -> Result<Vec<(f64, usize)>, Failure> {
    let mut best: Vec<(f64, usize)> = Vec::with_capacity(K + 1);
    let mut bytes = [0; 4 * DIMENSION];
    for candidate in found {
        if best.len() == K && best[K - 1].0 >= candidate.high {
            break;
        }
        let key = candidate.key as usize;
        file.seek(SeekFrom::Start((4 * DIMENSION * key) as u64))?;
        file.read_exact(&mut bytes)?;
        let score = cosine(probe, &floats(&bytes)).ok_or("a stored vector is zero")?;
        let at = best.partition_point(|(other, _)| *other >= score);
        best.insert(at, (score, key));
        best.truncate(K);
    }
    Ok(best)
}

/// Compares some answers with a scan of the whole file: found of expected.
fn recall(
    file: &mut File,
    probes: &[Vec<f32>],
    answers: &[Vec<(f64, usize)>],
    check: usize,
    at_least: f64,
) -> Result<String, Failure> {
    let check = check.min(probes.len());
    let mut scores: Vec<Vec<(f64, usize)>> = vec![Vec::new(); check];
    let mut rows = vec![0; 4 * DIMENSION * 1024];
    let mut key = 0;
    file.rewind()?;
    loop {
        let taken = fill(file, &mut rows)?;
        for bytes in rows[..taken].chunks_exact(4 * DIMENSION) {
            let face = floats(bytes);
            for (probe, best) in probes.iter().zip(&mut scores) {
                let score = cosine(probe, &face).ok_or("a stored vector is zero")?;
                if score >= at_least && (best.len() < K || best[K - 1].0 < score) {
                    let at = best.partition_point(|(other, _)| *other >= score);
                    best.insert(at, (score, key));
                    best.truncate(K);
                }
            }
            key += 1;
        }
        if taken < rows.len() {
            break;
        }
    }
    let expected: usize = scores.iter().map(Vec::len).sum();
    let found: usize =
        scores.iter().zip(answers).map(|(exact, answer)| exact.iter().filter(|hit| answer.contains(hit)).count()).sum();
    Ok(if expected == 0 {
        "nothing to find".to_owned()
    } else {
        format!("{} ({found}/{expected})", found as f64 / expected as f64)
    })
}

/// Reads until the buffer is full or the file ends; bytes read.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut taken = 0;
    while taken < buffer.len() {
        match file.read(&mut buffer[taken..])? {
            0 => break,
            more => taken += more,
        }
    }
    Ok(taken)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

/// One sample of the normal distribution, near enough: the sum of four uniform ones.
fn normal(rng: &mut Rng) -> f32 {
    let bits = rng.u64(..);
    let sum = (0..4).map(|i| f32::from((bits >> (16 * i)) as u16)).sum::<f32>() / 65_536.0;
    (sum - 2.0) * 3.0_f32.sqrt()
}

/// Another face of an identity, as a vector of norm 1.
fn face_of(identity: &[f32], rng: &mut Rng) -> Vec<f32> {
    let face: Vec<f32> = identity.iter().map(|x| x + NOISE * normal(rng)).collect();
    let norm = face.iter().map(|x| x * x).sum::<f32>().sqrt();
    face.into_iter().map(|x| x / norm).collect()
}

/// The time within which `share` of the searches were done, in milliseconds.
fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = (times.len() as f64 * share).ceil() as usize;
    1e3 * times[at.saturating_sub(1)].as_secs_f64()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{name}, {cores} cores")
}

/// Memory of this process that is resident, in MiB; 0 where the system does not tell.
fn resident() -> f64 {
    let text = read("/proc/self/status");
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.trim().split(' ').next());
    kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Processor time that this process has used on all cores, in seconds; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let text = read("/proc/self/stat");
    // After the name in parentheses, user and system time are the 12th and 13th field, in hundredths of a second.
    let fields: Vec<f64> = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect())
        .unwrap_or_default();
    fields.get(11..13).map_or(0.0, |times| (times[0] + times[1]) / 100.0)
}
