//! Loads the networks whose weights are present, says which those are, and runs them.
//!
//! A network whose weights are absent is no error: it answers [`EngineError::Absent`] with the command that brings them.
//! Weights that are present and damaged are one, and so is a network that was chosen and is absent: the engine does not
//! start.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod age_gender;
mod authenticity;
mod batch;
mod caller;
mod cascade;
mod detectors;
mod device;
mod embedder;
mod error;
mod executor;
mod folders;
mod liveness;
mod loader;
mod lock;
mod memory;
mod network;
mod precision;
mod registry;
mod remote;
mod selection;
mod timing;
mod wire;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

pub use age_gender::{AgeGender, AgeGenderEstimate, PendingEstimates};
pub use authenticity::{Authenticity, AuthenticityKind};
pub use batch::{BATCH_SIZES, BatchLimits, BatchStats, Batcher, FairQueue, Pending, TIME_CLASSES, Times};
pub use caller::{Caller, ClientId};
pub use cascade::Look;
pub use detectors::{InputSide, Letterboxed};
pub use device::{DeviceChoice, DeviceError, HAS_CUDA, ParseDeviceError};
pub use embedder::{Embedder, Embedding, FaceCrop, PendingEmbeddings};
pub use error::{EngineError, MB, Result};
pub use executor::on_pool;
pub use folders::{Folders, Found};
pub use liveness::{Liveness, LivenessCrop, LivenessSpec};
pub use loader::joint_id;
pub use lock::{LOCK_FILE, LockedNetwork, WeightsLock};
pub use memory::{Budgets, Footprint, Meter};
pub use network::{Network, Task};
pub use precision::{ParsePrecisionError, Precision};
pub use registry::NetworkReport;
pub use remote::{Outage, Question, Remote, RemoteError, Reply};
pub use selection::{Candidate, Choice, Ensemble, Planned, Selection, candidates, plan};
pub use timing::{BatchTiming, NetworkTiming, TimingPlan};
pub use wire::{Cursor, Wire, WireError};

use embedder::EMBEDDERS;
use executor::Executor;
pub use facesocial_models as models;
use facesocial_models::{
    BlazeFace, EfficientNetLite, FaceAntiSpoofing, FaceRes, GenderAgeNet, MiniFasNet, Mn3, Mtcnn, ViT, YoloV10,
    blazeface, minifasnet, vit,
};
use facesocial_types::{ModelId, Service};
use loader::{Loader, Reader};
use registry::Registry;

/// What is loaded, from where.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Folder of the weights that ship with the program.
    pub weights: PathBuf,
    /// Folder of the weights that the user pulled; it need not exist.
    pub pulled: Option<PathBuf>,
    /// Services whose networks can be used; the detectors always can, because everything starts from faces.
    pub services: Vec<Service>,
    /// Services whose networks are loaded when they are asked for, not by [`Engine::warm_up`].
    pub on_demand: Vec<Service>,
    /// Services whose networks other processes run.
    pub remotes: BTreeMap<Service, Arc<dyn Remote>>,
    /// What was chosen.
    pub selection: Selection,
    /// The device, batches and memory.
    pub settings: EngineSettings,
}

/// How networks share a device and its memory.
#[derive(Debug, Clone, Default)]
pub struct EngineSettings {
    /// What the networks run on.
    pub device: DeviceChoice,
    /// Whether the processor takes the place of a card that was asked for and cannot be used.
    pub device_fallback: bool,
    /// The type of weights and activations on a card.
    pub precision: Precision,
    /// How batches gather.
    pub batches: BatchLimits,
    /// What networks may hold.
    pub budgets: Budgets,
    /// Networks that nobody used for this long are unloaded; never if `None`.
    pub idle: Option<Duration>,
    /// Names of the networks that stay loaded whatever happens.
    pub pinned: Vec<String>,
    /// Reads the memory in use; without it activations cost nothing in the accounts.
    pub meter: Option<Meter>,
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
    pub age_gender: AgeGender,
    /// Generated and swapped faces.
    pub authenticity: Network<Authenticity>,
    registry: Arc<Registry>,
    executor: Arc<Executor>,
    settings: EngineSettings,
    on_demand: Vec<Service>,
    remotes: BTreeMap<Service, Arc<dyn Remote>>,
}

/// A member of the recognition ensemble.
pub struct Member {
    /// The network.
    pub network: Embedding,
    /// Its weight; those of all members add up to one.
    pub weight: f32,
}

/// Least and most time between looks for networks that nobody uses.
const SWEEP: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

