//! Loads the networks whose weights are present, says which those are, and runs them.
//!
//! A network whose weights are absent is no error: it answers [`EngineError::Absent`] with the command that brings them.
//! Weights that are present and damaged are one, and so is a network that was chosen and is absent: the engine does not
//! start.

mod age_gender;
mod authenticity;
mod embedder;
mod error;
mod folders;
mod liveness;
mod lock;
mod network;
mod selection;

use std::{path::PathBuf, sync::Arc};

pub use age_gender::{AgeGender, AgeGenderEstimate};
pub use authenticity::Authenticity;
pub use embedder::{Embedder, FaceCrop};
pub use error::{EngineError, Result};
pub use folders::{Folders, Found};
pub use liveness::{Liveness, LivenessCrop};
pub use lock::{LOCK_FILE, LockedNetwork, WeightsLock};
pub use network::Network;
pub use selection::{Candidate, Choice, Ensemble, Planned, Selection, candidates, plan};

use embedder::EMBEDDERS;
pub use facesocial_models as models;
use facesocial_models::{
    BlazeFace, Device, EfficientNetLite, FaceAntiSpoofing, FaceRes, GenderAgeNet, MiniFasNet, Mn3, Mtcnn, ViT, YoloV10,
    blazeface, minifasnet, vit,
};
use facesocial_types::{ModelId, Service};
use image::RgbImage;
use network::Loader;

/// What is loaded, from where.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Folder of the weights that ship with the program.
    pub weights: PathBuf,
    /// Folder of the weights that the user pulled; it need not exist.
    pub pulled: Option<PathBuf>,
    /// Services whose networks are loaded; the detectors always are, because everything starts from faces.
    pub services: Vec<Service>,
    /// What was chosen.
    pub selection: Selection,
}

/// The networks that run.
pub struct Engine {
    /// BlazeFace short range, 128 x 128.
    pub blazeface_short: Network<BlazeFace>,
    /// BlazeFace full range, 192 x 192.
    pub blazeface_full: Network<BlazeFace>,
    /// YOLOv10n, one class.
    pub yolo: Network<YoloV10>,
    /// MTCNN cascade.
    pub mtcnn: Network<Mtcnn>,
    /// Members of the recognition ensemble.
    pub members: Vec<Member>,
    /// Liveness.
    pub liveness: Network<Liveness>,
    /// Age and gender.
    pub age_gender: Network<AgeGender>,
    /// Generated and swapped faces.
    pub authenticity: Network<Authenticity>,
}

/// A member of the recognition ensemble.
pub struct Member {
    /// The network.
    pub network: Network<Embedder>,
    /// Its weight; those of all members add up to one.
    pub weight: f32,
}

impl Engine {
    /// Loads what the services need, on the CPU.
    ///
    /// # Errors
    /// No lock file, weights that are present and cannot be used, a chosen network that is unknown or absent.
    pub fn load(options: &EngineOptions) -> Result<Self> {
        let folders = Folders::open(&options.weights, options.pulled.as_deref())?;
        let device = Device::Cpu;
        let engine = Loading { loader: Loader { folders: &folders, device: &device }, options, faceres: None };
        engine.finish()
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
        loaded(self.yolo.run(|n| n.detect(&grey(models::yolov10::INPUT_SIZE), 0.5, 1).map(drop)))?;
        loaded(self.mtcnn.run(|n| n.detect(&grey(64)[0], &models::mtcnn::Config::default()).map(drop)))?;
        for member in &self.members {
            loaded(member.network.run(|n| n.embed(&grey(n.crop().side())).map(drop)))?;
        }
        let crops = |n: &Liveness| n.crops().iter().map(|c| grey(c.side).to_vec()).collect::<Vec<_>>();
        loaded(self.liveness.run(|n| n.score(&crops(n)).map(drop)))?;
        loaded(self.age_gender.run(|n| n.estimate(&grey(n.side())).map(drop)))?;
        loaded(self.authenticity.run(|n| n.score(&grey(n.side())).map(drop)))
    }
}

/// The engine on its way.
struct Loading<'a> {
    loader: Loader<'a>,
    options: &'a EngineOptions,
    /// Two services use it; it is loaded once.
    faceres: Option<(Arc<FaceRes>, ModelId)>,
}

/// Why a network is not loaded that could be.
const NOT_WANTED: &str = "its service was not chosen with --services";

