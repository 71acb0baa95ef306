//! The JSON document of `facesocial analyze`. Key order and names are stable; a change of either raises `version`.

use facesocial_types::{
    Analysis, AntiSpoof, BBox, Deepfake, DeepfakeDecision, FaceAnalysis, Gender, GenderAge, Landmarks,
    LivenessDecision, ModelId, Outcome, Quality, QualityReason, Recognition,
};
use serde::Serialize;

/// Version of the documents that the command line writes.
pub const VERSION: u32 = 1;

/// The whole answer.
#[derive(Debug, Serialize)]
pub struct Document {
    /// [`VERSION`].
    pub version: u32,
    /// In the order of the command line.
    pub images: Vec<Image>,
}

/// One photo, or why it has no answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Image {
    /// It was analysed.
    Done {
        /// As given, or found in a folder.
        path: String,
        /// Width of the upright image in pixels.
        width: u32,
        /// Height of the upright image in pixels.
        height: u32,
        /// What found the faces.
        detector: String,
        /// Largest first.
        faces: Vec<Face>,
    },
    /// It was not.
    Failed {
        /// As given, or found in a folder.
        path: String,
        /// Sentence for a person.
        error: String,
    },
}

/// One face. An answer that was not asked for is absent.
#[derive(Debug, Serialize)]
pub struct Face {
    index: usize,
    #[serde(rename = "box")]
    bbox: Box,
    landmarks: Vec<Landmark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Answer<QualityJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recognition: Option<Answer<RecognitionJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    antispoof: Option<Answer<AntiSpoofJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gender_age: Option<Answer<GenderAgeJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deepfake: Option<Answer<DeepfakeJson>>,
}

#[derive(Debug, Serialize)]
struct Box {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    score: f64,
}

#[derive(Debug, Serialize)]
struct Landmark {
    name: &'static str,
    x: f64,
    y: f64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer<T> {
    Done(T),
    Missing { status: &'static str, reason: String },
}

#[derive(Debug, Serialize)]
struct QualityJson {
    score: f64,
    reasons: Vec<QualityReason>,
}

#[derive(Debug, Serialize)]
struct RecognitionJson {
    model: ModelId,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Vec<f32>>,
}

#[derive(Debug, Serialize)]
struct AntiSpoofJson {
    model: ModelId,
    score: f64,
    decision: LivenessDecision,
}

#[derive(Debug, Serialize)]
struct GenderAgeJson {
    model: ModelId,
    age: f64,
    age_range: Option<[u8; 2]>,
    gender: Gender,
    gender_score: f64,
}

#[derive(Debug, Serialize)]
struct DeepfakeJson {
    model: ModelId,
    score: f64,
    decision: DeepfakeDecision,
}

impl Image {
    /// The answer about one photo; vectors only if `embeddings`.
    pub fn new(path: String, analysis: &Analysis, embeddings: bool) -> Self {
        Self::Done {
            path,
            width: analysis.width,
            height: analysis.height,
            detector: analysis.detector.clone(),
            faces: analysis.faces.iter().map(|f| Face::new(f, embeddings)).collect(),
        }
    }
}

impl Face {
    fn new(face: &FaceAnalysis, embeddings: bool) -> Self {
        Self {
            index: face.index,
            bbox: box_of(&face.bbox, face.score),
            landmarks: landmarks(&face.landmarks),
            quality: face.quality.as_ref().map(|o| answer(o, quality)),
            recognition: face.recognition.as_ref().map(|o| answer(o, |r| recognition(r, embeddings))),
            antispoof: face.antispoof.as_ref().map(|o| answer(o, antispoof)),
            gender_age: face.gender_age.as_ref().map(|o| answer(o, gender_age)),
            deepfake: face.deepfake.as_ref().map(|o| answer(o, deepfake)),
        }
    }
}

/// A number with at most `digits` decimals. Numbers that JSON cannot hold stay as they are and become null.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    // + 0.0 turns the negative zero of a rounded -0.001 into zero.
    (value * scale).round() / scale + 0.0
}

/// Decimals of coordinates.
const PIXEL_DIGITS: i32 = 2;
/// Decimals of scores.
const SCORE_DIGITS: i32 = 4;

fn pixels(value: f32) -> f64 {
    rounded(f64::from(value), PIXEL_DIGITS)
}

/// A score as the documents give it.
pub fn score(value: f32) -> f64 {
    rounded(f64::from(value), SCORE_DIGITS)
}

fn box_of(b: &BBox, s: f32) -> Box {
    Box { x: pixels(b.x), y: pixels(b.y), width: pixels(b.width), height: pixels(b.height), score: score(s) }
}

/// `{x, y, width, height, score}` of a face.
pub fn face_box(face: &facesocial_types::Face) -> impl Serialize + use<> {
    box_of(&face.bbox, face.score)
}

fn landmarks(marks: &Landmarks) -> Vec<Landmark> {
    let mark =
        |l: &facesocial_types::Landmark| Landmark { name: l.name.as_str(), x: pixels(l.point.x), y: pixels(l.point.y) };
    marks.iter().map(mark).collect()
}

fn answer<T, U>(outcome: &Outcome<T>, json: impl Fn(&T) -> U) -> Answer<U> {
    match outcome {
        Outcome::Done(value) => Answer::Done(json(value)),
        Outcome::Unavailable { reason } => Answer::Missing { status: "unavailable", reason: reason.clone() },
        Outcome::Error { reason, .. } => Answer::Missing { status: "error", reason: reason.clone() },
    }
}

fn quality(q: &Quality) -> QualityJson {
    QualityJson { score: score(q.score), reasons: q.reasons.clone() }
}

fn recognition(r: &Recognition, vectors: bool) -> RecognitionJson {
    RecognitionJson { model: r.embedding.model().clone(), embedding: vectors.then(|| r.embedding.as_slice().to_vec()) }
}

fn antispoof(a: &AntiSpoof) -> AntiSpoofJson {
    AntiSpoofJson { model: a.model.clone(), score: score(a.score), decision: a.decision }
}

fn gender_age(g: &GenderAge) -> GenderAgeJson {
    GenderAgeJson {
        model: g.model.clone(),
        age: rounded(f64::from(g.age), 1),
        age_range: g.age_range,
        gender: g.gender,
        gender_score: score(g.gender_score),
    }
}

fn deepfake(d: &Deepfake) -> DeepfakeJson {
    DeepfakeJson { model: d.model.clone(), score: score(d.score), decision: d.decision }
}

#[cfg(test)]
mod tests {
    use super::{super::annotate::tests::analysis, *};

