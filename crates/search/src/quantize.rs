//! Vectors to bytes, and what is known for certain about the cosine of two quantized vectors.
//!
//! A row `u` of norm 1 is stored as `u = s q + r` with bytes `q` in -127..=127, one scale `s`, and the norm of the
//! residual `r`. A probe `v` of norm 1 is `v = t p + e` with 15-bit integers `p`. Then
//!
//! `u·v = s t (q·p) + s (q·e) + r·v`, and by Cauchy-Schwarz `|s (q·e) + r·v| <= (1 + |r|) |e| + |r|`,
//!
//! because `|s q| = |u - r| <= 1 + |r|`. `q·p` is a sum of integers and has no rounding error. The same holds for the
//! coarse pass, which knows only the upper half of each byte and the upper byte of each `p`: the residuals are larger.

use crate::SearchError;
use crate::line::{COMPONENTS, LANES, Line, lines};

/// The most components of a vector: up to here no sum of the kernels overflows (255 * 127 * 65 536 < 2^31).
pub const MAX_DIMENSION: usize = 65_536;

/// Covers rounding in the 64-bit arithmetic below and in [`cosine`], which is smaller than 1e-10 for any dimension
/// allowed. It is added to every norm of a residual.
const SLACK: f64 = 1e-9;

/// A byte is `16 * upper + lower`, minus 128. Without `lower`, its middle is taken.
const MIDDLE: f64 = 7.5 - 128.0;

/// The largest magnitude of a probe's integers: 127 * 128 + 63, so that both digits fit in a signed byte.
const PROBE_LIMIT: f64 = 16_319.0;

/// The cosine of two vectors, summed in 64 bits; `None` if the lengths differ or either has no direction.
///
/// The bounds of a [`Candidate`](crate::Candidate) hold for this value.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    if a.len() != b.len() {
        return None;
    }
    // Four partial sums each let the compiler use vector registers without reordering by itself.
    let mut sums = [[0.0_f64; 4]; 3];
    let mut add = |lane: usize, x: f64, y: f64| {
        sums[0][lane] += x * y;
        sums[1][lane] += x * x;
        sums[2][lane] += y * y;
    };
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    for (x, y) in a4.iter().zip(b4) {
        for lane in 0..4 {
            add(lane, f64::from(x[lane]), f64::from(y[lane]));
        }
    }
    for (x, y) in a_rest.iter().zip(b_rest) {
        add(0, f64::from(*x), f64::from(*y));
    }
    let [dot, a_square, b_square] = sums.map(|s| (s[0] + s[1]) + (s[2] + s[3]));
    let cosine = dot / (a_square.sqrt() * b_square.sqrt());
    cosine.is_finite().then(|| cosine.clamp(-1.0, 1.0))
}

/// Checks a vector and scales it to norm 1.
fn unit(dimension: usize, vector: &[f32]) -> Result<Vec<f64>, SearchError> {
    if dimension > MAX_DIMENSION {
        return Err(SearchError::TooWide(dimension));
    }
    if vector.len() != dimension {
        return Err(SearchError::Dimension { expected: dimension, actual: vector.len() });
    }
    if let Some(index) = vector.iter().position(|x| !x.is_finite()) {
        return Err(SearchError::NotFinite(index));
    }
    // No under- or overflow: the square of any 32-bit float is a normal 64-bit one.
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if norm == 0.0 {
        return Err(SearchError::Zero);
    }
    Ok(vector.iter().map(|&x| f64::from(x) / norm).collect())
}

fn largest(vector: &[f64]) -> f64 {
    vector.iter().fold(0.0, |most, x| x.abs().max(most))
}

/// The next 32-bit float that is not below `x`, for `x >= 0`.
fn round_up(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x { near.next_up() } else { near }
}

/// What the scan needs of a row beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Cosine units per step of a byte.
    pub scale: f32,
    /// Norm of what both halves of the bytes leave out.
    pub fine: f32,
    /// Norm of what the upper halves alone leave out.
    pub coarse: f32,
}