impl Engine {
    /// Prepares what the services need. Weights are read when they are used first, or by
    /// [`warm_up`](Self::warm_up).
    ///
    /// # Errors
    /// No lock file, a chosen network that is unknown or absent, a chosen device that cannot be used.
    pub fn load(options: &EngineOptions) -> Result<Self> {
        let folders = Folders::open(&options.weights, options.pulled.as_deref())?;
        let settings = options.settings.clone();
        let opened = settings.device.open(settings.device_fallback)?;
        if opened.device.is_cpu() && settings.precision != Precision::F32 {
            tracing::warn!("the processor computes in f32; {} is for a card", settings.precision);
        }
        let executor = Arc::new(Executor::start(opened.device, settings.meter)?);
        let registry = Registry::new(settings.budgets.clone(), settings.batches.max_batch);
        if let Some(idle) = settings.idle {
            executor.runtime().spawn(sweep(Arc::downgrade(&registry), idle));
        }
        let loader = Loader::new(folders, Arc::clone(&executor), Arc::clone(&registry), &settings);
        Loading { loader, options, faceres: BTreeMap::new() }.finish(registry, executor, settings)
    }

    /// Loads every network that runs here and is not left until it is asked for, runs it on grey images, and cuts the batches
    /// to the budgets; so that the first request pays for no first-time cost, and a network that cannot run is found before
    /// it is needed.
    ///
    /// # Errors
    /// Weights that are present and cannot be used; a network that fails; a budget that is too small for one item; a
    /// pinned network that does not run here.
    pub fn warm_up(&self) -> Result<()> {
        self.registry.warm_up(self.executor.gauge(), &self.on_demand)?;
        self.settings.pinned.iter().try_for_each(|name| self.registry.pin(name, true))
    }

    /// Whether the networks of `service` are loaded by [`warm_up`](Self::warm_up).
    pub fn is_warmed_up(&self, service: Service) -> bool {
        !self.on_demand.contains(&service) && !self.remotes.contains_key(&service)
    }

    /// Whether other processes run the networks of `service`.
    pub fn is_remote(&self, service: Service) -> bool {
        self.remotes.contains_key(&service)
    }

    /// Why nobody can be asked about `service`, where other processes run its networks and none of them answers.
    pub fn outage(&self, service: Service) -> Option<Outage> {
        self.remotes.get(&service)?.reachable().err()
    }

    /// The networks that run here for `service`.
    pub fn networks_of(&self, service: Service) -> Vec<ModelId> {
        self.registry.of(service).iter().map(|network| network.id().clone()).collect()
    }

    /// Answers a question that another process has for the network called `name`. Blocks for the time of the inference.
    ///
    /// # Errors
    /// [`EngineError::Unknown`] if no such network runs here for `service`; [`EngineError::Wire`] if it is no question; as
    /// [`Network::submit`] otherwise, and whatever is not one item's failure alone.
    pub fn answer(&self, service: Service, name: &str, caller: &Caller, question: &[u8]) -> Result<Vec<u8>> {
        let network = self.registry.of(service).into_iter().find(|network| network.name() == name);
        network.ok_or_else(|| EngineError::Unknown { name: name.to_owned() })?.answer(caller, question)
    }

    /// Every network that can run here.
    pub fn networks(&self) -> Vec<NetworkReport> {
        self.registry.reports()
    }

    /// Loads a network now.
    ///
    /// # Errors
    /// [`EngineError::Unknown`]; damaged weights; no room.
    pub fn load_network(&self, name: &str) -> Result<()> {
        self.registry.load(name)
    }

    /// Loads a network anew, times it on grey items as `plan` says, and unloads it. Blocks; not for the compute pool, nor for
    /// an engine that answers others meanwhile. `tell` is called after each timed pass.
    ///
    /// # Errors
    /// [`EngineError::Unknown`], [`EngineError::Pinned`]; it cannot be loaded; it fails.
    pub fn time_network(&self, name: &str, plan: &TimingPlan, tell: &mut dyn FnMut()) -> Result<NetworkTiming> {
        self.registry.time(name, self.executor.gauge(), plan, tell)
    }

    /// Unloads a network; whoever asks for it next loads it again.
    ///
    /// # Errors
    /// [`EngineError::Unknown`], [`EngineError::Pinned`].
    pub fn unload_network(&self, name: &str) -> Result<()> {
        self.registry.unload(name)
    }

    /// Keeps a network loaded, or lets it go when it must.
    ///
    /// # Errors
    /// As [`load_network`](Self::load_network).
    pub fn pin_network(&self, name: &str, pinned: bool) -> Result<()> {
        self.registry.pin(name, pinned)
    }

