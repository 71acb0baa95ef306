//! Figures that are counted where something happens.

use std::time::Duration;

use facesocial_pipeline::{Stage, TIME_CLASSES, Watch};
use facesocial_types::{
    Analyzer, AnalyzerSet, DeepfakeDecision, Detector, FaceAnalysis, LivenessDecision, Outcome, Service,
};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
    proto::MetricFamily,
};

use super::{
    families::{self, Family},
    minute::Minute,
};
use crate::{config::Role, error::Code, jobs};

/// Upper ends of the classes of a request's time, in seconds.
const REQUEST_SECONDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// Methods that are told by name; others are `other`, because a client may send any word.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// What the quality of faces is counted under: it is rated by rules, and no service of its own.
const QUALITY: &str = "quality";

/// One request as it was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The listener.
    pub role: Role,
    /// Pattern of the path; `None` where nothing is served.
    pub route: Option<&'a str>,
    /// Method.
    pub method: &'a str,
    /// HTTP status.
    pub status: u16,
    /// Code of the problem, if it was one.
    pub problem: Option<Code>,
    /// Time until the answer's head.
    pub took: Duration,
}

/// What a decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// Two photos.
    Comparison,
    /// A photo and a person.
    Verification,
    /// A face and a collection.
    Identification,
}

impl Compared {
    const ALL: [Self; 3] = [Self::Comparison, Self::Verification, Self::Identification];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Comparison => "comparison",
            Self::Verification => "verification",
            Self::Identification => "identification",
        }
    }
}

/// The counters of one server.
pub struct Metrics {
    registry: Registry,
    http_requests: IntCounterVec,
    http_seconds: HistogramVec,
    http_errors: IntCounterVec,
    http_in_flight: IntGaugeVec,
    stage_seconds: HistogramVec,
    analyses: IntCounterVec,
    analysis_errors: IntCounterVec,
    faces: IntCounterVec,
    decisions: IntCounterVec,
    search_seconds: Histogram,
    jobs_running: IntGaugeVec,
    jobs_ended: IntCounterVec,
    live_frames: IntCounterVec,
    /// The last minute's requests, for the database.
    pub minute: Minute,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts one more until dropped.
#[derive(Debug)]
pub struct OneMore(IntGauge);

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// All at 0.
    ///
    /// # Panics
    /// Never: the table of families holds valid names, each once, which a test checks.
    pub fn new() -> Self {
        let registry = Registry::new();
        let stages: Vec<f64> = TIME_CLASSES.iter().map(|us| *us as f64 / 1e6).collect();
        let made = Self {
            http_requests: counters(&registry, &families::HTTP_REQUESTS),
            http_seconds: histograms(&registry, &families::HTTP_SECONDS, &REQUEST_SECONDS),
            http_errors: counters(&registry, &families::HTTP_ERRORS),
            http_in_flight: gauges(&registry, &families::HTTP_IN_FLIGHT),
            stage_seconds: histograms(&registry, &families::STAGE_SECONDS, &stages),
            analyses: counters(&registry, &families::ANALYSES),
            analysis_errors: counters(&registry, &families::ANALYSIS_ERRORS),
            faces: counters(&registry, &families::FACES),
            decisions: counters(&registry, &families::DECISIONS),
            search_seconds: histograms(&registry, &families::SEARCH_SECONDS, &stages).with_label_values::<&str>(&[]),
            jobs_running: gauges(&registry, &families::JOBS_RUNNING),
            jobs_ended: counters(&registry, &families::JOBS_ENDED),
            live_frames: counters(&registry, &families::LIVE_FRAMES),
            minute: Minute::default(),
            registry,
        };
        made.begin_at_zero();
        made
    }

