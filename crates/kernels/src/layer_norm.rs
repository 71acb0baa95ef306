//! Layer normalisation (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>).

use crate::error::{Result, shape_error};
use crate::instructions::Instructions;
use crate::kernel::{MatrixMut, Norm};
use crate::map::Map;
use crate::threads::{by_rows, parts};

/// `(x - mean) / sqrt(var + eps) * weight + bias`, mean and variance being those of a pixel's channels.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    instructions: Instructions,
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl LayerNorm {
    /// `weight` and `bias` have one value for each channel; `eps` is added to the variance.
    ///
    /// # Errors
    /// Another number of weights than of biases, or kernels that this processor cannot run.
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, eps: f32) -> Result<Self> {
        if weight.len() != bias.len() || weight.is_empty() {
            return Err(shape_error!("{} weights and {} biases of a layer norm", weight.len(), bias.len()));
        }
        Ok(Self { instructions: Instructions::chosen()?, weight, bias, eps })
    }

    /// `[n, h, w, c] -> [n, h, w, c]`
    ///
    /// # Errors
    /// Another number of channels.
    pub fn forward(&self, xs: &Map) -> Result<Map> {
        let [n, h, w, c] = xs.shape();
        if c != self.weight.len() {
            return Err(shape_error!("a layer norm over {} channels does not take {c}", self.weight.len()));
        }
        let mut out = Map::unwritten(xs.pool(), [n, h, w, c]);
        let rows = n * h * w;
        if out.is_dry() || rows == 0 {
            return Ok(out);
        }
        let kernel = self.instructions.kernel()?;
        // Three passes over memory for each value.
        let parts = parts(rows * c * 12);
        by_rows(MatrixMut::new(out.values_mut(), rows, c, c), 0..rows, parts, &|row| row, &|rows, part| {
            let input = &xs.values()[rows.start * c..rows.end * c];
            (kernel.layer_norm)(&Norm { input, weight: &self.weight, bias: &self.bias, eps: self.eps }, part);
        });
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    #[test]
    fn each_pixel_is_normalised_by_its_own_channels() {
        let mut rng = fastrand::Rng::with_seed(13);
        for c in [1, 7, 16, 33, 100] {
            let mut random = |len: usize| (0..len).map(|_| 3.0 * rng.f32()).collect::<Vec<_>>();
            let (xs, weight, bias) = (random(2 * 3 * c), random(c), random(c));
            let map = Map::from_nhwc(&Pool::default(), &xs, [2, 1, 3, c]).unwrap();
            let ys = LayerNorm::new(weight.clone(), bias.clone(), 1e-3).unwrap().forward(&map).unwrap();
            for (xs, ys) in xs.chunks_exact(c).zip(ys.values().chunks_exact(c)) {
                let mean = xs.iter().map(|x| f64::from(*x)).sum::<f64>() / c as f64;
                let var = xs.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / c as f64;
                for i in 0..c {
                    let normal = (f64::from(xs[i]) - mean) / (var + 1e-3).sqrt();
                    let want = normal * f64::from(weight[i]) + f64::from(bias[i]);
                    assert!((f64::from(ys[i]) - want).abs() < 1e-5, "{} {want} of {c}", ys[i]);
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert!(LayerNorm::new(vec![1.0], vec![], 0.0).is_err() && LayerNorm::new(vec![], vec![], 0.0).is_err());
        let norm = LayerNorm::new(vec![1.0; 3], vec![0.0; 3], 1e-5).unwrap();
        assert!(norm.forward(&Map::zeros(&Pool::default(), [1, 1, 1, 4])).is_err());
        assert_eq!(norm.forward(&Map::zeros(&Pool::dry(), [2, 5, 1, 3])).unwrap().shape(), [2, 5, 1, 3]);
    }
}
