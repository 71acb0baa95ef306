//! A run of rows, each array contiguous and small enough to grow without moving the whole gallery.

use crate::line::Line;
use crate::quantize::Quantized;

/// Rows per chunk: with 512 components each plane takes 2 MiB.
pub(crate) const ROWS: usize = 8192;

/// Rows of the first chunk, which are quantized before anything is known about the gallery.
pub(crate) const FIRST_ROWS: usize = 512;

/// A run of rows in one frame, as one array for each part of a row: the scan reads some parts of all rows, others of few.
#[derive(Default)]
pub(crate) struct Chunk {
    /// Which of the matrix' frames the rows are quantized in.
    pub frame: usize,
    pub keys: Vec<u128>,
    pub upper: Vec<Line<u8>>,
    pub lower: Vec<Line<u8>>,
    pub scale: Vec<f32>,
    pub reach: Vec<f32>,
    pub coarse: Vec<f32>,
    pub fine: Vec<f32>,
}

impl Chunk {
    /// Makes room for all rows of a chunk after the first: it will be filled, and growth by powers of two wastes memory.
    fn reserve(&mut self, lines: usize) {
        self.keys.reserve_exact(ROWS);
        self.upper.reserve_exact(ROWS * lines);
        self.lower.reserve_exact(ROWS * lines);
        for floats in [&mut self.scale, &mut self.reach, &mut self.coarse, &mut self.fine] {
            floats.reserve_exact(ROWS);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Adds a row; `full_size` if the chunk is one after the first.
    pub(crate) fn push(&mut self, key: u128, row: &Quantized, full_size: bool) {
        if full_size && self.keys.capacity() == 0 {
            self.reserve(row.upper.len());
        }
        self.keys.push(key);
        self.upper.extend_from_slice(&row.upper);
        self.lower.extend_from_slice(&row.lower);
        self.scale.push(row.bounds.scale);
        self.reach.push(row.bounds.reach);
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
        self.reach[index] = row.bounds.reach;
        self.coarse[index] = row.bounds.coarse;
        self.fine[index] = row.bounds.fine;
    }

    /// Drops the row at `index`; the last row takes its place, and its key is told. The last one's memory is given back.
    pub(crate) fn swap_remove(&mut self, index: usize) -> Option<u128> {
        let (last, lines) = (self.len() - 1, self.upper.len() / self.len());
        self.keys.swap_remove(index);
        for plane in [&mut self.upper, &mut self.lower] {
            plane.copy_within(last * lines.., index * lines);
            plane.truncate(last * lines);
        }
        for floats in [&mut self.scale, &mut self.reach, &mut self.coarse, &mut self.fine] {
            floats.swap_remove(index);
        }
        if last == 0 {
            *self = Self { frame: self.frame, ..Self::default() };
        }
        self.keys.get(index).copied()
    }

    /// Bytes held, counted by capacity.
    pub(crate) fn bytes(&self) -> usize {
        16 * self.keys.capacity()
            + 64 * (self.upper.capacity() + self.lower.capacity())
            + 4 * (self.scale.capacity() + self.reach.capacity() + self.coarse.capacity() + self.fine.capacity())
    }
}
