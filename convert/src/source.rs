//! What every reader gives: named tensors as the source file stores them.

use std::fmt;

use bytes::Bytes;

/// One constant of a source file.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceTensor {
    /// Name in the source file.
    pub name: String,
    /// Axes as the source stores them, slowest first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Elements, little endian, row-major, without padding; where the format allows it a part of the file, not a copy.
    pub data: Bytes,
}

impl SourceTensor {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Element type of a [`SourceTensor`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 16-bit float with the exponent of a 32-bit one.
    Bf16,
    /// Byte `q` that stands for the value `f32(q * scale + min)`, computed in doubles as TensorFlow.js does.
    ///
    /// Both factors are doubles in the source (JSON numbers), so an f32 copy of them would not give the same values.
    AffineU8 {
        /// Step between two values.
        scale: f64,
        /// Value of the byte 0.
        min: f64,
    },
    /// 32-bit integer; a structural constant, never a weight.
    I32,
    /// 64-bit integer; a structural constant or a counter, never a weight.
    I64,
    /// Anything else, by the name the source format gives it and its size in bytes.
    Other(&'static str, usize),
}

impl Dtype {
    /// Whether weights may have this type.
    pub fn is_weight(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16 | Self::AffineU8 { .. })
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::AffineU8 { .. } => 1,
            Self::I64 => 8,
            Self::Other(_, size) => size,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::F16 => f.write_str("f16"),
            Self::Bf16 => f.write_str("bf16"),
            Self::AffineU8 { scale, min } => write!(f, "u8 (x {scale:e} + {min:e})"),
            Self::I32 => f.write_str("i32"),
            Self::I64 => f.write_str("i64"),
            Self::Other(name, _) => f.write_str(name),
        }
    }
}
