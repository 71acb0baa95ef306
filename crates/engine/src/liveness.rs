//! The networks that tell a live face from a presentation attack.

use facesocial_models::{FaceAntiSpoofing, MiniFasNet, Mn3, Result, face_antispoofing, minifasnet, mobilenetv3};
use facesocial_types::BBox;
use image::RgbImage;

use crate::{
    detectors::{grey, is_square},
    network::Task,
};

/// A network, or two that answer together, for passive liveness.
pub enum Liveness {
    /// The FaceAntiSpoofing tree.
    FaceAntiSpoofing(FaceAntiSpoofing),
    /// MiniFASNets, whose probabilities are averaged.
    MiniFasNet(Vec<MiniFasNet>),
    /// MN3.
    Mn3(Mn3),
}

/// A part of the photo that a network looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LivenessCrop {
    area: Area,
    /// Side of the input in pixels.
    pub side: u32,
    /// Whether every pixel counts when the crop is shrunk; otherwise it is sampled as OpenCV's `INTER_LINEAR` does.
    pub smooth: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Area {
    /// The box, enlarged by a factor.
    Scaled(f32),
    MiniFasNet(minifasnet::Crop),
}

impl LivenessCrop {
    /// The part around `face`, which may reach over the edge of a photo of `width` x `height`.
    pub fn area(&self, face: &BBox, width: u32, height: u32) -> BBox {
        match self.area {
            Area::Scaled(factor) => face.scaled(factor),
            Area::MiniFasNet(crop) => crop.area(face, width, height),
        }
    }
}

/// How much larger than the face box the tree's crop is: on the development crops the bare box gave AUC 0.934, this 0.977.
const TREE_CROP: f32 = 1.2;

/// What must be known of liveness networks to prepare crops and to read scores.
#[derive(Debug, Clone, PartialEq)]
pub struct LivenessSpec {
    /// One crop for each network.
    pub crops: Vec<LivenessCrop>,
    /// Whether the score is the tree's likeness to an attack on an open scale; otherwise it is the probability of a live
    /// face.
    pub tree: bool,
}

impl LivenessSpec {
    /// What the FaceAntiSpoofing tree looks at.
    pub(crate) fn tree() -> Self {
        let crop = LivenessCrop { area: Area::Scaled(TREE_CROP), side: face_antispoofing::INPUT_SIZE, smooth: true };
        Self { crops: vec![crop], tree: true }
    }

    /// What MN3 looks at: its authors cut out the detector's box as it is.
    pub(crate) fn mn3() -> Self {
        let crop = LivenessCrop { area: Area::Scaled(1.0), side: mobilenetv3::INPUT_SIZE, smooth: true };
        Self { crops: vec![crop], tree: false }
    }

    /// What MiniFASNets look at.
    pub(crate) fn minifasnet(configs: impl IntoIterator<Item = minifasnet::Config>) -> Self {
        let crop =
            |c: minifasnet::Config| LivenessCrop { area: Area::MiniFasNet(c.crop), side: c.input_size, smooth: false };
        Self { crops: configs.into_iter().map(crop).collect(), tree: false }
    }
}

impl Task for Liveness {
    /// The crops of one face, of the kinds of [`LivenessSpec::crops`].
    type Item = Vec<RgbImage>;
    type Output = f32;
    type Spec = LivenessSpec;

    fn forward(&self, faces: &[Vec<RgbImage>]) -> Result<Vec<f32>> {
        let kinds = faces.first().map_or(0, Vec::len);
        let of_kind = |kind: usize| faces.iter().filter_map(|crops| crops.get(kind).cloned()).collect();
        self.score(&(0..kinds).map(of_kind).collect::<Vec<_>>())
    }

    fn grey(spec: &LivenessSpec) -> Vec<RgbImage> {
        spec.crops.iter().map(|crop| grey(crop.side, crop.side)).collect()
    }

    fn fits(spec: &LivenessSpec, crops: &Vec<RgbImage>) -> bool {
        crops.len() == spec.crops.len() && crops.iter().zip(&spec.crops).all(|(crop, kind)| is_square(crop, kind.side))
    }
}

impl Liveness {
    /// One raw score per face; `crops[i]` are all faces' crops of the kind
    /// [`LivenessSpec::crops`]`[i]`.
    ///
    /// For the tree it is the likeness to an attack on an open scale, for the others the probability of a live face.
    ///
    /// # Errors
    /// A crop of another size, an output that is not finite, a failed tensor operation.
    pub fn score(&self, crops: &[Vec<RgbImage>]) -> Result<Vec<f32>> {
        let first = crops.first().map(Vec::as_slice).unwrap_or_default();
        match self {
            Self::FaceAntiSpoofing(n) => n.score(first),
            Self::Mn3(n) => Ok(n.judge(first)?.into_iter().map(|l| l.real).collect()),
            Self::MiniFasNet(networks) => {
                let mut sum = vec![0.0; first.len()];
                for (network, crops) in networks.iter().zip(crops) {
                    for (total, live) in sum.iter_mut().zip(network.live(crops)?) {
                        *total += live / networks.len() as f32;
                    }
                }
                Ok(sum)
            }
        }
    }
}
