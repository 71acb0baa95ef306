//! What the answers of all services share: boxes, landmarks, missing answers, the faces that are looked at.

use facesocial_imaging::Photo;
use facesocial_pipeline::DetectOptions;
use facesocial_types::{
    Analysis, Analyzer, AnalyzerSet, BBox, Detection, Failure, LandmarkName, Landmarks, Outcome, Service,
};
use serde::Serialize;

use crate::{
    error::{ApiError, ApiResult, Problem},
    state::{Item, Loaded},
};

/// Position in pixels, to a hundredth.
pub fn pixels(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

/// Score, to a ten-thousandth.
pub fn score(value: f32) -> f64 {
    (f64::from(value) * 1e4).round() / 1e4
}

/// Size of the upright photo.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ImageInfo {
    width: u32,
    height: u32,
    channels: u8,
}

impl ImageInfo {
    /// Of an analysed photo; colour is always RGB by then.
    pub fn of(analysis: &Analysis) -> Self {
        Self { width: analysis.width, height: analysis.height, channels: 3 }
    }
}

/// A box in pixels, top left corner and size.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BoxDto {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
}

impl BoxDto {
    /// A box alone.
    pub fn plain(bbox: &BBox) -> Self {
        let (x, y, width, height) = (pixels(bbox.x), pixels(bbox.y), pixels(bbox.width), pixels(bbox.height));
        Self { x, y, width, height, confidence: None }
    }

    /// A box with the detector's confidence.
    pub fn scored(bbox: &BBox, confidence: f32) -> Self {
        Self { confidence: Some(score(confidence)), ..Self::plain(bbox) }
    }
}

/// How the corners of the mouth are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MouthNames {
    /// `mouth_left`, `mouth_right`, as the gateway has it.
    MouthFirst,
    /// `left_mouth`, `right_mouth`, as the MTCNN service has it.
    SideFirst,
}

/// Named points of a face.
#[derive(Debug, Clone, Serialize)]
pub struct LandmarksDto {
    #[serde(rename = "type")]
    kind: String,
    points: Vec<PointDto>,
    confidence: f64,
}

#[derive(Debug, Clone, Serialize)]
struct PointDto {
    name: &'static str,
    x: f64,
    y: f64,
}

impl LandmarksDto {
    /// `None` where the detector gave no points. The confidence is the face's: the networks give none per point.
    pub fn of(landmarks: &Landmarks, confidence: f32, names: MouthNames) -> Option<Self> {
        let name = |name: LandmarkName| match (name, names) {
            (LandmarkName::MouthLeft, MouthNames::SideFirst) => "left_mouth",
            (LandmarkName::MouthRight, MouthNames::SideFirst) => "right_mouth",
            (name, _) => name.as_str(),
        };
        let point = |l: &facesocial_types::Landmark| PointDto {
            name: name(l.name),
            x: pixels(l.point.x),
            y: pixels(l.point.y),
        };
        let points: Vec<_> = landmarks.iter().map(point).collect();
        let kind = format!("{}_point", points.len());
        (!points.is_empty()).then(|| Self { kind, points, confidence: score(confidence) })
    }
}

/// An answer, or why there is none.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Answer<T> {
    /// The answer.
    Done(T),
    /// None, and why.
    Missing {
        /// `unavailable` or `error`.
        status: &'static str,
        /// Sentence for a person.
        reason: String,
    },
}

impl<T> Answer<T> {
    /// The answer in its JSON form.
    pub fn of<U>(outcome: &Outcome<U>, done: impl FnOnce(&U) -> T) -> Self {
        match outcome {
            Outcome::Done(value) => Self::Done(done(value)),
            Outcome::Unavailable { reason } => Self::unavailable(reason),
            Outcome::Error { reason, .. } => Self::Missing { status: "error", reason: reason.clone() },
        }
    }

    /// The model is not installed.
    pub fn unavailable(reason: &str) -> Self {
        Self::Missing { status: "unavailable", reason: reason.to_owned() }
    }

    /// The answer, if there is one.
    pub fn done(&self) -> Option<&T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Missing { .. } => None,
        }
    }
}

/// What one service says about one face.
#[derive(Debug, Clone, Serialize)]
pub struct FaceEntry<T> {
    /// The face's index in the photo, the same for every service.
    pub face_id: usize,
    /// Where the face is.
    pub bbox: BoxDto,
    /// What is said.
    #[serde(flatten)]
    pub answer: Answer<T>,
}

