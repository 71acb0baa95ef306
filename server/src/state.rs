//! What all requests share: the networks, the store, the cache, the compute pool, the memory for uploads.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use facesocial_cache::Cache;
use facesocial_imaging::Photo;
use facesocial_pipeline::{Caller, DetectOptions, LoadOptions, Outage, Pipeline, ServiceStatus, Watch, on_pool};
use facesocial_store::Store;
use facesocial_types::{Detector, Service};
use facesocial_upstream::{ReplicaReport, Upstreams};
use futures_util::{StreamExt, stream};
use image::RgbImage;

use crate::{
    auth::{Auth, InternalTokens},
    config::{Audience, Config, Keeping, Limits, Role},
    error::{ApiError, ApiResult, Code},
    extract::Upload,
    jobs::JobQueue,
    live::Places,
    metrics::{Metrics, access::ScrapeToken, process::CpuShare, size::LastSize, tasks::Runtimes},
    pool::{ComputePool, LineStatus},
    usage::Usage,
};

/// The networks, ready to run; clones share them.
#[derive(Clone)]
pub struct Loaded {
    /// The use cases.
    pub pipeline: Pipeline,
    known: Arc<Known>,
}

/// What was found out at start-up.
struct Known {
    status: Vec<ServiceStatus>,
    detection_ms: BTreeMap<&'static str, f64>,
}

impl Loaded {
    /// Loads the networks and runs each once.
    ///
    /// # Errors
    /// No weights, damaged weights, a network that fails.
    pub fn load(options: &LoadOptions) -> facesocial_pipeline::Result<Self> {
        let pipeline = Pipeline::load(options)?;
        pipeline.warm_up()?;
        let status = pipeline.status();
        let blank = RgbImage::from_pixel(640, 480, image::Rgb([128; 3]));
        let mut detection_ms = BTreeMap::new();
        let warm = |service: &Service| pipeline.engine().is_warmed_up(*service);
        for (detector, services) in [
            (Detector::Mediapipe, &[Service::Mediapipe] as &[_]),
            (Detector::Yolo, &[Service::Yolo]),
            (Detector::Mtcnn, &[Service::Mtcnn]),
            (Detector::Auto, &[Service::Mediapipe, Service::Yolo, Service::Mtcnn]),
        ] {
            // What other servers run, or what is loaded when it is asked for, is not measured.
            if !services.iter().all(warm) {
                continue;
            }
            let started = Instant::now();
            if pipeline.detect(&blank, &DetectOptions { detector, ..DetectOptions::default() }).is_ok() {
                detection_ms.insert(detector.as_str(), milliseconds(started.elapsed()));
            }
        }
        Ok(Self { pipeline, known: Arc::new(Known { status, detection_ms }) })
    }

    /// The same networks on behalf of one request.
    pub(crate) fn on_behalf_of(&self, caller: Caller) -> Self {
        Self { pipeline: self.pipeline.on_behalf_of(caller), known: Arc::clone(&self.known) }
    }

    /// The network that answers for `service`.
    ///
    /// # Errors
    /// The sentence that says why none does.
    pub fn model(&self, service: Service) -> Result<&str, &str> {
        let found = self.known.status.iter().find(|s| s.service == service).map(|s| &s.model);
        found.map_or(Err("this service is not known to the pipeline"), |m| m.as_deref().map_err(String::as_str))
    }

    /// Refuses a request whose service has no weights, or is run by other servers of which none answers, before its upload is
    /// read.
    ///
    /// # Errors
    /// [`Code::ModelUnavailable`], [`Code::ServiceUnavailable`].
    pub fn require(&self, service: Service) -> ApiResult<()> {
        self.require_weights(service)?;
        self.outage(service).map_or(Ok(()), |outage| Err(outage.into()))
    }

    /// [`Self::require`] for a detector. The one that consists of all makes do with those that answer.
    ///
    /// # Errors
    /// As [`Self::require`].
    pub fn require_detector(&self, detector: Detector) -> ApiResult<()> {
        match detector {
            Detector::Auto => {
                self.require_weights(Service::Mediapipe)?;
                Ok(self.pipeline.detection()?)
            }
            Detector::Mediapipe | Detector::MediapipeShort | Detector::MediapipeFull => {
                self.require(Service::Mediapipe)
            }
            Detector::Yolo => self.require(Service::Yolo),
            Detector::Mtcnn => self.require(Service::Mtcnn),
        }
    }

    fn require_weights(&self, service: Service) -> ApiResult<()> {
        let missing = |reason: &str| ApiError::new(Code::ModelUnavailable, format!("{service}: {reason}"));
        self.model(service).map(drop).map_err(missing)
    }

