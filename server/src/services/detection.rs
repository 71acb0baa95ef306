//! What the three detection services share: options, the search, the answers for one photo and for a batch.

use std::{str::FromStr, time::Instant};

use facesocial_imaging::Photo;
use facesocial_pipeline::{AnalyzeOptions, DetectOptions};
use facesocial_types::{Analysis, Analyzer, AnalyzerSet, Detector, FaceAnalysis, Service};
use serde::Serialize;
use serde_json::Value;

use crate::{
    error::{ApiError, ApiResult, Code},
    extract::Fields,
    services::{
        face::{BatchEntry, BoxDto, ImageInfo, LandmarksDto, MouthNames, pixels, score},
        mediapipe,
    },
    state::{Item, Loaded},
};

/// Most faces that a client may ask for.
pub const MAX_FACES: usize = 1000;

/// A detection method by the name that clients of the original use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// BlazeFace.
    Mediapipe,
    /// YOLOv10n.
    Yolo,
    /// The MTCNN cascade.
    Mtcnn,
    /// All stages together, [`Detector::Auto`].
    Ensemble,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Mediapipe, Self::Yolo, Self::Mtcnn, Self::Ensemble];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mediapipe => "mediapipe",
            Self::Yolo => "yolo",
            Self::Mtcnn => "mtcnn",
            Self::Ensemble => "ensemble",
        }
    }

    /// The detector behind it.
    pub const fn detector(self) -> Detector {
        match self {
            Self::Mediapipe => Detector::Mediapipe,
            Self::Yolo => Detector::Yolo,
            Self::Mtcnn => Detector::Mtcnn,
            Self::Ensemble => Detector::Auto,
        }
    }

    /// The service whose weights it needs.
    pub const fn service(self) -> Service {
        match self {
            Self::Mediapipe | Self::Ensemble => Service::Mediapipe,
            Self::Yolo => Service::Yolo,
            Self::Mtcnn => Service::Mtcnn,
        }
    }

    /// Smallest confidence of a face unless the client asks for another; the original's values.
    pub const fn default_confidence(self) -> f32 {
        match self {
            Self::Yolo => 0.25,
            Self::Mediapipe | Self::Mtcnn | Self::Ensemble => 0.5,
        }
    }
}

impl FromStr for Method {
    type Err = ApiError;

    fn from_str(s: &str) -> ApiResult<Self> {
        let wanted = s.trim().to_ascii_lowercase();
        // `auto` is what the command line calls it.
        let found = Self::ALL.into_iter().find(|m| m.as_str() == wanted || (wanted == "auto" && *m == Self::Ensemble));
        found.ok_or_else(|| {
            let detail = "the detection method is none of the allowed mediapipe, yolo, mtcnn, ensemble";
            ApiError::new(Code::InvalidDetectionMethod, detail)
        })
    }
}

/// The method in the field `name`.
///
/// # Errors
/// [`Code::InvalidDetectionMethod`].
pub fn method(fields: &Fields, name: &str) -> ApiResult<Option<Method>> {
    fields.get(name).map(str::parse).transpose()
}

/// `min_face_size`, `max_faces` and `detection_confidence` with their defaults.
///
/// # Errors
/// A value out of range.
pub fn options(fields: &Fields, method: Method, defaults: DetectOptions) -> ApiResult<DetectOptions> {
    Ok(DetectOptions {
        detector: method.detector(),
        min_score: fields.number("detection_confidence", 0.0..=1.0)?.unwrap_or(defaults.min_score),
        min_size: fields.number("min_face_size", 1.0..=100_000.0)?.unwrap_or(defaults.min_size),
        max_faces: fields.number("max_faces", 1..=MAX_FACES)?.unwrap_or(defaults.max_faces),
    })
}

/// What a detection service itself uses where the client says nothing.
pub fn service_defaults(method: Method) -> DetectOptions {
    DetectOptions { min_score: method.default_confidence(), ..DetectOptions::default() }
}

/// Faces with their quality, and how long it took.
#[derive(Debug)]
pub struct Found {
    /// The method asked for.
    pub method: Method,
    /// The options applied.
    pub options: DetectOptions,
    /// The faces.
    pub analysis: Analysis,
    /// Seconds for detection and quality together.
    pub seconds: f64,
}

/// Finds faces and rates their quality. Blocks: compute pool only.
///
/// # Errors
/// The detector has no weights, or fails.
pub fn find(loaded: &Loaded, photo: &Photo, method: Method, options: DetectOptions) -> ApiResult<Found> {
    let started = Instant::now();
    let wanted = AnalyzeOptions { detect: options, analyzers: AnalyzerSet::NONE.with(Analyzer::Quality) };
    let analysis = loaded.pipeline.analyze(&photo.image, &wanted)?;
    Ok(Found { method, options, analysis, seconds: started.elapsed().as_secs_f64() })
}

/// The answer of the detection service that `found.method` names, as JSON.
pub fn raw(found: &Found) -> Value {
    let json = match found.method {
        Method::Mediapipe => serde_json::to_value(mediapipe::Detected::of(found)),
        Method::Yolo | Method::Mtcnn | Method::Ensemble => serde_json::to_value(Detected::of(found)),
    };
    // Structs with string keys and finite numbers always serialize; NaN becomes null.
    json.unwrap_or_default()
}