    /// Makes what is known beforehand appear before it happens first: a rate has a beginning then.
    fn begin_at_zero(&self) {
        let services = Service::ALL.iter().map(|service| service.as_str()).chain([QUALITY]);
        for service in services {
            let _ = (self.analyses.with_label_values(&[service]), self.analysis_errors.with_label_values(&[service]));
        }
        for decision in ["live", "spoof", "uncertain"] {
            let _ = self.decisions.with_label_values(&[Analyzer::Antispoof.as_str(), decision]);
        }
        for decision in ["real", "fake", "uncertain"] {
            let _ = self.decisions.with_label_values(&[Analyzer::Deepfake.as_str(), decision]);
        }
        for compared in Compared::ALL {
            for decision in ["match", "no_match"] {
                let _ = self.decisions.with_label_values(&[compared.as_str(), decision]);
            }
        }
        for stage in ["line", "decode"].into_iter().chain(Stage::ALL.map(Stage::as_str)) {
            let _ = self.stage_seconds.with_label_values(&[stage, ""]);
        }
        for confidence in ["high", "medium", "low"] {
            let _ = self.faces.with_label_values(&[Detector::Auto.as_str(), confidence]);
        }
        for kind in jobs::kinds() {
            let _ = (
                self.jobs_running.with_label_values(&[kind]),
                self.jobs_ended.with_label_values(&[kind, "completed"]),
                self.jobs_ended.with_label_values(&[kind, "failed"]),
            );
        }
        for outcome in ["analysed", "dropped", "failed"] {
            let _ = self.live_frames.with_label_values(&[outcome]);
        }
    }

    /// What was counted so far.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Counts a request that begins on the listener for `role`, until the answer drops it.
    pub fn request_begins(&self, role: Role) -> OneMore {
        one_more(&self.http_in_flight, role.as_str())
    }

    /// Counts an answered request.
    pub fn answered(&self, answer: &Answered<'_>) {
        let Answered { role, route, method, status, problem, took } = *answer;
        let (service, route) = (role.as_str(), route.unwrap_or("unmatched"));
        let method = METHODS.iter().copied().find(|known| *known == method).unwrap_or("other");
        let class = match status {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        self.http_requests.with_label_values(&[service, route, method, class]).inc();
        self.http_seconds.with_label_values(&[service, route, method]).observe(took.as_secs_f64());
        if let Some(code) = problem {
            self.http_errors.with_label_values(&[service, code.as_str()]).inc();
        }
        self.minute.add(service, route, status, took);
    }

    /// All requests so far, and those among them that looked for faces in a photo.
    pub fn totals(&self) -> (u64, u64) {
        let sum = |families: Vec<MetricFamily>| {
            let metrics = families.into_iter().flat_map(|mut family| family.take_metric());
            metrics.map(|metric| metric.get_counter().get_value()).sum::<f64>() as u64
        };
        let detections = self.stage_seconds.with_label_values(&[Stage::Detect.as_str(), ""]).get_sample_count();
        (sum(self.http_requests.collect()), detections)
    }

    /// Photos that `service` looked at, and those of which it failed to answer for a face. `None` for the quality.
    pub fn calls(&self, service: Option<Service>) -> (u64, u64) {
        let name = service.map_or(QUALITY, Service::as_str);
        (self.analyses.with_label_values(&[name]).get(), self.analysis_errors.with_label_values(&[name]).get())
    }

    /// A stage that is not the pipeline's took so long.
    pub fn stage(&self, name: &'static str, took: Duration) {
        self.stage_seconds.with_label_values(&[name, ""]).observe(took.as_secs_f64());
    }

    /// A decision whether two faces are the same person's.
    pub fn decided(&self, compared: Compared, is_match: bool) {
        let decision = if is_match { "match" } else { "no_match" };
        self.decisions.with_label_values(&[compared.as_str(), decision]).inc();
    }

    /// A search in a collection took so long.
    pub fn gallery_searched(&self, took: Duration) {
        self.search_seconds.observe(took.as_secs_f64());
    }

    /// Counts a job of `kind` that is worked on, until dropped.
    pub fn job_begins(&self, kind: &'static str) -> OneMore {
        one_more(&self.jobs_running, kind)
    }

    /// A job of `kind` came to an end here.
    pub fn job_ended(&self, kind: &'static str, outcome: &'static str) {
        self.jobs_ended.with_label_values(&[kind, outcome]).inc();
    }

    /// Frames of live video came to this.
    pub fn frames(&self, analysed: u64, dropped: u64, failed: u64) {
        for (outcome, frames) in [("analysed", analysed), ("dropped", dropped), ("failed", failed)] {
            self.live_frames.with_label_values(&[outcome]).inc_by(frames);
        }
    }

    fn looked(&self, service: &str, failed: bool) {
        self.analyses.with_label_values(&[service]).inc();
        if failed {
            self.analysis_errors.with_label_values(&[service]).inc();
        }
    }
}

impl Watch for Metrics {
    fn stage(&self, stage: Stage, took: Duration) {
        Self::stage(self, stage.as_str(), took);
    }

