//! The networks that turn a face into an embedding, as members of the recognition ensemble.

use std::sync::Arc;

use candle_nn::VarBuilder;
use facesocial_models::{
    AdaFace, DlibResNet, FaceRes, IResNet, InceptionResNetV1, MobileFaceNet, Result, iresnet, nn::ChannelOrder,
};
use image::RgbImage;

/// A network that embeds faces.
#[allow(clippy::large_enum_variant, reason = "there is one value per loaded network")]
pub enum Embedder {
    /// MobileFaceNet, 192 values.
    MobileFaceNet(MobileFaceNet),
    /// dlib's ResNet, 128 values.
    DlibResNet(DlibResNet),
    /// FaceRes, 1024 values; the same network also tells age and gender.
    FaceRes(Arc<FaceRes>),
    /// AdaFace IR-101, 512 values.
    AdaFace(AdaFace),
    /// ArcFace IResNet-50 or -100, 512 values.
    ArcFace(IResNet),
    /// FaceNet Inception-ResNet v1, 512 values.
    FaceNet(InceptionResNetV1),
}

/// What an [`Embedder`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaceCrop {
    /// 112 x 112, aligned by the landmarks to InsightFace's template.
    ArcFace112,
    /// 150 x 150, aligned by the landmarks to dlib's template.
    DlibChip150,
    /// [`ArcFace112`](Self::ArcFace112) enlarged to 224 x 224.
    ArcFaceEnlarged224,
    /// 160 x 160: the face box with the margin that facenet-pytorch trains and measures with (14 of 160 pixels),
    /// squeezed into a square; not aligned.
    Box160,
}

/// Names in `models-src`.
pub(crate) const EMBEDDERS: [&str; 7] = [
    "mobilefacenet",
    "dlib-resnet",
    "faceres",
    "adaface-ir101",
    "arcface-iresnet100",
    "arcface-iresnet50",
    "facenet-inception-resnet-v1",
];

impl Embedder {
    /// Loads the network called `name`, one of [`EMBEDDERS`]; FaceRes, which has another task too, is loaded by its own.
    pub(crate) fn load(name: &str, vb: VarBuilder<'static>) -> Result<Self> {
        Ok(match name {
            "mobilefacenet" => Self::MobileFaceNet(MobileFaceNet::load(vb)?),
            "dlib-resnet" => Self::DlibResNet(DlibResNet::load(vb)?),
            // The checkpoint is cvlface's, whose configuration says RGB.
            "adaface-ir101" => Self::AdaFace(AdaFace::load(vb, ChannelOrder::Rgb)?),
            "arcface-iresnet100" => Self::ArcFace(IResNet::load(vb, iresnet::Config::iresnet100())?),
            "arcface-iresnet50" => Self::ArcFace(IResNet::load(vb, iresnet::Config::iresnet50())?),
            "facenet-inception-resnet-v1" => Self::FaceNet(InceptionResNetV1::load(vb)?),
            _ => Self::FaceRes(Arc::new(FaceRes::load(vb)?)),
        })
    }

    /// What it looks at.
    pub const fn crop(&self) -> FaceCrop {
        match self {
            Self::MobileFaceNet(_) | Self::AdaFace(_) | Self::ArcFace(_) => FaceCrop::ArcFace112,
            Self::DlibResNet(_) => FaceCrop::DlibChip150,
            Self::FaceRes(_) => FaceCrop::ArcFaceEnlarged224,
            Self::FaceNet(_) => FaceCrop::Box160,
        }
    }

    /// Embeddings of crops in the order given; not normalised.
    ///
    /// # Errors
    /// A crop of another size, an output that is not finite, a failed tensor operation.
    pub fn embed(&self, crops: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::MobileFaceNet(n) => n.embed(crops),
            Self::DlibResNet(n) => n.embed(crops),
            Self::FaceRes(n) => Ok(n.analyze(crops)?.into_iter().map(|o| o.embedding).collect()),
            Self::AdaFace(n) => n.embed(crops),
            Self::ArcFace(n) => n.embed(crops),
            Self::FaceNet(n) => n.embed(crops),
        }
    }
}

impl FaceCrop {
    /// Side in pixels.
    pub const fn side(self) -> u32 {
        match self {
            Self::ArcFace112 => 112,
            Self::DlibChip150 => 150,
            Self::ArcFaceEnlarged224 => 224,
            Self::Box160 => 160,
        }
    }
}
