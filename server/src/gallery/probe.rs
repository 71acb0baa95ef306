//! The faces of a photo, ready to be enrolled or compared: each with its quality and its embedding by the network that runs.

use std::str::FromStr;

use facesocial_imaging::Photo;
use facesocial_pipeline::{DetectOptions, FarTarget, PipelineError};
use facesocial_types::{
    Analyzer, AnalyzerSet, BBox, Detection, Embedding, Face, FaceAnalysis, ModelId, Outcome, Quality, QualityReason,
    Recognition, Service,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cached::{self, Caching, Packed},
    error::{ApiError, ApiResult, Code},
    extract::{Fields, Upload},
    services::face::BoxDto,
    state::{Loaded, State},
};

use super::crop;

/// Which of a photo's faces is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The one that there is; several are an error.
    Only,
    /// The largest.
    Largest,
    /// By its index, the largest being 0.
    Index(usize),
    /// Each.
    All,
}

impl Target {
    /// `target_face`: `largest`, or an index.
    ///
    /// # Errors
    /// Anything else.
    pub fn of(fields: &Fields, default: Self) -> ApiResult<Self> {
        let wrong = || ApiError::invalid("target_face is neither largest nor an index from 0 on");
        match fields.get("target_face") {
            None => Ok(default),
            Some("largest") => Ok(Self::Largest),
            Some(text) => text.parse().map(Self::Index).map_err(|_| wrong()),
        }
    }

    fn field(self) -> String {
        match self {
            Self::Only => "only".to_owned(),
            Self::Largest => "largest".to_owned(),
            Self::Index(index) => format!("index-{index}"),
            Self::All => "all".to_owned(),
        }
    }

    /// The faces meant, with their indices.
    fn of_faces(self, faces: Vec<Face>) -> ApiResult<Vec<(usize, Face)>> {
        let found = faces.len();
        let mut faces = faces.into_iter().enumerate();
        if found == 0 {
            let detail = "no face was found; the largest must be at least 20 pixels high and not turned away";
            return Err(ApiError::new(Code::NoFace, detail));
        }
        match self {
            Self::All => Ok(faces.collect()),
            Self::Largest => Ok(faces.by_ref().take(1).collect()),
            Self::Index(index) => faces.nth(index).map(|face| vec![face]).ok_or_else(|| {
                let last = found - 1;
                ApiError::invalid(format!("target_face is {index}; the photo's faces have the indices 0 to {last}"))
            }),
            Self::Only => {
                // What cannot be aligned cannot be meant, unless there is nothing else.
                let all: Vec<_> = faces.collect();
                let alignable = all.iter().filter(|(_, face)| !face.landmarks.is_empty()).count();
                let mut meant = all.iter().filter(|(_, face)| alignable == 0 || !face.landmarks.is_empty());
                match (meant.next(), meant.next()) {
                    (Some((index, face)), None) => Ok(vec![(*index, face.clone())]),
                    _ => Err(several(&all)),
                }
            }
        }
    }
}

fn several(faces: &[(usize, Face)]) -> ApiError {
    let boxes: Vec<_> = faces
        .iter()
        .map(|(index, face)| json!({ "index": index, "bbox": BoxDto::scored(&face.bbox, face.score) }))
        .collect();
    let detail = format!(
        "{} faces were found; send a photo of one person, or choose with target_face: largest, or an index from 0 to {}",
        faces.len(),
        faces.len() - 1,
    );
    ApiError::new(Code::MultipleFaces, detail).with("faces", boxes)
}

/// A face ready to be enrolled or compared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probe {
    /// Its index in the photo, the largest face being 0.
    pub index: usize,
    /// Where it is.
    pub bbox: BBox,
    /// The detector's score, 0..=1.
    pub score: f32,
    /// Fitness for recognition, 0..=1.
    pub quality: f32,
    /// What lowers the quality, worst first.
    pub reasons: Vec<QualityReason>,
    /// Its embedding, or why there is none.
    embedding: Result<Packed, String>,
    /// The face with its surroundings as JPEG; only where it is to be kept, and never in the cache.
    #[serde(skip)]
    pub crop: Option<Vec<u8>>,
}

impl Probe {
    /// Its embedding.
    ///
    /// # Errors
    /// The face could not be aligned or embedded.
    pub fn embedding(&self) -> ApiResult<&Embedding> {
        let told = |reason: &String| ApiError::new(Code::NoFace, format!("the face cannot be recognised: {reason}"));
        self.embedding.as_ref().map(|packed| &packed.0).map_err(told)
    }
}

/// The faces meant of a photo.
#[derive(Debug)]
pub struct Probes {
    /// At least one.
    pub faces: Vec<Probe>,
    /// Whether they were computed before.
    pub cached: bool,
}

impl Probes {
    /// The first, which is the only one unless all were asked for.
    ///
    /// # Errors
    /// None, which [`probes`] does not give.
    pub fn first(self) -> ApiResult<(Probe, bool)> {
        let cached = self.cached;
        let first = self.faces.into_iter().next();
        first.map(|face| (face, cached)).ok_or_else(|| ApiError::new(Code::NoFace, "no face was found"))
    }
}

