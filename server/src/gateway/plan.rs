//! What a client wants of a photo: the flags of the second version's form, and the `config` of the first.

use facesocial_pipeline::DetectOptions;
use facesocial_types::{Analyzer, AnalyzerSet};
use serde::Deserialize;

use crate::{
    error::ApiResult,
    extract::Fields,
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
}

/// `config` of the first version's `/analyze/batch`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BatchConfig {
    /// What is wanted of each photo.
    pub analysis_config: Option<AnalysisConfig>,
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
            wanted: wanted.map(|(analyzer, _)| analyzer).collect(),
            landmarks: fields.flag("include_landmarks")?.or(config.include_landmarks).unwrap_or(true),
            embeddings: fields.flag("return_embeddings")?.unwrap_or(false),
        })
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
    fn wrong_values_are_refused() {
        assert!(plan(&[("detect_spoofing", "maybe")], None).is_err());
        assert!(plan(&[("face_service", "dlib")], None).is_err());
        assert!(plan(&[("detection_confidence", "2")], None).is_err());
    }
}
