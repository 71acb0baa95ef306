//! The use cases as straight lines: detect, analyse, compare. No HTTP, no tensors.
//!
//! A photo goes one way: image, faces, crops, scores, answer. Every answer about a photo speaks of the same faces by the
//! same index, and an answer that cannot be given says why.

// Nothing that a client sends may end a thread: what looks as if it could says why it cannot.
#![warn(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]

mod attributes;
mod authenticity;
mod band;
mod batch;
mod chosen;
mod detect;
mod error;
mod liveness;
mod quality;
mod recognition;
mod single_shot;
mod threshold;
pub mod track;
mod watch;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

pub use band::{Band, BandError};
use batch::Call;
pub use chosen::ChosenThresholds;
pub use error::{PipelineError, Result};
pub use facesocial_engine::{
    BATCH_SIZES, BatchLimits, BatchStats, BatchTiming, Budgets, Caller, Candidate, Choice, ClientId, DeviceChoice,
    EngineError, EngineSettings, Ensemble, FairQueue, Folders, Footprint, MB, Meter, NetworkReport, NetworkTiming,
    Outage, Precision, Remote, Selection, TIME_CLASSES, Times, TimingPlan, WireError, candidates, on_pool, plan,
};
use facesocial_engine::{Engine, EngineOptions};
use facesocial_types::{
    Analysis, Analyzer, AnalyzerSet, BBox, Comparison, Detection, Detector, Embedding, Face, FaceAnalysis, ModelId,
    Outcome, Service,
};
use image::RgbImage;
pub use threshold::{FarTarget, Thresholds};
pub use watch::{Stage, Watch};

/// Where the weights are and what they are loaded for.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Folder of the weights that ship with the program, with its `weights.lock`.
    pub weights: PathBuf,
    /// Folder of the weights that the user pulled; it need not exist.
    pub pulled: Option<PathBuf>,
    /// Services whose networks can be used; the detectors always can.
    pub services: Vec<Service>,
    /// Services whose networks are loaded when they are asked for, not by [`Pipeline::warm_up`].
    pub on_demand: Vec<Service>,
    /// Services whose networks other processes run.
    pub remotes: BTreeMap<Service, Arc<dyn Remote>>,
    /// The networks that were chosen.
    pub selection: Selection,
    /// Similarities that decide; those measured for the ensemble if `None`.
    pub thresholds: Option<Thresholds>,
    /// Thresholds that were measured for single networks; for recognition [`thresholds`](Self::thresholds) go before them.
    pub chosen: ChosenThresholds,
    /// The device, batches and memory.
    pub settings: EngineSettings,
}

/// How faces are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectOptions {
    /// Which detector.
    pub detector: Detector,
    /// Faces with a lower score are left out; 0..=1.
    pub min_score: f32,
    /// Faces whose box is lower (in pixels) are left out.
    pub min_size: f32,
    /// At most this many, the largest.
    pub max_faces: usize,
}

impl Default for DetectOptions {
    fn default() -> Self {
        Self { detector: Detector::Auto, min_score: 0.5, min_size: 0.0, max_faces: 100 }
    }
}

/// What is wanted of a photo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnalyzeOptions {
    /// How faces are looked for.
    pub detect: DetectOptions,
    /// What is said about each.
    pub analyzers: AnalyzerSet,
}

impl Default for AnalyzeOptions {
    fn default() -> Self {
        Self { detect: DetectOptions::default(), analyzers: AnalyzerSet::ALL }
    }
}

/// Whether a service can answer, and with which network.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceStatus {
    /// The service.
    pub service: Service,
    /// The network or ensemble that answers, or the sentence that says why none does and what to do.
    pub model: std::result::Result<String, String>,
}

/// The use cases, over networks that requests share. Clones share them too. Every method blocks for the time of the
/// inference, most of which it waits: never call one on a thread that serves connections, or on the compute pool.
#[derive(Clone)]
pub struct Pipeline {
    engine: Arc<Engine>,
    thresholds: Option<Thresholds>,
    /// Of the networks that answer; `None`: as they ship.
    liveness: Option<Band>,
    authenticity: Option<Band>,
    caller: Caller,
    watch: Option<Arc<dyn Watch>>,
}

