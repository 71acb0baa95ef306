//! Attention (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>): every token asks all tokens, head by head.

use crate::error::{Result, shape_error};
use crate::instructions::Instructions;
use crate::kernel::{Gemm, Kernel, MatrixMut, Windows};
use crate::map::Map;
use crate::threads::{by_cols, by_rows, parts, with_scratch};

/// `softmax(q k^T) v` for each head: `query` `[n, qh, qw, k]`, `key_value` `[n, h, w, k + v]`, the keys before the values,
/// `-> [n, qh, qw, v]`. Every pixel is a token. Head `i` has the `i`-th of `heads` equal parts of queries, keys and values.
///
/// No scale is applied: it is folded into the layer that computes the queries.
///
/// # Errors
/// Shapes that do not fit each other, or no tokens.
pub fn attention(query: &Map, key_value: &Map, heads: usize) -> Result<Map> {
    let ([n, qh, qw, keys], [kn, kh, kw, both]) = (query.shape(), key_value.shape());
    let (queries, tokens, values) = (qh * qw, kh * kw, both.saturating_sub(keys));
    let divides = heads > 0 && keys.is_multiple_of(heads) && values.is_multiple_of(heads);
    if n != kn || !divides || tokens * keys * values == 0 {
        return Err(shape_error!("{heads} heads of {:?} do not ask {:?}", query.shape(), key_value.shape()));
    }
    let mut out = Map::unwritten(query.pool(), [n, qh, qw, values]);
    if out.is_dry() || n * queries == 0 {
        return Ok(out);
    }
    let job = Job {
        kernel: Instructions::chosen()?.kernel()?,
        query: query.values(),
        key_value: key_value.values(),
        queries,
        tokens,
        keys,
        values,
        heads,
    };
    let parts = parts(n * queries * tokens * both);
    let of_images = parts.min(n);
    let of_heads = parts.div_ceil(of_images);
    let width = values / heads;
    let out_matrix = MatrixMut::new(out.values_mut(), n * queries, values, values);
    by_rows(out_matrix, 0..n, of_images, &|image| image * queries, &|images, mut part| {
        for image in images {
            let (of_image, rest) = part.split_rows(queries);
            by_cols(of_image, 0, width, of_heads, &|first, mut columns| {
                for col in (0..columns.cols()).step_by(width) {
                    let head = columns.reborrow().split_cols(col).1.split_cols(width).0;
                    job.head(image, (first + col) / width, head);
                }
            });
            part = rest;
        }
    });
    Ok(out)
}

/// One call.
struct Job<'a> {
    kernel: &'static Kernel,
    query: &'a [f32],
    key_value: &'a [f32],
    queries: usize,
    tokens: usize,
    /// Channels of all heads.
    keys: usize,
    values: usize,
    heads: usize,
}

