//! What is done with a sum before it is stored: bias, rectifier, a second summand, another rectifier.

#![expect(unsafe_code, reason = "reads vectors at addresses")]

use super::matrix::MatrixMut;
use super::simd::{Simd, erf, sigmoid};
use crate::Activation;

/// Values added to the result, laid out as it is.
#[derive(Clone, Copy)]
pub(crate) struct Residual<'a> {
    /// From the value that belongs to the first column of the first row.
    pub values: &'a [f32],
    /// From row to row.
    pub stride: usize,
}

/// `then(activation(sum + bias) + residual)`, column by column.
///
/// `then` is one of none, ReLU and PReLU, and without a residual none.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// One a column, padded to whole vectors.
    pub bias: &'a [f32],
    /// One a column for [`Activation::PRelu`], padded to whole vectors; may be empty without it.
    pub slopes: &'a [f32],
    pub activation: Activation,
    pub residual: Option<Residual<'a>>,
    pub then: Activation,
}

impl<'a> Epilogue<'a> {
    /// That of the part of the result from `row` and `col` on.
    pub fn at(&self, row: usize, col: usize) -> Self {
        let from = |values: &'a [f32]| &values[col.min(values.len())..];
        let residual = self.residual.map(|r| {
            let start = (row * r.stride + col).min(r.values.len());
            Residual { values: &r.values[start..], ..r }
        });
        Self { bias: from(self.bias), slopes: from(self.slopes), residual, ..*self }
    }

    /// Whether the values are there that a result of `rows` x `cols` needs, vectors being of `width`.
    pub(super) fn fits(&self, rows: usize, cols: usize, width: usize) -> bool {
        let padded = cols.next_multiple_of(width);
        let sloped = self.activation == Activation::PRelu || self.then == Activation::PRelu;
        self.bias.len() >= padded
            && (!sloped || self.slopes.len() >= padded)
            && self.residual.is_none_or(|r| rows == 0 || (rows - 1) * r.stride + cols <= r.values.len())
    }

    /// Bounds between which the value is kept where that is all the first rectifier does.
    pub(super) const fn clamp(&self) -> Option<(f32, f32)> {
        match self.activation {
            Activation::None => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Activation::Relu => Some((0.0, f32::INFINITY)),
            Activation::Relu6 => Some((0.0, 6.0)),
            _ => None,
        }
    }

    /// Whether there is nothing to do after the first rectifier.
    pub(super) const fn ends_with_activation(&self) -> bool {
        self.residual.is_none()
    }
}

/// One rectifier on a vector.
#[inline(always)]
pub(super) fn activate<S: Simd>(s: S, activation: Activation, x: S::V, slopes: S::V) -> S::V {
    let zero = s.splat(0.0);
    match activation {
        Activation::None => x,
        Activation::Relu => s.max(zero, x),
        Activation::Relu6 => s.min(s.splat(6.0), s.max(zero, x)),
        Activation::PRelu => s.fma(slopes, s.min(zero, x), s.max(zero, x)),
        Activation::Silu => s.mul(x, sigmoid(s, x)),
        Activation::Gelu => {
            let erf = erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
            s.mul(s.mul(x, s.splat(0.5)), s.add(s.splat(1.0), erf))
        }
        Activation::HardSwish => s.mul(x, hard_sigmoid(s, x)),
        Activation::HardSigmoid => hard_sigmoid(s, x),
        Activation::Sigmoid => sigmoid(s, x),
    }
}

#[inline(always)]
fn hard_sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    s.min(s.splat(1.0), s.max(s.splat(0.0), s.fma(x, s.splat(1.0 / 6.0), s.splat(0.5))))
}