    /// An analysis that has no answer for this `reason`: for want of weights, or of a server that answers.
    pub fn unavailable(&self, service: Service, reason: String) -> ApiError {
        match self.outage(service) {
            Some(outage) => outage.into(),
            None if self.pipeline.engine().is_remote(service) => ApiError::new(Code::ServiceUnavailable, reason),
            None => ApiError::new(Code::ModelUnavailable, reason),
        }
    }

    /// Why nobody answers for `service`, where other servers run it.
    pub fn outage(&self, service: Service) -> Option<Outage> {
        self.pipeline.engine().outage(service)
    }

    /// Milliseconds that a detector took at start-up for a 640 x 480 photo without a face; `None` if it cannot run.
    pub fn detection_ms(&self, detector: Detector) -> Option<f64> {
        self.known.detection_ms.get(detector.as_str()).copied()
    }
}

/// What all requests share.
pub struct State {
    /// What a request may cost.
    pub limits: Limits,
    /// The services that run here.
    pub services: Vec<Service>,
    /// When the server started.
    pub started: Instant,
    /// What of analyses and faces is kept.
    pub keeping: Keeping,
    /// Who may ask.
    pub auth: Auth,
    /// Whether this server has a database at all; one that answers other servers alone has none.
    pub has_store: bool,
    /// What servers of this system know each other by, if they are to.
    pub internal: Option<Arc<InternalTokens>>,
    /// The servers that run services for this one.
    upstreams: Option<Upstreams>,
    /// What requests for jobs and their worker share.
    pub jobs: JobQueue,
    /// Who asked for what.
    pub usage: Usage,
    /// The places for live connections.
    pub live: Places,
    /// Who listens here; the first one tells what belongs to no service.
    pub roles: Vec<Role>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the database held when it was looked up last.
    pub size: LastSize,
    /// The processor's share that the process takes.
    pub cpu: CpuShare,
    /// Where tasks of this server run.
    pub runtimes: Runtimes,
    /// What opens the figures beside the permission for it.
    pub scrape_token: Option<ScrapeToken>,
    /// Whether each request is one line of the log.
    pub access_log: bool,
    /// Whether verifications without a challenge are refused.
    pub require_challenge: bool,
    /// Whether the gateway answers the console and the document of the API.
    pub pages: bool,
    /// Whether the listeners speak TLS.
    pub tls: bool,
    loaded: OnceLock<Arc<Loaded>>,
    store: OnceLock<Arc<dyn Store>>,
    cache: Arc<dyn Cache>,
    stopping: AtomicBool,
    pool: ComputePool,
    memory: Arc<UploadMemory>,
    counters: BTreeMap<String, Counters>,
}

impl State {
    /// The state before the networks are loaded and the store is open.
    pub fn new(config: &Config, cache: Arc<dyn Cache>) -> Self {
        let limits = config.limits.clone();
        Self {
            services: config.services.clone(),
            started: Instant::now(),
            keeping: config.keeping,
            auth: Auth::new(&config.access),
            has_store: config.distributed.audience != Audience::Servers,
            internal: config
                .distributed
                .secret
                .as_ref()
                .map(|secret| Arc::new(InternalTokens::new(secret.expose().as_bytes()))),
            upstreams: None,
            jobs: JobQueue::new(config),
            usage: Usage::default(),
            live: Places::new(config.live),
            roles: config.listeners.iter().map(|(role, _)| *role).collect(),
            metrics: Arc::default(),
            size: LastSize::default(),
            cpu: CpuShare::default(),
            runtimes: Runtimes::default(),
            scrape_token: config.observe.metrics_token.as_ref().map(ScrapeToken::new),
            access_log: config.observe.access_log,
            require_challenge: config.access.require_challenge,
            pages: config.access.pages,
            tls: config.tls.is_some(),
            loaded: OnceLock::new(),
            store: OnceLock::new(),
            cache,
            stopping: AtomicBool::new(false),
            pool: ComputePool::new(limits.at_once, limits.waiting, limits.request_timeout),
            memory: Arc::new(UploadMemory { used: AtomicUsize::new(0), limit: limits.upload_memory }),
            counters: config.listeners.iter().map(|(role, _)| (role.to_string(), Counters::default())).collect(),
            limits,
        }
    }

    /// The same with other servers that run services.
    #[must_use]
    pub fn with_upstreams(self, upstreams: Upstreams) -> Self {
        Self { upstreams: Some(upstreams), ..self }
    }

    /// The other servers that run services.
    pub fn upstreams(&self) -> Option<&Upstreams> {
        self.upstreams.as_ref()
    }

    /// The servers that run `service` for this one; `None` if it runs here.
    pub fn replicas(&self, service: Service) -> Option<Vec<ReplicaReport>> {
        self.upstreams.as_ref()?.replicas(service)
    }