    #[test]
    fn the_document_is_stable_to_the_byte() {
        let mut analysis = analysis();
        analysis.faces[0].gender_age = None;
        let failed = Image::Failed { path: "b.jpg".to_owned(), error: "the image is empty (0 bytes)".to_owned() };
        let images = vec![Image::new("a.jpg".to_owned(), &analysis, false), failed];
        let text = serde_json::to_string(&Document { version: VERSION, images }).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"version":1,"images":[{"path":"a.jpg","width":200,"height":150,"detector":"blazeface@1","#,
                r#""faces":[{"index":0,"box":{"x":40.12,"y":50.46,"width":60.0,"height":70.0,"score":0.9876},"#,
                r#""landmarks":[{"name":"left_eye","x":55.56,"y":70.0}],"#,
                r#""quality":{"score":0.8125,"reasons":["blurred","cut_off"]},"#,
                r#""recognition":{"model":"ensemble@12345678"},"#,
                r#""antispoof":{"model":"tree@12345678","score":0.93,"decision":"live"},"#,
                r#""deepfake":{"status":"unavailable","reason":"no network"}}]},"#,
                r#"{"path":"b.jpg","error":"the image is empty (0 bytes)"}]}"#,
            )
        );
    }

    #[test]
    fn vectors_come_when_asked_for_and_ages_with_one_decimal() {
        let json = serde_json::to_value(Image::new("a.jpg".to_owned(), &analysis(), true)).unwrap();
        let face = &json["faces"][0];
        assert!((face["recognition"]["embedding"][1].as_f64().unwrap() - 0.8).abs() < 1e-6);
        let expected = serde_json::json!({
            "model": "faceres@12345678", "age": 31.3, "age_range": [25, 38], "gender": "female", "gender_score": 0.98
        });
        assert_eq!(face["gender_age"], expected);
    }

    #[test]
    fn numbers_round_without_a_negative_zero() {
        assert_eq!(rounded(-0.001, 2).to_string(), "0");
        assert_eq!(rounded(0.125, 2), 0.13);
        assert!(rounded(f64::NAN, 2).is_nan());
    }
}
