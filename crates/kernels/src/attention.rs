//! Attention (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>): every token asks all tokens, head by head.

use crate::activation::Activation;
use crate::error::{Result, shape_error};
use crate::instructions::Instructions;
use crate::kernel::{Epilogue, Gemm, Kernel, MatrixMut, Windows};
use crate::map::Map;
use crate::threads::{by_cols, by_rows, parts, with_scratch};

/// `softmax(q k^T) v` for each head: `query` `[n, 1, q, d]`, `key_value` `[n, 1, t, 2 d]`, the keys before the values, `->
/// [n, 1, q, d]`. Head `i` has the `i`-th of `heads` equal parts of the `d` channels of each.
///
/// No scale is applied: it is folded into the layer that computes the queries.
///
/// # Errors
/// Shapes that do not fit each other, or no tokens.
pub fn attention(query: &Map, key_value: &Map, heads: usize) -> Result<Map> {
    let ([n, qh, qw, d], [kn, kh, kw, kd]) = (query.shape(), key_value.shape());
    let (queries, tokens) = (qh * qw, kh * kw);
    if n != kn || kd != 2 * d || heads == 0 || !d.is_multiple_of(heads) || tokens == 0 || d == 0 {
        return Err(shape_error!("{heads} heads of {:?} do not ask {:?}", query.shape(), key_value.shape()));
    }
    let mut out = Map::unwritten(query.pool(), query.shape());
    if out.is_dry() || n * queries == 0 {
        return Ok(out);
    }
    let width = d / heads;
    let job = Job {
        kernel: Instructions::chosen()?.kernel()?,
        query: query.values(),
        key_value: key_value.values(),
        queries,
        tokens,
        d,
        width,
    };
    let parts = parts(2 * n * queries * tokens * d);
    let of_images = parts.min(n);
    let of_heads = parts.div_ceil(of_images);
    let out_matrix = MatrixMut::new(out.values_mut(), n * queries, d, d);
    by_rows(out_matrix, 0..n, of_images, &|image| image * queries, &|images, mut part| {
        for image in images {
            let (of_image, rest) = part.split_rows(queries);
            by_cols(of_image, 0, width, of_heads, &|first, mut columns| {
                for col in (0..columns.cols()).step_by(width) {
                    let head = columns.reborrow().split_cols(col).1.split_cols(width).0;
                    job.head(image, first + col, head);
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
    /// Channels of a token, and of a head.
    d: usize,
    width: usize,
}

impl Job<'_> {
    /// The head whose first channel is `first`.
    fn head(&self, image: usize, first: usize, out: MatrixMut<'_>) {
        let Self { kernel, queries, tokens, d, width, .. } = *self;
        let padded = tokens.next_multiple_of(kernel.width);
        let (keys, values) = (width * padded, tokens * width.next_multiple_of(kernel.width));
        let zeros = padded.max(width.next_multiple_of(kernel.width));
        let query = &self.query[image * queries * d + first..];
        let key_value = &self.key_value[image * tokens * 2 * d..][..tokens * 2 * d];
        with_scratch(keys + values + zeros + queries * padded, |scratch| {
            let (keys, scratch) = scratch.split_at_mut(keys);
            let (values, scratch) = scratch.split_at_mut(values);
            let (zeros, scores) = scratch.split_at_mut(zeros);
            kernel.pack_rows_as_columns(&key_value[first..], 2 * d, (width, tokens), keys);
            kernel.pack_rows(&key_value[d + first..], 2 * d, (tokens, width), values);
            zeros.fill(0.0);
            let epilogue = Epilogue {
                bias: zeros,
                slopes: &[],
                activation: Activation::None,
                residual: None,
                then: Activation::None,
            };
            let rows = |step_x, run| Windows { width: queries, step_x, step_y: 0, runs: 1, run, run_step: 0 };
            let products = Gemm { input: query, windows: rows(d, width), weights: keys, next: &[], epilogue };
            (kernel.gemm)(&products, MatrixMut::new(scores, queries, tokens, padded));
            (kernel.softmax)(MatrixMut::new(scores, queries, tokens, padded));
            let mixture = Gemm { input: scores, windows: rows(padded, tokens), weights: values, next: &[], epilogue };
            (kernel.gemm)(&mixture, out);
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
        let ([n, _, q, d], [_, _, t, _]) = (query.shape(), key_value.shape());
        let value = |map: &Map, row: usize, col: usize| f64::from(map.values()[row * map.shape()[3] + col]);
        let mut out = vec![0.0; n * q * d];
        for (row, out) in out.chunks_exact_mut(d).enumerate() {
            let keys = row / q * t;
            for (c, out) in out.iter_mut().enumerate() {
                let first = c / (d / heads) * (d / heads);
                let score = |k: usize| {
                    let dims = first..first + d / heads;
                    dims.map(|c| value(query, row, c) * value(key_value, keys + k, c)).sum::<f64>().exp()
                };
                let scores: Vec<f64> = (0..t).map(score).collect();
                let mixed = scores.iter().enumerate().map(|(k, s)| s * value(key_value, keys + k, d + c));
                *out = mixed.sum::<f64>() / scores.iter().sum::<f64>();
            }
        }
        out
    }

    #[test]
    fn heads_are_those_of_the_definition() {
        let mut rng = fastrand::Rng::with_seed(11);
        for (n, q, t, d, heads) in
            [(1, 1, 1, 4, 1), (2, 5, 5, 12, 3), (1, 197, 197, 64, 2), (3, 1, 40, 66, 2), (1, 7, 500, 40, 1)]
        {
            let (query, key_value) = (random(&mut rng, [n, 1, q, d]), random(&mut rng, [n, 1, t, 2 * d]));
            let want = by_definition(&query, &key_value, heads);
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let got = pool.install(|| attention(&query, &key_value, heads)).unwrap();
                assert_eq!(got.shape(), [n, 1, q, d]);
                for (got, want) in got.values().iter().zip(&want) {
                    assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want} of {n} x {q} x {t} x {d} / {heads}");
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