    /// Opens the server for requests.
    pub fn set_loaded(&self, loaded: Loaded) {
        let pipeline = loaded.pipeline.watched_by(Arc::clone(&self.metrics) as Arc<dyn Watch>);
        // A second call would be a second start-up, which does not happen; the first networks stay.
        let _ = self.loaded.set(Arc::new(Loaded { pipeline, ..loaded }));
    }

    /// Opens the server for requests that need the store.
    pub fn set_store(&self, store: Arc<dyn Store>) {
        // As with the networks, there is no second start-up.
        let _ = self.store.set(store);
    }

    /// People, faces, accounts and history.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] until the database has been reached for the first time.
    pub fn store(&self) -> ApiResult<&Arc<dyn Store>> {
        self.store.get().ok_or_else(|| ApiError::new(Code::StoreUnavailable, "the database has not been opened yet"))
    }

    /// What need not be computed twice, counters, and ended logins. Never the truth.
    pub fn cache(&self) -> &Arc<dyn Cache> {
        &self.cache
    }

    /// Turns readiness off for good: the server is about to stop.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The networks, also while the server stops: requests under way are finished.
    ///
    /// # Errors
    /// [`Code::NotReady`] until they are loaded and have run once.
    pub fn loaded(&self) -> ApiResult<&Arc<Loaded>> {
        self.loaded.get().ok_or_else(|| ApiError::new(Code::NotReady, "the networks are still being loaded"))
    }

    /// Whether new requests should be sent here.
    ///
    /// # Errors
    /// [`Code::NotReady`] while the networks are loaded and while the server stops.
    pub fn ready(&self) -> ApiResult<&Arc<Loaded>> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(ApiError::new(Code::NotReady, "the server is stopping"));
        }
        self.loaded()
    }

    /// The line in front of the networks.
    pub fn line(&self) -> LineStatus {
        self.pool.status()
    }

    /// Bytes that uploads hold, and that they may hold.
    pub fn upload_memory(&self) -> (usize, usize) {
        (self.memory.used.load(Ordering::Relaxed), self.memory.limit)
    }

    /// Whether every kind of request that belongs here can be answered.
    ///
    /// # Errors
    /// [`Code::NotReady`] as [`Self::ready`], and where the device fails; no faces can be found; the database is not open.
    pub fn answers(&self) -> ApiResult<()> {
        let pipeline = &self.ready()?.pipeline;
        if !pipeline.engine().healthy() {
            return Err(ApiError::new(Code::NotReady, "the device that runs the networks fails"));
        }
        // Without faces nothing can be said; whatever else is missing is told in its place of an answer.
        pipeline.detection()?;
        if self.has_store {
            self.store()?;
        }
        Ok(())
    }

    /// Memory for one upload; grows as the upload arrives.
    pub fn reserve(&self) -> Reservation {
        Reservation { memory: Arc::clone(&self.memory), bytes: 0 }
    }

    /// The counters of the listener for `role`.
    pub fn counters(&self, role: Role) -> Option<&Counters> {
        self.counters.get(&role.to_string())
    }

    fn timed(&self) -> Timed {
        Timed { asked: Instant::now(), metrics: Arc::clone(&self.metrics) }
    }

    /// Decodes one upload and lets `work` answer for it, when it is the client's turn.
    ///
    /// # Errors
    /// The upload is no usable image, the server is busy, or `work` fails.
    pub async fn photo<T: Send + 'static>(
        &self,
        upload: Upload,
        work: impl FnOnce(&Loaded, &Photo) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<T> {
        let loaded = Arc::clone(self.loaded()?);
        let limits = self.limits.clone();
        let timed = self.timed();
        let job = move |caller| {
            timed.begun();
            let photo = timed.decoding(|| on_pool(|| upload.decode(&limits)))?;
            work(&loaded.on_behalf_of(caller), &photo)
        };
        self.pool.admit(1)?.run(job).await
    }

    /// Answers a question that another server has for a network of `service`, within `time`.
    ///
    /// # Errors
    /// It is no question; the server is busy; the network fails.
    pub async fn answer(
        &self,
        service: Service,
        network: String,
        (question, memory): (Vec<u8>, Reservation),
        time: Duration,
    ) -> ApiResult<Vec<u8>> {
        let loaded = Arc::clone(self.loaded()?);
        let job = move |caller: Caller| {
            let answer = loaded.pipeline.engine().answer(service, &network, &caller, &question);
            drop((question, memory));
            Ok(answer?)
        };
        self.pool.admit_for(time)?.run(job).await
    }

    /// [`Self::photo`] for two photos that are answered together.
    ///
    /// # Errors
    /// As [`Self::photo`].
    pub async fn pair<T: Send + 'static>(
        &self,
        uploads: [Upload; 2],
        work: impl FnOnce(&Loaded, [Photo; 2]) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<T> {
        let loaded = Arc::clone(self.loaded()?);
        let limits = self.limits.clone();
        let [a, b] = uploads;
        let timed = self.timed();
        let job = move |caller| {
            timed.begun();
            let (a, b) = timed.decoding(|| on_pool(|| rayon::join(|| a.decode(&limits), || b.decode(&limits))));
            work(&loaded.on_behalf_of(caller), [a?, b?])
        };
        self.pool.admit(2)?.run(job).await
    }

    /// [`Self::photo`] for each of many uploads, at most `concurrent` at a time, answers in the order of the uploads.
    ///
    /// # Errors
    /// The server is busy. What fails for one photo alone is told in its place.
    pub async fn photos<T: Send + 'static>(
        &self,
        uploads: Vec<Upload>,
        concurrent: usize,
        work: impl Fn(&Loaded, &Photo) -> ApiResult<T> + Send + Sync + 'static,
    ) -> ApiResult<Vec<Item<T>>> {
        let loaded = Arc::clone(self.loaded()?);
        let ticket = self.pool.admit(uploads.len())?;
        let work = Arc::new(work);
        let jobs = uploads.into_iter().enumerate().map(|(index, upload)| {
            let (loaded, limits, work) = (Arc::clone(&loaded), self.limits.clone(), Arc::clone(&work));
            let filename = upload.filename().map(str::to_owned);
            let timed = self.timed();
            let job = move |caller| {
                timed.begun();
                let photo = timed.decoding(|| on_pool(|| upload.decode(&limits)))?;
                work(&loaded.on_behalf_of(caller), &photo)
            };
            let answer = ticket.run(job);
            async move { Item { index, filename, answer: answer.await } }
        });
        Ok(stream::iter(jobs).buffered(concurrent.clamp(1, self.limits.at_once)).collect().await)
    }
}