/// Finds and embeds the faces meant. With `keep` their crops are cut too.
///
/// # Errors
/// Recognition has no weights; no usable image; no face, several, or none of that index.
pub async fn probes(
    state: &State,
    image: Upload,
    image_hash: &str,
    target: Target,
    keep: bool,
    caching: Caching,
) -> ApiResult<Probes> {
    let model = running_model(state)?;
    let field = format!("faces:1:{}:{model}", target.field());
    if !keep && let Some(faces) = cached::get::<Vec<Probe>>(state, caching, image_hash, &field).await {
        return Ok(Probes { faces, cached: true });
    }
    let (faces, whole) = state.photo(image, move |loaded, photo| look(loaded, photo, target, keep)).await?;
    // What was looked for by some of the detectors alone is looked for again.
    if whole {
        cached::put(state, caching, image_hash, &field, &faces).await;
    }
    Ok(Probes { faces, cached: false })
}

/// The faces meant, and whether every detector looked for them. Blocks: compute pool only.
fn look(loaded: &Loaded, photo: &Photo, target: Target, keep: bool) -> ApiResult<(Vec<Probe>, bool)> {
    let (pipeline, options) = (&loaded.pipeline, DetectOptions::default());
    let Detection { detector, faces } = pipeline.detect(&photo.image, &options)?;
    let whole = pipeline.detector_id(options.detector)? == detector;
    let (indices, faces): (Vec<usize>, Vec<Face>) = target.of_faces(faces)?.into_iter().unzip();
    let wanted = AnalyzerSet::NONE.with(Analyzer::Quality).with(Analyzer::Recognition);
    let analysis = pipeline.analyze_faces(&photo.image, Detection { detector, faces }, wanted);
    let probe = |(index, mut face): (usize, FaceAnalysis)| {
        let embedding = embedding(loaded, face.recognition.take())?.map(Packed);
        let (quality, reasons) = match face.quality {
            Some(Outcome::Done(Quality { score, reasons, .. })) => (score, reasons),
            _ => (0.0, Vec::new()),
        };
        Ok(Probe {
            index,
            bbox: face.bbox,
            score: face.score,
            quality,
            reasons,
            embedding,
            crop: keep.then(|| crop::cut(&photo.image, &face.bbox)),
        })
    };
    let probes = indices.into_iter().zip(analysis.faces).map(probe).collect::<ApiResult<_>>()?;
    Ok((probes, whole))
}

/// The embedding that an analysis gave of a face, or why the face has none.
///
/// # Errors
/// What lies in nothing that the face could do anything about: no weights, no time, no room, nobody who answers. Such a face is
/// not one that cannot be recognised, and is not to be remembered as such.
pub(super) fn embedding(
    loaded: &Loaded,
    recognition: Option<Outcome<Recognition>>,
) -> ApiResult<Result<Embedding, String>> {
    match recognition {
        Some(Outcome::Done(recognition)) => Ok(Ok(recognition.embedding)),
        Some(Outcome::Unavailable { reason }) => Err(loaded.unavailable(Service::Recognition, reason)),
        Some(Outcome::Error { reason, failure }) => match ApiError::passing(failure, &reason) {
            Some(error) => Err(error),
            None => Ok(Err(reason)),
        },
        None => Ok(Err("it was not embedded".to_owned())),
    }
}

/// The network or ensemble that embeds faces here.
///
/// # Errors
/// The networks are still being loaded; recognition has no weights.
pub fn running_model(state: &State) -> ApiResult<ModelId> {
    let loaded = state.loaded()?;
    loaded.require(Service::Recognition)?;
    let written = loaded.model(Service::Recognition).unwrap_or_default();
    ModelId::parse(written)
        .ok_or_else(|| ApiError::internal(&std::io::Error::other(format!("the model id {written} has no version"))))
}

/// How sure a decision must be: a false accept rate, whose similarity was measured for each network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// One stranger in a hundred is accepted.
    Basic,
    /// One in a thousand.
    #[default]
    Standard,
    /// One in ten thousand.
    Strict,
}

impl Level {
    /// `verification_level`.
    ///
    /// # Errors
    /// None of basic, standard, strict.
    pub fn of(fields: &Fields) -> ApiResult<Self> {
        Ok(fields.one_of("verification_level")?.unwrap_or_default())
    }

    /// The rate of strangers that are accepted.
    pub const fn far(self) -> FarTarget {
        match self {
            Self::Basic => FarTarget::Percent1,
            Self::Standard => FarTarget::PerMille1,
            Self::Strict => FarTarget::PerTenThousand1,
        }
    }

    /// The similarity that decides.
    ///
    /// # Errors
    /// [`Code::ModelUnavailable`] if none was measured for the network that runs.
    pub fn threshold(self, state: &State, model: &ModelId) -> ApiResult<f32> {
        let far = self.far();
        let none = || PipelineError::NoThreshold { model: model.clone(), far: far.rate() };
        Ok(state.loaded()?.pipeline.threshold(far).ok_or_else(none)?)
    }
}