/// The epilogue without its bias on all of `out`, in place.
///
/// # Panics
/// The epilogue has too few slopes, or too little to add.
#[inline(always)]
pub(super) fn finish<S: Simd>(s: S, epilogue: &Epilogue<'_>, mut out: MatrixMut<'_>) {
    let (rows, cols) = (out.rows(), out.cols());
    let sloped = epilogue.activation == Activation::PRelu || epilogue.then == Activation::PRelu;
    let slopes = !sloped || epilogue.slopes.len() >= cols.next_multiple_of(S::WIDTH);
    let residual = epilogue.residual.is_none_or(|r| rows == 0 || (rows - 1) * r.stride + cols <= r.values.len());
    assert!(slopes && residual, "an epilogue for another result");
    // What is asked once for all values need not be asked for each.
    macro_rules! of {
        ($($name:ident)*) => {
            match epilogue.activation {
                $(Activation::$name => finish_with::<S, { Activation::$name as u8 }>(s, epilogue, &mut out),)*
            }
        };
    }
    of!(None Relu Relu6 PRelu Silu Gelu HardSwish HardSigmoid Sigmoid);
}

/// [`finish`] for one rectifier, by its number; slopes and residual are there.
#[inline(always)]
fn finish_with<S: Simd, const FIRST: u8>(s: S, epilogue: &Epilogue<'_>, out: &mut MatrixMut<'_>) {
    let (rows, cols, stride) = (out.rows(), out.cols(), out.stride());
    let activation = const { Activation::of_number(FIRST) };
    let sloped = activation == Activation::PRelu || epilogue.then == Activation::PRelu;
    for row in 0..rows {
        let mut col = 0;
        while col < cols {
            let lanes = S::WIDTH.min(cols - col);
            // SAFETY: `lanes` columns of the row from `col` on are inside of `out`; slopes are padded to whole vectors and
            // the residual has the row, by the caller's promise.
            unsafe {
                let at = out.start().add(row * stride + col);
                let slopes = if sloped { s.load(epilogue.slopes.as_ptr().add(col)) } else { s.splat(0.0) };
                let mut x = if lanes == S::WIDTH { s.load(at) } else { s.load_first(at, lanes) };
                x = activate(s, activation, x, slopes);
                if let Some(residual) = &epilogue.residual {
                    let from = residual.values.as_ptr().add(row * residual.stride + col);
                    x = s.add(x, if lanes == S::WIDTH { s.load(from) } else { s.load_first(from, lanes) });
                    x = then(s, epilogue.then, x, slopes);
                }
                if lanes == S::WIDTH { s.store(at, x) } else { s.store_first(at, x, lanes) }
            }
            col += lanes;
        }
    }
}

/// The epilogue on sums that lie elsewhere, each row `from_stride` after the one before, into `out`.
///
/// # Panics
/// There are fewer sums, or the epilogue is that of another result.
#[inline(always)]
pub(super) fn complete<S: Simd>(
    s: S,
    epilogue: &Epilogue<'_>,
    sums: &[f32],
    from_stride: usize,
    mut out: MatrixMut<'_>,
) {
    let (rows, cols, stride) = (out.rows(), out.cols(), out.stride());
    let whole = cols.next_multiple_of(S::WIDTH);
    assert!(epilogue.fits(rows, cols, S::WIDTH), "an epilogue for another result");
    assert!(rows == 0 || (rows - 1) * from_stride + whole <= sums.len(), "too few sums");
    let sloped = epilogue.activation == Activation::PRelu || epilogue.then == Activation::PRelu;
    let mut col = 0;
    while col < cols {
        // SAFETY: `lanes` columns of every row from `col` on are inside of `out`; bias and slopes are padded to whole
        // vectors, so are the sums, and the residual has the rows, by the assertions.
        unsafe {
            let strip = Strip {
                sums: sums.as_ptr().add(col),
                bias: s.load(epilogue.bias.as_ptr().add(col)),
                slopes: if sloped { s.load(epilogue.slopes.as_ptr().add(col)) } else { s.splat(0.0) },
                to: out.start().add(col),
                lanes: S::WIDTH.min(cols - col),
                residual: epilogue.residual.map_or(std::ptr::null(), |r| r.values.as_ptr().wrapping_add(col)),
            };
            let strides = (from_stride, stride, epilogue.residual.map_or(0, |r| r.stride));
            // What is asked once for all rows need not be asked for each.
            match (epilogue.clamp(), epilogue.residual.is_some(), strip.lanes == S::WIDTH) {
                (Some(clamp), false, true) => strip.rows::<true, false, true>(s, epilogue, clamp, rows, strides),
                (Some(clamp), true, true) => strip.rows::<true, true, true>(s, epilogue, clamp, rows, strides),
                (clamp, _, _) => {
                    strip.rows::<false, true, false>(s, epilogue, clamp.unwrap_or_default(), rows, strides)
                }
            }
        }
        col += S::WIDTH;
    }
}

