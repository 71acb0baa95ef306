//! Vectors to bytes, and what is known for certain about the cosine of two quantized vectors.
//!
//! In a [`Frame`] of `mean` and `spread`, a row `u` of norm 1 is stored as `u = mean + spread (s q) + r` with bytes `q` in
//! -127..=127, one scale `s`, and the norms of `s q` and of the residual `r`. A probe `v` of norm 1 is kept as
//! `spread v = t p + e` with 15-bit integers `p`. Then
//!
//! `u·v = mean·v + s t (q·p) + (s q)·e + r·v`, and by Cauchy-Schwarz `|(s q)·e + r·v| <= |s q| |e| + |r|`.
//!
//! `q·p` is a sum of integers and has no rounding error. The same holds for the coarse pass, which knows only the upper half
//! of each byte, and the upper byte of each `p` where that is enough: its residuals are larger.

use crate::SearchError;
use crate::frame::Frame;
use crate::line::{COMPONENTS, LANES, Line, lines};

/// The most components of a vector: up to here no sum of the kernels overflows (255 * 127 * 65 536 < 2^31).
pub const MAX_DIMENSION: usize = 65_536;

/// Covers rounding in the 64-bit arithmetic below and in [`cosine`], which is smaller than 1e-10 for any dimension
/// allowed. It is added to every norm of a row's residual.
const SLACK: f64 = 1e-9;

/// A byte is `16 * upper + lower`, minus 128. Without `lower`, its middle is taken.
const MIDDLE: f64 = 7.5 - 128.0;

/// What the major digits of a probe may leave out of a cosine before the coarse pass takes the minor ones too.
const NEGLIGIBLE: f64 = 0.02;

/// The largest magnitude of a probe's integers: 127 * 128 + 63, so that both digits fit in a signed byte.
const PROBE_LIMIT: i32 = 16_319;

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

/// `x` as the nearest integer, of two the one farther from zero, for a magnitude below 2^31.
///
/// `f64::round` is a call into the mathematical library on processors before SSE 4.1, for which we build.
#[inline]
fn nearest(x: f64) -> i32 {
    (x + 0.5_f64.copysign(x)) as i32
}

/// The next 32-bit float that is not below `x`, for `x >= 0`.
fn round_up(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x { near.next_up() } else { near }
}

/// What the scan needs of a row beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Units of the frame per step of a byte.
    pub scale: f32,
    /// Norm of what the bytes tell, or the upper halves alone, whichever is larger, in units of the frame.
    pub reach: f32,
    /// Norm of what both halves of the bytes leave out.
    pub fine: f32,
    /// Norm of what the upper halves alone leave out.
    pub coarse: f32,
}

/// A row as it is stored.
pub(crate) struct Quantized {
    /// The upper halves of the bytes.
    pub upper: Vec<Line<u8>>,
    /// The lower halves.
    pub lower: Vec<Line<u8>>,
    pub bounds: Bounds,
}

