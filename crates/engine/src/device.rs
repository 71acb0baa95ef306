//! Where the networks run: the processor, or an NVIDIA card in a build with the feature `cuda`.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
};

use candle::{Device, Tensor};

/// Whether this build can run networks on an NVIDIA card.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// What the operator chose for the networks to run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The first NVIDIA card if the build can use one and it answers, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The NVIDIA card with this number, as CUDA counts; `CUDA_VISIBLE_DEVICES` hides cards and changes the numbers.
    Cuda(usize),
}

/// A name of no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown device \"{given}\"; allowed are auto, cpu, cuda, and cuda:N for the card with the number N")]
pub struct ParseDeviceError {
    given: String,
}

/// The chosen device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The build has no code for it.
    #[error(
        "{choice}: this build runs on the processor alone; build one with `cargo build --release --features cuda` (README, \
         \"On a GPU\"), or choose --device cpu"
    )]
    NotBuilt {
        /// What was chosen.
        choice: DeviceChoice,
    },
    /// CUDA does not start: no driver, no such card, another program holds it.
    #[error(
        "{choice} does not start: {reason}; see that `nvidia-smi` lists the card, that the driver runs the CUDA that this \
         build was made with, and that a container was started with --gpus; --device cpu does without"
    )]
    Unusable {
        /// What was chosen.
        choice: DeviceChoice,
        /// What the driver says.
        reason: String,
    },
    /// The card starts and does not compute as it must.
    #[error(
        "{choice} starts and cannot compute: {reason}; the build may be for newer cards than this one (CUDA_COMPUTE_CAP \
         when building); --device cpu does without"
    )]
    Faulty {
        /// What was chosen.
        choice: DeviceChoice,
        /// What it did.
        reason: String,
    },
}

/// A device that networks can be loaded on.
#[derive(Debug, Clone)]
pub struct Opened {
    /// For candle.
    pub device: Device,
    /// What it is: [`DeviceChoice::Cpu`] or [`DeviceChoice::Cuda`].
    pub name: DeviceChoice,
}

impl DeviceChoice {
    /// Opens the device, tries it with a small sum, and logs in one line what the networks run on and why.
    ///
    /// With `fallback`, a card that was asked for and cannot be used is replaced by the processor, with a warning.
    ///
    /// # Errors
    /// A card was asked for, without `fallback`, and cannot be used.
    pub fn open(self, fallback: bool) -> Result<Opened, DeviceError> {
        let opened = match self {
            Self::Cpu => Ok(None),
            Self::Auto if !HAS_CUDA => Ok(Some("this build has no CUDA".to_owned())),
            Self::Auto => match no_driver().map_or_else(|| cuda(0), |reason| Err(unusable(Self::Cuda(0), reason))) {
                Ok(device) => return Ok(told(device, Self::Cuda(0))),
                Err(error) => Ok(Some(error.to_string())),
            },
            Self::Cuda(number) => match cuda(number) {
                Ok(device) => return Ok(told(device, self)),
                Err(error) => Err(error),
            },
        };
        match opened {
            Ok(None) => tracing::info!("networks run on the processor"),
            Ok(Some(reason)) => tracing::info!("networks run on the processor: {reason}"),
            Err(error) if fallback => tracing::warn!("networks run on the processor: {error}"),
            Err(error) => return Err(error),
        }
        Ok(Opened { device: Device::Cpu, name: Self::Cpu })
    }
}

fn told(device: Device, name: DeviceChoice) -> Opened {
    tracing::info!("networks run on {name}");
    Opened { device, name }
}

/// Why there can be no card, if the driver's management library tells so. It answers with an error where CUDA's loader
/// would panic, so that a program that may use a card starts quietly where there is none.
fn no_driver() -> Option<String> {
    facesocial_gpu::read().err().map(|reason| reason.to_string())
}