    fn searched(&self, detector: Detector, services: &[Service], scores: Option<&[f32]>) {
        for service in services {
            self.looked(service.as_str(), scores.is_none());
        }
        for score in scores.unwrap_or_default() {
            self.faces.with_label_values(&[detector.as_str(), confidence(*score)]).inc();
        }
    }

    fn analysed(&self, wanted: AnalyzerSet, faces: &[FaceAnalysis]) {
        // Without a face no network was asked.
        if faces.is_empty() {
            return;
        }
        for analyzer in wanted.iter() {
            let (service, failed) = match analyzer {
                Analyzer::Quality => (QUALITY, false),
                Analyzer::Recognition => (analyzer.as_str(), faces.iter().any(|f| is_error(f.recognition.as_ref()))),
                Analyzer::Antispoof => (analyzer.as_str(), faces.iter().any(|f| is_error(f.antispoof.as_ref()))),
                Analyzer::GenderAge => (analyzer.as_str(), faces.iter().any(|f| is_error(f.gender_age.as_ref()))),
                Analyzer::Deepfake => (analyzer.as_str(), faces.iter().any(|f| is_error(f.deepfake.as_ref()))),
            };
            self.looked(service, failed);
        }
        for face in faces {
            if let Some(Outcome::Done(answer)) = &face.antispoof {
                let decision = match answer.decision {
                    LivenessDecision::Live => "live",
                    LivenessDecision::Spoof => "spoof",
                    LivenessDecision::Uncertain => "uncertain",
                };
                self.decisions.with_label_values(&[Analyzer::Antispoof.as_str(), decision]).inc();
            }
            if let Some(Outcome::Done(answer)) = &face.deepfake {
                let decision = match answer.decision {
                    DeepfakeDecision::Real => "real",
                    DeepfakeDecision::Fake => "fake",
                    DeepfakeDecision::Uncertain => "uncertain",
                };
                self.decisions.with_label_values(&[Analyzer::Deepfake.as_str(), decision]).inc();
            }
        }
    }

    fn compared(&self, same_person: bool) {
        self.decided(Compared::Comparison, same_person);
    }
}

fn is_error<T>(outcome: Option<&Outcome<T>>) -> bool {
    matches!(outcome, Some(Outcome::Error { .. }))
}

/// How sure a detector is of a face, in words.
fn confidence(score: f32) -> &'static str {
    match score {
        s if s > 0.8 => "high",
        s if s > 0.5 => "medium",
        _ => "low",
    }
}

fn one_more(gauges: &IntGaugeVec, label: &str) -> OneMore {
    let gauge = gauges.with_label_values(&[label]);
    gauge.inc();
    OneMore(gauge)
}

const VALID: &str = "the table of families holds valid names, each once";

#[expect(clippy::expect_used, reason = "the table of families is part of the program; tests register all of it")]
fn registered<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect(VALID);
    registry.register(Box::new(collector.clone())).expect(VALID);
    collector
}

fn counters(registry: &Registry, family: &Family) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(family.name, family.help), family.labels))
}

fn gauges(registry: &Registry, family: &Family) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(family.name, family.help), family.labels))
}

fn histograms(registry: &Registry, family: &Family, upper_ends: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(family.name, family.help).buckets(upper_ends.to_vec());
    registered(registry, HistogramVec::new(options, family.labels))
}

