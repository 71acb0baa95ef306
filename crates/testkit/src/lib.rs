//! Tolerances, golden files and comparison for tests, and private servers of databases.

pub mod network;
#[cfg(unix)]
pub mod postgres;
#[cfg(unix)]
mod process;
#[cfg(unix)]
pub mod redis;
pub mod seeded;

use std::{collections::BTreeMap, fmt, fs, path::Path};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

#[cfg(unix)]
pub use self::{
    postgres::Postgres,
    process::{free_port, not_run},
    redis::Redis,
};

/// How far an implementation may stray from its reference: `|got - want| <= abs + rel * |want|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub abs: f32,
    /// Relative part.
    pub rel: f32,
}

impl Tolerance {
    /// One operation or block in f32: only the order of summation differs.
    pub const BLOCK: Self = Self { abs: 1e-5, rel: 1e-4 };
    /// A whole network in f32.
    pub const NETWORK: Self = Self { abs: 1e-4, rel: 1e-3 };
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Values compared.
    pub len: usize,
    /// Values outside the tolerance.
    pub outside: usize,
    /// Largest absolute difference.
    pub max_abs: f32,
    /// Where it is.
    pub worst_index: usize,
    /// The value there.
    pub got: f32,
    /// The reference there.
    pub want: f32,
    /// Cosine of the two as vectors.
    pub cosine: f64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} values outside; worst |{} - {}| = {:.3e} at {}; cosine {:.8}",
            self.outside, self.len, self.got, self.want, self.max_abs, self.worst_index, self.cosine
        )
    }
}

/// Compares value by value. NaN is never inside the tolerance.
///
/// # Panics
/// The lengths differ.
pub fn compare(got: &[f32], want: &[f32], tolerance: Tolerance) -> Difference {
    assert_eq!(got.len(), want.len(), "number of values");
    let mut d = Difference {
        len: got.len(),
        outside: 0,
        max_abs: 0.0,
        worst_index: 0,
        got: f32::NAN,
        want: f32::NAN,
        cosine: f64::NAN,
    };
    let (mut dot, mut gg, mut ww) = (0f64, 0f64, 0f64);
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let abs = (g - w).abs();
        let inside = abs <= tolerance.abs + tolerance.rel * w.abs();
        d.outside += usize::from(!inside);
        if abs > d.max_abs || abs.is_nan() || i == 0 {
            (d.max_abs, d.worst_index, d.got, d.want) = (abs, i, g, w);
        }
        dot += f64::from(g) * f64::from(w);
        gg += f64::from(g) * f64::from(g);
        ww += f64::from(w) * f64::from(w);
    }
    d.cosine = if gg > 0.0 && ww > 0.0 { dot / (gg * ww).sqrt() } else { f64::NAN };
    d
}

/// Fails with the full account if any value is outside the tolerance; returns the largest absolute difference.
///
/// # Panics
/// A value is outside.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: Tolerance) -> f32 {
    let d = compare(got, want, tolerance);
    assert!(d.outside == 0 && !want.is_empty(), "{what}: {d}");
    d.max_abs
}

/// A golden file: named tensors written by a reference script, with the record of how.
#[derive(Debug)]
pub struct Golden {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

/// Record beside the golden tensors: what wrote them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenMeta {
    /// Reference framework and version.
    pub framework: String,
    /// The script, relative to the repository.
    pub script: String,
    /// Seed of random inputs, if any.
    pub seed: Option<u64>,
    /// sha256 of the source weights.
    pub weights_sha256: Option<String>,
}

impl Golden {
    /// Reads a safetensors file of F32, F16 or U8 tensors; all are given as f32.
    ///
    /// # Panics
    /// The file is missing or not a golden file: a missing reference must fail the test, not skip it.
    pub fn open(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("golden file {}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("golden file {}: {e}", path.display()));
        let tensors = file
            .iter()
            .map(|(name, view)| {
                let data = view.data();
                let values = match view.dtype() {
                    Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                    Dtype::U8 => data.iter().map(|b| f32::from(*b)).collect(),
                    other => panic!("golden tensor {name} has dtype {other:?}"),
                };
                (name.to_owned(), (view.shape().to_vec(), values))
            })
            .collect();
        Self { tensors }
    }

    /// Values of tensor `name`.
    ///
    /// # Panics
    /// There is none.
    pub fn values(&self, name: &str) -> &[f32] {
        &self.get(name).1
    }

    /// Shape of tensor `name`.
    ///
    /// # Panics
    /// There is none.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.get(name).0
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    fn get(&self, name: &str) -> &(Vec<usize>, Vec<f32>) {
        self.tensors.get(name).unwrap_or_else(|| {
            panic!("no golden tensor {name}; there are {:?}", self.tensors.keys().collect::<Vec<_>>())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_outside_is_counted_and_located() {
        let d = compare(&[1.0, 2.0, 3.5], &[1.0, 2.0, 3.0], Tolerance::BLOCK);
        assert_eq!((d.outside, d.worst_index, d.max_abs), (1, 2, 0.5));
    }

    #[test]
    fn nan_is_never_close() {
        assert_eq!(compare(&[f32::NAN], &[f32::NAN], Tolerance::NETWORK).outside, 1);
    }

    #[test]
    #[should_panic(expected = "stem: 1 of 1 values outside")]
    fn the_failing_stage_is_named() {
        assert_close("stem", &[1.0], &[2.0], Tolerance::BLOCK);
    }
}
