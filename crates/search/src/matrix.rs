//! The gallery in memory: rows by key.

use std::collections::HashMap;

use crate::SearchError;
use crate::chunk::{Chunk, ROWS};
use crate::kernel::{self, Kernel};
use crate::quantize::quantize_row;

/// Quantized vectors by key, with a scan that bounds each one's cosine to a probe.
///
/// With 512 components a row takes about 0.6 KiB.
pub struct Matrix {
    dimension: usize,
    pub(crate) kernel: Kernel,
    /// All full but the last, and none empty.
    pub(crate) chunks: Vec<Chunk>,
    /// Key to row, counted through all chunks.
    rows: HashMap<u128, u32>,
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matrix")
            .field("dimension", &self.dimension)
            .field("len", &self.len())
            .field("kernel", &self.kernel.name)
            .finish_non_exhaustive()
    }
}

impl Matrix {
    /// An empty matrix for vectors of `dimension` components, 1 to [`MAX_DIMENSION`](crate::MAX_DIMENSION).
    ///
    /// With any other dimension every vector is refused.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self { dimension, kernel: kernel::detect(), chunks: Vec::new(), rows: HashMap::new() }
    }

    /// Components of each vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Vectors held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no vector is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a vector is held under `key`.
    #[must_use]
    pub fn contains(&self, key: u128) -> bool {
        self.rows.contains_key(&key)
    }

    /// Bytes of memory held, spare capacity included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // The map keeps at least an eighth of its places free; each has an entry and one byte of state.
        let places = match self.rows.capacity() {
            0 => 0,
            capacity => (capacity * 8 / 7).next_power_of_two(),
        };
        self.chunks.iter().map(Chunk::bytes).sum::<usize>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + places * (size_of::<(u128, u32)>() + 1)
            + size_of::<Self>()
    }

    /// The instruction set that scans use on this processor, for diagnostics.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        self.kernel.name
    }

    /// Holds `vector` under `key`, in place of the one held before. Its norm does not matter.
    ///
    /// # Errors
    /// A vector of another length, or with a component that is not finite, or of zeros only; a full matrix. The matrix
    /// is unchanged then.
    pub fn insert(&mut self, key: u128, vector: &[f32]) -> Result<(), SearchError> {
        let row = quantize_row(self.dimension, vector)?;
        if let Some(&at) = self.rows.get(&key) {
            let (chunk, index) = place(at);
            self.chunks[chunk].set(index, key, &row);
            return Ok(());
        }
        let at = u32::try_from(self.rows.len()).ok().filter(|&at| at < u32::MAX).ok_or(SearchError::Full)?;
        match self.chunks.last_mut().filter(|chunk| chunk.len() < ROWS) {
            Some(chunk) => chunk.push(key, &row),
            None => {
                let first = self.chunks.is_empty();
                let mut chunk = if first { Chunk::default() } else { Chunk::full_size(row.upper.len()) };
                chunk.push(key, &row);
                self.chunks.push(chunk);
            }
        }
        self.rows.insert(key, at);
        Ok(())
    }

    /// Drops the vector held under `key`; whether there was one. The last row takes its place.
    pub fn remove(&mut self, key: u128) -> bool {
        let Some(at) = self.rows.remove(&key) else { return false };
        let Some((last, row)) = self.chunks.last_mut().and_then(Chunk::pop) else { return false };
        if self.chunks.last().is_some_and(|chunk| chunk.len() == 0) {
            self.chunks.pop();
        }
        if last != key {
            let (chunk, index) = place(at);
            self.chunks[chunk].set(index, last, &row);
            self.rows.insert(last, at);
        }
        true
    }
}

/// The chunk of a row, and its index therein.
fn place(at: u32) -> (usize, usize) {
    let at = at as usize;
    (at / ROWS, at % ROWS)
}
