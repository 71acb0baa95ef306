//! Deep tree network: tells a face before the camera from a printed or replayed one.
//!
//! Paper: <https://arxiv.org/abs/1904.02860>.
//! Reference: <https://github.com/yaojieliu/CVPR2019-DeepTreeLearningForZeroShotFaceAntispoofing>. The published weights
//! were trained by the author of an Android demo that uses them,
//! <https://github.com/syaringan357/Android-MobileFaceNet-MTCNN-FaceAntiSpoofing> (see `models-src/face-antispoofing`).
//!
//! In: a face crop of 256 x 256, RGB, `x / 255`. A binary tree of convolutional units: each inner node sends the face to
//! one of its two children by the sign of a projection, so that attacks of one kind meet in one leaf; each of the 8
//! leaves judges the face. Out: the leaves' scores and the mask of the leaf that was reached. Training drives the score
//! to 0 for a live face and to 1 for an attack.
//!
//! Axes: `n` batch, `c` channels, `h` rows, `w` columns.

use candle::{DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear, linear_no_bias};
use facesocial_kernels::{Minimal, Pool};
use image::RgbImage;

use crate::{
    error::{ModelError, Result},
    nn::{self, ChannelOrder, ConvConfig, Features, FusedConv, Normalize, PRelu, Rectifier, conv2d},
};

/// Side of the input in pixels.
pub const INPUT_SIZE: u32 = 256;
/// Leaves of the tree.
pub const LEAVES: usize = 8;

/// `x / 255`, RGB.
const NORMALIZE: Normalize = Normalize { order: ChannelOrder::Rgb, mean: [0.0; 3], std: [255.0; 3] };
/// Inner nodes: one, two, four.
const NODES: usize = 7;
/// Channels of every unit.
const CHANNELS: usize = 32;
/// Slope of the leaky rectifiers.
const LEAK: f64 = 0.2;
/// Memory kept for the next faces: what two threads take, a face each. Memory from the system costs a tenth of the time.
const POOL_BYTES: usize = 64 << 20;
/// Images that pass through at once: the first unit works at full resolution, 8 MiB an image and layer.
const IMAGES_AT_ONCE: usize = 4;

/// Convolution, TensorFlow's `SAME` padding unless told otherwise, and a leaky rectifier after it.
fn conv_leaky(vb: VarBuilder<'_>, c_in: usize, c_out: usize, kernel: usize, config: ConvConfig) -> Result<FusedConv> {
    let leaky = Rectifier::PRelu(leaky(&vb, c_out)?);
    Ok(FusedConv::new(conv2d(vb, c_in, c_out, (kernel, kernel), config)?, leaky)?)
}

/// `xs` through one layer after the other.
fn through(layers: &[FusedConv], xs: &Features) -> candle::Result<Option<Features>> {
    let mut ys = None;
    for layer in layers {
        ys = Some(layer.forward(ys.as_ref().unwrap_or(xs))?);
    }
    Ok(ys)
}

fn leaky(vb: &VarBuilder<'_>, channels: usize) -> Result<PRelu> {
    Ok(PRelu::new(Tensor::full(LEAK as f32, channels, vb.device())?.to_dtype(vb.dtype())?))
}

/// CRU, convolutional residual unit: two residual pairs of 3 x 3 convolutions, then max pooling 3 x 3 with stride 2.
#[derive(Debug, Clone)]
pub struct ResidualUnit {
    /// First and second convolution of each pair; the second one's rectifier comes after the sum.
    pairs: [(FusedConv, FusedConv); 2],
}

impl ResidualUnit {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let same = ConvConfig::default().same();
        let pair = |first: usize| -> Result<(FusedConv, FusedConv)> {
            let vb = |j: usize| vb.pp(format!("conv.{j}"));
            let second = conv2d(vb(first + 1), CHANNELS, CHANNELS, (3, 3), same)?;
            let leaky = Rectifier::PRelu(leaky(&vb(first + 1), CHANNELS)?);
            Ok((
                conv_leaky(vb(first), CHANNELS, CHANNELS, 3, same)?,
                FusedConv::with(second, Rectifier::NONE, leaky, Minimal::Auto)?,
            ))
        };
        Ok(Self { pairs: [pair(0)?, pair(2)?] })
    }

    /// One of the pairs, `[n, 32, h, w] -> [n, 32, h, w]`.
    fn pair(&self, i: usize, xs: &Features) -> candle::Result<Features> {
        let (first, second) = &self.pairs[i];
        second.forward_add(&first.forward(xs)?, xs)
    }

    /// `[n, 32, h, w] -> [n, 32, h / 2, w / 2]`
    fn run(&self, xs: &Features) -> candle::Result<Features> {
        self.pair(1, &self.pair(0, xs)?)?.max_pool_ceil(3, 2)
    }
}

