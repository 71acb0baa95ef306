//! Reads what the parts of a server keep about themselves.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::web;
use facesocial_cache::CacheStatus;
use facesocial_gpu::Gpu;
use prometheus::proto::MetricFamily;

use super::{families as f, networks, process::Process, readings::Readings};
use crate::{
    error::{ApiError, ApiResult},
    services::health::VERSION,
    state::State,
};

/// How long the database may take to answer before it counts as not answering.
const PATIENCE: Duration = Duration::from_secs(2);

/// Everything that is told, by name.
///
/// # Errors
/// A reading panicked.
pub async fn gather(state: &web::Data<State>) -> ApiResult<Vec<MetricFamily>> {
    let mut readings = Readings::default();
    cache(&mut readings, &state.cache().status().await);
    database(&mut readings, state).await;
    // The driver of a card, and the system, may take their time.
    let shared = state.clone();
    let read = move || {
        server(&mut readings, &shared);
        process(&mut readings);
        cards(&mut readings);
        if let Ok(loaded) = shared.loaded() {
            networks::read(&mut readings, loaded.pipeline.engine().networks(), &loaded.pipeline.engine().budgets());
            readings.set(&f::DEVICE_HEALTHY, &[], flag(loaded.pipeline.engine().healthy()));
        }
        readings.join(shared.metrics.gather())
    };
    tokio::task::spawn_blocking(read).await.map_err(|e| ApiError::internal(&e))
}

pub(super) const fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn cache(readings: &mut Readings, status: &CacheStatus) {
    let CacheStatus { backend, reachable, hits, misses, failures } = *status;
    readings.set(&f::CACHE_UP, &[backend], flag(reachable));
    readings.set(&f::CACHE_HITS, &[backend], hits as f64);
    readings.set(&f::CACHE_MISSES, &[backend], misses as f64);
    readings.set(&f::CACHE_FAILURES, &[backend], failures as f64);
}

async fn database(readings: &mut Readings, state: &State) {
    if !state.has_store {
        return;
    }
    let Ok(store) = state.store() else { return readings.set(&f::DATABASE_UP, &[], 0.0) };
    let asked = Instant::now();
    let answers = matches!(tokio::time::timeout(PATIENCE, store.ping()).await, Ok(Ok(())));
    readings.set(&f::DATABASE_UP, &[], flag(answers));
    readings.set(&f::DATABASE_PING_SECONDS, &[], asked.elapsed().as_secs_f64());
    let pool = store.pool();
    readings.set(&f::DATABASE_CONNECTIONS, &[pool.backend, "idle"], pool.idle.into());
    readings.set(&f::DATABASE_CONNECTIONS, &[pool.backend, "used"], pool.connections.saturating_sub(pool.idle).into());
    readings.set(&f::DATABASE_CONNECTIONS_LIMIT, &[pool.backend], pool.most.into());
    if let Some(size) = state.size.known() {
        readings.set(&f::DATABASE_BYTES, &[], size.bytes as f64);
        readings.set(&f::GALLERY_COLLECTIONS, &[], size.collections as f64);
        readings.set(&f::GALLERY_PERSONS, &[], size.persons as f64);
        readings.set(&f::GALLERY_FACES, &[], size.faces as f64);
    }
}

fn server(readings: &mut Readings, state: &State) {
    let line = state.line();
    readings.set(&f::POOL_PLACES, &[], line.at_once as f64);
    readings.set(&f::POOL_BUSY, &[], line.busy as f64);
    readings.set(&f::POOL_WAITING, &[], line.waiting as f64);
    readings.set(&f::POOL_REQUESTS, &[], line.admitted as f64);
    readings.set(&f::POOL_REQUESTS_LIMIT, &[], line.places as f64);
    readings.set(&f::POOL_REFUSALS, &[], line.refused as f64);
    let (used, limit) = state.upload_memory();
    readings.set(&f::UPLOAD_MEMORY, &[], used as f64);
    readings.set(&f::UPLOAD_MEMORY_LIMIT, &[], limit as f64);
    readings.set(&f::LIVE_CONNECTIONS, &[], state.live.open() as f64);
    readings.set(&f::LIVE_CONNECTIONS_LIMIT, &[], state.live.config.connections as f64);
    readings.set(&f::READY, &[], flag(state.answers().is_ok()));
    readings.set(&f::BUILD_INFO, &[VERSION], 1.0);
    let start = SystemTime::now().checked_sub(state.started.elapsed());
    let start = start.and_then(|start| start.duration_since(UNIX_EPOCH).ok());
    readings.set(&f::PROCESS_TASKS, &[], state.runtimes.tasks() as f64);
    readings.set_known(&f::PROCESS_START, &[], start.map(|start| (start.as_secs_f64() * 1e3).round() / 1e3));
}

