//! What the engine keeps about its networks, as figures.

use facesocial_pipeline::{BATCH_SIZES, BatchStats, Budgets, Footprint, NetworkReport, TIME_CLASSES, Times};
use facesocial_types::Service;

use super::{families as f, read::flag, readings::Readings};

/// Adds every network, and what the services may hold.
pub fn read(readings: &mut Readings, networks: Vec<NetworkReport>, budgets: &Budgets) {
    for network in &networks {
        of_network(readings, network);
    }
    // What another process runs is told there.
    for service in Service::ALL.iter().filter(|service| networks.iter().any(|network| payer(network) == **service)) {
        let (name, budget) = (service.as_str(), budgets.of(*service));
        readings.set(&f::SERVICE_MEMORY, &[name], memory_of(&networks, *service) as f64);
        readings.set(&f::SERVICE_BUDGET, &[name], budget as f64);
    }
    readings.set(&f::MEMORY_BUDGET, &[], budgets.total() as f64);
}

/// Bytes that the loaded networks of a service may take now. One that several services use counts for the first.
pub fn memory_of(networks: &[NetworkReport], service: Service) -> usize {
    networks.iter().filter(|network| payer(network) == service).map(memory).sum()
}

/// The service whose budget pays for a network.
fn payer(network: &NetworkReport) -> Service {
    network.services.first().copied().unwrap_or(Service::Mediapipe)
}

/// Weights, and a batch of the largest size: networks keep the memory of one batch for the next.
fn memory(network: &NetworkReport) -> usize {
    let Footprint { weights, .. } = network.footprint;
    if network.loaded { weights + network.footprint.batch(network.batches.max_batch) } else { 0 }
}

fn of_network(readings: &mut Readings, network: &NetworkReport) {
    let NetworkReport { id, loaded, pinned, loads, load_time, idle, footprint, batches, .. } = network;
    let labels = [payer(network).as_str(), id.name()];
    readings.set(&f::NETWORK_LOADED, &labels, flag(*loaded));
    readings.set(&f::NETWORK_PINNED, &labels, flag(*pinned));
    readings.set(&f::NETWORK_LOADS, &labels, *loads as f64);
    readings.set_known(&f::NETWORK_LOAD_SECONDS, &labels, load_time.map(|time| time.as_secs_f64()));
    readings.set_known(&f::NETWORK_IDLE_SECONDS, &labels, idle.map(|time| time.as_secs_f64()));
    readings.set(&f::NETWORK_WEIGHTS, &labels, footprint.weights as f64);
    readings.set(&f::NETWORK_MEMORY, &labels, memory(network) as f64);
    of_batches(readings, labels, batches);
}

fn of_batches(readings: &mut Readings, labels: [&str; 2], batches: &BatchStats) {
    let [service, network] = labels;
    readings.set(&f::NETWORK_QUEUE, &labels, batches.waiting as f64);
    readings.set(&f::NETWORK_BATCH_LIMIT, &labels, batches.max_batch as f64);
    let sizes = BATCH_SIZES.map(|size| size as f64);
    readings.observed(&f::NETWORK_BATCHES, &labels, &sizes, &batches.by_size, batches.items as f64);
    let outcomes = [
        ("done", batches.items.saturating_sub(batches.failed)),
        ("failed", batches.failed),
        ("expired", batches.expired),
        ("cancelled", batches.cancelled),
        ("refused", batches.refused),
    ];
    for (outcome, items) in outcomes {
        readings.set(&f::NETWORK_ITEMS, &[service, network, outcome], items as f64);
    }
    let seconds = TIME_CLASSES.map(|us| us as f64 / 1e6);
    let mut stage = |name, times: &Times, sum: f64| {
        readings.observed(&f::STAGE_SECONDS, &[name, network], &seconds, times, sum);
    };
    stage("queue", &batches.waits, batches.waited.as_secs_f64());
    stage("forward", &batches.runs, batches.ran.as_secs_f64());
}