impl Module for ResidualUnit {
    /// `[n, 32, h, w] -> [n, 32, h / 2, w / 2]`
    fn forward(&self, xs: &Tensor) -> candle::Result<Tensor> {
        Features::over(xs, |xs| self.run(xs))
    }
}

/// TRU, tree routing unit: the projection of the features on the direction along which those seen in training differ
/// most.
#[derive(Debug, Clone)]
struct RoutingUnit {
    downsample: Vec<FusedConv>,
    mean: Tensor,
    direction: Tensor,
}

impl RoutingUnit {
    /// Features are reduced to 8 x 8, the deeper the node the fewer steps.
    fn load(vb: VarBuilder<'_>, steps: usize) -> Result<Self> {
        let config = ConvConfig::default().stride(2).same();
        let step = |j| conv_leaky(vb.pp(format!("downsample.{j}")), CHANNELS, CHANNELS, 3, config);
        Ok(Self {
            downsample: (0..steps).map(step).collect::<Result<_>>()?,
            mean: vb.get(8 * 8 * CHANNELS, "mean")?,
            direction: vb.get(8 * 8 * CHANNELS, "direction")?,
        })
    }

    /// `[n, 32, h, w] -> [n]`; not negative: the first child, negative: the second.
    fn run(&self, xs: &Features) -> candle::Result<Tensor> {
        let reduced = through(&self.downsample, xs)?; // [n, 32, 16, 16]
        let xs = reduced.as_ref().unwrap_or(xs).avg_pool_ceil(3, 2)?; // [n, 32, 8, 8]
        let xs = xs.pixels()?.flatten_from(1)?; // [n, 8 * 8 * 32], channels last as in the weights
        let values = xs.broadcast_sub(&self.mean)?.matmul(&self.direction.unsqueeze(1)?)?; // [n, 1]
        values.squeeze(1)
    }
}

/// SFL, supervised feature learning: the judgement of a leaf.
#[derive(Debug, Clone)]
struct Leaf {
    downsample: Vec<FusedConv>,
    dense: Linear,
    leaky: PRelu,
    class: Linear,
}

impl Leaf {
    fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let same = ConvConfig::default().stride(2).same();
        // The last one covers the whole 4 x 4 map.
        let layers = [(32, 32, 3, same), (32, 32, 3, same), (32, 64, 3, same), (64, 128, 4, ConvConfig::default())];
        let layer = |(j, (c_in, c_out, kernel, config))| {
            conv_leaky(vb.pp(format!("downsample.{j}")), c_in, c_out, kernel, config)
        };
        Ok(Self {
            downsample: layers.into_iter().enumerate().map(layer).collect::<Result<_>>()?,
            dense: linear(128, 256, vb.pp("dense.0"))?,
            leaky: leaky(&vb, 256)?,
            class: linear_no_bias(256, 1, vb.pp("dense.1"))?,
        })
    }

    /// `[n, 32, 32, 32] -> [n, 1]`
    fn run(&self, xs: &Features) -> candle::Result<Tensor> {
        let reduced = through(&self.downsample, xs)?; // [n, 128, 1, 1]
        let xs = reduced.as_ref().unwrap_or(xs).tensor()?.flatten_from(1)?;
        self.class.forward(&self.leaky.forward(&self.dense.forward(&xs)?)?) // by way of [n, 256]
    }
}

/// What the network computes on the way, for comparison with the reference.
#[derive(Debug)]
pub struct Stages {
    /// After the first convolution, `[n, 32, 256, 256]`.
    pub stem: Tensor,
    /// Features of the inner nodes, level by level: 128, 64 and 32 pixels a side.
    pub nodes: Vec<Tensor>,
    /// Routing values of the inner nodes, `[n]` each.
    pub routes: Vec<Tensor>,
    /// `[n, 8]`
    pub leaf_scores: Tensor,
    /// `[n, 8]`, a single 1 in each row.
    pub leaf_mask: Tensor,
}