impl Pipeline {
    /// Prepares the networks; their weights are read when they are used first, or by [`Self::warm_up`].
    ///
    /// # Errors
    /// No weights folder, or a chosen network without weights. Absent weights that nobody chose are no error: see
    /// [`Self::status`].
    pub fn load(options: &LoadOptions) -> Result<Self> {
        let LoadOptions { weights, pulled, services, on_demand, remotes, selection, thresholds, chosen, settings } =
            options.clone();
        let engine =
            Engine::load(&EngineOptions { weights, pulled, services, on_demand, remotes, selection, settings })?;
        let members = engine.members.iter().map(|m| Ok((m.network.id()?.name().to_owned(), m.weight)));
        let members = members.collect::<facesocial_engine::Result<Vec<_>>>().unwrap_or_default();
        let measured = || recognition::model_id(&engine).ok().and_then(|id| chosen.recognition.get(&id).copied());
        let thresholds = thresholds.or_else(measured).or_else(|| Thresholds::measured(&members));
        let of =
            |bands: &BTreeMap<ModelId, Band>, id: facesocial_engine::Result<&ModelId>| bands.get(id.ok()?).copied();
        Ok(Self {
            thresholds,
            liveness: of(&chosen.antispoof, engine.liveness.id()),
            authenticity: of(&chosen.deepfake, engine.authenticity.id()),
            engine: Arc::new(engine),
            caller: Caller::alone(),
            watch: None,
        })
    }

    /// The same networks on behalf of one request: it takes turns with others, and is not worked on when nobody waits.
    #[must_use]
    pub fn on_behalf_of(&self, caller: Caller) -> Self {
        Self { caller, ..self.clone() }
    }