/// Quantizes `vector` into the two planes of a row.
pub(crate) fn quantize_row(frame: &Frame, vector: &[f32]) -> Result<Quantized, SearchError> {
    let dimension = frame.mean.len();
    let unit = unit(dimension, vector)?;
    let framed: Vec<f64> =
        unit.iter().zip(&frame.mean).zip(&frame.spread).map(|((x, mean), spread)| (x - mean) / spread).collect();
    let most = largest(&framed);
    let scale = (most / 127.0) as f32;
    let step = f64::from(scale);
    // A row at the mean itself has no differences.
    let steps = if most > 0.0 { 127.0 / most } else { 0.0 };
    // Components beyond the dimension meet zeros of the probe, so any byte will do.
    let mut bytes = vec![128_u8; lines(dimension) * COMPONENTS];
    let (mut fine, mut coarse, mut told, mut roughly) = (0.0, 0.0, 0.0, 0.0);
    for ((byte, &x), &spread) in bytes.iter_mut().zip(&framed).zip(&frame.spread) {
        let integer = nearest((x * steps).clamp(-127.0, 127.0)) + 128;
        *byte = integer as u8;
        let (all, upper) = (step * f64::from(integer - 128), step * (f64::from(integer & !15) + MIDDLE));
        fine += (spread * (x - all)).powi(2);
        coarse += (spread * (x - upper)).powi(2);
        told += all * all;
        roughly += upper * upper;
    }
    let (mut upper, mut lower) = (Vec::with_capacity(lines(dimension)), Vec::with_capacity(lines(dimension)));
    for line in bytes.as_chunks::<COMPONENTS>().0 {
        let (first, second) = line.split_at(LANES);
        upper.push(Line(std::array::from_fn(|i| first[i] >> 4 | second[i] & 0xf0)));
        lower.push(Line(std::array::from_fn(|i| first[i] & 15 | second[i] << 4)));
    }
    let bounds = Bounds {
        scale,
        reach: round_up(told.max(roughly).sqrt() * (1.0 + SLACK)),
        fine: round_up(fine.sqrt() + SLACK),
        coarse: round_up(coarse.sqrt() + SLACK),
    };
    Ok(Quantized { upper, lower, bounds })
}

/// A probe in one frame, as integers of two digits, `p = 128 * major + minor`, both signed bytes.
pub(crate) struct Probe {
    pub major: Vec<Line<i8>>,
    pub minor: Vec<Line<i8>>,
    /// Whether the coarse pass takes the minor digits too.
    pub both: bool,
    /// What the coarse pass needs beside the digits.
    pub coarse_bound: CoarseBound,
    /// What the frame's mean adds to every cosine.
    pub base: f64,
    /// Sum of the integers.
    sum: i64,
    /// Cosine units per step of an integer and unit of the frame.
    step: f64,
    /// Norm of what both digits leave out.
    error: f64,
}

/// Turns a sum over upper halves times major digits into the most that the cosine can be, without the frame's mean.
pub(crate) struct CoarseBound {
    /// Sum of the digits times the middle of what the lower halves can be.
    pub middle_sum: f64,
    /// Cosine units per step of a major digit and unit of the frame.
    pub unit: f64,
    /// Norm of what the digits leave out.
    pub error: f64,
}

impl CoarseBound {
    /// The most that the cosine can be, for a row of this scale, reach and coarse residual.
    #[inline]
    pub(crate) fn high(&self, dot: i32, scale: f32, reach: f32, residual: f32) -> f64 {
        // The integers and halves are below 2^53, so 64-bit floats hold them exactly.
        let dot = 16.0 * f64::from(dot) + self.middle_sum;
        self.unit * f64::from(scale) * dot + self.error * f64::from(reach) + f64::from(residual)
    }
}

impl Probe {
    pub(crate) fn new(frame: &Frame, vector: &[f32]) -> Result<Self, SearchError> {
        let dimension = frame.mean.len();
        let unit = unit(dimension, vector)?;
        let base = unit.iter().zip(&frame.mean).map(|(x, mean)| x * mean).sum();
        let spread: Vec<f64> = unit.iter().zip(&frame.spread).map(|(x, spread)| x * spread).collect();
        let step = largest(&spread) / f64::from(PROBE_LIMIT);
        let mut major = vec![Line([0_i8; LANES]); 2 * lines(dimension)];
        let mut minor = major.clone();
        let (mut major_sum, mut sum, mut fine, mut coarse) = (0_i64, 0_i64, 0.0, 0.0);
        for (i, &x) in spread.iter().enumerate() {
            let integer = i64::from(nearest(x / step).clamp(-PROBE_LIMIT, PROBE_LIMIT));
            let high = (integer + 64) >> 7;
            fine += (x - step * integer as f64).powi(2);
            coarse += (x - step * (128 * high) as f64).powi(2);
            major_sum += high;
            sum += integer;
            major[i / LANES].0[i % LANES] = high as i8;
            minor[i / LANES].0[i % LANES] = (integer - 128 * high) as i8;
        }
        let (error, coarse_error) = (fine.sqrt() * (1.0 + SLACK), coarse.sqrt() * (1.0 + SLACK));
        // A row reaches about as far as the spread: a third of it in each component.
        let both = coarse_error * (dimension as f64).sqrt() / 3.0 > NEGLIGIBLE;
        let (digits_sum, left_out) = if both { (sum as f64 / 128.0, error) } else { (major_sum as f64, coarse_error) };
        let coarse_bound = CoarseBound { middle_sum: MIDDLE * digits_sum, unit: 128.0 * step, error: left_out };
        Ok(Self { major, minor, both, coarse_bound, base, sum, step, error })
    }

