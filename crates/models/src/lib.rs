//! The networks of FaceSocial as candle modules: one file per network, named for its paper.
//!
//! A network is a value: `load` it from [`Weights`], then call `forward(&self)` from as many threads as you like.
//! No globals, no clock, no network access, no files but the weights. At the edge stand plain data: images of exactly the
//! input size go in, plain structs come out, so callers never see a tensor unless they want to.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

pub mod adaface;
pub mod blazeface;
pub mod dlib_resnet;
pub mod efficientnet_lite;
mod error;
pub mod face_antispoofing;
pub mod faceres;
pub mod genderage;
pub mod inception_resnet_v1;
pub mod iresnet;
pub mod minifasnet;
pub mod mobilefacenet;
pub mod mobilenetv3;
pub mod mtcnn;
pub mod nn;
pub mod vit;
mod weights;
pub mod yolov10;

pub use adaface::AdaFace;
pub use blazeface::BlazeFace;
pub use candle::Device;
pub use dlib_resnet::DlibResNet;
pub use efficientnet_lite::EfficientNetLite;
pub use error::{ModelError, Result};
pub use face_antispoofing::FaceAntiSpoofing;
pub use faceres::FaceRes;
pub use genderage::{GenderAge, GenderAgeNet};
pub use inception_resnet_v1::InceptionResNetV1;
pub use iresnet::IResNet;
pub use minifasnet::MiniFasNet;
pub use mobilefacenet::MobileFaceNet;
pub use mobilenetv3::Mn3;
pub use mtcnn::Mtcnn;
pub use vit::ViT;
pub use weights::Weights;
pub use yolov10::YoloV10;
