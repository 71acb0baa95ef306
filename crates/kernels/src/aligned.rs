//! Values that start at a cache line: a vector that lies across two costs two loads.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the longest vector.
const LINE: usize = 64;

/// Zeros at first.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T = f32> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let spare = LINE / size_of::<T>() - 1;
        let values = vec![T::default(); if len == 0 { 0 } else { len + spare }];
        // Where the address cannot be had, the values start where they are.
        let start = values.as_ptr().align_offset(LINE).min(if len == 0 { 0 } else { spare });
        Self { values, start, len }
    }

    /// Makes it `len` values long, without a promise which; allocates where there is less room.
    pub fn resize(&mut self, len: usize) {
        if self.start + len > self.values.len() {
            *self = Self::zeros(len);
        }
        self.len = len;
    }
}

impl<T: Copy + Default> From<&[T]> for Aligned<T> {
    fn from(values: &[T]) -> Self {
        let mut aligned = Self::zeros(values.len());
        aligned.copy_from_slice(values);
        aligned
    }
}

impl<T: Copy + Default> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_start_at_a_line_also_after_growing_and_in_a_copy() {
        let mut a = Aligned::from([1.0, 2.0].as_slice());
        assert_eq!((&*a, &*a.clone()), ([1.0, 2.0].as_slice(), [1.0, 2.0].as_slice()));
        for len in [0, 1, 7, 100, 3] {
            a.resize(len);
            assert_eq!(a.len(), len);
            assert!(len == 0 || cfg!(miri) || a.as_ptr().addr().is_multiple_of(LINE));
        }
    }
}
