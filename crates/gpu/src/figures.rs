//! What is told of each card.

use nvml_wrapper::{
    Device, Nvml, enum_wrappers::device::TemperatureSensor, enums::device::UsedGpuMemory, error::NvmlError,
    struct_wrappers::device::ProcessInfo,
};
use serde::Serialize;

use crate::error::Unavailable;

const MIB: u64 = 1024 * 1024;

/// The driver and its cards.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Version of the driver.
    pub driver: Option<String>,
    /// Newest version of CUDA that the driver runs, as `13.0`.
    pub cuda: Option<String>,
    /// The cards, in the driver's order.
    pub devices: Vec<Gpu>,
}

/// One card. What the card or the driver does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Gpu {
    /// Its number for the driver's library. CUDA may count in another order; the uuid is the same for both.
    pub index: u32,
    /// Name of the product.
    pub name: Option<String>,
    /// The driver's lasting name of the card.
    pub uuid: Option<String>,
    /// Memory, MiB.
    pub memory_total_mb: Option<u64>,
    /// Memory taken by all programs, MiB.
    pub memory_used_mb: Option<u64>,
    /// Memory taken by this process, MiB. `None` too if the driver does not list the process, as in a container that has
    /// process numbers of its own.
    pub process_memory_used_mb: Option<u64>,
    /// Share of the last sample period (up to a second) in which the card computed, %.
    pub utilization_percent: Option<u32>,
    /// Temperature of the chip, °C.
    pub temperature_celsius: Option<u32>,
    /// Power drawn, W.
    pub power_watts: Option<f64>,
    /// What keeps the card from answering at all.
    pub fault: Option<String>,
}

impl Figures {
    /// Asks the driver.
    pub(crate) fn of(nvml: &Nvml) -> Result<Self, Unavailable> {
        let count = nvml.device_count()?;
        if count == 0 {
            return Err(Unavailable::NoCard);
        }
        let cuda = nvml.sys_cuda_driver_version().ok();
        Ok(Self {
            driver: nvml.sys_driver_version().ok(),
            // 13.2 is 13020.
            cuda: cuda.map(|v| format!("{}.{}", v / 1000, v % 1000 / 10)),
            devices: (0..count).map(|index| Gpu::of(nvml, index)).collect(),
        })
    }

    /// Memory that this process takes on all cards, MiB; `None` if no card tells.
    pub fn process_memory_used_mb(&self) -> Option<u64> {
        self.devices.iter().filter_map(|gpu| gpu.process_memory_used_mb).reduce(|a, b| a + b)
    }

    /// Whether any card answers.
    pub fn any_answers(&self) -> bool {
        self.devices.iter().any(|gpu| gpu.fault.is_none())
    }
}

impl Gpu {
    fn of(nvml: &Nvml, index: u32) -> Self {
        // One card that fell off the bus hides no other.
        Self::ask(nvml, index).unwrap_or_else(|e| Self { index, fault: Some(e.to_string()), ..Self::default() })
    }

    fn ask(nvml: &Nvml, index: u32) -> Result<Self, NvmlError> {
        let device = nvml.device_by_index(index)?;
        // Every card tells its name: one that does not is lost. The rest depends on product and rights.
        let name = device.name()?;
        let memory = device.memory_info().ok();
        Ok(Self {
            index,
            name: Some(name),
            uuid: device.uuid().ok(),
            memory_total_mb: memory.as_ref().map(|m| m.total / MIB),
            memory_used_mb: memory.as_ref().map(|m| m.used / MIB),
            process_memory_used_mb: own_memory(&device),
            utilization_percent: device.utilization_rates().ok().map(|u| u.gpu),
            temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
            power_watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
            fault: None,
        })
    }
}

/// Memory that this process takes on a card, MiB.
fn own_memory(device: &Device<'_>) -> Option<u64> {
    let id = std::process::id();
    let used = |p: &ProcessInfo| match p.used_gpu_memory {
        UsedGpuMemory::Used(bytes) if p.pid == id => Some(bytes / MIB),
        _ => None,
    };
    device.running_compute_processes().ok()?.iter().find_map(used)
}
