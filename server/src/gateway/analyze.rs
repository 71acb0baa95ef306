//! Comprehensive analysis: every service's answer in its own form, and all of them joined per face.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, web};
use facesocial_imaging::Photo;
use facesocial_store::SessionId;
use facesocial_types::{Analysis, Analyzer, Detection, FaceAnalysis, Failure, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Envelope,
    plan::{AnalysisConfig, Plan},
    timestamp,
    work::Work,
};
use crate::{
    auth::{Analyze, Authorized},
    cached::{Caching, Packed},
    error::{ApiError, ApiResult, Code},
    extract::{Fingerprint, IdempotencyKey, Object, RequestInfo, Single, write},
    services::{
        self, antispoof, deepfake,
        detection::{self, Found, Method},
        face::{Answer, BoxDto, LandmarksDto, MouthNames, analyzer_service, failures, missing, pixels, whole},
        gender_age, quality, recognition,
    },
    state::{Loaded, State},
};

/// Everything asked for about one photo.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comprehensive {
    /// The services' answers in their own forms, by the gateway's names.
    parts: Map<String, Value>,
    /// The same, joined per face.
    faces: Vec<Value>,
    summary: Value,
    services_used: Vec<String>,
    model_versions: BTreeMap<String, String>,
    /// One for each face, where they are to be looked for in a gallery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    embeddings: Vec<Option<Packed>>,
    /// The first part that is missing because the servers that run its service do not answer.
    #[serde(skip)]
    lost: Option<Lost>,
    /// Whether something failed that another time may bring; what fails on another server may have failed for any reason.
    #[serde(skip)]
    failed_for_now: bool,
}

/// A part that another time may bring.
#[derive(Debug, Clone)]
struct Lost {
    service: Service,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Metadata {
    request_id: String,
    processing_time: String,
    services_used: Vec<String>,
    model_versions: BTreeMap<String, String>,
    /// Whether the analysis had been computed before.
    cached: bool,
    /// The stored analysis; null of one that is not stored.
    session_id: Option<SessionId>,
    timestamp: String,
}

/// `POST /analyze/comprehensive`.
pub async fn comprehensive(
    auth: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    key: IdempotencyKey,
    caching: Caching,
    req: HttpRequest,
    form: Single,
) -> ApiResult<web::Json<impl Serialize>> {
    let plan = Plan::of(&form.fields, form.fields.json::<Object<AnalysisConfig>>("config")?.map(|config| config.0))?;
    state.loaded()?.require_detector(plan.method.detector())?;
    let work = Work::begin(&state, &auth.principal, &plan, caching).await?;
    let (upload, sent) = work.take(form.file).await?;
    let known = work.known(&sent).await;
    let cached = known.is_some();
    let mut answer = match known {
        Some(answer) => answer,
        None => {
            let plan = plan.clone();
            let answer = state.photo(upload, move |loaded, photo| analyze(loaded, photo, &plan)).await?;
            work.remember(&sent, &answer).await;
            answer
        }
    };
    let with_image = Fingerprint::of(&req).part("image", &sent.hash);
    let print = form.fields.sorted().into_iter().fold(with_image, |print, (name, text)| print.part(name, text));
    let write = write(&auth.principal, &info, &key, print.finish());
    let session_id = work.finish(sent, &mut answer, info.started, &write).await?;
    let metadata = Metadata {
        processing_time: info.elapsed_ms(),
        request_id: info.id,
        services_used: answer.services_used.clone(),
        model_versions: answer.model_versions.clone(),
        cached,
        session_id,
        timestamp: timestamp(),
    };
    Ok(web::Json(Envelope { success: true, data: answer.into_data(), metadata }))
}

/// Detects and analyses one photo. Blocks: compute pool only.
///
/// # Errors
/// The detector has no weights or fails. What fails for one analysis is told in its place.
pub fn analyze(loaded: &Loaded, photo: &Photo, plan: &Plan) -> ApiResult<Comprehensive> {
    let started = std::time::Instant::now();
    let pipeline = &loaded.pipeline;
    let detection: Detection =
        if plan.detect_faces { pipeline.detect(&photo.image, &plan.detect)? } else { whole(loaded, photo)? };
    // The detectors' and services' answers contain a quality score each.
    let analysis = pipeline.analyze_faces(&photo.image, detection, plan.wanted.with(Analyzer::Quality));
    let seconds = started.elapsed().as_secs_f64();
    let found = Found { method: plan.method, options: plan.detect, analysis, seconds };
    Ok(Comprehensive::of(loaded, plan, &found))
}

impl Comprehensive {
    fn of(loaded: &Loaded, plan: &Plan, found: &Found) -> Self {
        let analysis = &found.analysis;
        let mut parts = Map::new();
        let mut services_used = Vec::new();
        let mut model_versions = BTreeMap::new();
        let (mut lost, mut failed_for_now) = (None, false);
        if plan.detect_faces {
            let mut part = detection::raw(found);
            let missing = unseen(loaded, plan, analysis);
            if let Some(first) = missing.first() {
                let entry = |l: &Lost| json!({ "service": l.service.as_str(), "reason": l.reason });
                part["unavailable"] = missing.iter().map(entry).collect();
                lost = Some(first.clone());
            }
            parts.insert("face_detection".to_owned(), part);
            services_used.push(plan.method.as_str());
            model_versions.insert("detector".to_owned(), analysis.detector.clone());
        }
        for analyzer in plan.wanted.iter() {
            let (name, service) = part_name(analyzer);
            let away = service.and_then(|service| away(loaded, analysis, analyzer, service));
            let model = match (service, &away) {
                (Some(_), Some(lost)) => Err(lost.reason.as_str()),
                (Some(service), None) => loaded.model(service),
                (None, _) => Ok("rules"),
            };
            let part = match model {
                Ok(model) => {
                    services_used.push(service.map_or("face_quality", services::legacy_name));
                    model_versions.insert(name.to_owned(), model.to_owned());
                    part(analyzer, analysis, plan)
                }
                Err(reason) => json(&Answer::<()>::unavailable(reason)),
            };
            parts.insert(name.to_owned(), part);
            lost = lost.or(away);
            let remote = service.is_some_and(|service| loaded.pipeline.engine().is_remote(service));
            failed_for_now |= failures(analysis, analyzer).any(|failure| remote || failure != Failure::Lasting);
        }
        let faces = analysis.faces.iter().map(|f| joined(f, plan)).collect();
        let summary = summary(analysis, plan, &services_used);
        let services_used = services_used.into_iter().map(str::to_owned).collect();
        let embedding = |face: &FaceAnalysis| {
            let recognition = face.recognition.as_ref()?.done()?;
            Some(Packed(recognition.embedding.clone()))
        };
        let embeddings =
            if plan.gallery.is_some() { analysis.faces.iter().map(embedding).collect() } else { Vec::new() };
        Self { parts, faces, summary, services_used, model_versions, embeddings, lost, failed_for_now }
    }