    /// What the networks may hold.
    pub fn budgets(&self) -> Budgets {
        self.registry.budgets()
    }

    /// Changes what a service's networks may hold; the batches follow at once.
    ///
    /// # Errors
    /// [`EngineError::Budget`] if it would be too little for one item.
    pub fn set_budget(&self, service: Service, bytes: usize) -> Result<()> {
        self.registry.set_budget(service, bytes)
    }

    /// Whether the networks run on the processor, and not on a card.
    pub fn runs_on_cpu(&self) -> bool {
        self.executor.device().is_cpu()
    }

    /// Whether the device answers; a network or an item that fails says nothing against it.
    pub fn healthy(&self) -> bool {
        self.executor.healthy()
    }
}

/// Looks for networks that nobody uses, for as long as there are any.
async fn sweep(registry: Weak<Registry>, idle: Duration) {
    let mut ticks = tokio::time::interval((idle / 4).clamp(SWEEP.0, SWEEP.1));
    loop {
        ticks.tick().await;
        match registry.upgrade() {
            Some(registry) => registry.sweep(idle),
            None => break,
        }
    }
}

/// The engine on its way.
struct Loading<'a> {
    loader: Loader,
    options: &'a EngineOptions,
    /// Two services use it; it is one network, unless other processes run one of the services.
    faceres: BTreeMap<Option<Service>, Network<FaceRes>>,
}

/// Why a network is not loaded that could be.
const NOT_WANTED: &str = "its service was not chosen with --services";