/// One vector of columns.
struct Strip<V> {
    sums: *const f32,
    bias: V,
    slopes: V,
    to: *mut f32,
    lanes: usize,
    /// Null where there is none.
    residual: *const f32,
}

impl<V: Copy> Strip<V> {
    /// # Safety
    /// There are the rows of sums, of the result and of the residual, `self.lanes` columns of each.
    #[inline(always)]
    unsafe fn rows<const CLAMP: bool, const RESIDUAL: bool, const WHOLE: bool>(
        &self,
        s: impl Simd<V = V>,
        epilogue: &Epilogue<'_>,
        (low, high): (f32, f32),
        rows: usize,
        (from, to, with): (usize, usize, usize),
    ) {
        let (low, high) = (s.splat(low), s.splat(high));
        for row in 0..rows {
            // SAFETY: the caller's promise.
            unsafe {
                let mut x = s.add(s.load(self.sums.add(row * from)), self.bias);
                x = if CLAMP { s.min(high, s.max(low, x)) } else { activate(s, epilogue.activation, x, self.slopes) };
                if RESIDUAL && !self.residual.is_null() {
                    let residual = self.residual.add(row * with);
                    x = s.add(x, if WHOLE { s.load(residual) } else { s.load_first(residual, self.lanes) });
                    x = then(s, epilogue.then, x, self.slopes);
                }
                let to = self.to.add(row * to);
                if WHOLE { s.store(to, x) } else { s.store_first(to, x, self.lanes) }
            }
        }
    }
}

/// The rectifiers that networks have after a sum with a shortcut; others are none.
#[inline(always)]
pub(super) fn then<S: Simd>(s: S, then: Activation, x: S::V, slopes: S::V) -> S::V {
    let zero = s.splat(0.0);
    match then {
        Activation::Relu => s.max(zero, x),
        Activation::PRelu => s.fma(slopes, s.min(zero, x), s.max(zero, x)),
        _ => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instructions;

    #[test]
    fn sigmoids_are_those_of_the_definition_on_all_instructions() {
        let xs: Vec<f32> = (-4000..=4000).map(|i| i as f32 * 0.03).collect();
        for instructions in Instructions::ALL.into_iter().filter(|one| one.supported()) {
            let kernel = instructions.kernel().unwrap();
            let of = |activation| {
                let mut values = xs.clone();
                let epilogue = Epilogue { bias: &[], slopes: &[], activation, residual: None, then: Activation::None };
                (kernel.finish)(&epilogue, MatrixMut::new(&mut values, 1, xs.len(), xs.len()));
                values
            };
            for ((x, sigmoid), silu) in xs.iter().zip(of(Activation::Sigmoid)).zip(of(Activation::Silu)) {
                let want = 1.0 / (1.0 + (-f64::from(*x)).exp());
                let least = 1.0 / (1.0 + 86.0_f64.exp());
                let part = 4e-7 + 1e-7 * f64::from(x.abs());
                assert!((f64::from(sigmoid) - want).abs() <= part * want + least, "{sigmoid} of {x}");
                let want = want * f64::from(*x);
                assert!((f64::from(silu) - want).abs() <= part * want.abs() + 120.0 * least, "{silu} of {x}");
            }
        }
    }
}