/// The place of one file in a batch, with its answer or its problem.
#[derive(Debug, Serialize)]
pub struct BatchEntry<T> {
    image_id: usize,
    index: usize,
    filename: Option<String>,
    #[serde(flatten)]
    answer: BatchAnswer<T>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum BatchAnswer<T> {
    Done(T),
    Failed { error: Problem },
}

impl<T> BatchEntry<T> {
    /// The entry for one file.
    pub fn of(item: Item<T>) -> Self {
        let answer = match item.answer {
            Ok(answer) => BatchAnswer::Done(answer),
            Err(error) => BatchAnswer::Failed { error: error.problem(None) },
        };
        Self { image_id: item.index, index: item.index, filename: item.filename, answer }
    }
}

/// Faces at the client's boxes; without those the faces that are found; and where none is found, the whole photo as one
/// face, so that a tight crop can be sent too.
///
/// # Errors
/// A box outside of the photo; a network that fails.
pub fn analyze(loaded: &Loaded, photo: &Photo, boxes: Option<&[BBox]>, wanted: AnalyzerSet) -> ApiResult<Analysis> {
    let (pipeline, image) = (&loaded.pipeline, &photo.image);
    let (width, height) = image.dimensions();
    let outside = |b: &BBox| b.clipped(width, height).area() < 1.0;
    let detection = match boxes {
        Some(boxes) => {
            if let Some(i) = boxes.iter().position(outside) {
                let detail = format!("face_boxes[{i}] lies outside of the image, which has {width}x{height} pixels");
                return Err(ApiError::invalid(detail));
            }
            pipeline.faces_at(image, boxes)?
        }
        None => {
            let found = pipeline.detect(image, &DetectOptions::default())?;
            if found.faces.is_empty() { whole(loaded, photo)? } else { found }
        }
    };
    let analysis = pipeline.analyze_faces(image, detection, wanted);
    // A service's own path has nothing else to tell.
    match wanted.iter().find_map(|analyzer| Some((analyzer_service(analyzer)?, missing(&analysis, analyzer)?))) {
        Some((service, reason)) => Err(loaded.unavailable(service, reason.to_owned())),
        None => Ok(analysis),
    }
}

/// The service that gives an analysis; quality is no service of its own.
pub fn analyzer_service(analyzer: Analyzer) -> Option<Service> {
    match analyzer {
        Analyzer::Quality => None,
        Analyzer::Recognition => Some(Service::Recognition),
        Analyzer::Antispoof => Some(Service::Antispoof),
        Analyzer::GenderAge => Some(Service::GenderAge),
        Analyzer::Deepfake => Some(Service::Deepfake),
    }
}

/// Why an analysis has no answer about some face because its service is not available.
pub fn missing(analysis: &Analysis, analyzer: Analyzer) -> Option<&str> {
    without_answer(analysis, analyzer).find_map(|(failure, reason)| failure.is_none().then_some(reason))
}

/// How an analysis failed, for each face that it failed for.
pub fn failures(analysis: &Analysis, analyzer: Analyzer) -> impl Iterator<Item = Failure> {
    without_answer(analysis, analyzer).filter_map(|(failure, _)| failure)
}

/// Of each face that an analysis has no answer about: how it failed, unless the service is not available, and the reason.
fn without_answer(analysis: &Analysis, analyzer: Analyzer) -> impl Iterator<Item = (Option<Failure>, &str)> {
    fn of<T>(outcome: Option<&Outcome<T>>) -> Option<(Option<Failure>, &str)> {
        match outcome? {
            Outcome::Done(_) => None,
            Outcome::Unavailable { reason } => Some((None, reason)),
            Outcome::Error { reason, failure } => Some((Some(*failure), reason)),
        }
    }
    analysis.faces.iter().filter_map(move |face| match analyzer {
        Analyzer::Quality => of(face.quality.as_ref()),
        Analyzer::Recognition => of(face.recognition.as_ref()),
        Analyzer::Antispoof => of(face.antispoof.as_ref()),
        Analyzer::GenderAge => of(face.gender_age.as_ref()),
        Analyzer::Deepfake => of(face.deepfake.as_ref()),
    })
}

/// The whole photo as one face.
///
/// # Errors
/// A network that fails.
pub fn whole(loaded: &Loaded, photo: &Photo) -> ApiResult<Detection> {
    let (width, height) = photo.image.dimensions();
    Ok(loaded.pipeline.faces_at(&photo.image, &[BBox::new(0.0, 0.0, width as f32, height as f32)])?)
}

/// Mean of the values; `None` of none.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| (sum / f64::from(count) * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use facesocial_types::Point;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_missing_answer_says_why_beside_the_face() {
        let outcome: Outcome<u8> = Outcome::Unavailable { reason: "no weights".to_owned() };
        let entry = FaceEntry {
            face_id: 2,
            bbox: BoxDto::plain(&BBox::new(1.0, 2.0, 3.0, 4.0)),
            answer: Answer::of(&outcome, |n| json!({ "n": n })),
        };
        let expected = json!({
            "face_id": 2, "bbox": { "x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0 },
            "status": "unavailable", "reason": "no weights"
        });
        assert_eq!(serde_json::to_value(entry).unwrap(), expected);
    }

    #[test]
    fn mouth_corners_are_named_as_each_client_knows_them() {
        let marks = Landmarks::new([(LandmarkName::MouthLeft, Point::new(1.234, 2.0))]);
        let name = |names| serde_json::to_value(LandmarksDto::of(&marks, 0.9, names)).unwrap()["points"][0].clone();
        assert_eq!(name(MouthNames::MouthFirst), json!({ "name": "mouth_left", "x": 1.23, "y": 2.0 }));
        assert_eq!(name(MouthNames::SideFirst)["name"], "left_mouth");
        assert!(LandmarksDto::of(&Landmarks::default(), 0.9, MouthNames::MouthFirst).is_none());
    }

    #[test]
    fn the_mean_of_nothing_is_nothing() {
        assert_eq!(mean([].into_iter()), None);
        assert_eq!(mean([0.2, 0.4].into_iter()), Some(0.3));
    }
}
