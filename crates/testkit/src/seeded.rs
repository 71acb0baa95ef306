//! Weights that need no file: every value is a hash of its tensor's name and its position.
//!
//! `models-src/seeded.py` gives the same values bit by bit, so that a reference framework and a network under test run on
//! equal weights without one of them being stored. A wrong key shows at once: other names have other values.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, tensor::TensorView};

/// What a tensor is for; decides the range of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Matrix or convolution, variance `2 / fan_in` (He): uniform in `+- sqrt(6 / fan_in)`.
    Weight,
    /// Bias or running mean: `-0.1..0.1`.
    Bias,
    /// Factor of a normalisation: `0.75..1.25`.
    Scale,
    /// Running variance: `0.5..1.5`.
    Variance,
    /// Slope of a parametric rectifier: `0.1..0.4`.
    Slope,
    /// Input values: `-1..1`.
    Input,
}

impl Kind {
    /// The kind that the name and the shape of a state dict's tensor tell.
    pub fn of(name: &str, shape: &[usize]) -> Self {
        if name.ends_with("running_var") {
            Self::Variance
        } else if name.ends_with("running_mean") || name.ends_with("bias") {
            Self::Bias
        } else if shape.len() > 1 {
            Self::Weight
        } else if name.contains("prelu") {
            Self::Slope
        } else {
            Self::Scale
        }
    }

    /// Lowest and highest value.
    fn range(self, shape: &[usize]) -> (f64, f64) {
        match self {
            Self::Weight => {
                let fan_in: usize = shape.iter().skip(1).product();
                let bound = (6.0 / fan_in as f64).sqrt();
                (-bound, bound)
            }
            Self::Bias => (-0.1, 0.1),
            Self::Scale => (0.75, 1.25),
            Self::Variance => (0.5, 1.5),
            Self::Slope => (0.1, 0.4),
            Self::Input => (-1.0, 1.0),
        }
    }
}

/// The values of tensor `name`, row by row.
pub fn values(name: &str, shape: &[usize], kind: Kind) -> Vec<f32> {
    let key = fnv1a(name);
    let (low, high) = kind.range(shape);
    let count = shape.iter().product::<usize>() as u64;
    (0..count)
        .map(|i| {
            let unit = (split_mix(key.wrapping_add(i)) >> 40) as f64 / f64::from(1 << 24); // [0, 1)
            (low + (high - low) * unit) as f32
        })
        .collect()
}

/// Image bytes, `0..=255`.
pub fn pixels(name: &str, count: usize) -> Vec<u8> {
    let key = fnv1a(name);
    (0..count as u64).map(|i| (split_mix(key.wrapping_add(i)) >> 56) as u8).collect()
}

/// Names and shapes of a state dict, from a text file that the reference script wrote: a line a tensor, the name and its
/// dimensions, apart by blanks.
///
/// # Panics
/// The file is missing or holds something else.
pub fn keys(path: &Path) -> BTreeMap<String, Vec<usize>> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("key list {}: {e}", path.display()));
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next().unwrap_or_else(|| panic!("empty line in {}", path.display()));
        let dims = fields.map(|d| d.parse().unwrap_or_else(|e| panic!("dimension {d:?} of {name}: {e}")));
        (name.to_owned(), dims.collect())
    };
    text.lines().map(line).collect()
}

/// Writes a weight file of seeded tensors, F32, each of the kind its name tells.
///
/// # Panics
/// The file cannot be written.
pub fn write_weights(keys: &BTreeMap<String, Vec<usize>>, path: &Path) {
    let data: Vec<(&str, &[usize], Vec<u8>)> = keys
        .iter()
        .map(|(name, shape)| {
            let values = values(name, shape, Kind::of(name, shape));
            (name.as_str(), shape.as_slice(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        (*name, view.unwrap_or_else(|e| panic!("seeded tensor {name}: {e}")))
    });
    let file = safetensors::serialize(views, None).unwrap_or_else(|e| panic!("seeded weights: {e}"));
    fs::write(path, file).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// FNV-1a, 64 bits.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

/// SplitMix64 of a counter.
const fn split_mix(counter: u64) -> u64 {
    let z = counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that `python models-src/seeded.py` prints.
    #[test]
    fn python_gives_the_same_values() {
        let bits = |name: &str, shape: &[usize]| -> Vec<u32> {
            values(name, shape, Kind::of(name, shape)).into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(
            bits("conv1.weight", &[2, 3, 1, 1]),
            [0xBFAE_079A, 0x3F5B_E224, 0xBE6D_02C1, 0xBEF2_1F47, 0x3E89_F94F, 0xBF6D_2A85]
        );
        assert_eq!(bits("bn.running_var", &[3]), [0x3FB8_E8B6, 0x3F3E_F267, 0x3F2F_EDC8]);
        assert_eq!(bits("prelu.weight", &[2]), [0x3E51_B32F, 0x3EA8_0AA2]);
        assert_eq!(pixels("photo", 6), [109, 210, 198, 68, 63, 59]);
    }
}