impl Job<'_> {
    fn head(&self, image: usize, head: usize, out: MatrixMut<'_>) {
        let Self { kernel, queries, tokens, .. } = *self;
        let both = self.keys + self.values;
        let (key, value) = (self.keys / self.heads, self.values / self.heads);
        let padded = tokens.next_multiple_of(kernel.width);
        let (keys, values) = (key * padded, tokens * value.next_multiple_of(kernel.width));
        let query = &self.query[image * queries * self.keys + head * key..];
        let key_value = &self.key_value[image * tokens * both..][..tokens * both];
        with_scratch(keys + values + queries * padded, |scratch| {
            let (keys, scratch) = scratch.split_at_mut(keys);
            let (values, scores) = scratch.split_at_mut(values);
            kernel.pack_rows_as_columns(&key_value[head * key..], both, (key, tokens), keys);
            kernel.pack_rows(&key_value[self.keys + head * value..], both, (tokens, value), values);
            let product = |input, step_x, weights, (run, cols)| Gemm {
                input,
                windows: Windows { width: queries, step_x, step_y: 0, runs: 1, run, run_step: 0 },
                weights,
                panel: kernel.panel(cols),
                next: &[],
                epilogue: None,
            };
            let scores_of = product(query, self.keys, keys, (key, tokens));
            (kernel.gemm)(&scores_of, MatrixMut::new(scores, queries, tokens, padded));
            (kernel.softmax)(MatrixMut::new(scores, queries, tokens, padded));
            (kernel.gemm)(&product(scores, padded, values, (tokens, value)), out);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    fn random(rng: &mut fastrand::Rng, shape: [usize; 4]) -> Map {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| 2.0 * rng.f32() - 1.0).collect();
        Map::from_nhwc(&Pool::default(), &values, shape).unwrap()
    }

    /// The definition, in doubles.
    fn by_definition(query: &Map, key_value: &Map, heads: usize) -> Vec<f64> {
        let ([n, _, q, k], [_, _, t, both]) = (query.shape(), key_value.shape());
        let v = both - k;
        let value = |map: &Map, row: usize, col: usize| f64::from(map.values()[row * map.shape()[3] + col]);
        let mut out = vec![0.0; n * q * v];
        for (row, out) in out.chunks_exact_mut(v).enumerate() {
            let first = row / q * t;
            for (c, out) in out.iter_mut().enumerate() {
                let dims = c / (v / heads) * (k / heads)..(c / (v / heads) + 1) * (k / heads);
                let score = |token: usize| {
                    let products = dims.clone().map(|c| value(query, row, c) * value(key_value, first + token, c));
                    products.sum::<f64>().exp()
                };
                let scores: Vec<f64> = (0..t).map(score).collect();
                let mixed = scores.iter().enumerate().map(|(token, s)| s * value(key_value, first + token, k + c));
                *out = mixed.sum::<f64>() / scores.iter().sum::<f64>();
            }
        }
        out
    }

    #[test]
    fn heads_are_those_of_the_definition() {
        let mut rng = fastrand::Rng::with_seed(11);
        for (n, q, t, (k, v), heads) in [
            (1, 1, 1, (4, 4), 1),
            (2, 5, 5, (12, 12), 3),
            (1, 197, 197, (64, 64), 2),
            (3, 1, 40, (66, 30), 2),
            (1, 7, 500, (40, 80), 1),
        ] {
            let (query, key_value) = (random(&mut rng, [n, 1, q, k]), random(&mut rng, [n, 1, t, k + v]));
            let want = by_definition(&query, &key_value, heads);
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let got = pool.install(|| attention(&query, &key_value, heads)).unwrap();
                assert_eq!(got.shape(), [n, 1, q, v]);
                for (got, want) in got.values().iter().zip(&want) {
                    assert!(
                        (f64::from(*got) - want).abs() < 1e-5,
                        "{got} {want} of {n} x {q} x {t} x {k} x {v} / {heads}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_broken_token_is_seen_and_what_does_not_fit_is_an_error() {
        let mut rng = fastrand::Rng::with_seed(12);
        let pool = Pool::default();
        let (query, key_value) = (random(&mut rng, [1, 1, 3, 8]), random(&mut rng, [1, 1, 9, 16]));
        let mut values = key_value.values().to_vec();
        values[0] = f32::NAN;
        let broken = Map::from_nhwc(&pool, &values, [1, 1, 9, 16]).unwrap();
        assert!(attention(&query, &broken, 1).unwrap().values().iter().all(|v| v.is_nan()));
        assert!(attention(&query, &key_value, 3).is_err() && attention(&query, &query, 1).is_err());
        assert!(attention(&query, &Map::zeros(&pool, [1, 1, 0, 16]), 1).is_err());
        let dry = Pool::dry();
        let shapes = attention(&Map::zeros(&dry, [2, 1, 5, 8]), &Map::zeros(&dry, [2, 1, 6, 16]), 2).unwrap();
        assert_eq!(shapes.shape(), [2, 1, 5, 8]);
    }
}
