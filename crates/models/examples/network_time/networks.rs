//! The networks by name: with the weights that ship, or with seeded ones where none do.

use std::{collections::HashMap, path::PathBuf};

use candle::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use facesocial_models::{
    AdaFace, BlazeFace, DlibResNet, EfficientNetLite, FaceAntiSpoofing, FaceRes, IResNet, InceptionResNetV1,
    MiniFasNet, Mn3, MobileFaceNet, Mtcnn, ViT, Weights, YoloV10, blazeface, iresnet, minifasnet, mtcnn,
    nn::ChannelOrder, vit,
};
use facesocial_testkit::seeded::{self, Kind};
use image::RgbImage;

use crate::Result;

/// A network that was loaded with what it looks at: one pass, whose outputs are still on the device.
pub(crate) type Pass = Box<dyn Fn() -> Result<Vec<Tensor>>>;

/// What can be measured.
pub(crate) const NAMES: [&str; 21] = [
    "mobilefacenet",
    "dlib_resnet",
    "faceres",
    "mtcnn",
    "mtcnn_pnet",
    "mtcnn_rnet",
    "mtcnn_onet",
    "blazeface_short",
    "blazeface_full",
    "yolov10n_face",
    "efficientnet_lite_deepfake",
    "face_antispoofing",
    "minifasnet_v2",
    "minifasnet_v1_se",
    "minifasnet_v2_se",
    "mn3",
    "iresnet50",
    "iresnet100",
    "adaface_ir101",
    "inception_resnet_v1",
    "vit",
];

/// P-Net's first and largest look at a photo of 1920 x 1080, for faces of 20 pixels and more: height and width.
const PNET_INPUT: (u32, u32) = (649, 1153);

/// From where networks are loaded, and what they are asked.
pub(crate) struct Bench {
    /// The top of the checkout: `weights`, `tests/golden` and `tests/images` are there.
    pub(crate) root: PathBuf,
    /// Where they run.
    pub(crate) device: Device,
    /// From pixels to what the network tells, as the engine asks it; else from a tensor to tensors.
    pub(crate) whole: bool,
}

impl Bench {
    /// Loads the network `name` and what it looks at: `batch` images, or the `photo` if it is a cascade that takes one.
    ///
    /// # Errors
    /// No such network, its weights are not there, or a batch where one photo is meant.
    pub(crate) fn load(&self, name: &str, batch: usize, photo: Option<PathBuf>) -> Result<Pass> {
        /// The pass over images of the given height and width; `$whole` tells what the engine asks of pixels.
        macro_rules! pass {
            ($net:expr, $size:expr, |$n:ident, $xs:ident| $forward:expr, |$p:ident| $whole:expr) => {{
                let $n = $net;
                let (height, width): (u32, u32) = $size;
                let pass: Pass = if self.whole {
                    let pictures = vec![waves(width, height); batch];
                    Box::new(move || {
                        let $p = pictures.as_slice();
                        $whole?;
                        Ok(Vec::new())
                    })
                } else {
                    let shape = [batch, 3, height as usize, width as usize];
                    let input = Tensor::from_vec(seeded::values("input", &shape, Kind::Input), &shape, &self.device)?;
                    Box::new(move || {
                        let $xs = &input;
                        Ok($forward)
                    })
                };
                pass
            }};
        }
        macro_rules! one_output {
            ($net:expr, $side:expr, |$n:ident, $p:ident| $whole:expr) => {
                pass!($net, ($side, $side), |$n, xs| vec![$n.forward(xs)?], |$p| $whole)
            };
        }
        macro_rules! two_outputs {
            ($net:expr, $side:expr, |$n:ident, $p:ident| $whole:expr) => {
                pass!($net, ($side, $side), |$n, xs| <[Tensor; 2]>::from($n.forward(xs)?).to_vec(), |$p| $whole)
            };
        }
        let nothing = |_: &[RgbImage]| -> Result<()> { Ok(()) };
        Ok(match name {
            "mobilefacenet" => one_output!(MobileFaceNet::load(self.shipped(name)?)?, 112, |n, p| n.embed(p)),
            "dlib_resnet" => one_output!(DlibResNet::load(self.shipped(name)?)?, 150, |n, p| n.embed(p)),
            "faceres" => {
                let net = FaceRes::load(self.shipped(name)?)?;
                let heads = |net: &FaceRes, xs: &Tensor| -> Result<Vec<Tensor>> {
                    let heads = net.forward(xs)?;
                    Ok(vec![heads.embedding, heads.age, heads.male])
                };
                pass!(net, (224, 224), |n, xs| heads(&n, xs)?, |p| n.analyze(p))
            }
            "mtcnn" => self.cascade(batch, photo)?,
            "mtcnn_pnet" | "mtcnn_rnet" | "mtcnn_onet" if self.whole => {
                return Err(format!("{name} is a part of mtcnn: from pixels on there is only the cascade").into());
            }
            "mtcnn_pnet" => {
                let net = Mtcnn::load(self.shipped("mtcnn")?)?.pnet;
                pass!(net, PNET_INPUT, |n, xs| <[Tensor; 2]>::from(n.forward(xs)?).to_vec(), |p| nothing(p))
            }
            "mtcnn_rnet" => {
                let net = Mtcnn::load(self.shipped("mtcnn")?)?.rnet;
                pass!(net, (24, 24), |n, xs| <[Tensor; 2]>::from(n.forward(xs)?).to_vec(), |p| nothing(p))
            }
            "mtcnn_onet" => {
                let net = Mtcnn::load(self.shipped("mtcnn")?)?.onet;
                pass!(net, (48, 48), |n, xs| <[Tensor; 3]>::from(n.forward(xs)?).to_vec(), |p| nothing(p))
            }
            "blazeface_short" => {
                let net = BlazeFace::load(self.shipped(name)?, blazeface::Config::short_range())?;
                two_outputs!(net, 128, |n, p| n.detect(p, 0.5))
            }
            "blazeface_full" => {
                let net = BlazeFace::load(self.shipped(name)?, blazeface::Config::full_range())?;
                two_outputs!(net, 192, |n, p| n.detect(p, 0.6))
            }
            "yolov10n_face" => two_outputs!(YoloV10::load(self.shipped(name)?, 1)?, 640, |n, p| n.detect(p, 0.5, 300)),
            "efficientnet_lite_deepfake" => {
                one_output!(EfficientNetLite::load(self.shipped(name)?)?, 160, |n, p| n.score(p))
            }
            "face_antispoofing" => {
                two_outputs!(FaceAntiSpoofing::load(self.shipped(name)?)?, 256, |n, p| n.score(p))
            }
            "minifasnet_v2" => {
                let net = MiniFasNet::load(self.seeded("minifasnet-v2", 0.7)?, minifasnet::Config::v2())?;
                one_output!(net, 80, |n, p| n.probabilities(p))
            }
            "minifasnet_v1_se" => {
                let net = MiniFasNet::load(self.seeded("minifasnet-v1se", 0.7)?, minifasnet::Config::v1_se())?;
                one_output!(net, 80, |n, p| n.probabilities(p))
            }
            "minifasnet_v2_se" => {
                let net = MiniFasNet::load(self.seeded("minifasnet-v2se", 0.7)?, minifasnet::Config::v2_se(3))?;
                one_output!(net, 128, |n, p| n.probabilities(p))
            }
            "mn3" => one_output!(Mn3::load(self.seeded("anti-spoof-mn3", 0.8)?)?, 128, |n, p| n.judge(p)),
            "iresnet50" => {
                let net = IResNet::load(self.seeded("arcface-iresnet50", 0.4)?, iresnet::Config::iresnet50())?;
                one_output!(net, 112, |n, p| n.embed(p))
            }
            "iresnet100" => {
                let net = IResNet::load(self.seeded("arcface-iresnet100", 0.4)?, iresnet::Config::iresnet100())?;
                one_output!(net, 112, |n, p| n.embed(p))
            }
            "adaface_ir101" => {
                let net = AdaFace::load(self.seeded("adaface-ir101", 0.4)?, ChannelOrder::Bgr)?;
                one_output!(net, 112, |n, p| n.embed(p))
            }
            "inception_resnet_v1" => {
                let net = InceptionResNetV1::load(self.seeded("facenet-inception-resnet-v1", 1.0)?)?;
                one_output!(net, 160, |n, p| n.embed(p))
            }
            "vit" => {
                let net = ViT::load(self.seeded("vit-deepfake", 0.7)?, vit::Config::base_patch16_224(2))?;
                one_output!(net, 224, |n, p| n.probabilities(p))
            }
            _ => return Err(format!("no network {name}; there are {}", NAMES.join(", ")).into()),
        })
    }

