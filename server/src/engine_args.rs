//! What the networks run on, and how they share cores and memory.

use std::{num::NonZeroUsize, str::FromStr, time::Duration};

use clap::Args;
use facesocial_pipeline::{BatchLimits, Budgets, DeviceChoice, EngineSettings, MB, Precision};
use facesocial_types::Service;

use crate::{meter::METER, parallel::default_threads};

/// What the networks run on, and how they share cores.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// What the networks run on: auto, cpu, cuda, or cuda:N for the card with the number N. auto takes a card if this build
    /// can use one and it answers.
    #[arg(long, value_name = "DEVICE", env = "FACESOCIAL_DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Runs on the processor, with a warning, where the card that --device names cannot be used.
    #[arg(long, env = "FACESOCIAL_DEVICE_FALLBACK")]
    pub device_fallback: bool,
    /// Type of weights and activations on a card: f32, f16 (half the memory) or bf16; docs/gpu.md tells what it changes. The
    /// processor computes in f32.
    #[arg(long, value_name = "TYPE", env = "FACESOCIAL_PRECISION", default_value_t = Precision::F32)]
    pub precision: Precision,
    /// Threads that compute, for everything: decoding, networks, search. The number of cores when left out.
    #[arg(long, value_name = "N", env = "FACESOCIAL_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Most faces (or photos, for a detector) that a network sees at a time.
    #[arg(long, value_name = "N", env = "FACESOCIAL_BATCH_ITEMS", default_value_t = BATCH_ITEMS)]
    pub batch_items: NonZeroUsize,
    /// Milliseconds that a batch waits for more faces when the device is free. 0: it takes what queued while the last one
    /// ran.
    #[arg(long, value_name = "MS", env = "FACESOCIAL_BATCH_WAIT", default_value_t = 0)]
    pub batch_wait: u64,
}

/// What networks may hold, and for how long: for a server; a command loads what it needs and ends.
#[derive(Debug, Clone, Args)]
pub struct MemoryArgs {
    /// Memory that a service's networks may hold, in MB, as recognition=1536; may be given several times. Batches are cut to
    /// fit. Unless given: mediapipe 400, yolo 800, mtcnn 600, recognition 1536, antispoof 300, gender_age 400, deepfake 2048.
    #[arg(long, value_name = "SERVICE=MB", env = "FACESOCIAL_MEMORY", value_delimiter = ',')]
    pub memory: Vec<Budget>,
    /// Memory that all networks together may hold, in MB; the sum over the services unless given. Those that were used least
    /// recently are unloaded to make room.
    #[arg(long, value_name = "MB", env = "FACESOCIAL_MEMORY_TOTAL")]
    pub memory_total: Option<NonZeroUsize>,
    /// Seconds after which a network that nobody uses is unloaded; it comes back when it is needed. 0: it stays.
    #[arg(long, value_name = "SECONDS", env = "FACESOCIAL_UNLOAD_AFTER", default_value_t = UNLOAD_AFTER)]
    pub unload_after: u64,
    /// Networks that stay loaded whatever happens, separated by commas.
    #[arg(long, value_name = "NAME", env = "FACESOCIAL_PIN", value_delimiter = ',')]
    pub pin: Vec<String>,
}

/// Faces in a batch unless told: on CPUs larger ones cost latency and win nothing.
const BATCH_ITEMS: NonZeroUsize = NonZeroUsize::new(16).expect("above 0");
/// Half an hour.
const UNLOAD_AFTER: u64 = 1800;

impl Default for EngineArgs {
    fn default() -> Self {
        Self {
            device: DeviceChoice::Auto,
            device_fallback: false,
            precision: Precision::F32,
            threads: None,
            batch_items: BATCH_ITEMS,
            batch_wait: 0,
        }
    }
}

impl Default for MemoryArgs {
    fn default() -> Self {
        Self { memory: Vec::new(), memory_total: None, unload_after: UNLOAD_AFTER, pin: Vec::new() }
    }
}

impl EngineArgs {
    /// Threads that compute.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(default_threads)
    }

    /// Starts the pool of threads that compute, unless this process has one already.
    pub fn start_pool(&self) {
        let name = |n| format!("facesocial-compute-{n}");
        // Only a second server within one process finds one, as in tests, and shares it.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(self.threads().get()).thread_name(name).build_global();
    }

    /// The same for the engine.
    pub fn settings(&self) -> EngineSettings {
        EngineSettings {
            device: self.device,
            device_fallback: self.device_fallback,
            precision: self.precision,
            batches: BatchLimits {
                max_batch: self.batch_items.get(),
                max_wait: Duration::from_millis(self.batch_wait),
                ..BatchLimits::default()
            },
            ..EngineSettings::default()
        }
    }
}

impl MemoryArgs {
    /// `settings` with these bounds, which are kept by measuring.
    pub fn bound(&self, settings: EngineSettings) -> EngineSettings {
        let mut budgets = Budgets::default();
        self.memory.iter().for_each(|b| budgets.set(b.service, b.bytes));
        if let Some(mb) = self.memory_total {
            budgets.set_total(mb.get().saturating_mul(MB));
        }
        EngineSettings {
            budgets,
            idle: (self.unload_after > 0).then(|| Duration::from_secs(self.unload_after)),
            pinned: self.pin.clone(),
            meter: Some(METER),
            ..settings
        }
    }
}

/// What a service's networks may hold, written `SERVICE=MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    service: Service,
    bytes: usize,
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (service, mb) =
            s.split_once('=').ok_or_else(|| format!("\"{s}\" is not SERVICE=MB, such as recognition=1536"))?;
        let service: Service = service.parse().map_err(|e: facesocial_types::ParseNameError| e.to_string())?;
        let bytes = mb.trim().parse::<usize>().ok().filter(|mb| *mb > 0).and_then(|mb| mb.checked_mul(MB));
        let bytes = bytes.ok_or_else(|| format!("\"{mb}\" is not a whole number of MB above 0"))?;
        Ok(Self { service, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_faults_are_named() {
        assert_eq!("yolo=12".parse(), Ok(Budget { service: Service::Yolo, bytes: 12 * MB }));
        for (text, fault) in [("yolo", "SERVICE=MB"), ("dog=1", "allowed are"), ("yolo=0", "above 0"), ("yolo=x", "MB")]
        {
            assert!(text.parse::<Budget>().unwrap_err().contains(fault), "{text}");
        }
    }

    #[test]
    fn what_is_not_given_is_the_originals_table() {
        let total = |args: &MemoryArgs| args.bound(EngineSettings::default()).budgets.total();
        let given = MemoryArgs { memory: vec!["yolo=1".parse().unwrap()], ..MemoryArgs::default() };
        assert_eq!(total(&given), (6084 - 800 + 1) * MB);
        assert_eq!(total(&MemoryArgs { memory_total: NonZeroUsize::new(100), ..given }), 100 * MB);
    }
}
