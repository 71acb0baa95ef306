//! What jobs are asked for with, checked and completed: what a job needs later is decided when it is made.

use facesocial_types::ModelId;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Kind, duplicates, group};
use crate::{
    error::{ApiError, ApiResult, Code},
    gallery::{Level, running_model},
    state::State,
};

/// How many faces like it may be asked for around the middle of a group.
const MIN_FACES: std::ops::RangeInclusive<usize> = 2..=64;
/// Unless asked for: as photo libraries have it.
const DEFAULT_MIN_FACES: usize = 3;

/// Body of a request for a job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobRequest {
    kind: String,
    #[serde(default)]
    options: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    min_faces: Option<usize>,
    min_similarity: Option<f32>,
    verification_level: Option<String>,
}

impl JobRequest {
    /// The kind, and what its worker needs.
    ///
    /// # Errors
    /// Another kind, unknown options, values that are not allowed; networks that are not there or not measured.
    pub fn check(self, state: &State) -> ApiResult<(Kind, Value)> {
        let elsewhere = |kind: &Kind| matches!(kind, Kind::Import | Kind::Analyze);
        let kind = Kind::parse(&self.kind).filter(|kind| !elsewhere(kind)).ok_or_else(|| {
            let detail = "kind is none of reembed, group, duplicates; archives to import go to the path ending in /imports, \
                          analyses to /api/v1/jobs";
            ApiError::invalid(detail)
        })?;
        let given: Given = serde_json::from_value(Value::Object(self.options))
            .map_err(|e| ApiError::invalid(format!("options: {e}")))?;
        let model = running_model(state)?;
        let input = match kind {
            Kind::Group => json!(group::Options {
                min_faces: min_faces(given.min_faces)?,
                min_similarity: similarity(&given, state, &model, &[Level::Standard])?,
                model,
            }),
            Kind::Duplicates => {
                no_min_faces(&given)?;
                // The strictest that was measured.
                let levels = [Level::Strict, Level::Standard];
                json!(duplicates::Options { min_similarity: similarity(&given, state, &model, &levels)?, model })
            }
            Kind::Reembed | Kind::Import | Kind::Analyze => {
                no_min_faces(&given)?;
                if given.min_similarity.is_some() || given.verification_level.is_some() {
                    return Err(ApiError::invalid("options: reembed has none"));
                }
                json!({})
            }
        };
        Ok((kind, input))
    }
}

fn min_faces(given: Option<usize>) -> ApiResult<usize> {
    let n = given.unwrap_or(DEFAULT_MIN_FACES);
    let (least, most) = (MIN_FACES.start(), MIN_FACES.end());
    let wrong = || ApiError::invalid(format!("min_faces is {n}; allowed are {least} to {most}"));
    if MIN_FACES.contains(&n) { Ok(n) } else { Err(wrong()) }
}

fn no_min_faces(given: &Given) -> ApiResult<()> {
    if given.min_faces.is_some() { Err(ApiError::invalid("options: min_faces belongs to group")) } else { Ok(()) }
}

/// The similarity that was given, or that of the level that was; otherwise that of the first of `usual` that was measured.
fn similarity(given: &Given, state: &State, model: &ModelId, usual: &[Level]) -> ApiResult<f32> {
    match (given.min_similarity, &given.verification_level) {
        (Some(_), Some(_)) => Err(ApiError::invalid("give min_similarity or verification_level, not both")),
        (Some(s), None) if s > 0.0 && s <= 1.0 => Ok(s),
        (Some(s), None) => {
            Err(ApiError::invalid(format!("min_similarity is {s}; allowed are numbers above 0, up to 1")))
        }
        (None, Some(level)) => {
            let level: Level = level.parse().map_err(|e| ApiError::invalid(format!("verification_level: {e}")))?;
            level.threshold(state, model)
        }
        (None, None) => {
            let none = || ApiError::new(Code::ModelUnavailable, "no similarity was measured; give min_similarity");
            let mut last = Err(none());
            for level in usual {
                last = level.threshold(state, model);
                if last.is_ok() {
                    break;
                }
            }
            last
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_two_faces_at_least() {
        assert_eq!(min_faces(None).unwrap(), 3);
        assert_eq!(min_faces(Some(2)).unwrap(), 2);
        for wrong in [0, 1, 65, usize::MAX] {
            assert!(min_faces(Some(wrong)).unwrap_err().detail.contains("2 to 64"));
        }
    }

    #[test]
    fn unknown_members_are_refused() {
        for wrong in [r#"{"kind":"group","option":{}}"#, r#"{"options":{}}"#, r#"{"kind":"group","options":[]}"#] {
            assert!(serde_json::from_str::<JobRequest>(wrong).is_err(), "{wrong}");
        }
        for wrong in [r#"{"min_face":3}"#, r#"{"min_faces":-1}"#, r#"{"min_similarity":"high"}"#] {
            assert!(serde_json::from_str::<Given>(wrong).is_err(), "{wrong}");
        }
    }
}