    /// Whether another time may bring more: such an answer is not kept.
    pub fn is_partial(&self) -> bool {
        self.lost.is_some() || self.failed_for_now
    }

    /// The answer, if nothing is missing that another time may bring.
    ///
    /// # Errors
    /// [`Code::ServiceUnavailable`].
    pub fn complete(self) -> ApiResult<Self> {
        match self.lost {
            Some(Lost { reason, .. }) => Err(ApiError::new(Code::ServiceUnavailable, reason)),
            None => Ok(self),
        }
    }

    /// The faces, each with everything said about it.
    pub fn faces(&self) -> &[Value] {
        &self.faces
    }

    /// Embeddings by face; empty unless a gallery was to be searched.
    pub fn embeddings(&self) -> &[Option<Packed>] {
        &self.embeddings
    }

    /// Adds to face `index` whom of a gallery it is like.
    pub fn add_matches(&mut self, index: usize, matches: Vec<Value>, threshold: f64) {
        let (found, known) = (Value::Array(matches), &mut self.summary["known_faces"]);
        let one = usize::from(found.as_array().is_some_and(|matches| !matches.is_empty()));
        *known = (known.as_u64().unwrap_or(0) + one as u64).into();
        let list = self.parts.get_mut("recognition").and_then(|part| part["faces"].as_array_mut());
        let entry = list.and_then(|list| list.iter_mut().find(|entry| entry["face_id"] == index));
        let joined = self.faces.get_mut(index).map(|face| &mut face["recognition"]);
        for place in entry.into_iter().chain(joined).filter(|place| place.is_object()) {
            place["matches"] = found.clone();
            place["match_threshold"] = threshold.into();
        }
    }

    /// How many faces were found.
    pub fn total_faces(&self) -> usize {
        self.faces.len()
    }

    /// `data` of the second version's answer, with the join and summary of the first.
    fn into_data(self) -> Value {
        let mut data = self.parts;
        data.insert("total_faces_detected".to_owned(), self.faces.len().into());
        data.insert("faces".to_owned(), self.faces.into());
        data.insert("summary".to_owned(), self.summary);
        Value::Object(data)
    }

