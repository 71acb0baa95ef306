//! Activations: images of values, channels last.

use crate::error::{Result, shape_error};
use crate::pool::{Buffer, Pool};

/// A batch of feature maps, `[n, h, w, c]`, in memory of a [`Pool`].
#[derive(Debug)]
pub struct Map {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    values: Buffer,
}

impl Map {
    /// A map with what was in the memory before: for whoever writes all of it.
    pub(crate) fn unwritten(pool: &Pool, [n, h, w, c]: [usize; 4]) -> Self {
        Self { n, h, w, c, values: pool.take(n * h * w * c) }
    }

    /// A map without values, or of zeros where the pool is not [dry](Pool::dry).
    pub fn zeros(pool: &Pool, shape: [usize; 4]) -> Self {
        let mut map = Self::unwritten(pool, shape);
        map.values.fill(0.0);
        map
    }

    /// From `[n, c, h, w]`, channels first.
    ///
    /// # Errors
    /// `values` are not as many.
    pub fn from_nchw(pool: &Pool, values: &[f32], [n, c, h, w]: [usize; 4]) -> Result<Self> {
        if values.len() != n * c * h * w {
            return Err(shape_error!("{} values are not {n} x {c} x {h} x {w}", values.len()));
        }
        let mut map = Self::unwritten(pool, [n, h, w, c]);
        if !map.is_dry() {
            transpose(values, &mut map.values, [n, c, h * w]);
        }
        Ok(map)
    }

    /// From `[n, h, w, c]`, channels last.
    ///
    /// # Errors
    /// `values` are not as many.
    pub fn from_nhwc(pool: &Pool, values: &[f32], shape: [usize; 4]) -> Result<Self> {
        if values.len() != shape.iter().product() {
            return Err(shape_error!("{} values are not {shape:?}", values.len()));
        }
        let mut map = Self::unwritten(pool, shape);
        if !map.is_dry() {
            map.values.copy_from_slice(values);
        }
        Ok(map)
    }

    /// Images that `fill` writes: the index of each and its values, `[h, w, c]`. A dry map's are not asked for.
    pub fn from_images(pool: &Pool, shape: [usize; 4], fill: impl Fn(usize, &mut [f32])) -> Self {
        let mut map = Self::unwritten(pool, shape);
        let size = shape[1] * shape[2] * shape[3];
        for (i, image) in map.values.chunks_exact_mut(size.max(1)).enumerate() {
            fill(i, image);
        }
        map
    }

    /// As `[n, c, h, w]`, channels first; zeros of a dry map.
    pub fn to_nchw(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.n * self.c * self.h * self.w];
        if !self.is_dry() {
            transpose(&self.values, &mut values, [self.n, self.h * self.w, self.c]);
        }
        values
    }

    /// `[n, h, w, c]`
    pub const fn shape(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }

    /// The values, channels last; none where the map is dry.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The same values as `[n, 1, 1, h * w * c]`.
    #[must_use]
    pub fn flatten(self) -> Self {
        let c = self.h * self.w * self.c;
        Self { h: 1, w: 1, c, ..self }
    }

    /// Where its memory comes from.
    pub const fn pool(&self) -> &Pool {
        self.values.pool()
    }

    /// Whether it stands for a shape alone.
    pub fn is_dry(&self) -> bool {
        self.pool().is_dry()
    }
}

/// `[n, a, b]` to `[n, b, a]`, in squares that stay in the cache.
fn transpose(from: &[f32], to: &mut [f32], [n, a, b]: [usize; 3]) {
    const SQUARE: usize = 16;
    for i in 0..n {
        let (from, to) = (&from[i * a * b..][..a * b], &mut to[i * a * b..][..a * b]);
        for (first_b, end_b) in (0..b).step_by(SQUARE).map(|s| (s, b.min(s + SQUARE))) {
            for (first_a, end_a) in (0..a).step_by(SQUARE).map(|s| (s, a.min(s + SQUARE))) {
                for y in first_b..end_b {
                    let row = &mut to[y * a..][..a];
                    for x in first_a..end_a {
                        row[x] = from[x * b + y];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_go_last_and_back() {
        let pool = Pool::default();
        let values: Vec<f32> = (0..2 * 3 * 5 * 20).map(|v| v as f32).collect();
        let map = Map::from_nchw(&pool, &values, [2, 3, 5, 20]).unwrap();
        assert_eq!(map.shape(), [2, 5, 20, 3]);
        assert_eq!(map.values()[..4], [0.0, 100.0, 200.0, 1.0]);
        assert_eq!(map.to_nchw(), values);
        assert_eq!(map.flatten().shape(), [2, 1, 1, 300]);
        assert!(Map::from_nchw(&pool, &values, [2, 3, 5, 21]).is_err());
    }

    #[test]
    fn a_dry_map_has_a_shape_alone() {
        let map = Map::from_nchw(&Pool::dry(), &[1.0; 6], [1, 6, 1, 1]).unwrap();
        assert!(map.is_dry() && map.values().is_empty());
        assert_eq!(map.to_nchw(), [0.0; 6]);
    }
}
