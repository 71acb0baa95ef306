//! Loads the networks whose weights are present, says which those are, and runs them.
//!
//! A network whose weights are absent is no error: it answers [`EngineError::Absent`] with the command that brings them.
//! Weights that are present and damaged are one: the engine does not start.

mod error;
mod lock;
mod network;

use std::path::Path;

pub use error::{EngineError, Result};
pub use lock::{LOCK_FILE, LockedNetwork, WeightsLock};
pub use network::Network;

pub use facesocial_models as models;
use facesocial_models::{BlazeFace, Device, DlibResNet, FaceAntiSpoofing, FaceRes, MobileFaceNet, Mtcnn, blazeface};
use facesocial_types::Service;
use image::RgbImage;

/// All networks of this version.
pub struct Engine {
    /// BlazeFace short range, 128 x 128.
    pub blazeface_short: Network<BlazeFace>,
    /// BlazeFace full range, 192 x 192.
    pub blazeface_full: Network<BlazeFace>,
    /// MTCNN cascade.
    pub mtcnn: Network<Mtcnn>,
    /// MobileFaceNet, 192-d embedding.
    pub mobilefacenet: Network<MobileFaceNet>,
    /// dlib's ResNet, 128-d embedding.
    pub dlib_resnet: Network<DlibResNet>,
    /// FaceRes: 1024-d embedding, age and gender.
    pub faceres: Network<FaceRes>,
    /// FaceAntiSpoofing tree.
    pub face_antispoofing: Network<FaceAntiSpoofing>,
}

impl Engine {
    /// Loads what `services` need from `dir`, on the CPU. Every service but recognition's comparison of stored vectors
    /// starts from faces, so the detectors are always loaded.
    ///
    /// # Errors
    /// No lock file, or weights that are present and cannot be used.
    pub fn load(dir: &Path, services: &[Service]) -> Result<Self> {
        let lock = WeightsLock::read(dir)?;
        let device = Device::Cpu;
        let wanted = |any: &[Service]| any.iter().any(|s| services.contains(s));
        macro_rules! network {
            ($name:literal, $when:expr, $build:expr) => {
                if $when {
                    Network::load($name, dir, &lock, &device, $build)?
                } else {
                    Network::absent($name, "its service was not chosen with --services".to_owned())
                }
            };
        }
        Ok(Self {
            blazeface_short: network!("blazeface-short", true, |vb| BlazeFace::load(
                vb,
                blazeface::Config::short_range()
            )),
            blazeface_full: network!("blazeface-full", true, |vb| BlazeFace::load(vb, blazeface::Config::full_range())),
            mtcnn: network!("mtcnn", true, |vb| Mtcnn::load(vb)),
            mobilefacenet: network!("mobilefacenet", wanted(&[Service::Recognition]), |vb| MobileFaceNet::load(vb)),
            dlib_resnet: network!("dlib-resnet", wanted(&[Service::Recognition]), |vb| DlibResNet::load(vb)),
            faceres: network!("faceres", wanted(&[Service::Recognition, Service::GenderAge]), |vb| FaceRes::load(vb)),
            face_antispoofing: network!("face-antispoofing", wanted(&[Service::Antispoof]), |vb| {
                FaceAntiSpoofing::load(vb)
            }),
        })
    }

    /// Runs every loaded network once on a grey image, so that the first request pays for no first-time cost and a
    /// network that cannot run is found before it is needed.
    ///
    /// # Errors
    /// A loaded network fails.
    pub fn warm_up(&self) -> Result<()> {
        let grey = |side: u32| [RgbImage::from_pixel(side, side, image::Rgb([128; 3]))];
        let loaded = |answer: Result<()>| match answer {
            Err(EngineError::Absent { .. }) => Ok(()),
            other => other,
        };
        loaded(self.blazeface_short.run(|n| n.detect(&grey(n.input_size()), 0.5).map(drop)))?;
        loaded(self.blazeface_full.run(|n| n.detect(&grey(n.input_size()), 0.5).map(drop)))?;
        loaded(self.mtcnn.run(|n| n.detect(&grey(64)[0], &models::mtcnn::Config::default()).map(drop)))?;
        loaded(self.mobilefacenet.run(|n| n.embed(&grey(112)).map(drop)))?;
        loaded(self.dlib_resnet.run(|n| n.embed(&grey(150)).map(drop)))?;
        loaded(self.faceres.run(|n| n.analyze(&grey(224)).map(drop)))?;
        loaded(self.face_antispoofing.run(|n| n.score(&grey(256)).map(drop)))
    }
}
