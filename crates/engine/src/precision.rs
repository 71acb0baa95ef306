//! In which type networks hold their weights and activations.

use std::{fmt, str::FromStr};

use candle::{DType, Device};

/// The type of weights and activations on a card; sums inside of a layer are single precision, whatever it is. The processor
/// computes in single precision alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision, IEEE 754's 16 bits: half the memory.
    F16,
    /// Half precision with the exponent of single precision.
    Bf16,
}

/// Networks that stay in single precision: MTCNN's thresholds decide on cells of one image, and its layers are too small to
/// win anything.
const SINGLE: [&str; 1] = ["mtcnn"];

/// A name of no precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision \"{given}\"; allowed are f32, f16 and bf16")]
pub struct ParsePrecisionError {
    given: String,
}

impl Precision {
    /// The type in which the network called `name` is loaded on `device`.
    pub(crate) fn of(self, name: &str, device: &Device) -> DType {
        match self {
            _ if device.is_cpu() || SINGLE.contains(&name) => DType::F32,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = ParsePrecisionError;

    fn from_str(text: &str) -> Result<Self, ParsePrecisionError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err(ParsePrecisionError { given: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_read_and_written() {
        for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert_eq!(" BF16 ".parse(), Ok(Precision::Bf16));
        for bad in ["", "half", "f64", "int8"] {
            let error = bad.parse::<Precision>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\"")) && error.contains("f32, f16 and bf16"), "{error}");
        }
    }

    #[test]
    fn the_processor_computes_in_single_precision() {
        assert_eq!(Precision::F16.of("mobilefacenet", &Device::Cpu), DType::F32);
    }
}