/// The network.
#[derive(Debug, Clone)]
pub struct FaceAntiSpoofing {
    device: Device,
    dtype: DType,
    pool: Pool,
    stem: FusedConv,
    nodes: Vec<ResidualUnit>,
    routing: Vec<RoutingUnit>,
    leaves: Vec<Leaf>,
}

impl FaceAntiSpoofing {
    /// Reads the weights.
    ///
    /// # Errors
    /// A missing key or another shape.
    pub fn load(vb: VarBuilder<'_>) -> Result<Self> {
        let steps = |node: usize| 3 - level(node);
        Ok(Self {
            device: vb.device().clone(),
            dtype: vb.dtype(),
            pool: Pool::with_limit(POOL_BYTES),
            stem: conv_leaky(vb.pp("conv"), 3, CHANNELS, 5, ConvConfig::default().same())?,
            nodes: (0..NODES).map(|i| ResidualUnit::load(vb.pp(format!("cru.{i}")))).collect::<Result<_>>()?,
            routing: (0..NODES)
                .map(|i| RoutingUnit::load(vb.pp(format!("tru.{i}")), steps(i)))
                .collect::<Result<_>>()?,
            leaves: (0..LEAVES).map(|i| Leaf::load(vb.pp(format!("sfl.{i}")))).collect::<Result<_>>()?,
        })
    }

    /// Features of the inner nodes for `[n, 3, 256, 256]`; `see` gets the stem and each of them on the way.
    fn features(
        &self,
        xs: &Features,
        mut see: impl FnMut(&Features) -> candle::Result<()>,
    ) -> candle::Result<Vec<Features>> {
        let stem = self.stem.forward(xs)?; // [n, 32, 256, 256]
        see(&stem)?;
        let mut nodes: Vec<Features> = Vec::with_capacity(NODES);
        let mut stem = Some(stem);
        for (i, unit) in self.nodes.iter().enumerate() {
            let features = match stem.take() {
                // The largest maps: none is kept longer than it is needed.
                Some(stem) => {
                    let first = unit.pair(0, &stem)?;
                    drop(stem);
                    unit.pair(1, &first)?.max_pool_ceil(3, 2)?
                }
                None => unit.run(&nodes[(i - 1) / 2])?,
            };
            see(&features)?;
            nodes.push(features);
        }
        Ok(nodes)
    }

    /// Routing values, `[n]` each, from the features of the inner nodes.
    fn routes(&self, nodes: &[Features]) -> candle::Result<Vec<Tensor>> {
        self.routing.iter().zip(nodes).map(|(unit, xs)| unit.run(xs)).collect()
    }

    /// The leaves' scores, `[n, 8]`, from the features of the inner nodes.
    fn leaf_scores(&self, nodes: &[Features]) -> candle::Result<Tensor> {
        let scores = self.leaves.iter().enumerate().map(|(i, leaf)| leaf.run(&nodes[(NODES + i - 1) / 2]));
        Tensor::cat(&scores.collect::<candle::Result<Vec<_>>>()?, 1)
    }

    /// Everything on the way, for `xs` of `[n, 3, 256, 256]`.
    ///
    /// # Errors
    /// Another shape.
    pub fn stages(&self, xs: &Tensor) -> Result<Stages> {
        let mut seen = Vec::with_capacity(NODES + 1);
        let nodes = self.features(&Features::new(xs, &self.pool)?, |xs| {
            seen.push(xs.tensor()?);
            Ok(())
        })?;
        let (leaf_scores, routes) = (self.leaf_scores(&nodes)?, self.routes(&nodes)?);
        let nodes = seen.split_off(1);
        let leaf_mask = leaf_mask(&routes)?;
        Ok(Stages { stem: seen.remove(0), nodes, routes, leaf_scores, leaf_mask })
    }

    /// `[n, 3, 256, 256]`, normalised, to the scores of the leaves and the mask of the leaf reached, `[n, 8]` each.
    ///
    /// # Errors
    /// Another shape.
    pub fn forward(&self, xs: &Tensor) -> Result<(Tensor, Tensor)> {
        self.judge(&Features::new(xs, &self.pool)?)
    }