fn cuda(number: usize) -> Result<Device, DeviceError> {
    let choice = DeviceChoice::Cuda(number);
    if !HAS_CUDA {
        return Err(DeviceError::NotBuilt { choice });
    }
    let device = guarded(|| open(number)).map_err(|reason| unusable(choice, reason))?;
    match guarded(|| sum(&device)) {
        Ok(SUM) => Ok(device),
        Ok(other) => Err(DeviceError::Faulty { choice, reason: format!("a sum that is {SUM} came out as {other}") }),
        Err(reason) => Err(DeviceError::Faulty { choice, reason }),
    }
}

#[cfg(feature = "cuda")]
fn open(number: usize) -> candle::Result<Device> {
    facesocial_cuda::open(number)
}

#[cfg(not(feature = "cuda"))]
fn open(number: usize) -> candle::Result<Device> {
    Device::new_cuda(number)
}

const fn unusable(choice: DeviceChoice, reason: String) -> DeviceError {
    DeviceError::Unusable { choice, reason }
}

/// What [`sum`] gives: 1 + 3 + 5 + 7.
const SUM: f32 = 16.0;

/// Loads kernels and runs them, which fails for a card older than those the build is for.
fn sum(device: &Device) -> candle::Result<f32> {
    Tensor::new(&[0f32, 1.0, 2.0, 3.0], device)?.affine(2.0, 1.0)?.sum_all()?.to_scalar()
}

/// Runs `f`; errors and panics become a sentence. CUDA's loader panics where a library is missing.
fn guarded<T>(f: impl FnOnce() -> candle::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(answer) => answer.map_err(|e| e.to_string()),
        Err(panic) => Err(message(panic.as_ref())),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("CUDA failed unexpectedly").to_owned()
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, ParseDeviceError> {
        let wanted = text.trim().to_ascii_lowercase();
        let number = |digits: &str| {
            // `parse` would take a plus sign.
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        };
        let choice = match wanted.as_str() {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            other => other.strip_prefix("cuda:").and_then(number).map(Self::Cuda),
        };
        choice.ok_or_else(|| ParseDeviceError { given: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written() {
        let read = |text: &str| text.parse::<DeviceChoice>();
        assert_eq!(read("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(read(" CPU "), Ok(DeviceChoice::Cpu));
        assert_eq!(read("cuda"), Ok(DeviceChoice::Cuda(0)));
        assert_eq!(read("cuda:3"), Ok(DeviceChoice::Cuda(3)));
        for bad in ["", "gpu", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "cuda1", "metal"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\"")) && error.contains("cuda:N"), "{error}");
        }
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(7)] {
            assert_eq!(read(&choice.to_string()), Ok(choice));
        }
    }

    #[test]
    fn the_processor_always_opens() {
        let opened = DeviceChoice::Cpu.open(false).unwrap();
        assert!(opened.device.is_cpu());
        assert_eq!(opened.name, DeviceChoice::Cpu);
    }

    #[test]
    fn auto_opens_on_every_machine() {
        let opened = DeviceChoice::Auto.open(false).unwrap();
        assert_eq!(opened.device.is_cuda(), opened.name == DeviceChoice::Cuda(0));
        assert!(HAS_CUDA || opened.device.is_cpu());
        assert_eq!(sum(&opened.device).unwrap().to_bits(), SUM.to_bits());
    }

    #[test]
    fn a_card_that_is_not_there_is_an_error_that_names_the_remedy_and_falls_back_if_asked() {
        // No machine has as many.
        let choice = DeviceChoice::Cuda(4096);
        let error = choice.open(false).unwrap_err();
        let remedy = if HAS_CUDA { "nvidia-smi" } else { "--features cuda" };
        assert_eq!(matches!(error, DeviceError::NotBuilt { .. }), !HAS_CUDA, "{error}");
        let text = error.to_string();
        assert!(text.contains(remedy) && text.contains("cuda:4096") && text.contains("--device cpu"), "{text}");
        assert!(choice.open(true).unwrap().device.is_cpu());
    }

    #[test]
    fn a_panic_of_the_loader_becomes_a_sentence() {
        let answer = guarded(|| -> candle::Result<()> { panic!("no library {}", "libcuda") });
        assert_eq!(answer, Err("no library libcuda".to_owned()));
    }
}