impl Loading<'_> {
    fn finish(mut self, registry: Arc<Registry>, executor: Arc<Executor>, settings: EngineSettings) -> Result<Engine> {
        let detector = |name, config: fn() -> blazeface::Config| {
            let build = move |r: &Reader| r.read(name, |vb| BlazeFace::load(vb, config()));
            self.network(Service::Mediapipe, name, &[name], detectors::input_side(name), build)
        };
        Ok(Engine {
            blazeface_short: detector("blazeface-short", blazeface::Config::short_range)?,
            blazeface_full: detector("blazeface-full", blazeface::Config::full_range)?,
            mtcnn: self.network(Service::Mtcnn, "mtcnn", &["mtcnn"], (), |r| r.read("mtcnn", Mtcnn::load))?,
            yolo: self.yolo()?,
            members: self.members()?,
            liveness: self.liveness()?,
            age_gender: self.age_gender()?,
            authenticity: self.authenticity()?,
            registry,
            executor,
            settings,
            on_demand: self.options.on_demand.clone(),
            remotes: self.options.remotes.clone(),
        })
    }

    /// The network called `name`, made of `parts`, for one service: here, or where other processes run it.
    fn network<M: Task>(
        &self,
        service: Service,
        name: &'static str,
        parts: &[&'static str],
        spec: M::Spec,
        build: impl Fn(&Reader) -> Result<M> + Send + Sync + 'static,
    ) -> Result<Network<M>> {
        match self.options.remotes.get(&service) {
            Some(remote) => self.loader.elsewhere(name, parts, spec, remote),
            None => self.loader.network(name, parts, &[service], spec, build),
        }
    }

    /// Whether the weights of a network of `service` are here; or listed, where other processes have them.
    fn has(&self, service: Service, name: &str) -> bool {
        let folders = self.loader.folders();
        if self.options.remotes.contains_key(&service) {
            folders.listed(name).is_some()
        } else {
            folders.find(name).is_some()
        }
    }

    /// The candidate that answers for `service`; `Err` within is the reason why none does.
    fn chosen(&self, service: Service) -> Result<std::result::Result<Candidate, String>> {
        // A detector may be asked for by any service.
        if service != Service::Yolo && !self.options.services.contains(&service) {
            return Ok(Err(NOT_WANTED.to_owned()));
        }
        selection::choose(service, &|name| self.has(service, name), &self.options.selection)
    }

    fn yolo(&self) -> Result<Network<YoloV10>> {
        let name = match self.chosen(Service::Yolo)? {
            Ok(candidate) => candidate.parts[0],
            Err(reason) => return Ok(Network::absent("yolo", reason)),
        };
        let build = move |r: &Reader| r.read(name, |vb| YoloV10::load(vb, 1));
        self.network(Service::Yolo, name, &[name], detectors::input_side(name), build)
    }

    fn members(&mut self) -> Result<Vec<Member>> {
        if !self.options.services.contains(&Service::Recognition) {
            let network = Embedding::Own(Network::absent("recognition", NOT_WANTED.to_owned()));
            return Ok(vec![Member { network, weight: 1.0 }]);
        }
        let selection = &self.options.selection;
        let ensemble = Ensemble::choose(&|name| self.has(Service::Recognition, name), selection);
        let mut members = Vec::with_capacity(ensemble.members().len());
        for (name, weight) in ensemble.members() {
            let Some(name) = EMBEDDERS.into_iter().find(|known| known == name) else {
                let reason =
                    format!("no network \"{name}\" embeds faces; --ensemble can name {}", EMBEDDERS.join(", "));
                return Err(EngineError::Selection { reason });
            };
            let network = match name {
                "faceres" => Embedding::FaceRes(self.faceres(Service::Recognition)?),
                _ => {
                    let build = move |r: &Reader| r.read(name, |vb| Embedder::load(name, vb));
                    let crop = FaceCrop::of(name);
                    Embedding::Own(self.network(Service::Recognition, name, &[name], crop, build)?)
                }
            };
            if let (Err(EngineError::Absent { reason, .. }), true) = (network.id(), selection.ensemble.is_some()) {
                return Err(EngineError::Selection { reason: format!("{name} is in the ensemble: {reason}") });
            }
            members.push(Member { network, weight: *weight });
        }
        Ok(members)
    }

    fn faceres(&mut self, user: Service) -> Result<Network<FaceRes>> {
        let remotes = &self.options.remotes;
        let whose = remotes.contains_key(&user).then_some(user);
        if let Some(network) = self.faceres.get(&whose) {
            return Ok(network.clone());
        }
        let network = match remotes.get(&user) {
            Some(remote) => self.loader.elsewhere("faceres", &["faceres"], (), remote)?,
            None => {
                let here = |s: &Service| self.options.services.contains(s) && !remotes.contains_key(s);
                let services: Vec<Service> =
                    [Service::Recognition, Service::GenderAge].into_iter().filter(here).collect();
                let build = |r: &Reader| r.read("faceres", FaceRes::load);
                self.loader.network("faceres", &["faceres"], &services, (), build)?
            }
        };
        self.faceres.insert(whose, network.clone());
        Ok(network)
    }

    fn liveness(&self) -> Result<Network<Liveness>> {
        let Candidate { name, parts } = match self.chosen(Service::Antispoof)? {
            Ok(candidate) => candidate,
            Err(reason) => return Ok(Network::absent("antispoof", reason)),
        };
        let spec = match name {
            "anti-spoof-mn3" => LivenessSpec::mn3(),
            "face-antispoofing" => LivenessSpec::tree(),
            _ => LivenessSpec::minifasnet(parts.iter().map(|part| minifasnet_config(part))),
        };
        let build = move |r: &Reader| {
            Ok(match name {
                "anti-spoof-mn3" => Liveness::Mn3(r.read(name, Mn3::load)?),
                "face-antispoofing" => Liveness::FaceAntiSpoofing(r.read(name, FaceAntiSpoofing::load)?),
                _ => {
                    let part = |part: &&'static str| r.read(part, |vb| MiniFasNet::load(vb, minifasnet_config(part)));
                    Liveness::MiniFasNet(parts.iter().map(part).collect::<Result<_>>()?)
                }
            })
        };
        self.network(Service::Antispoof, name, parts, spec, build)
    }

    fn age_gender(&mut self) -> Result<AgeGender> {
        let name = match self.chosen(Service::GenderAge)? {
            Ok(Candidate { name: "faceres", .. }) => return self.faceres(Service::GenderAge).map(AgeGender::FaceRes),
            Ok(candidate) => candidate.name,
            Err(reason) => return Ok(AgeGender::FaceRes(Network::absent("gender_age", reason))),
        };
        let build = move |r: &Reader| r.read(name, GenderAgeNet::load);
        Ok(AgeGender::GenderAge(self.network(Service::GenderAge, name, &[name], (), build)?))
    }

    fn authenticity(&self) -> Result<Network<Authenticity>> {
        let name = match self.chosen(Service::Deepfake)? {
            Ok(candidate) => candidate.name,
            Err(reason) => return Ok(Network::absent("deepfake", reason)),
        };
        let kind = match name {
            "vit-deepfake" => AuthenticityKind::ViT,
            _ => AuthenticityKind::EfficientNetLite,
        };
        let build = move |r: &Reader| match kind {
            AuthenticityKind::ViT => {
                r.read(name, |vb| ViT::load(vb, vit::Config::base_patch16_224(2))).map(Authenticity::ViT)
            }
            AuthenticityKind::EfficientNetLite => {
                r.read(name, EfficientNetLite::load).map(Authenticity::EfficientNetLite)
            }
        };
        self.network(Service::Deepfake, name, &[name], kind, build)
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
