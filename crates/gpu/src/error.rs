//! Why there are no figures.

use nvml_wrapper::error::NvmlError;

/// There are no figures of graphics cards, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The management library is not on this machine.
    #[error(
        "no NVIDIA driver is installed: libnvidia-ml.so.1 cannot be loaded; install the driver, or give the container the \
         cards (docker run --gpus all)"
    )]
    NoDriver,
    /// The library is there; the kernel has no driver.
    #[error("the NVIDIA driver is installed and not loaded; `modprobe nvidia` loads it, or restart the machine")]
    NotLoaded,
    /// The library and the kernel's driver are of different versions, as after an update.
    #[error("the NVIDIA driver was updated while it ran; restart the machine")]
    Mismatch,
    /// The system refuses access.
    #[error("access to the NVIDIA driver is denied; the user needs rights on /dev/nvidiactl and /dev/nvidia*")]
    Denied,
    /// The driver answers, and has no card.
    #[error("the NVIDIA driver runs and has no card; see `nvidia-smi -L` and NVIDIA_VISIBLE_DEVICES")]
    NoCard,
    /// Something else.
    #[error("the NVIDIA driver does not answer: {reason}; `nvidia-smi` may tell more")]
    Failed {
        /// What the driver's library says.
        reason: String,
    },
}

impl From<NvmlError> for Unavailable {
    fn from(error: NvmlError) -> Self {
        match error {
            NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => Self::NoDriver,
            NvmlError::DriverNotLoaded => Self::NotLoaded,
            NvmlError::LibRmVersionMismatch => Self::Mismatch,
            NvmlError::NoPermission | NvmlError::OperatingSystem => Self::Denied,
            NvmlError::NotFound => Self::NoCard,
            other => Self::Failed { reason: other.to_string() },
        }
    }
}
