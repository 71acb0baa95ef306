//! Rectangles of a buffer, so that threads can write different columns of the same rows.

#![expect(unsafe_code, reason = "disjoint columns of one slice, which no safe type of the standard library expresses")]

use std::marker::PhantomData;

/// `rows` x `cols` values inside of a mutable slice, each row `stride` after the one before.
pub(crate) struct MatrixMut<'a> {
    start: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    /// Of the slice it was made from.
    lends: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a mutable borrow of the values in its rectangle and of nothing else; `f32` may be sent.
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// The first `cols` values of every `stride` in `values`.
    ///
    /// # Panics
    /// `cols` exceeds `stride`, or the last row has fewer.
    pub fn new(values: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(
            cols <= stride && (rows == 0 || (rows - 1) * stride + cols <= values.len()),
            "a matrix beyond its slice"
        );
        Self { start: values.as_mut_ptr(), rows, cols, stride, lends: PhantomData }
    }

    pub const fn rows(&self) -> usize {
        self.rows
    }

    pub const fn cols(&self) -> usize {
        self.cols
    }

    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// The first value; the others follow at the stride.
    pub(super) const fn start(&mut self) -> *mut f32 {
        self.start
    }

    /// One row.
    ///
    /// # Panics
    /// There is none of this index.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: the row is inside of the borrowed slice, by `new` and the splits, and borrowed from `self` alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.cols) }
    }

    /// The rows before `at`, and the others.
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        let at = at.min(self.rows);
        // With no rows left the address would be behind the slice, and is not needed.
        let skipped = if at < self.rows { at * self.stride } else { 0 };
        // SAFETY: with a row left, its start is inside of the slice. The two share no row.
        let start = unsafe { self.start.add(skipped) };
        (Self { rows: at, ..self }, Self { start, rows: self.rows - at, ..self })
    }

    /// The columns before `at`, and the others.
    pub fn split_cols(self, at: usize) -> (Self, Self) {
        let at = at.min(self.cols);
        let skipped = if self.rows > 0 { at } else { 0 };
        // SAFETY: at most `cols` into a row that there is, so at most one behind the slice. The two share no column.
        let start = unsafe { self.start.add(skipped) };
        (Self { cols: at, ..self }, Self { start, cols: self.cols - at, ..self })
    }

    /// The same rectangle for a shorter time.
    pub fn reborrow(&mut self) -> MatrixMut<'_> {
        MatrixMut { start: self.start, rows: self.rows, cols: self.cols, stride: self.stride, lends: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_whole_and_nothing_else() {
        let mut values = vec![0.0; 3 * 5];
        let whole = MatrixMut::new(&mut values, 3, 4, 5);
        let (top, bottom) = whole.split_rows(1);
        let (left, right) = bottom.split_cols(3);
        for (part, value) in [(top, 1.0), (left, 2.0), (right, 3.0)] {
            let mut part = part;
            for row in 0..part.rows() {
                part.row(row).iter_mut().for_each(|v| *v += value);
            }
        }
        assert_eq!(values, [1., 1., 1., 1., 0., 2., 2., 2., 3., 0., 2., 2., 2., 3., 0.]);
    }

    #[test]
    fn empty_parts_have_no_rows_or_no_columns() {
        let mut values = vec![0.0; 6];
        let (all, none) = MatrixMut::new(&mut values, 2, 3, 3).split_rows(7);
        assert_eq!((all.rows(), none.rows()), (2, 0));
        let (all, mut none) = all.split_cols(3);
        assert_eq!((all.cols(), none.row(1).len()), (3, 0));
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_slice_too_short_is_refused() {
        MatrixMut::new(&mut [0.0; 5], 2, 3, 3);
    }
}
