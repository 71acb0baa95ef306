//! A run of rows, each array contiguous and small enough to grow without moving the whole gallery.

use crate::line::Line;
use crate::quantize::{Bounds, Quantized};

/// Rows per chunk: with 512 components each plane takes 2 MiB.
pub(crate) const ROWS: usize = 8192;

/// Up to [`ROWS`] rows, as one array for each part of a row: the scan reads some parts of all rows, others of few.
#[derive(Default)]
pub(crate) struct Chunk {
    pub keys: Vec<u128>,
    pub upper: Vec<Line<u8>>,
    pub lower: Vec<Line<u8>>,
    pub scale: Vec<f32>,
    pub coarse: Vec<f32>,
    pub fine: Vec<f32>,
}

impl Chunk {
    /// A chunk after the first: it will be filled, and rounding its growth up to powers of two would waste memory.
    pub(crate) fn full_size(lines: usize) -> Self {
        Self {
            keys: Vec::with_capacity(ROWS),
            upper: Vec::with_capacity(ROWS * lines),
            lower: Vec::with_capacity(ROWS * lines),
            scale: Vec::with_capacity(ROWS),
            coarse: Vec::with_capacity(ROWS),
            fine: Vec::with_capacity(ROWS),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn push(&mut self, key: u128, row: &Quantized) {
        self.keys.push(key);
        self.upper.extend_from_slice(&row.upper);
        self.lower.extend_from_slice(&row.lower);
        self.scale.push(row.bounds.scale);
        self.coarse.push(row.bounds.coarse);
        self.fine.push(row.bounds.fine);
    }

    /// Overwrites the row at `index`.
    pub(crate) fn set(&mut self, index: usize, key: u128, row: &Quantized) {
        let lines = row.upper.len();
        self.keys[index] = key;
        self.upper[index * lines..][..lines].copy_from_slice(&row.upper);
        self.lower[index * lines..][..lines].copy_from_slice(&row.lower);
        self.scale[index] = row.bounds.scale;
        self.coarse[index] = row.bounds.coarse;
        self.fine[index] = row.bounds.fine;
    }

    /// Takes the last row with its key; `None` if there is none.
    pub(crate) fn pop(&mut self) -> Option<(u128, Quantized)> {
        let key = self.keys.pop()?;
        let start = self.keys.len() * (self.upper.len() / (self.keys.len() + 1));
        let bounds = Bounds { scale: self.scale.pop()?, coarse: self.coarse.pop()?, fine: self.fine.pop()? };
        Some((key, Quantized { upper: self.upper.split_off(start), lower: self.lower.split_off(start), bounds }))
    }

    /// Bytes held, counted by capacity.
    pub(crate) fn bytes(&self) -> usize {
        16 * self.keys.capacity()
            + 64 * (self.upper.capacity() + self.lower.capacity())
            + 4 * (self.scale.capacity() + self.coarse.capacity() + self.fine.capacity())
    }
}