    /// The whole cascade over a photo; a row of corners and score for each face, from left to right.
    fn cascade(&self, batch: usize, photo: Option<PathBuf>) -> Result<Pass> {
        if batch != 1 {
            return Err("mtcnn takes one photo: its batch is 1".into());
        }
        let path = photo.unwrap_or_else(|| self.root.join("tests/images/group.jpg"));
        let photo = image::open(&path).map_err(|e| format!("{}: {e}", path.display()))?.into_rgb8();
        let net = Mtcnn::load(self.shipped("mtcnn")?)?;
        Ok(Box::new(move || {
            let faces = net.detect(&photo, &mtcnn::Config::default())?;
            let row = |f: &facesocial_types::Face| {
                let b = f.bbox;
                [b.x, b.y, b.x + b.width, b.y + b.height, f.score]
            };
            let mut rows: Vec<[f32; 5]> = faces.iter().map(row).collect();
            rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
            Ok(vec![Tensor::from_vec(rows.concat(), (faces.len(), 5), &Device::Cpu)?])
        }))
    }

    fn shipped(&self, name: &str) -> Result<VarBuilder<'static>> {
        let path = self.root.join("weights").join(name).with_extension("safetensors");
        Ok(Weights::open(&path, None)?.var_builder(DType::F32, &self.device))
    }

    /// Weights as `models-src/full_profile.py` gives them to the reference `name`.
    fn seeded(&self, name: &str, gain: f32) -> Result<VarBuilder<'static>> {
        let keys = seeded::keys(&self.root.join("tests/golden/models").join(format!("{name}.keys")));
        let tensors = keys.iter().map(|(key, shape)| {
            // A vector of weights without a bias beside it is the slopes of a rectifier.
            let lonely = shape.len() == 1
                && key.strip_suffix("weight").is_some_and(|parent| !keys.contains_key(&format!("{parent}bias")));
            let kind = if lonely { Kind::Slope } else { Kind::of(key, shape) };
            let mut values = seeded::values(key, shape, kind);
            if kind == Kind::Weight {
                values.iter_mut().for_each(|v| *v *= gain);
            }
            Ok((key.clone(), Tensor::from_vec(values, shape.as_slice(), &self.device)?))
        });
        let tensors = tensors.collect::<Result<HashMap<_, _>>>()?;
        Ok(VarBuilder::from_tensors(tensors, DType::F32, &self.device))
    }
}

/// A picture of gentle waves: nothing in it is a face.
fn waves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |step: u32| (((x * step + y * 3) / 16 % 16) * 16) as u8;
        image::Rgb([wave(1), wave(2), wave(3)])
    })
}