/// The time of one photo's work, from when it was asked for.
struct Timed {
    asked: Instant,
    metrics: Arc<Metrics>,
}

impl Timed {
    /// Its turn has come.
    fn begun(&self) {
        self.metrics.stage("line", self.asked.elapsed());
    }

    fn decoding<R>(&self, decode: impl FnOnce() -> R) -> R {
        let started = Instant::now();
        let decoded = decode();
        self.metrics.stage("decode", started.elapsed());
        decoded
    }
}

/// The answer for one photo of a batch.
#[derive(Debug)]
pub struct Item<T> {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The name that the client gave it.
    pub filename: Option<String>,
    /// The answer, or why there is none.
    pub answer: ApiResult<T>,
}

/// Requests answered by one listener, for its health report.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    microseconds: AtomicU64,
}

impl Counters {
    /// Counts one request.
    pub fn add(&self, took: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Requests, and their mean time in milliseconds.
    pub fn read(&self) -> (u64, f64) {
        let requests = self.requests.load(Ordering::Relaxed);
        let total = self.microseconds.load(Ordering::Relaxed) as f64 / 1000.0;
        (requests, if requests == 0 { 0.0 } else { total / requests as f64 })
    }
}

/// Bytes of all uploads that are being read or wait.
#[derive(Debug)]
struct UploadMemory {
    used: AtomicUsize,
    limit: usize,
}

/// A part of the upload memory, given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    memory: Arc<UploadMemory>,
    bytes: usize,
}

impl Reservation {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Code::Overloaded`] if all uploads together would hold more than they may.
    pub fn grow(&mut self, bytes: usize) -> ApiResult<()> {
        let before = self.memory.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.memory.limit {
            return Err(ApiError::new(Code::Overloaded, "the memory for uploads is in use; try again later"));
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Duration in milliseconds, with two digits after the point.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_memory_is_bounded_and_given_back() {
        let memory = Arc::new(UploadMemory { used: AtomicUsize::new(0), limit: 100 });
        let reserve = || Reservation { memory: Arc::clone(&memory), bytes: 0 };
        let mut first = reserve();
        first.grow(80).unwrap();
        let mut second = reserve();
        assert_eq!(second.grow(30).unwrap_err().code, Code::Overloaded);
        drop(second);
        first.grow(20).unwrap();
        drop(first);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_mean_of_no_requests_is_zero() {
        let counters = Counters::default();
        assert_eq!(counters.read(), (0, 0.0));
        counters.add(Duration::from_millis(10));
        counters.add(Duration::from_millis(30));
        assert_eq!(counters.read(), (2, 20.0));
    }
}
