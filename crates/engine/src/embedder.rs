//! The networks that turn a face into an embedding, as members of the recognition ensemble.

use candle_nn::VarBuilder;
use facesocial_models::{
    AdaFace, DlibResNet, FaceRes, IResNet, InceptionResNetV1, MobileFaceNet, Result, faceres, iresnet, nn::ChannelOrder,
};
use facesocial_types::ModelId;
use image::RgbImage;

use crate::{
    batch::Pending,
    caller::Caller,
    detectors::{grey, is_square},
    error::{self, EngineError},
    network::{Network, Task},
    wire::{Cursor, Wire, WireError},
};

/// A network that embeds faces.
#[allow(clippy::large_enum_variant, reason = "there is one value per loaded network")]
pub enum Embedder {
    /// MobileFaceNet, 192 values.
    MobileFaceNet(MobileFaceNet),
    /// dlib's ResNet, 128 values.
    DlibResNet(DlibResNet),
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
    /// Loads the network called `name`, one of [`EMBEDDERS`] but for FaceRes, which has another task too.
    pub(crate) fn load(name: &str, vb: VarBuilder<'static>) -> Result<Self> {
        Ok(match name {
            "dlib-resnet" => Self::DlibResNet(DlibResNet::load(vb)?),
            // The checkpoint is cvlface's, whose configuration says RGB.
            "adaface-ir101" => Self::AdaFace(AdaFace::load(vb, ChannelOrder::Rgb)?),
            "arcface-iresnet100" => Self::ArcFace(IResNet::load(vb, iresnet::Config::iresnet100())?),
            "arcface-iresnet50" => Self::ArcFace(IResNet::load(vb, iresnet::Config::iresnet50())?),
            "facenet-inception-resnet-v1" => Self::FaceNet(InceptionResNetV1::load(vb)?),
            _ => Self::MobileFaceNet(MobileFaceNet::load(vb)?),
        })
    }

    /// Embeddings of crops in the order given; not normalised.
    ///
    /// # Errors
    /// A crop of another size, an output that is not finite, a failed tensor operation.
    pub fn embed(&self, crops: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::MobileFaceNet(n) => n.embed(crops),
            Self::DlibResNet(n) => n.embed(crops),
            Self::AdaFace(n) => n.embed(crops),
            Self::ArcFace(n) => n.embed(crops),
            Self::FaceNet(n) => n.embed(crops),
        }
    }
}

impl Task for Embedder {
    type Item = RgbImage;
    type Output = Vec<f32>;
    type Spec = FaceCrop;

    fn forward(&self, crops: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        self.embed(crops)
    }

    fn at_once(&self) -> usize {
        match self {
            // Wide maps and few sums each: a face costs a fifth more in a pass of eight than alone.
            Self::MobileFaceNet(_) => 1,
            _ => usize::MAX,
        }
    }

    fn grey(spec: &FaceCrop) -> RgbImage {
        grey(spec.side(), spec.side())
    }

    fn fits(spec: &FaceCrop, crop: &RgbImage) -> bool {
        is_square(crop, spec.side())
    }
}

impl Task for FaceRes {
    type Item = RgbImage;
    type Output = faceres::Output;
    type Spec = ();

    fn forward(&self, crops: &[RgbImage]) -> Result<Vec<faceres::Output>> {
        self.analyze(crops)
    }

    /// Its first maps alone are 1.6 MB: a face costs a third more in a pass of eight than alone.
    fn at_once(&self) -> usize {
        1
    }

    fn grey((): &()) -> RgbImage {
        grey(faceres::INPUT_SIZE, faceres::INPUT_SIZE)
    }

    fn fits((): &(), crop: &RgbImage) -> bool {
        is_square(crop, faceres::INPUT_SIZE)
    }
}

impl Wire for faceres::Output {
    const LEAST: usize = 4 + 2 * f32::LEAST + 2;

    fn write(&self, to: &mut Vec<u8>) {
        self.embedding.write(to);
        self.age.write(to);
        to.extend(self.age_range);
        self.male_probability.write(to);
    }

    fn read(from: &mut Cursor<'_>) -> std::result::Result<Self, WireError> {
        Ok(Self {
            embedding: Vec::read(from)?,
            age: f32::read(from)?,
            age_range: [from.byte()?, from.byte()?],
            male_probability: f32::read(from)?,
        })
    }
}

/// A network as a member of the ensemble.
#[derive(Clone)]
pub enum Embedding {
    /// One that only embeds.
    Own(Network<Embedder>),
    /// FaceRes, 1024 values; the same network also tells age and gender.
    FaceRes(Network<FaceRes>),
}

/// Embeddings that are on their way.
#[derive(Debug)]
#[must_use = "answers that nobody waits for are not computed"]
pub enum PendingEmbeddings {
    /// Of a network that only embeds.
    Own(Pending<Vec<f32>>),
    /// Of FaceRes.
    FaceRes(Pending<faceres::Output>),
}

impl Embedding {
    /// The network's id.
    ///
    /// # Errors
    /// [`EngineError::Absent`] with the sentence that says how to bring the weights.
    pub fn id(&self) -> error::Result<&ModelId> {
        match self {
            Self::Own(network) => network.id(),
            Self::FaceRes(network) => network.id(),
        }
    }

    /// What it looks at.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    pub fn crop(&self) -> error::Result<FaceCrop> {
        match self {
            Self::Own(network) => network.spec().copied(),
            Self::FaceRes(network) => network.id().map(|_| FaceCrop::ArcFaceEnlarged224),
        }
    }

    /// Puts crops into the network's line.
    ///
    /// # Errors
    /// As [`Network::submit`].
    pub fn submit(&self, caller: &Caller, crops: Vec<RgbImage>) -> error::Result<PendingEmbeddings> {
        Ok(match self {
            Self::Own(network) => PendingEmbeddings::Own(network.submit(caller, crops)?),
            Self::FaceRes(network) => PendingEmbeddings::FaceRes(network.submit(caller, crops)?),
        })
    }
}

impl PendingEmbeddings {
    /// Waits for the embeddings, in the order of the crops; not normalised.
    pub fn wait(self) -> Vec<Result<Vec<f32>, EngineError>> {
        match self {
            Self::Own(pending) => pending.wait(),
            Self::FaceRes(pending) => pending.wait().into_iter().map(|o| o.map(|o| o.embedding)).collect(),
        }
    }
}

impl FaceCrop {
    /// What the embedder called `name` looks at.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "dlib-resnet" => Self::DlibChip150,
            "faceres" => Self::ArcFaceEnlarged224,
            "facenet-inception-resnet-v1" => Self::Box160,
            _ => Self::ArcFace112,
        }
    }

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
