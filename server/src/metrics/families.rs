//! The table of everything that is told: names, types, labels, what they mean. `deploy/metrics.tsv` is the same table for
//! whoever writes dashboards; a test compares the two, and both with what a running server tells.

use prometheus::proto::MetricType;

/// One family of figures.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Names of its labels. Values are of a known, short list: never a path, an identifier or a name of anybody.
    pub labels: &'static [&'static str],
    /// What it counts, in a sentence.
    pub help: &'static str,
}

/// Type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from the start of the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations in classes, with their number and sum.
    Histogram,
}

impl Kind {
    /// The name that the text format has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    pub(super) const fn proto(self) -> MetricType {
        match self {
            Self::Counter => MetricType::COUNTER,
            Self::Gauge => MetricType::GAUGE,
            Self::Histogram => MetricType::HISTOGRAM,
        }
    }
}

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $id: Family = Family {
                name: concat!("facesocial_", $name),
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// Every family.
        pub const ALL: &[Family] = &[$($id),+];
    };
}

families! {
    HTTP_REQUESTS = Counter "http_requests_total" ["service", "route", "method", "status"]
        "Answered requests by listener, pattern of the path, method and class of the status.";
    HTTP_SECONDS = Histogram "http_request_duration_seconds" ["service", "route", "method"]
        "Time from the head of a request to the head of its answer.";
    HTTP_ERRORS = Counter "http_errors_total" ["service", "code"]
        "Requests answered with a problem, by its code: UNAUTHENTICATED, RATE_LIMITED, OVERLOADED and the others.";
    HTTP_IN_FLIGHT = Gauge "http_requests_in_flight" ["service"]
        "Requests that are being answered.";

    STAGE_SECONDS = Histogram "stage_duration_seconds" ["stage", "network"]
        "Time of a stage of the work on a photo: line (waits for a place), decode, detect, align, quality, post; and of each \
         network queue (an item waits) and forward (a batch runs).";
    ANALYSES = Counter "analyses_total" ["service"]
        "Photos that a service looked at, in requests, jobs and live video; answers from the cache are not among them.";
    ANALYSIS_ERRORS = Counter "analysis_errors_total" ["service"]
        "Photos of which a service failed to answer for at least one face.";
    FACES = Counter "faces_detected_total" ["detector", "confidence"]
        "Faces found, by detector and the confidence in them: high above 0.8, medium above 0.5, low.";
    DECISIONS = Counter "decisions_total" ["analysis", "decision"]
        "Decisions about faces: live, spoof or uncertain; real, fake or uncertain; match or no_match.";
    SEARCH_SECONDS = Histogram "gallery_search_duration_seconds" []
        "Time of the search for one face in a collection.";

    NETWORK_LOADED = Gauge "network_loaded" ["service", "network"]
        "Whether the weights of a network are in memory.";
    NETWORK_PINNED = Gauge "network_pinned" ["service", "network"]
        "Whether a network stays in memory whatever else needs room.";
    NETWORK_LOADS = Counter "network_loads_total" ["service", "network"]
        "Times that a network was loaded.";
    NETWORK_LOAD_SECONDS = Gauge "network_last_load_seconds" ["service", "network"]
        "Time that the last load of a network took.";
    NETWORK_IDLE_SECONDS = Gauge "network_idle_seconds" ["service", "network"]
        "Time since a network was used last.";
    NETWORK_QUEUE = Gauge "network_queue_items" ["service", "network"]
        "Faces, or photos of a detector, that wait for a network.";
    NETWORK_BATCH_LIMIT = Gauge "network_batch_limit_items" ["service", "network"]
        "Most items of a batch, as memory allows.";
    NETWORK_BATCHES = Histogram "network_batch_items" ["service", "network"]
        "Batches by their number of items.";
    NETWORK_ITEMS = Counter "network_items_total" ["service", "network", "outcome"]
        "Items by what became of them: done, failed, expired, cancelled, refused.";
    NETWORK_WEIGHTS = Gauge "network_weights_bytes" ["service", "network"]
        "Memory that the weights of a network take when it is loaded.";
    NETWORK_MEMORY = Gauge "network_memory_bytes" ["service", "network"]
        "Memory that a network may take now: its weights and a batch of the largest size; 0 while it is not loaded.";
    SERVICE_MEMORY = Gauge "service_memory_bytes" ["service"]
        "Memory that the loaded networks of a service may take now.";
    SERVICE_BUDGET = Gauge "service_memory_budget_bytes" ["service"]
        "Memory that the networks of a service may be given.";
    MEMORY_BUDGET = Gauge "memory_budget_bytes" []
        "Memory that all networks together may be given.";
    DEVICE_HEALTHY = Gauge "device_healthy" []
        "Whether the device that runs the networks answers.";

    POOL_PLACES = Gauge "pool_places" []
        "Photos that may be worked on at a time.";
    POOL_BUSY = Gauge "pool_busy_places" []
        "Photos that are worked on.";
    POOL_WAITING = Gauge "pool_waiting_photos" []
        "Photos that wait for a place.";
    POOL_REQUESTS = Gauge "pool_requests" []
        "Requests that were admitted and are not answered yet.";
    POOL_REQUESTS_LIMIT = Gauge "pool_requests_limit" []
        "Requests that may be admitted at a time.";
    POOL_REFUSALS = Counter "pool_refusals_total" []
        "Requests that were turned away or sent away because as many waited as may.";
    UPLOAD_MEMORY = Gauge "upload_memory_bytes" []
        "Memory that uploads hold.";
    UPLOAD_MEMORY_LIMIT = Gauge "upload_memory_limit_bytes" []
        "Memory that uploads may hold.";

    CACHE_UP = Gauge "cache_up" ["backend"]
        "Whether the cache answers.";
    CACHE_HITS = Counter "cache_hits_total" ["backend"]
        "Values found in the cache.";
    CACHE_MISSES = Counter "cache_misses_total" ["backend"]
        "Values not found in the cache.";
    CACHE_FAILURES = Counter "cache_failures_total" ["backend"]
        "Calls that the cache did not answer.";

    DATABASE_UP = Gauge "database_up" []
        "Whether the database answers; 0 too until it has been opened.";
    DATABASE_PING_SECONDS = Gauge "database_ping_seconds" []
        "Time that the smallest query took just now, the wait for a connection included.";
    DATABASE_CONNECTIONS = Gauge "database_connections" ["backend", "state"]
        "Open connections to the database, idle or used.";
    DATABASE_CONNECTIONS_LIMIT = Gauge "database_connections_limit" ["backend"]
        "Most connections to the database at a time.";
    DATABASE_BYTES = Gauge "database_size_bytes" []
        "Size of the database, looked up once a minute.";
    GALLERY_COLLECTIONS = Gauge "gallery_collections" []
        "Collections, looked up once a minute.";
    GALLERY_PERSONS = Gauge "gallery_persons" []
        "Enrolled persons, looked up once a minute.";
    GALLERY_FACES = Gauge "gallery_faces" []
        "Enrolled faces, looked up once a minute.";

    JOBS_RUNNING = Gauge "jobs_running" ["kind"]
        "Jobs that this process works on.";
    JOBS_ENDED = Counter "jobs_ended_total" ["kind", "outcome"]
        "Jobs that this process let go: completed, failed, lost (cancelled or another's), stopped (the server ended).";
    LIVE_CONNECTIONS = Gauge "live_connections" []
        "Open connections of live video.";
    LIVE_CONNECTIONS_LIMIT = Gauge "live_connections_limit" []
        "Connections of live video that may be open at a time.";
    LIVE_FRAMES = Counter "live_frames_total" ["outcome"]
        "Frames of live video: analysed, dropped for a newer one, failed.";

    READY = Gauge "ready" []
        "Whether new requests are answered: networks loaded, database open, not stopping.";
    BUILD_INFO = Gauge "build_info" ["version"]
        "Always 1; the version of the program is its label.";
    PROCESS_CPU_SECONDS = Counter "process_cpu_seconds_total" []
        "Time that all cores together computed for the process.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes" []
        "Memory of the process that is in use.";
    PROCESS_VIRTUAL_MEMORY = Gauge "process_virtual_memory_bytes" []
        "Addresses that the process has reserved.";
    PROCESS_THREADS = Gauge "process_threads" []
        "Threads of the process.";
    PROCESS_TASKS = Gauge "process_tasks" []
        "Tasks of the server that run or wait: open connections, what requests do, and what goes on in the background.";
    PROCESS_FDS = Gauge "process_open_fds" []
        "Open files and connections of the process.";
    PROCESS_FDS_LIMIT = Gauge "process_max_fds" []
        "Files and connections that the process may have open.";
    PROCESS_START = Gauge "process_start_time_seconds" []
        "When the server started, in seconds since 1970.";

    GPU_UP = Gauge "gpu_up" ["gpu"]
        "Whether a graphics card answers.";
    GPU_MEMORY_USED = Gauge "gpu_memory_used_bytes" ["gpu"]
        "Memory of a graphics card that all programs take.";
    GPU_MEMORY_TOTAL = Gauge "gpu_memory_total_bytes" ["gpu"]
        "Memory of a graphics card.";
    GPU_PROCESS_MEMORY = Gauge "gpu_process_memory_bytes" ["gpu"]
        "Memory of a graphics card that this process takes.";
    GPU_UTILIZATION = Gauge "gpu_utilization_ratio" ["gpu"]
        "Share of the last sample period in which a graphics card computed, 0 to 1.";
    GPU_TEMPERATURE = Gauge "gpu_temperature_celsius" ["gpu"]
        "Temperature of the chip of a graphics card.";
    GPU_POWER = Gauge "gpu_power_watts" ["gpu"]
        "Power that a graphics card draws.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const INVENTORY: &str = include_str!("../../../deploy/metrics.tsv");

    #[test]
    fn the_inventory_is_this_table() {
        let rows = ALL.iter().map(|f| format!("{}\t{}\t{}\t{}", f.name, f.kind.as_str(), f.labels.join(","), f.help));
        let table: Vec<String> = rows.collect();
        let inventory: Vec<&str> = INVENTORY.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = table.join("\n");
        assert_eq!(inventory, table, "deploy/metrics.tsv should hold these rows:\n{expected}");
    }

    #[test]
    fn names_are_prometheus_names_with_their_units() {
        let names: BTreeSet<&str> = ALL.iter().map(|f| f.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name stands twice");
        for Family { name, kind, help, labels } in ALL {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && !help.contains('\t'), "{name}: {help}");
            for unit in ["_ms", "_mb", "_percent", "_milliseconds"] {
                assert!(!name.contains(unit), "{name} is not in a base unit");
            }
            assert!(!labels.contains(&"le"), "{name}");
        }
    }
}