/// The quality of a face, 0..=1, for the detectors' `quality_score`.
pub fn quality_score(face: &FaceAnalysis) -> Option<f64> {
    face.quality.as_ref().and_then(|q| q.done()).map(|q| score(q.score))
}

/// Answer of the YOLO and MTCNN services for one photo.
#[derive(Debug, Serialize)]
pub struct Detected {
    success: bool,
    faces: Vec<DetectedFace>,
    total_faces: usize,
    processing_time: f64,
    inference_time_ms: f64,
    image_info: ImageInfo,
    model_info: ModelInfo,
}

#[derive(Debug, Serialize)]
struct DetectedFace {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    confidence: f64,
    bounding_box: BoxDto,
    landmarks: Option<LandmarksDto>,
    area: f64,
    quality_score: Option<f64>,
    face_id: String,
    face_index: usize,
    detection_method: &'static str,
}

#[derive(Debug, Serialize)]
struct ModelInfo {
    detector: &'static str,
    version: String,
    confidence_threshold: f64,
    min_face_size: f64,
    landmarks: bool,
}

impl Detected {
    /// The answer for one photo.
    pub fn of(found: &Found) -> Self {
        let method = found.method.as_str();
        let face = |face: &FaceAnalysis| DetectedFace {
            x: pixels(face.bbox.x),
            y: pixels(face.bbox.y),
            width: pixels(face.bbox.width),
            height: pixels(face.bbox.height),
            confidence: score(face.score),
            bounding_box: BoxDto::scored(&face.bbox, face.score),
            landmarks: LandmarksDto::of(&face.landmarks, face.score, MouthNames::SideFirst),
            area: pixels(face.bbox.area()),
            quality_score: quality_score(face),
            face_id: format!("{method}_face_{}", face.index),
            face_index: face.index,
            detection_method: method,
        };
        let seconds = (found.seconds * 1e4).round() / 1e4;
        Self {
            success: true,
            faces: found.analysis.faces.iter().map(face).collect(),
            total_faces: found.analysis.faces.len(),
            processing_time: seconds,
            inference_time_ms: seconds * 1e3,
            image_info: ImageInfo::of(&found.analysis),
            model_info: ModelInfo {
                detector: if found.method == Method::Yolo { "yolov10n" } else { method },
                version: found.analysis.detector.clone(),
                confidence_threshold: score(found.options.min_score),
                min_face_size: pixels(found.options.min_size),
                landmarks: found.method != Method::Yolo,
            },
        }
    }
}

/// Answer of a detection service for a batch.
#[derive(Debug, Serialize)]
pub struct DetectedBatch {
    success: bool,
    batch_results: Vec<BatchEntry<Value>>,
    summary: BatchSummary,
}

#[derive(Debug, Serialize)]
struct BatchSummary {
    total_images: usize,
    processed_images: usize,
    failed_images: usize,
    total_faces_detected: usize,
    batch_processing_time: f64,
}

impl DetectedBatch {
    /// The answer for a batch that took `seconds`; it succeeded if any file did.
    pub fn of(items: Vec<Item<Found>>, seconds: f64) -> Self {
        let done = |item: &Item<Found>| item.answer.as_ref().ok().map(|found| found.analysis.faces.len());
        let counts: Vec<usize> = items.iter().filter_map(done).collect();
        let summary = BatchSummary {
            total_images: items.len(),
            processed_images: counts.len(),
            failed_images: items.len() - counts.len(),
            total_faces_detected: counts.iter().sum(),
            batch_processing_time: seconds,
        };
        let entry = |item: Item<Found>| {
            BatchEntry::of(Item { index: item.index, filename: item.filename, answer: item.answer.map(|f| raw(&f)) })
        };
        Self { success: !counts.is_empty(), batch_results: items.into_iter().map(entry).collect(), summary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_parse_by_every_name_they_are_known_by() {
        for method in Method::ALL {
            assert_eq!(method.as_str().to_uppercase().parse(), Ok(method));
        }
        assert_eq!("auto".parse(), Ok(Method::Ensemble));
        assert_eq!("dlib".parse::<Method>().unwrap_err().code, Code::InvalidDetectionMethod);
    }

    #[test]
    fn every_option_reaches_the_detector() {
        let mut fields = Fields::default();
        for (name, value) in [("min_face_size", "64"), ("max_faces", "3"), ("detection_confidence", "0.9")] {
            fields.push(name.to_owned(), value.to_owned());
        }
        let expected = DetectOptions { detector: Detector::Mtcnn, min_score: 0.9, min_size: 64.0, max_faces: 3 };
        assert_eq!(options(&fields, Method::Mtcnn, service_defaults(Method::Mtcnn)), Ok(expected));
        fields.push("max_faces".to_owned(), "0".to_owned());
        assert!(options(&fields, Method::Mtcnn, service_defaults(Method::Mtcnn)).is_err());
    }
}
