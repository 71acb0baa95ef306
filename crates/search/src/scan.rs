//! Which rows may be among the k nearest to a probe.

use rayon::prelude::*;

use crate::best::Best;
use crate::chunk::Chunk;
use crate::frame::Frame;
use crate::kernel::{Known, prefetch};
use crate::quantize::{Probe, add_minor};
use crate::{Matrix, SearchError};

/// Rows whose upper halves are read in one go: with 512 components they fit in the innermost cache.
const BLOCK: usize = u64::BITS as usize;

/// A row that may be among the nearest, and the bounds of its cosine to the probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Key of the row.
    pub key: u128,
    /// The cosine is at least this.
    pub low: f64,
    /// The cosine is at most this.
    pub high: f64,
}

impl Candidate {
    /// The cosine as far as it is known: the middle of the bounds.
    #[must_use]
    pub fn approximate(&self) -> f64 {
        f64::midpoint(self.low, self.high)
    }
}

/// Which keys take part in a search.
pub(crate) type Filter<'a> = Option<&'a (dyn Fn(u128) -> bool + Sync)>;

impl Matrix {
    /// Every row that may be among the `k` nearest to `probe`, of those whose key is `allowed`; highest bound first.
    ///
    /// The `k` best of them by [`cosine`](crate::cosine) are the exact answer. Who scores them in the order given may
    /// stop as soon as `k` are scored that reach the next one's `high`. There are usually a few times `k`; rows that
    /// equal each other are all returned where their bounds do not tell them apart.
    ///
    /// The scan runs on rayon's threads and takes milliseconds: call it where blocking is allowed.
    ///
    /// # Errors
    /// A probe that [`insert`](Self::insert) would refuse.
    pub fn candidates(
        &self,
        probe: &[f32],
        k: usize,
        allowed: Option<&(dyn Fn(u128) -> bool + Sync)>,
    ) -> Result<Vec<Candidate>, SearchError> {
        self.candidates_above(probe, k, -1.0, allowed)
    }

    /// Like [`candidates`](Self::candidates), for rows only whose cosine may be `at_least` or more.
    ///
    /// A search with a threshold is faster than one without: more rows are ruled out at the first look.
    ///
    /// # Errors
    /// A probe that [`insert`](Self::insert) would refuse.
    pub fn candidates_above(
        &self,
        probe: &[f32],
        k: usize,
        at_least: f64,
        allowed: Option<&(dyn Fn(u128) -> bool + Sync)>,
    ) -> Result<Vec<Candidate>, SearchError> {
        if self.frames.is_empty() {
            Probe::new(&Frame::unknown(self.dimension()), probe)?;
        }
        let probes = self.frames.iter().map(|frame| Probe::new(frame, probe)).collect::<Result<Vec<_>, _>>()?;
        if k == 0 || self.is_empty() {
            return Ok(Vec::new());
        }
        let scan = Scan { matrix: self, probes, best: Best::new(k, at_least), all: k >= self.len(), allowed };
        let mut found = if let [chunk] = self.chunks.as_slice() {
            let mut found = Vec::new();
            scan.chunk(chunk, &mut found);
            found
        } else {
            self.chunks
                .par_iter()
                .fold(Vec::new, |mut found, chunk| {
                    scan.chunk(chunk, &mut found);
                    found
                })
                .reduce(Vec::new, |mut all, mut more| {
                    all.append(&mut more);
                    all
                })
        };
        let floor = scan.best.floor();
        found.retain(|candidate| candidate.high >= floor);
        found.sort_unstable_by(|a, b| b.high.total_cmp(&a.high).then(a.key.cmp(&b.key)));
        Ok(found)
    }
}

/// One search, seen by all of its threads.
struct Scan<'a> {
    matrix: &'a Matrix,
    /// The probe in each frame.
    probes: Vec<Probe>,
    best: Best,
    /// Whether every row is among the k best, so that there is no floor to find.
    all: bool,
    allowed: Filter<'a>,
}

impl Scan<'_> {
    fn chunk(&self, chunk: &Chunk, found: &mut Vec<Candidate>) {
        let kernel = self.matrix.kernel;
        let probe = &self.probes[chunk.frame];
        let lines = probe.major.len() / 2;
        let (mut dots, mut minor) = ([0; BLOCK], [0; BLOCK]);
        let mut lows = Vec::with_capacity(BLOCK);
        for start in (0..chunk.len()).step_by(BLOCK) {
            let rows = start..chunk.len().min(start + BLOCK);
            let dots = &mut dots[..rows.len()];
            let upper = &chunk.upper[rows.start * lines..rows.end * lines];
            (kernel.coarse)(upper, &probe.major, dots);
            if probe.both {
                // The rows are in the innermost cache by now.
                let minor = &mut minor[..rows.len()];
                (kernel.coarse)(upper, &probe.minor, minor);
                add_minor(dots, minor);
            }

            let floor = self.best.floor();
            let known = Known {
                dots,
                scales: &chunk.scale[rows.clone()],
                reaches: &chunk.reach[rows.clone()],
                residuals: &chunk.coarse[rows.clone()],
            };
            let passing = (kernel.passing)(&known, &probe.coarse_bound, floor - probe.base);
            for row in Bits(passing).map(|bit| rows.start + bit) {
                prefetch(&chunk.lower[row * lines..(row + 1) * lines]);
            }

            lows.clear();
            for row in Bits(passing).map(|bit| rows.start + bit) {
                if self.allowed.is_some_and(|allowed| !allowed(chunk.keys[row])) {
                    continue;
                }
                let of_row = row * lines..(row + 1) * lines;
                let (upper, lower) = (&chunk.upper[of_row.clone()], &chunk.lower[of_row]);
                let sums = (kernel.fine)(upper, lower, &probe.major, &probe.minor);
                let (low, high) = probe.fine(sums, chunk.scale[row], chunk.reach[row], chunk.fine[row]);
                if high >= floor {
                    found.push(Candidate { key: chunk.keys[row], low, high });
                    if low > floor {
                        lows.push(low);
                    }
                }
            }
            if !lows.is_empty() && !self.all {
                self.best.offer(&lows);
            }
        }
    }
}

/// The places of the bits that are set, lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(place)
    }
}