    /// Between what the cosine lies, given the sums over bytes times major and times minor digits.
    #[inline]
    pub(crate) fn fine(&self, (major, minor): (i32, i32), scale: f32, reach: f32, residual: f32) -> (f64, f64) {
        let dot = 128 * i64::from(major) + i64::from(minor) - 128 * self.sum;
        let middle = self.base + self.step * f64::from(scale) * dot as f64;
        let error = f64::from(reach) * self.error + f64::from(residual);
        ((middle - error).max(-1.0), (middle + error).min(1.0))
    }
}

/// Adds what the minor digits add to sums over upper halves times major digits, rounded up: a bound from above stays one.
pub(crate) fn add_minor(dots: &mut [i32], minor: &[i32]) {
    for (dot, minor) in dots.iter_mut().zip(minor) {
        *dot += (minor >> 7) + 1;
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::{MIDDLE, Probe, Quantized, add_minor, cosine, quantize_row};
    use crate::frame::Frame;
    use crate::kernel;
    use crate::line::{COMPONENTS, LANES};

    const DIMENSION: usize = 300;

    /// The row as its upper halves alone tell it, and as both halves tell it.
    fn told(frame: &Frame, row: &Quantized) -> (Vec<f64>, Vec<f64>) {
        let scale = f64::from(row.bounds.scale);
        let half = |plane: &[crate::line::Line<u8>], i: usize| {
            let (line, lane) = (i / COMPONENTS, i % COMPONENTS);
            f64::from(plane[line].0[lane % LANES] >> (4 * (lane / LANES)) & 15)
        };
        (0..DIMENSION)
            .map(|i| {
                let upper = 16.0 * half(&row.upper, i);
                let (coarse, fine) = (scale * (upper + MIDDLE), scale * (upper + half(&row.lower, i) - 128.0));
                (frame.mean[i] + frame.spread[i] * coarse, frame.mean[i] + frame.spread[i] * fine)
            })
            .unzip()
    }

    /// Bounds hold even for probes that point to where the row was rounded, which is the worst that can be.
    #[test]
    fn bounds_hold_in_the_worst_direction() {
        let kernel = kernel::detect();
        let mut rng = Rng::with_seed(21);
        for round in 0..300 {
            // Half of them in a frame that fits badly.
            let frame = match round % 8 / 4 {
                0 => Frame::unknown(DIMENSION),
                _ => Frame {
                    mean: (0..DIMENSION).map(|_| 0.05 * (rng.f64() - 0.5)).collect(),
                    spread: (0..DIMENSION).map(|_| 0.05 + rng.f64()).collect(),
                },
            };
            let row: Vec<f32> = (0..DIMENSION).map(|_| rng.f32() - 0.5).collect();
            let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let quantized = quantize_row(&frame, &row).unwrap();
            let (coarse, fine) = told(&frame, &quantized);
            let told = if round % 2 == 0 { &coarse } else { &fine };
            let sign = [1.0, -1.0][round / 2 % 2];
            let probe: Vec<f32> =
                row.iter().zip(told).map(|(&x, told)| (sign * (f64::from(x) / norm - told)) as f32).collect();

            let exact = cosine(&row, &probe).unwrap();
            let probe = Probe::new(&frame, &probe).unwrap();
            let (mut dot, mut minor) = ([0], [0]);
            (kernel.coarse)(&quantized.upper, &probe.major, &mut dot);
            if probe.both {
                (kernel.coarse)(&quantized.upper, &probe.minor, &mut minor);
                add_minor(&mut dot, &minor);
            }
            let bounds = quantized.bounds;
            let most = probe.base + probe.coarse_bound.high(dot[0], bounds.scale, bounds.reach, bounds.coarse);
            assert!(exact <= most, "{exact} is above {most}");
            let sums = (kernel.fine)(&quantized.upper, &quantized.lower, &probe.major, &probe.minor);
            let (low, high) = probe.fine(sums, bounds.scale, bounds.reach, bounds.fine);
            assert!(low <= exact && exact <= high, "{exact} is not within {low} and {high}");
            // The worst case comes close, so the bounds are not wider than they must be.
            match round % 4 {
                0 => assert!(most - exact < 0.03, "{most} is far above {exact}"),
                1 => assert!(high - exact < 0.001, "{high} is far above {exact}"),
                3 => assert!(exact - low < 0.001, "{low} is far below {exact}"),
                _ => {}
            }
        }
    }

    /// The same the other way round: rows that point to where the probe was rounded.
    #[test]
    fn bounds_hold_where_the_probe_was_rounded() {
        let kernel = kernel::detect();
        let mut rng = Rng::with_seed(22);
        for round in 0..200 {
            let spread = [0.15, 1.0][round / 2 % 2];
            let frame = Frame { mean: vec![0.0; DIMENSION], spread: vec![spread; DIMENSION] };
            let vector: Vec<f32> = (0..DIMENSION).map(|_| rng.f32() - 0.5).collect();
            let norm = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let probe = Probe::new(&frame, &vector).unwrap();
            assert_eq!(probe.both, spread > 0.5);
            let of_minor = i32::from(probe.both || round % 2 == 1);
            let left_out = |i: usize| {
                let digit = |digits: &[crate::line::Line<i8>]| i32::from(digits[i / LANES].0[i % LANES]);
                let integer = 128 * digit(&probe.major) + of_minor * digit(&probe.minor);
                spread * f64::from(vector[i]) / norm - probe.step * f64::from(integer)
            };
            let row: Vec<f32> = (0..DIMENSION).map(|i| left_out(i) as f32).collect();

            let exact = cosine(&row, &vector).unwrap();
            let quantized = quantize_row(&frame, &row).unwrap();
            let bounds = quantized.bounds;
            // Without what the row leaves out, which would hide the probe's part.
            let (mut dot, mut minor) = ([0], [0]);
            (kernel.coarse)(&quantized.upper, &probe.major, &mut dot);
            if probe.both {
                (kernel.coarse)(&quantized.upper, &probe.minor, &mut minor);
                add_minor(&mut dot, &minor);
            }
            let (coarse, fine) = told(&frame, &quantized);
            let dot_of = |told: &[f64]| told.iter().zip(&vector).map(|(x, v)| x * f64::from(*v) / norm).sum::<f64>();
            let most = probe.coarse_bound.high(dot[0], bounds.scale, bounds.reach, 0.0);
            assert!(dot_of(&coarse) <= most, "{} is above {most}", dot_of(&coarse));
            let sums = (kernel.fine)(&quantized.upper, &quantized.lower, &probe.major, &probe.minor);
            let (low, high) = probe.fine(sums, bounds.scale, bounds.reach, 0.0);
            let told = dot_of(&fine);
            assert!(low - 1e-12 <= told && told <= high + 1e-12, "{told} is not within {low} and {high}");
            let (low, high) = probe.fine(sums, bounds.scale, bounds.reach, bounds.fine);
            assert!(low <= exact && exact <= high, "{exact} is not within {low} and {high}");
        }
    }
}
