//! The gallery in memory: rows by key.

use std::collections::HashMap;

use crate::chunk::{Chunk, FIRST_ROWS, ROWS};
use crate::frame::Frame;
use crate::kernel::{self, Kernel};
use crate::quantize::quantize_row;
use crate::{MAX_DIMENSION, SearchError};

/// Quantized vectors by key, with a scan that bounds each one's cosine to a probe.
///
/// With 512 components a row takes about 0.6 KiB.
pub struct Matrix {
    dimension: usize,
    pub(crate) kernel: Kernel,
    /// Rows stay in the chunk that they were put in.
    pub(crate) chunks: Vec<Chunk>,
    /// Learned from what was there before; chunks name theirs.
    pub(crate) frames: Vec<Frame>,
    /// Chunks that have room. Only the last of them is filled.
    open: Vec<usize>,
    /// Key to chunk and place therein, see [`place`].
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
        let (chunks, frames, open) = (Vec::new(), Vec::new(), Vec::new());
        Self { dimension, kernel: kernel::detect(), chunks, frames, open, rows: HashMap::new() }
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
            + self.frames.len() * 2 * size_of::<f64>() * self.dimension
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
        if let Some(&at) = self.rows.get(&key) {
            let (chunk, index) = place(at);
            let chunk = &mut self.chunks[chunk];
            chunk.set(index, key, &quantize_row(&self.frames[chunk.frame], vector)?);
            return Ok(());
        }
        let at = match self.open.last() {
            Some(&at) => at,
            None => self.open_chunk()?,
        };
        let chunk = &mut self.chunks[at];
        if chunk.len() == 0 {
            chunk.frame = self.frames.len() - 1;
        }
        chunk.push(key, &quantize_row(&self.frames[chunk.frame], vector)?, at > 0);
        self.rows.insert(key, (at * ROWS + chunk.len() - 1) as u32);
        if chunk.len() == capacity(at) {
            self.open.pop();
        }
        Ok(())
    }

    /// Drops the vector held under `key`; whether there was one.
    pub fn remove(&mut self, key: u128) -> bool {
        let Some(at) = self.rows.remove(&key) else { return false };
        let (chunk, index) = place(at);
        if self.chunks[chunk].len() == capacity(chunk) {
            self.open.push(chunk);
        }
        if let Some(moved) = self.chunks[chunk].swap_remove(index) {
            self.rows.insert(moved, at);
        }
        true
    }

    /// Adds an empty chunk. Each time that there are twice as many as before, the frame is learned anew.
    fn open_chunk(&mut self) -> Result<usize, SearchError> {
        let at = self.chunks.len();
        // Places are counted in 32 bits.
        if (at + 1) * ROWS > u32::MAX as usize {
            return Err(SearchError::Full);
        }
        let frame = match self.chunks.last() {
            _ if self.dimension > MAX_DIMENSION => return Err(SearchError::TooWide(self.dimension)),
            None => Some(Frame::unknown(self.dimension)),
            Some(last) => at.is_power_of_two().then(|| self.frames[last.frame].of(last)),
        };
        self.frames.extend(frame);
        self.chunks.push(Chunk::default());
        self.open.push(at);
        Ok(at)
    }
}

/// Rows that a chunk may hold.
fn capacity(chunk: usize) -> usize {
    if chunk == 0 { FIRST_ROWS } else { ROWS }
}

/// The chunk of a row, and its index therein.
fn place(at: u32) -> (usize, usize) {
    let at = at as usize;
    (at / ROWS, at % ROWS)
}