impl FromStr for Level {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.to_ascii_lowercase().as_str() {
            "basic" => Ok(Self::Basic),
            "standard" => Ok(Self::Standard),
            "strict" => Ok(Self::Strict),
            _ => Err("allowed are basic, standard, strict"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use facesocial_pipeline::{Caller, ClientId};
    use facesocial_types::{LandmarkName, Landmarks, Point};
    use tokio::time::Instant;

    use super::*;
    use crate::networks::NetworkArgs;

    #[test]
    fn a_face_that_there_was_no_time_for_is_not_one_that_cannot_be_recognised() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (weights, none) = (root.join("weights"), root.join("weights/no-pulled-networks"));
        let args = NetworkArgs { weights: Some(weights), models_dir: Some(none), ..NetworkArgs::default() };
        let services = vec![Service::Mediapipe, Service::Yolo, Service::Mtcnn, Service::Recognition];
        let loaded = Loaded::load(&args.options(services).unwrap()).unwrap();
        let image = image::open(root.join("tests/images/portrait.jpg")).unwrap().to_rgb8();
        let found = loaded.pipeline.detect(&image, &DetectOptions::default()).unwrap().faces.remove(0);
        let embedded = |loaded: &Loaded, face: &Face| {
            let detection = Detection { detector: "none".to_owned(), faces: vec![face.clone()] };
            let wanted = AnalyzerSet::NONE.with(Analyzer::Recognition);
            let answer = loaded.pipeline.analyze_faces(&image, detection, wanted).faces.remove(0);
            embedding(loaded, answer.recognition)
        };
        assert!(embedded(&loaded, &found).unwrap().is_ok());
        let bare = Face { landmarks: Landmarks::default(), ..found.clone() };
        assert!(embedded(&loaded, &bare).unwrap().unwrap_err().contains("landmarks"));
        let late = loaded.on_behalf_of(Caller::new(ClientId::of("x"), Some(Instant::now())));
        let error = embedded(&late, &found).unwrap_err();
        assert_eq!(error.code, Code::DeadlineExceeded);
        assert!(error.response(None).headers().contains_key("retry-after"));
        // However late it is: the face cannot be aligned at any time.
        assert!(embedded(&late, &bare).unwrap().is_err());
    }

    fn face(width: f32, alignable: bool) -> Face {
        let landmarks = alignable.then(|| Landmarks::new([(LandmarkName::Nose, Point::new(1.0, 1.0))]));
        Face { bbox: BBox::new(0.0, 0.0, width, width), score: 0.9, landmarks: landmarks.unwrap_or_default() }
    }

    fn indices(target: Target, faces: &[Face]) -> Result<Vec<usize>, Code> {
        let chosen = target.of_faces(faces.to_vec()).map_err(|e| e.code)?;
        Ok(chosen.into_iter().map(|(index, _)| index).collect())
    }

    #[test]
    fn one_face_is_meant_unless_another_is_chosen() {
        let (one, three) = ([face(9.0, true)], [face(9.0, true), face(8.0, true), face(7.0, true)]);
        assert_eq!(indices(Target::Only, &[]), Err(Code::NoFace));
        assert_eq!(indices(Target::Only, &one), Ok(vec![0]));
        assert_eq!(indices(Target::Only, &three), Err(Code::MultipleFaces));
        assert_eq!(indices(Target::Only, &[face(9.0, false), face(8.0, true)]), Ok(vec![1]));
        assert_eq!(indices(Target::Largest, &three), Ok(vec![0]));
        assert_eq!(indices(Target::Index(2), &three), Ok(vec![2]));
        assert_eq!(indices(Target::Index(3), &three), Err(Code::InvalidInput));
        assert_eq!(indices(Target::All, &three), Ok(vec![0, 1, 2]));
    }

    #[test]
    fn several_faces_are_told_with_the_way_out() {
        let error = Target::Only.of_faces(vec![face(9.0, true), face(8.0, true)]).unwrap_err();
        assert!(error.detail.contains("2 faces") && error.detail.contains("target_face"), "{error}");
        assert_eq!(error.problem(None).members.unwrap()["faces"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn levels_are_false_accept_rates() {
        let rates = ["basic", "standard", "strict"].map(|l| l.parse::<Level>().unwrap().far().rate());
        assert_eq!(rates, [1e-2, 1e-3, 1e-4]);
        assert!("high".parse::<Level>().is_err());
    }

    #[test]
    fn the_cached_form_of_a_face_holds_no_pixels() {
        let embedding = Embedding::new(ModelId::new("net", "1"), vec![1.0, 2.0]).unwrap();
        let probe = Probe {
            index: 0,
            bbox: BBox::new(1.0, 2.0, 3.0, 4.0),
            score: 0.9,
            quality: 0.5,
            reasons: vec![QualityReason::Blurred],
            embedding: Ok(Packed(embedding)),
            crop: Some(vec![1, 2, 3]),
        };
        let read: Probe = serde_json::from_str(&serde_json::to_string(&probe).unwrap()).unwrap();
        assert!(read.crop.is_none() && read.embedding().is_ok());
        assert_eq!((read.reasons, read.bbox), (probe.reasons, probe.bbox));
    }
}