#[cfg(test)]
mod tests {
    use facesocial_types::{AntiSpoof, BBox, Failure, Landmarks, ModelId};
    use prometheus::TextEncoder;

    use super::*;

    fn text(metrics: &Metrics) -> String {
        TextEncoder::new().encode_to_string(&metrics.gather()).unwrap()
    }

    fn face(antispoof: Outcome<AntiSpoof>) -> FaceAnalysis {
        FaceAnalysis {
            index: 0,
            bbox: BBox::new(0.0, 0.0, 9.0, 9.0),
            score: 0.9,
            landmarks: Landmarks::default(),
            quality: None,
            recognition: None,
            antispoof: Some(antispoof),
            gender_age: None,
            deepfake: None,
        }
    }

    #[test]
    fn requests_are_counted_by_pattern_and_class_and_odd_words_are_one() {
        let metrics = Metrics::new();
        let answer = Answered {
            role: Role::Gateway,
            route: Some("/api/v1/jobs/{id}"),
            method: "GET",
            status: 200,
            problem: None,
            took: Duration::from_millis(7),
        };
        metrics.answered(&answer);
        metrics.answered(&Answered { status: 429, problem: Some(Code::RateLimited), ..answer });
        metrics.answered(&Answered {
            method: "BREW",
            route: None,
            status: 404,
            problem: Some(Code::NotFound),
            ..answer
        });
        let text = text(&metrics);
        for line in [
            r#"facesocial_http_requests_total{method="GET",route="/api/v1/jobs/{id}",service="gateway",status="2xx"} 1"#,
            r#"facesocial_http_requests_total{method="GET",route="/api/v1/jobs/{id}",service="gateway",status="4xx"} 1"#,
            r#"facesocial_http_requests_total{method="other",route="unmatched",service="gateway",status="4xx"} 1"#,
            r#"facesocial_http_errors_total{code="RATE_LIMITED",service="gateway"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert_eq!(metrics.totals(), (3, 0));
    }

    #[test]
    fn what_was_found_and_decided_is_counted_and_failures_too() {
        let metrics = Metrics::new();
        metrics.searched(Detector::Mtcnn, &[Service::Mtcnn], Some(&[0.81, 0.8, 0.5]));
        metrics.searched(Detector::Auto, &[Service::Mediapipe, Service::Mtcnn], None);
        let model = ModelId::new("net", "1");
        let live = Outcome::Done(AntiSpoof { model, score: 0.9, decision: LivenessDecision::Live });
        let failed = Outcome::Error { reason: "x".to_owned(), failure: Failure::Lasting };
        let wanted = AnalyzerSet::NONE.with(Analyzer::Antispoof);
        metrics.analysed(wanted, &[face(live), face(failed)]);
        metrics.analysed(wanted, &[]);
        metrics.compared(false);
        let text = text(&metrics);
        for line in [
            r#"facesocial_faces_detected_total{confidence="high",detector="mtcnn"} 1"#,
            r#"facesocial_faces_detected_total{confidence="medium",detector="mtcnn"} 1"#,
            r#"facesocial_faces_detected_total{confidence="low",detector="mtcnn"} 1"#,
            r#"facesocial_analyses_total{service="mtcnn"} 2"#,
            r#"facesocial_analysis_errors_total{service="mtcnn"} 1"#,
            r#"facesocial_analysis_errors_total{service="antispoof"} 1"#,
            r#"facesocial_decisions_total{analysis="antispoof",decision="live"} 1"#,
            r#"facesocial_decisions_total{analysis="comparison",decision="no_match"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert_eq!(metrics.calls(Some(Service::Antispoof)), (1, 1));
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends() {
        let metrics = Metrics::new();
        let job = metrics.job_begins("import");
        assert!(text(&metrics).contains(r#"facesocial_jobs_running{kind="import"} 1"#));
        drop(job);
        assert!(text(&metrics).contains(r#"facesocial_jobs_running{kind="import"} 0"#));
    }
}