/// Quantizes `vector` into the two planes of a row.
pub(crate) fn quantize_row(
    dimension: usize,
    vector: &[f32],
) -> Result<(Vec<Line<u8>>, Vec<Line<u8>>, Bounds), SearchError> {
    let unit = unit(dimension, vector)?;
    let scale = (largest(&unit) / 127.0) as f32;
    let step = f64::from(scale);
    // Components beyond the dimension meet zeros of the probe; 0x88 is the middle all the same.
    let mut upper = vec![Line([0x88_u8; LANES]); lines(dimension)];
    let mut lower = vec![Line([0x00_u8; LANES]); lines(dimension)];
    let (mut fine, mut coarse) = (0.0, 0.0);
    for (i, &x) in unit.iter().enumerate() {
        let byte = (x / step).round().clamp(-127.0, 127.0) as i32 + 128;
        let (up, low) = ((byte >> 4) as u8, (byte & 15) as u8);
        fine += (x - step * f64::from(byte - 128)).powi(2);
        coarse += (x - step * (16.0 * f64::from(up) + MIDDLE)).powi(2);
        let (line, lane) = (i / COMPONENTS, i % COMPONENTS);
        let (lane, shift) = if lane < LANES { (lane, 0) } else { (lane - LANES, 4) };
        let keep = 0xf0_u8 >> shift;
        upper[line].0[lane] = upper[line].0[lane] & keep | up << shift;
        lower[line].0[lane] = lower[line].0[lane] & keep | low << shift;
    }
    let bounds = Bounds { scale, fine: round_up(fine.sqrt() + SLACK), coarse: round_up(coarse.sqrt() + SLACK) };
    Ok((upper, lower, bounds))
}

/// A probe as integers of two digits, `p = 128 * major + minor`, both signed bytes.
pub(crate) struct Probe {
    pub major: Vec<Line<i8>>,
    pub minor: Vec<Line<i8>>,
    /// Sum of the integers.
    sum: i64,
    /// Sum of the major digits, times [`MIDDLE`].
    middle_sum: f64,
    /// Cosine units per step of an integer.
    step: f64,
    /// Norm of what both digits leave out, and of what the major ones alone leave out.
    fine: f64,
    coarse: f64,
}

impl Probe {
    pub(crate) fn new(dimension: usize, vector: &[f32]) -> Result<Self, SearchError> {
        let unit = unit(dimension, vector)?;
        let step = largest(&unit) / PROBE_LIMIT;
        let mut major = vec![Line([0_i8; LANES]); 2 * lines(dimension)];
        let mut minor = major.clone();
        let (mut major_sum, mut sum, mut fine, mut coarse) = (0_i64, 0_i64, 0.0, 0.0);
        for (i, &x) in unit.iter().enumerate() {
            let integer = (x / step).round().clamp(-PROBE_LIMIT, PROBE_LIMIT) as i64;
            let high = (integer + 64) >> 7;
            fine += (x - step * integer as f64).powi(2);
            coarse += (x - step * (128 * high) as f64).powi(2);
            major_sum += high;
            sum += integer;
            major[i / LANES].0[i % LANES] = high as i8;
            minor[i / LANES].0[i % LANES] = (integer - 128 * high) as i8;
        }
        let middle_sum = MIDDLE * major_sum as f64;
        Ok(Self { major, minor, sum, middle_sum, step, fine: fine.sqrt() + SLACK, coarse: coarse.sqrt() + SLACK })
    }

    /// The most that the cosine can be, given the sum over upper halves times major digits.
    #[inline]
    pub(crate) fn coarse_high(&self, dot: i32, scale: f32, residual: f32) -> f64 {
        // Integers and halves below 2^53, so 64-bit floats hold them exactly.
        let dot = 16.0 * f64::from(dot) + self.middle_sum;
        let residual = f64::from(residual);
        128.0 * self.step * f64::from(scale) * dot + (1.0 + residual) * self.coarse + residual
    }

    /// Between what the cosine lies, given the sums over bytes times major and times minor digits.
    #[inline]
    pub(crate) fn fine(&self, (major, minor): (i32, i32), scale: f32, residual: f32) -> (f64, f64) {
        let dot = 128 * i64::from(major) + i64::from(minor) - 128 * self.sum;
        let residual = f64::from(residual);
        let middle = self.step * f64::from(scale) * dot as f64;
        let error = (1.0 + residual) * self.fine + residual;
        ((middle - error).max(-1.0), (middle + error).min(1.0))
    }
}