fn process(readings: &mut Readings) {
    let Process { cpu_seconds, threads, resident, reserved, open_files, open_files_limit } = Process::read();
    let number = |n: Option<u64>| n.map(|n| n as f64);
    readings.set_known(&f::PROCESS_CPU_SECONDS, &[], cpu_seconds);
    readings.set_known(&f::PROCESS_THREADS, &[], number(threads));
    readings.set_known(&f::PROCESS_MEMORY, &[], number(resident));
    readings.set_known(&f::PROCESS_VIRTUAL_MEMORY, &[], number(reserved));
    readings.set_known(&f::PROCESS_FDS, &[], number(open_files));
    readings.set_known(&f::PROCESS_FDS_LIMIT, &[], number(open_files_limit));
}

fn cards(readings: &mut Readings) {
    if let Ok(figures) = facesocial_gpu::read() {
        figures.devices.iter().for_each(|card| of_card(readings, card));
    }
}

fn of_card(readings: &mut Readings, card: &Gpu) {
    let number = card.index.to_string();
    let gpu = [number.as_str()];
    let bytes = |mb: Option<u64>| mb.map(|mb| (mb << 20) as f64);
    readings.set(&f::GPU_UP, &gpu, flag(card.fault.is_none()));
    readings.set_known(&f::GPU_MEMORY_USED, &gpu, bytes(card.memory_used_mb));
    readings.set_known(&f::GPU_MEMORY_TOTAL, &gpu, bytes(card.memory_total_mb));
    readings.set_known(&f::GPU_PROCESS_MEMORY, &gpu, bytes(card.process_memory_used_mb));
    readings.set_known(&f::GPU_UTILIZATION, &gpu, card.utilization_percent.map(|p| f64::from(p) / 100.0));
    readings.set_known(&f::GPU_TEMPERATURE, &gpu, card.temperature_celsius.map(f64::from));
    readings.set_known(&f::GPU_POWER, &gpu, card.power_watts);
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use prometheus::TextEncoder;

    use super::*;
    use crate::config::{Config, ServeArgs};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    #[tokio::test]
    async fn a_server_without_a_database_tells_nothing_of_one_and_another_that_it_is_away() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&secret, "a secret for tests alone, long enough").unwrap();
        let secret = format!("--internal-secret-file={}", secret.path().display());
        let service = ["--internal-only", "--no-gateway", "--services=yolo", secret.as_str()];
        for (args, told) in [(&service[..], false), (&[], true)] {
            let args = Cli::parse_from([&["serve"], args].concat()).serve;
            let state = State::new(&Config::try_from(args).unwrap(), facesocial_cache::open(None, 1 << 20).unwrap());
            let mut readings = Readings::default();
            database(&mut readings, &state).await;
            let text = TextEncoder::new().encode_to_string(&readings.join(Vec::new())).unwrap();
            assert_eq!(text.contains("facesocial_database_up 0"), told, "{text}");
        }
    }

    #[test]
    fn a_card_tells_what_it_knows_in_base_units() {
        let mut readings = Readings::default();
        let card = Gpu {
            index: 1,
            memory_used_mb: Some(2),
            utilization_percent: Some(25),
            power_watts: Some(61.5),
            ..Gpu::default()
        };
        of_card(&mut readings, &card);
        of_card(&mut readings, &Gpu { index: 2, fault: Some("lost".to_owned()), ..Gpu::default() });
        let text = TextEncoder::new().encode_to_string(&readings.join(Vec::new())).unwrap();
        for line in [
            r#"facesocial_gpu_up{gpu="1"} 1"#,
            r#"facesocial_gpu_up{gpu="2"} 0"#,
            r#"facesocial_gpu_memory_used_bytes{gpu="1"} 2097152"#,
            r#"facesocial_gpu_utilization_ratio{gpu="1"} 0.25"#,
            r#"facesocial_gpu_power_watts{gpu="1"} 61.5"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(!text.contains("temperature"), "what is not known is not told: {text}");
    }
}