impl Loading<'_> {
    fn finish(mut self) -> Result<Engine> {
        let load = &self.loader;
        let blazeface_short =
            load.network("blazeface-short", |vb| BlazeFace::load(vb, blazeface::Config::short_range()))?;
        let blazeface_full =
            load.network("blazeface-full", |vb| BlazeFace::load(vb, blazeface::Config::full_range()))?;
        let mtcnn = load.network("mtcnn", Mtcnn::load)?;
        Ok(Engine {
            blazeface_short,
            blazeface_full,
            yolo: self.chosen(Service::Yolo, |this, c| this.loader.part(c.parts[0], |vb| YoloV10::load(vb, 1)))?,
            mtcnn,
            members: self.members()?,
            liveness: self.chosen(Service::Antispoof, |this, c| this.liveness(c))?,
            age_gender: self.chosen(Service::GenderAge, |this, c| this.age_gender(c))?,
            authenticity: self.chosen(Service::Deepfake, |this, c| this.authenticity(c))?,
        })
    }

    /// The network that answers for `service`, if the service runs and there is one.
    fn chosen<T>(
        &mut self,
        service: Service,
        load: impl FnOnce(&mut Self, Candidate) -> Result<(T, ModelId)>,
    ) -> Result<Network<T>> {
        // A detector may be asked for by any service.
        if service != Service::Yolo && !self.options.services.contains(&service) {
            return Ok(Network::absent(service.as_str(), NOT_WANTED.to_owned()));
        }
        match selection::choose(service, self.loader.folders, &self.options.selection)? {
            Ok(candidate) => load(self, candidate).map(|(model, id)| Network::ready(candidate.name, model, id)),
            Err(reason) => Ok(Network::absent(service.as_str(), reason)),
        }
    }

    fn members(&mut self) -> Result<Vec<Member>> {
        if !self.options.services.contains(&Service::Recognition) {
            return Ok(vec![Member { network: Network::absent("recognition", NOT_WANTED.to_owned()), weight: 1.0 }]);
        }
        let selection = &self.options.selection;
        let ensemble = Ensemble::choose(self.loader.folders, selection);
        let mut members = Vec::with_capacity(ensemble.members().len());
        for (name, weight) in ensemble.members() {
            let Some(name) = EMBEDDERS.into_iter().find(|known| known == name) else {
                let reason =
                    format!("no network \"{name}\" embeds faces; --ensemble can name {}", EMBEDDERS.join(", "));
                return Err(EngineError::Selection { reason });
            };
            let loaded = match name {
                "faceres" => self.faceres().map(|(model, id)| (Embedder::FaceRes(model), id)),
                _ => self.loader.part(name, |vb| Embedder::load(name, vb)),
            };
            let network = match loaded {
                Ok((model, id)) => Network::ready(name, model, id),
                Err(EngineError::Absent { reason, .. }) if selection.ensemble.is_some() => {
                    return Err(EngineError::Selection { reason: format!("{name} is in the ensemble: {reason}") });
                }
                Err(EngineError::Absent { reason, .. }) => Network::absent(name, reason),
                Err(other) => return Err(other),
            };
            members.push(Member { network, weight: *weight });
        }
        Ok(members)
    }

    fn faceres(&mut self) -> Result<(Arc<FaceRes>, ModelId)> {
        if let Some(loaded) = &self.faceres {
            return Ok(loaded.clone());
        }
        let (model, id) = self.loader.part("faceres", FaceRes::load)?;
        Ok(self.faceres.insert((Arc::new(model), id)).clone())
    }

    fn liveness(&mut self, candidate: Candidate) -> Result<(Liveness, ModelId)> {
        let load = &self.loader;
        match candidate.name {
            "anti-spoof-mn3" => load.part(candidate.name, |vb| Mn3::load(vb).map(Liveness::Mn3)),
            "face-antispoofing" => {
                load.part(candidate.name, |vb| FaceAntiSpoofing::load(vb).map(Liveness::FaceAntiSpoofing))
            }
            _ => {
                let parts = candidate
                    .parts
                    .iter()
                    .map(|&part| load.part(part, |vb| MiniFasNet::load(vb, minifasnet_config(part))));
                let parts = parts.collect::<Result<Vec<_>>>()?;
                let id = joint_id(candidate.name, parts.iter().map(|(_, id)| id));
                Ok((Liveness::MiniFasNet(parts.into_iter().map(|(model, _)| model).collect()), id))
            }
        }
    }

    fn age_gender(&mut self, candidate: Candidate) -> Result<(AgeGender, ModelId)> {
        match candidate.name {
            "faceres" => self.faceres().map(|(model, id)| (AgeGender::FaceRes(model), id)),
            _ => self.loader.part(candidate.name, |vb| GenderAgeNet::load(vb).map(AgeGender::GenderAge)),
        }
    }

    fn authenticity(&mut self, candidate: Candidate) -> Result<(Authenticity, ModelId)> {
        self.loader.part(candidate.name, |vb| match candidate.name {
            "vit-deepfake" => ViT::load(vb, vit::Config::base_patch16_224(2)).map(Authenticity::ViT),
            _ => EfficientNetLite::load(vb).map(Authenticity::EfficientNetLite),
        })
    }
}

/// The MiniFASNet called `part` in `models-src`.
const fn minifasnet_config(part: &str) -> minifasnet::Config {
    match part.as_bytes() {
        b"minifasnet-v2" => minifasnet::Config::v2(),
        b"minifasnet-v1se" => minifasnet::Config::v1_se(),
        b"minifasnet-v2se-bin" => minifasnet::Config::v2_se(2),
        _ => minifasnet::Config::v2_se(3),
    }
}

/// Digits of each part's version in the version of networks that answer together.
const PART_DIGITS: usize = 4;

/// The id of networks that answer together: its version is made of theirs, so that it changes when any of them does.
pub fn joint_id<'a>(name: &str, parts: impl IntoIterator<Item = &'a ModelId>) -> ModelId {
    let parts: Vec<&ModelId> = parts.into_iter().collect();
    if let [only] = parts[..] {
        return only.clone();
    }
    let versions: Vec<_> = parts.iter().map(|id| id.version().get(..PART_DIGITS).unwrap_or(id.version())).collect();
    ModelId::new(name, versions.join("-"))
}