    /// The same networks, whose use `watch` is told.
    #[must_use]
    pub fn watched_by(&self, watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch), ..self.clone() }
    }

    /// Whose request is worked on.
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The networks, to ask what they cost and to load and unload them.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    fn call(&self) -> Call<'_> {
        Call { engine: &self.engine, caller: &self.caller, watch: self.watch.as_deref() }
    }

    /// Loads every network and runs it once.
    ///
    /// # Errors
    /// Damaged weights, a network that fails, a memory budget that is too small.
    pub fn warm_up(&self) -> Result<()> {
        Ok(self.engine.warm_up()?)
    }

    /// Finds faces, largest first. Where other processes run detectors and none of them answers, [`Detector::Auto`] makes do
    /// with the other detectors, as long as there is one; the answer's `detector` names those that looked.
    ///
    /// # Errors
    /// [`PipelineError::Unavailable`] if the detector has no weights; a network fails, or cannot be asked.
    pub fn detect(&self, image: &RgbImage, options: &DetectOptions) -> Result<Detection> {
        let call = self.call();
        let found = call.timed(Stage::Detect, || detect::find(call, image, options));
        if let Some(watch) = call.watch {
            let scores = |found: &Detection| found.faces.iter().map(|face| face.score).collect::<Vec<f32>>();
            watch.searched(
                options.detector,
                self.searching(options.detector),
                found.as_ref().ok().map(scores).as_deref(),
            );
        }
        found
    }

    /// Finds faces and says what is wanted of each.
    ///
    /// # Errors
    /// As [`Self::detect`]; what fails for one analysis is told in its place.
    pub fn analyze(&self, image: &RgbImage, options: &AnalyzeOptions) -> Result<Analysis> {
        let detection = self.detect(image, &options.detect)?;
        Ok(self.analyze_faces(image, detection, options.analyzers))
    }

    /// Faces at boxes that the caller knows, in the caller's order; MTCNN adds landmarks where it recognises a face.
    ///
    /// # Errors
    /// MTCNN has no weights or fails.
    pub fn faces_at(&self, image: &RgbImage, boxes: &[BBox]) -> Result<Detection> {
        let call = self.call();
        call.timed(Stage::Detect, || detect::at(call, image, boxes))
    }

    /// Says what is wanted of faces found before. The analyses run side by side, each over all faces at once: while the
    /// networks run over the first crops, the next ones are cut.
    pub fn analyze_faces(&self, image: &RgbImage, detection: Detection, analyzers: AnalyzerSet) -> Analysis {
        let Detection { detector, faces } = detection;
        let wants = |a| analyzers.contains(a);
        let call = self.call();
        // The longest first.
        let recognition = wants(Analyzer::Recognition).then(|| recognition::begin(call, image, &faces));
        let deepfake = wants(Analyzer::Deepfake).then(|| authenticity::begin(call, image, &faces));
        let antispoof = wants(Analyzer::Antispoof).then(|| liveness::begin(call, image, &faces));
        let gender_age = wants(Analyzer::GenderAge).then(|| attributes::begin(call, image, &faces));
        let quality =
            wants(Analyzer::Quality).then(|| call.timed(Stage::Quality, || on_pool(|| quality::assess(image, &faces))));
        let gender_age = gender_age.map(|begun| attributes::finish(call, begun, &faces));
        let antispoof = antispoof.map(|begun| liveness::finish(call, begun, &faces, self.liveness_band()));
        let deepfake = deepfake.map(|begun| authenticity::finish(call, begun, &faces, self.authenticity));
        let recognition = recognition.map(|begun| recognition::finish(call, begun));
        let mut quality = quality.into_iter().flatten();
        let mut antispoof = antispoof.into_iter().flatten();
        let mut recognition = recognition.into_iter().flatten();
        let mut gender_age = gender_age.into_iter().flatten();
        let mut deepfake = deepfake.into_iter().flatten();
        let faces = faces
            .into_iter()
            .enumerate()
            .map(|(index, face)| FaceAnalysis {
                index,
                bbox: face.bbox,
                score: face.score,
                landmarks: face.landmarks,
                quality: quality.next().map(Outcome::Done),
                recognition: recognition.next(),
                antispoof: antispoof.next(),
                gender_age: gender_age.next(),
                deepfake: deepfake.next(),
            })
            .collect::<Vec<_>>();
        if let Some(watch) = call.watch {
            watch.analysed(analyzers, &faces);
        }
        Analysis { width: image.width(), height: image.height(), detector, faces }
    }

    /// Whether the largest faces of two photos are the same person's.
    ///
    /// # Errors
    /// A photo without a face, recognition without weights, an ensemble without a threshold, a network that fails.
    pub fn compare(&self, a: &RgbImage, b: &RgbImage, far: FarTarget) -> Result<Comparison> {
        let (face_a, embedding_a) = self.largest_embedded(a, 0)?;
        let (face_b, embedding_b) = self.largest_embedded(b, 1)?;
        let similarity = embedding_a.cosine(&embedding_b)?;
        let no_threshold = || PipelineError::NoThreshold { model: embedding_a.model().clone(), far: far.rate() };
        let threshold = self.threshold(far).ok_or_else(no_threshold)?;
        let same_person = similarity >= threshold;
        if let Some(watch) = &self.watch {
            watch.compared(same_person);
        }
        Ok(Comparison {
            model: embedding_a.model().clone(),
            similarity,
            threshold,
            far: far.rate(),
            same_person,
            faces: [face_a, face_b],
        })
    }

    /// The similarity from which two faces count as the same person's at `far`; `None` if it was neither measured for this
    /// ensemble nor set.
    pub fn threshold(&self, far: FarTarget) -> Option<f32> {
        self.thresholds.and_then(|t| t.at(far))
    }

    /// The scores from which a face is called an attack (below) and live (from the upper end on).
    pub fn liveness_band(&self) -> Band {
        self.liveness.unwrap_or(liveness::SHIPPED)
    }

    /// [`liveness_band`](Self::liveness_band), if it was chosen and does not ship with the network.
    pub(crate) const fn chosen_liveness_band(&self) -> Option<Band> {
        self.liveness
    }

    /// The probabilities from which a face is called a photograph (below) and a fake (from the upper end on).
    ///
    /// # Errors
    /// Deepfake detection has no weights.
    pub fn deepfake_band(&self) -> Result<Band> {
        Ok(authenticity::band(self.authenticity, *self.engine.authenticity.spec()?))
    }

    /// Id of the recognition ensemble.
    ///
    /// # Errors
    /// Recognition has no weights.
    pub fn ensemble_id(&self) -> Result<ModelId> {
        Ok(recognition::model_id(&self.engine)?)
    }

    /// Names of the ensemble's members, in its order, with their weights.
    ///
    /// # Errors
    /// Recognition has no weights.
    pub fn members(&self) -> Result<Vec<(String, f32)>> {
        self.engine.members.iter().map(|m| Ok((m.network.id()?.name().to_owned(), m.weight))).collect()
    }

    /// The unit-norm embedding of one face by every member of the ensemble, for measuring the members apart.
    ///
    /// # Errors
    /// Recognition has no weights, the face has no landmarks, or a network fails.
    pub fn embed_members(&self, image: &RgbImage, face: &Face) -> Result<Vec<Embedding>> {
        recognition::embed_members(self.call(), image, face)
    }

    /// The ensemble's embedding, fused from what [`Self::embed_members`] gave.
    ///
    /// # Errors
    /// The members are not the ensemble's.
    pub fn fuse(&self, members: &[Embedding]) -> Result<Embedding> {
        recognition::fuse(&self.engine, members)
    }

    /// The id of everything that `detector` consists of. An answer of [`Self::detect`] that names less was found while not all
    /// of it could be asked.
    ///
    /// # Errors
    /// It has no weights here.
    pub fn detector_id(&self, detector: Detector) -> Result<String> {
        Ok(detect::id(&self.engine, detector)?)
    }

    /// Whether any detector can be asked.
    ///
    /// # Errors
    /// Other processes run all of them, and none of those answers.
    pub fn detection(&self) -> std::result::Result<(), Outage> {
        let detectors = [Service::Mtcnn, Service::Yolo, Service::Mediapipe];
        let outages: Option<Vec<Outage>> = detectors.into_iter().map(|service| self.engine.outage(service)).collect();
        // The one that may end first.
        outages.and_then(|all| all.into_iter().min_by_key(|outage| outage.retry_after)).map_or(Ok(()), Err)
    }

    /// Which services can answer.
    pub fn status(&self) -> Vec<ServiceStatus> {
        let engine = &self.engine;
        let id = |id: facesocial_engine::Result<&ModelId>| id.map(ModelId::to_string).map_err(|e| e.to_string());
        let model = |service| match service {
            Service::Mediapipe => detect::screen_id(engine).map_err(|e| e.to_string()),
            Service::Yolo => id(engine.yolo.id()),
            Service::Mtcnn => id(engine.mtcnn.id()),
            Service::Recognition => recognition::model_id(engine).map(|id| id.to_string()).map_err(|e| e.to_string()),
            Service::Antispoof => id(engine.liveness.id()),
            Service::GenderAge => id(engine.age_gender.id()),
            Service::Deepfake => id(engine.authenticity.id()),
        };
        Service::ALL.iter().map(|&service| ServiceStatus { service, model: model(service) }).collect()
    }

    /// The services whose networks `detector` consists of here.
    fn searching(&self, detector: Detector) -> &'static [Service] {
        match detector {
            Detector::Auto if self.engine.yolo.id().is_ok() => &[Service::Mediapipe, Service::Yolo, Service::Mtcnn],
            Detector::Auto => &[Service::Mediapipe, Service::Mtcnn],
            Detector::Mediapipe | Detector::MediapipeShort | Detector::MediapipeFull => &[Service::Mediapipe],
            Detector::Yolo => &[Service::Yolo],
            Detector::Mtcnn => &[Service::Mtcnn],
        }
    }

    fn largest_embedded(&self, image: &RgbImage, index: usize) -> Result<(Face, Embedding)> {
        let options = DetectOptions { max_faces: 1, ..DetectOptions::default() };
        let face = self.detect(image, &options)?.faces.into_iter().next();
        let face = face.ok_or(PipelineError::NoFace { image: index })?;
        let embedding = recognition::fuse(&self.engine, &self.embed_members(image, &face)?)?;
        Ok((face, embedding))
    }
}
