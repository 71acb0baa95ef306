//! The few operations that kernels are written in, so that one algorithm serves every set of instructions.

#![expect(unsafe_code, reason = "loads and stores take addresses")]

use super::epilogue::Epilogue;
use super::matrix::MatrixMut;

/// A value of this type is proof that the processor has the instructions.
///
/// Everything is inlined into a function compiled for those instructions, or it would be a call each; that is why the
/// kernels have loops where iterators with closures would do.
///
/// Of `max` and `min` the second operand is the result where one is NaN: constants come first, so that a broken
/// activation is seen and not rectified away.
///
/// Inlining multiplies what there is to compile, so the epilogue, which has every rectifier in it, is a call.
pub(super) trait Simd: Copy {
    /// A vector of [`Self::WIDTH`] lanes.
    type V: Copy;
    /// Lanes of a vector.
    const WIDTH: usize;
    /// Rows of a product that are computed together for one vector of columns, for two, and so on: as many as the registers
    /// hold sums of, beside the vectors and a value. Zero where so many vectors are not computed together.
    const ROWS: [usize; 4];
    /// Vectors of columns that are computed together, at most.
    const VECTORS: usize = {
        let mut vectors = 0;
        while vectors < 4 && Self::ROWS[vectors] > 0 {
            vectors += 1;
        }
        vectors
    };

    fn splat(self, value: f32) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater one, and NaN where one of them is.
    fn greatest(self, a: Self::V, b: Self::V) -> Self::V;
    /// `1 / a` of values from 1 to 2^126, to a unit in the last place.
    #[inline(always)]
    fn reciprocal(self, a: Self::V) -> Self::V {
        self.div(self.splat(1.0), a)
    }
    /// To the nearest whole number.
    fn round(self, a: Self::V) -> Self::V;
    /// Two to the power of whole numbers of -126..=127.
    fn exp2(self, a: Self::V) -> Self::V;
    /// `a * 2^n`, for whole numbers as [`Self::exp2`] takes them.
    #[inline(always)]
    fn scale(self, a: Self::V, n: Self::V) -> Self::V {
        self.mul(a, self.exp2(n))
    }

    /// [`finish`](super::epilogue::finish), compiled for the instructions.
    fn finish(self, epilogue: &Epilogue<'_>, out: MatrixMut<'_>);

    /// Asks for the cache line at any address to be brought near; nothing where there is no such instruction.
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}

    /// # Safety
    /// `from` is readable for [`Self::WIDTH`] values, aligned as a value.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `to` is writable for [`Self::WIDTH`] values, aligned as a value.
    unsafe fn store(self, to: *mut f32, value: Self::V);
    /// The first `count` lanes, zero in the others.
    ///
    /// # Safety
    /// `from` is readable for `count` values, at most [`Self::WIDTH`].
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::V;
    /// # Safety
    /// `to` is writable for `count` values, at most [`Self::WIDTH`].
    unsafe fn store_first(self, to: *mut f32, value: Self::V, count: usize);
}

/// Defines functions of one expression that holds instructions.
macro_rules! operations {
    ($($name:ident($($operand:ident),+) = $instruction:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($operand: Self::V),+) -> Self::V {
            // SAFETY: `self` is proof that the processor has the instructions; they touch no memory.
            unsafe { $instruction }
        }
    )*};
}
pub(super) use operations;

/// `exp(x)`, to 2 units in the last place; below -87 it is that of -87, above 88 that of 88, which are finite.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.min(s.splat(88.0), s.max(s.splat(-87.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // The logarithm of 2 in two parts, the first with few enough digits that its multiples are exact.
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    // Cephes' polynomial for exp(r) on the interval around zero.
    let mut p = s.splat(1.987_569_1e-4);
    p = s.fma(p, r, s.splat(1.398_199_9e-3));
    p = s.fma(p, r, s.splat(8.333_452e-3));
    p = s.fma(p, r, s.splat(4.166_579_6e-2));
    p = s.fma(p, r, s.splat(1.666_666_5e-1));
    p = s.fma(p, r, s.splat(0.5));
    let p = s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0));
    s.scale(p, n)
}

/// `1 / (1 + exp(-x))`, to `4e-7 + 1e-7 |x|` of it; below -86 it is that of -86.
///
/// Maps of millions of values pass through this: as powers of two it takes two thirds of the steps of [`exp`].
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let t = s.mul(x, s.splat(-std::f32::consts::LOG2_E));
    let t = s.min(s.splat(125.0), s.max(s.splat(-125.0), t));
    let n = s.round(t);
    let r = s.sub(t, n);
    // The polynomial of degree five whose greatest relative difference from 2^r on -1/2..=1/2 is least (Remez), the last
    // two coefficients rounded to the logarithm of 2 and to one.
    let mut p = s.splat(1.327_647_2e-3);
    p = s.fma(p, r, s.splat(9.675_541e-3));
    p = s.fma(p, r, s.splat(5.550_713_3e-2));
    p = s.fma(p, r, s.splat(2.402_212e-1));
    p = s.fma(p, r, s.splat(std::f32::consts::LN_2));
    p = s.fma(p, r, s.splat(1.0));
    s.reciprocal(s.add(s.splat(1.0), s.scale(p, n)))
}

/// The error function, to 3e-7: a quotient of polynomials on -4..=4, beyond which it is one to the last digit (Eigen's
/// `generic_fast_erf_float`).
#[inline(always)]
pub(super) fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.min(s.splat(4.0), s.max(s.splat(-4.0), x));
    let square = s.mul(x, x);
    let mut p = s.splat(-2.726_142_3e-10);
    p = s.fma(p, square, s.splat(2.770_681_5e-8));
    p = s.fma(p, square, s.splat(-2.101_024e-6));
    p = s.fma(p, square, s.splat(-5.692_506_3e-5));
    p = s.fma(p, square, s.splat(-7.349_906_4e-4));
    p = s.fma(p, square, s.splat(-2.954_599_7e-3));
    p = s.fma(p, square, s.splat(-1.609_603_3e-2));
    let mut q = s.splat(-1.456_607_2e-5);
    q = s.fma(q, square, s.splat(-2.133_740_5e-4));
    q = s.fma(q, square, s.splat(-1.682_827e-3));
    q = s.fma(q, square, s.splat(-7.373_329_3e-3));
    q = s.fma(q, square, s.splat(-1.426_473_9e-2));
    s.div(s.mul(x, p), q)
}
