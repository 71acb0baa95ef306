//! What a client wants of a photo: the flags of the second version's form, and the `config` of the first.

use facesocial_pipeline::DetectOptions;
use facesocial_types::{Analyzer, AnalyzerSet};
use serde::Deserialize;

use crate::{
    error::ApiResult,
    extract::{Fields, Object},
    gallery::{SearchOptions, names},
    services::detection::{self, Method, service_defaults},
};

/// What a client wants of a photo.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How faces are looked for.
    pub method: Method,
    /// Options of the search.
    pub detect: DetectOptions,
    /// Whether faces are looked for at all; if not, the whole photo is one face.
    pub detect_faces: bool,
    /// What is said about each face.
    pub wanted: AnalyzerSet,
    /// Whether landmarks are part of the answer.
    pub landmarks: bool,
    /// Whether embeddings are part of the answer.
    pub embeddings: bool,
    /// The collection that the faces are looked for in, and how.
    pub gallery: Option<(String, SearchOptions)>,
    /// Whether the analysis is to be stored, where the client says so.
    pub store: Option<bool>,
}

/// `config` of the first version's `/analyze/comprehensive`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AnalysisConfig {
    detect_faces: Option<bool>,
    face_service: Option<String>,
    recognize_faces: Option<bool>,
    detect_spoofing: Option<bool>,
    predict_gender_age: Option<bool>,
    detect_deepfake: Option<bool>,
    assess_quality: Option<bool>,
    include_landmarks: Option<bool>,
    collection: Option<String>,
    store: Option<bool>,
}

/// `config` of the first version's `/analyze/batch`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BatchConfig {
    /// What is wanted of each photo.
    pub analysis_config: Option<Object<AnalysisConfig>>,
    /// Photos analysed at the same time.
    pub max_concurrent: Option<usize>,
}

impl Plan {
    /// From the form's flags; `config` counts where the form has none. A form that says nothing at all, as the original's
    /// first example, asks for everything.
    ///
    /// # Errors
    /// A value that is not allowed.
    pub fn of(fields: &Fields, config: Option<AnalysisConfig>) -> ApiResult<Self> {
        let given = config.is_some();
        let config = config.unwrap_or_default();
        let detect_faces = fields.flag("detect_faces")?.or(config.detect_faces);
        let analyses = [
            (Analyzer::Quality, "assess_quality", config.assess_quality),
            (Analyzer::Recognition, "recognize_faces", config.recognize_faces),
            (Analyzer::Antispoof, "detect_spoofing", config.detect_spoofing),
            (Analyzer::GenderAge, "predict_gender_age", config.predict_gender_age),
            (Analyzer::Deepfake, "detect_deepfake", config.detect_deepfake),
        ];
        let mut flags = Vec::with_capacity(analyses.len());
        for (analyzer, name, configured) in analyses {
            flags.push((analyzer, fields.flag(name)?.or(configured)));
        }
        let gallery = match fields.get("collection").or(config.collection.as_deref()) {
            Some(name) => {
                names::collection(name)?;
                Some((name.to_owned(), SearchOptions::of(fields)?))
            }
            None => None,
        };
        let silent = !given && detect_faces.is_none() && flags.iter().all(|(_, flag)| flag.is_none());
        let default = |analyzer| silent || analyzer == Analyzer::Quality;
        let wanted = flags.into_iter().filter(|(analyzer, flag)| flag.unwrap_or(default(*analyzer)));
        let method = match (detection::method(fields, "face_service")?, &config.face_service) {
            (Some(method), _) => method,
            (None, Some(name)) => name.parse()?,
            (None, None) => Method::Mediapipe,
        };
        Ok(Self {
            method,
            detect: detection::options(fields, method, service_defaults(method))?,
            detect_faces: detect_faces.unwrap_or(true),
            wanted: match &gallery {
                // Without an embedding there is nothing to look for.
                Some(_) => wanted.map(|(analyzer, _)| analyzer).collect::<AnalyzerSet>().with(Analyzer::Recognition),
                None => wanted.map(|(analyzer, _)| analyzer).collect(),
            },
            landmarks: fields.flag("include_landmarks")?.or(config.include_landmarks).unwrap_or(true),
            embeddings: fields.flag("return_embeddings")?.unwrap_or(false),
            gallery,
            store: fields.flag("store")?.or(config.store),
        })
    }

    /// What of the plan decides the analysis itself, in words: the same words, the same answer.
    pub fn key(&self) -> String {
        let Self { method, detect, detect_faces, wanted, landmarks, embeddings, gallery, store: _ } = self;
        let searched = gallery.is_some();
        format!("{method:?} {detect:?} {detect_faces} {wanted:?} {landmarks} {embeddings} {searched}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(fields: &[(&str, &str)], config: Option<&str>) -> ApiResult<Plan> {
        let mut form = Fields::default();
        for (name, value) in fields {
            form.push((*name).to_owned(), (*value).to_owned());
        }
        Plan::of(&form, config.map(|c| serde_json::from_str(c).unwrap()))
    }

    #[test]
    fn a_form_that_says_nothing_asks_for_everything() {
        let plan = plan(&[], None).unwrap();
        assert_eq!(plan.wanted, AnalyzerSet::ALL);
        assert_eq!(plan.method, Method::Mediapipe);
        assert!(plan.detect_faces && !plan.embeddings);
    }

    #[test]
    fn one_flag_brings_the_originals_defaults_for_the_others() {
        let plan = plan(&[("predict_gender_age", "true")], None).unwrap();
        assert_eq!(plan.wanted, AnalyzerSet::NONE.with(Analyzer::Quality).with(Analyzer::GenderAge));
    }

    #[test]
    fn the_form_wins_over_the_config() {
        let config = r#"{"detect_spoofing": true, "assess_quality": false, "face_service": "mtcnn", "unknown": 1}"#;
        let plan = plan(&[("face_service", "ensemble")], Some(config)).unwrap();
        assert_eq!(plan.wanted, AnalyzerSet::NONE.with(Analyzer::Antispoof));
        assert_eq!(plan.method, Method::Ensemble);
    }

    #[test]
    fn a_gallery_asks_for_embeddings() {
        let form = [("predict_gender_age", "true"), ("collection", "staff"), ("top_k", "3"), ("store", "true")];
        let searched = plan(&form, None).unwrap();
        assert!(searched.wanted.contains(Analyzer::Recognition));
        let (name, options) = searched.gallery.clone().unwrap();
        assert_eq!((name.as_str(), options.top_k, searched.store), ("staff", 3, Some(true)));
        let configured = plan(&[], Some(r#"{"collection": "staff", "store": false}"#)).unwrap();
        assert!(configured.gallery.is_some() && configured.store == Some(false));
        assert_ne!(searched.key(), plan(&form[..1], None).unwrap().key());
        let stored_or_not = |store| plan(&[("store", store)], None).unwrap().key();
        assert_eq!(stored_or_not("true"), stored_or_not("false"));
    }

    #[test]
    fn wrong_values_are_refused() {
        assert!(plan(&[("detect_spoofing", "maybe")], None).is_err());
        assert!(plan(&[("face_service", "dlib")], None).is_err());
        assert!(plan(&[("detection_confidence", "2")], None).is_err());
        assert!(plan(&[("collection", "../x")], None).is_err());
        assert!(plan(&[("collection", "x"), ("top_k", "1000")], None).is_err());
    }
}
