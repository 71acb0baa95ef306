//! Softmax and layer norm: steps over the rows of a matrix, each a few passes over what is in the first cache.

#![expect(unsafe_code, reason = "reads vectors at addresses")]
#![expect(clippy::needless_range_loop, reason = "the index is an offset of several slices and of an address")]

use super::matrix::MatrixMut;
use super::simd::{Simd, exp};

/// Lanes of the longest vector.
const MOST_LANES: usize = 16;

/// The sum of a vector's lanes, and its greatest lane.
#[inline(always)]
fn lanes<S: Simd>(s: S, sums: S::V, greatest: S::V) -> (f32, f32) {
    const { assert!(S::WIDTH <= MOST_LANES) };
    let (mut a, mut b) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
    // SAFETY: both have room for a whole vector.
    unsafe {
        s.store(a.as_mut_ptr(), sums);
        s.store(b.as_mut_ptr(), greatest);
    }
    (a[..S::WIDTH].iter().sum(), b[..S::WIDTH].iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b)))
}

/// `exp(x) / sum(exp(x))` of each row, in place. A row with a NaN becomes NaN.
#[inline(always)]
pub(super) fn softmax<S: Simd>(s: S, mut out: MatrixMut<'_>) {
    let (rows, cols, stride) = (out.rows(), out.cols(), out.stride());
    let whole = cols / S::WIDTH * S::WIDTH;
    for row in 0..rows {
        // SAFETY: there is the row, and `cols` values of it.
        let at = unsafe { out.start().add(row * stride) };
        let mut top = s.splat(f32::NEG_INFINITY);
        let mut col = 0;
        while col < whole {
            // SAFETY: a whole vector of the row is left.
            top = s.max(top, unsafe { s.load(at.add(col)) });
            col += S::WIDTH;
        }
        let mut top = lanes(s, top, top).1;
        for i in whole..cols {
            // SAFETY: inside of the row.
            top = top.max(unsafe { *at.add(i) });
        }
        let shift = s.splat(top);
        let mut sums = s.splat(0.0);
        let mut col = 0;
        while col < whole {
            // SAFETY: as above.
            unsafe {
                let e = exp(s, s.sub(s.load(at.add(col)), shift));
                s.store(at.add(col), e);
                sums = s.add(sums, e);
            }
            col += S::WIDTH;
        }
        let mut sum = lanes(s, sums, sums).0;
        if whole < cols {
            // SAFETY: the lanes behind the row are neither read nor written.
            unsafe {
                let e = exp(s, s.sub(s.load_first(at.add(whole), cols - whole), shift));
                s.store_first(at.add(whole), e, cols - whole);
            }
            for i in whole..cols {
                // SAFETY: inside of the row.
                sum += unsafe { *at.add(i) };
            }
        }
        let share = s.splat(1.0 / sum);
        let mut col = 0;
        while col < whole {
            // SAFETY: as above.
            unsafe { s.store(at.add(col), s.mul(s.load(at.add(col)), share)) }
            col += S::WIDTH;
        }
        for i in whole..cols {
            // SAFETY: inside of the row.
            unsafe { *at.add(i) /= sum }
        }
    }
}

/// Rows to normalise.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    /// The rows, one behind the other.
    pub input: &'a [f32],
    /// One a column.
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

/// `(x - mean) / sqrt(var + eps) * weight + bias`, mean and variance being the row's.
#[inline(always)]
pub(super) fn layer_norm<S: Simd>(s: S, job: &Norm<'_>, mut out: MatrixMut<'_>) {
    let (rows, cols, stride) = (out.rows(), out.cols(), out.stride());
    let fits = job.input.len() >= rows * cols && job.weight.len() == cols && job.bias.len() == cols;
    assert!(fits, "a layer norm for other rows");
    let whole = cols / S::WIDTH * S::WIDTH;
    for row in 0..rows {
        let values = &job.input[row * cols..][..cols];
        let mut sums = s.splat(0.0);
        let mut col = 0;
        while col < whole {
            // SAFETY: a whole vector of the row is left.
            sums = s.add(sums, unsafe { s.load(values.as_ptr().add(col)) });
            col += S::WIDTH;
        }
        let mean = (lanes(s, sums, sums).0 + values[whole..].iter().sum::<f32>()) / cols as f32;
        let (minus, mut squares) = (s.splat(-mean), s.splat(0.0));
        let mut col = 0;
        while col < whole {
            // SAFETY: as above.
            let x = s.add(unsafe { s.load(values.as_ptr().add(col)) }, minus);
            squares = s.fma(x, x, squares);
            col += S::WIDTH;
        }
        let mut square = lanes(s, squares, squares).0;
        for x in &values[whole..] {
            square += (x - mean) * (x - mean);
        }
        let scale = 1.0 / (square / cols as f32 + job.eps).sqrt();
        let factor = s.splat(scale);
        // SAFETY: there is the row, and `cols` values of it.
        let to = unsafe { out.start().add(row * stride) };
        let mut col = 0;
        while col < whole {
            // SAFETY: whole vectors of the row, of weight and of bias are left.
            unsafe {
                let x = s.mul(s.add(s.load(values.as_ptr().add(col)), minus), factor);
                let (weight, bias) = (s.load(job.weight.as_ptr().add(col)), s.load(job.bias.as_ptr().add(col)));
                s.store(to.add(col), s.fma(x, weight, bias));
            }
            col += S::WIDTH;
        }
        for i in whole..cols {
            // SAFETY: inside of the row.
            unsafe { *to.add(i) = (values[i] - mean) * scale * job.weight[i] + job.bias[i] }
        }
    }
}