    /// The first version's answer for one photo of a batch that took `seconds`.
    pub fn into_v1(self, seconds: f64, cached: bool, session_id: Option<SessionId>) -> Value {
        json!({
            "total_faces_detected": self.faces.len(),
            "faces": self.faces,
            "processing_time": seconds,
            "services_used": self.services_used,
            "summary": self.summary,
            "cached": cached,
            "session_id": session_id,
        })
    }
}

/// The part of the answer that holds an analysis, and the service that gives it; quality is no service of its own.
fn part_name(analyzer: Analyzer) -> (&'static str, Option<Service>) {
    let name = match analyzer {
        Analyzer::Quality => "quality_assessment",
        Analyzer::Recognition => "recognition",
        Analyzer::Antispoof => "antispoofing",
        Analyzer::GenderAge => "gender_age",
        Analyzer::Deepfake => "deepfake",
    };
    (name, analyzer_service(analyzer))
}

/// Why an analysis is missing whose service other servers run.
fn away(loaded: &Loaded, analysis: &Analysis, analyzer: Analyzer, service: Service) -> Option<Lost> {
    if !loaded.pipeline.engine().is_remote(service) || loaded.model(service).is_err() {
        return None;
    }
    let reason = match missing(analysis, analyzer) {
        Some(reason) => Some(reason.to_owned()),
        // Of no face nothing was asked.
        None if analysis.faces.is_empty() => loaded.outage(service).map(|outage| outage.reason),
        None => None,
    };
    reason.map(|reason| Lost { service, reason })
}

/// The detectors that should have looked and did not.
fn unseen(loaded: &Loaded, plan: &Plan, analysis: &Analysis) -> Vec<Lost> {
    if plan.method != Method::Ensemble {
        return Vec::new();
    }
    let looked = |service| loaded.model(service).is_ok_and(|id| analysis.detector.contains(id));
    let lost = |service: Service| {
        let known = loaded.pipeline.engine().is_remote(service) && loaded.model(service).is_ok();
        let reason = || match loaded.outage(service) {
            Some(outage) => outage.reason,
            None => format!("none of the servers for {service} answered"),
        };
        (known && !looked(service)).then(|| Lost { service, reason: reason() })
    };
    [Service::Mediapipe, Service::Yolo, Service::Mtcnn].into_iter().filter_map(lost).collect()
}

fn part(analyzer: Analyzer, analysis: &Analysis, plan: &Plan) -> Value {
    match analyzer {
        Analyzer::Quality => json(&quality::Assessed::of(analysis)),
        Analyzer::Recognition => json(&recognition::Assessed::of(analysis, plan.embeddings)),
        Analyzer::Antispoof => json(&antispoof::Assessed::of(analysis)),
        Analyzer::GenderAge => json(&gender_age::Assessed::of(analysis)),
        Analyzer::Deepfake => json(&deepfake::Assessed::of(analysis)),
    }
}

/// Everything asked for about one face, under one index.
fn joined(face: &FaceAnalysis, plan: &Plan) -> Value {
    let mut detection = json!({
        "bbox": BoxDto::scored(&face.bbox, face.score),
        "service": plan.method.as_str(),
        "area": pixels(face.bbox.area()),
    });
    if plan.landmarks {
        detection["landmarks"] = json(&LandmarksDto::of(&face.landmarks, face.score, MouthNames::MouthFirst));
    }
    let mut entry = json!({ "face_id": face.index, "index": face.index, "detection": detection });
    for analyzer in plan.wanted.iter() {
        let (name, answer) = match analyzer {
            Analyzer::Quality => ("quality", quality::entry(face).map(|e| json(&e.answer))),
            Analyzer::Recognition => {
                ("recognition", recognition::entry(face, plan.embeddings).map(|e| json(&e.answer)))
            }
            Analyzer::Antispoof => ("antispoofing", antispoof::entry(face).map(|e| json(&e.answer))),
            Analyzer::GenderAge => ("gender_age", gender_age::entry(face).map(|e| json(&e.answer))),
            Analyzer::Deepfake => ("deepfake", deepfake::entry(face).map(|e| json(&e.answer))),
        };
        entry[name] = answer.unwrap_or_default();
    }
    entry
}

/// The first version's summary; a count is there only for an analysis that was asked for and answered.
fn summary(analysis: &Analysis, plan: &Plan, services_used: &[&str]) -> Value {
    let mut summary = json!({
        "total_faces": analysis.faces.len(),
        "detection_service": plan.detect_faces.then(|| plan.method.as_str()),
        "services_used": services_used,
    });
    if analysis.faces.is_empty() {
        summary["message"] = "No faces detected".into();
    }
    if services_used.contains(&"antispoof") {
        summary["real_faces"] = antispoof::Assessed::of(analysis).counts().0.into();
    }
    if services_used.contains(&"gender_age") {
        summary["gender_distribution"] = json(&gender_age::Assessed::of(analysis).genders());
    }
    if services_used.contains(&"deepfake") {
        summary["authentic_faces"] = deepfake::Assessed::of(analysis).counts().0.into();
    }
    summary
}

/// Structs with string keys always serialize; a number that is not finite becomes null.
fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