    fn judge(&self, xs: &Features) -> Result<(Tensor, Tensor)> {
        let judged = nn::by_image(&self.device, xs, |xs| {
            let nodes = self.features(xs, |_| Ok(()))?;
            Ok((self.leaf_scores(&nodes)?, self.routes(&nodes)?))
        })?;
        let (leaf_scores, routes): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
        let masks = routes.iter().map(|routes| leaf_mask(routes)).collect::<Result<Vec<_>>>()?;
        Ok((Tensor::cat(&leaf_scores, 0)?, Tensor::cat(&masks, 0)?))
    }

    /// The spoof score of each face crop of 256 x 256: the mean magnitude of all leaves' scores. About 0 for a live face,
    /// about 1 for an attack; not a probability and not bounded.
    ///
    /// All leaves, not the one reached: on 531 crops of live faces and screens the mean separates the two far better
    /// (AUC 0.94 against 0.71), for in these weights nearly every face reaches the same leaf.
    ///
    /// # Errors
    /// [`ModelError::InputSize`], or [`ModelError::NotFinite`] if the network's output is not finite.
    pub fn score(&self, images: &[RgbImage]) -> Result<Vec<f32>> {
        self.scores(images, |xs| {
            // No leaf is chosen, so that nothing is routed.
            let all = nn::by_image(&self.device, xs, |xs| self.leaf_scores(&self.features(xs, |_| Ok(()))?))?;
            Ok(Tensor::cat(&all, 0)?.abs()?.mean(1)?)
        })
    }

    /// The magnitude of the score of the leaf reached, for each face crop of 256 x 256, as the Android demo computes it;
    /// the demo refuses above 0.2.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn reached_leaf_score(&self, images: &[RgbImage]) -> Result<Vec<f32>> {
        self.scores(images, |xs| {
            let (leaf_scores, mask) = self.judge(xs)?;
            Ok((leaf_scores.abs()? * mask)?.sum(1)?)
        })
    }

    /// `score` takes `[n, 3, 256, 256]` to `[n]`.
    fn scores(&self, images: &[RgbImage], score: impl Fn(&Features) -> Result<Tensor>) -> Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(images.len());
        for images in images.chunks(IMAGES_AT_ONCE) {
            let xs = NORMALIZE.features(images, INPUT_SIZE, self.dtype, &self.device, &self.pool)?;
            scores.extend(score(&xs)?.to_dtype(DType::F32)?.to_vec1::<f32>()?);
        }
        if scores.iter().all(|v| v.is_finite()) { Ok(scores) } else { Err(ModelError::NotFinite("FaceAntiSpoofing")) }
    }
}

/// Level of an inner node, 0 for the root.
const fn level(node: usize) -> usize {
    (node + 1).ilog2() as usize
}

/// From the routing values of the inner nodes, `[n]` each, to the mask of the leaf reached, `[n, 8]`.
fn leaf_mask(routes: &[Tensor]) -> Result<Tensor> {
    // `x * 0 + 1` is 1, or NaN where the value is NaN or infinite.
    let first = |x: &Tensor| -> candle::Result<Tensor> {
        let sound = x.affine(0.0, 1.0)?;
        x.ge(0f32)?.to_dtype(x.dtype())? * sound
    };
    let mut reached = vec![routes[0].ones_like()?];
    for node in 0..routes.len() {
        let to_first = (&reached[node] * first(&routes[node])?)?;
        let to_second = (&reached[node] - &to_first)?;
        reached.extend([to_first, to_second]);
    }
    Ok(Tensor::stack(&reached[routes.len()..], 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(values: [f32; NODES]) -> Vec<f32> {
        let routes: Vec<_> = values.iter().map(|v| Tensor::new(&[*v], &Device::Cpu).unwrap()).collect();
        leaf_mask(&routes).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_signs_on_the_path_choose_the_leaf() {
        assert_eq!(mask([1.0, 0.0, -1.0, 1.0, -1.0, -1.0, -1.0]), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(mask([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0]), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(mask([-1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0]), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(mask([-1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0]), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_broken_routing_value_shows_in_the_mask() {
        assert!(mask([f32::NAN, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]).iter().all(|v| v.is_nan()));
        assert!(mask([1.0, 1.0, 1.0, f32::INFINITY, 1.0, 1.0, 1.0])[0].is_nan());
    }
}
