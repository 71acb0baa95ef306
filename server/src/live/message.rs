//! What a client sends as text, and what it is told.

use facesocial_types::{Analyzer, Detector};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    error::{ApiError, ApiResult},
    gallery::Level,
};

/// Longest text that is read.
pub const MAX_TEXT: usize = 16 * 1024;
/// Most characters of a parser's sentence that are passed on.
const MAX_TOLD: usize = 200;

/// A client's text message.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// Shows who asks: an access token or an API key. May be sent again with a newer one.
    Auth {
        /// The token or key.
        token: String,
    },
    /// From now on, frames are analysed in this way. Tracks of before are forgotten.
    Start(Box<Start>),
    /// Names the binary message that follows.
    Frame {
        /// The client's number, repeated in the answer.
        seq: u64,
    },
    /// No further frames; the one under way is answered first.
    Stop {},
}

/// Options of the analysis. All may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Start {
    /// `antispoof`, `gender_age`, `recognition`, `quality`; liveness, age and gender unless given.
    pub analyses: Option<Vec<String>>,
    /// The collection that faces are looked for in.
    pub collection: Option<String>,
    /// How sure a match must be: `basic`, `standard`, `strict`.
    pub verification_level: Option<String>,
    /// How faces are looked for.
    pub detector: Option<String>,
    /// Most frames a second.
    pub max_fps: Option<f64>,
    /// Faces with a lower score are left out.
    pub min_score: Option<f32>,
    /// Lower faces, in pixels, are left out.
    pub min_size: Option<f32>,
    /// At most this many faces, the largest.
    pub max_faces: Option<usize>,
}

/// A message of the client.
///
/// # Errors
/// Not JSON, or none of the messages. The text itself is not repeated: it may hold a token.
pub fn parse(text: &str) -> ApiResult<Message> {
    if text.len() > MAX_TEXT {
        return Err(ApiError::invalid(format!("a text message has at most {MAX_TEXT} bytes")));
    }
    serde_json::from_str(text).map_err(|error| {
        let told = match error.classify() {
            serde_json::error::Category::Data => told(&error),
            _ => "not JSON".to_owned(),
        };
        ApiError::invalid(format!("the message is none of auth, start, frame, stop: {told}"))
    })
}

/// The parser's sentence, unless it repeats a value.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_fields = ["missing field", "unknown field"].iter().any(|start| text.starts_with(start));
    if names_fields {
        text.chars().filter(|c| !c.is_control()).take(MAX_TOLD).collect()
    } else {
        "a value is of the wrong kind".to_owned()
    }
}

/// What is wanted of the frames, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Analyses, embeddings among them where faces are to be looked for.
    pub analyzers: Vec<Analyzer>,
    /// How faces are looked for.
    pub detector: Detector,
    /// Most frames a second.
    pub fps: f64,
    /// Least score of a face.
    pub min_score: f32,
    /// Least height of a face in pixels.
    pub min_size: f32,
    /// Most faces.
    pub max_faces: usize,
    /// How sure a match must be.
    pub level: Level,
    /// The collection that faces are looked for in.
    pub collection: Option<String>,
}

/// Most faces that are followed in one frame.
const MAX_FACES: usize = 50;
/// Faces that are followed unless the client asks for another number.
const DEFAULT_FACES: usize = 10;

impl Start {
    /// Checks the options.
    ///
    /// # Errors
    /// A value that is not allowed.
    pub fn checked(self, most_fps: u32) -> ApiResult<Wanted> {
        let mut analyzers = vec![Analyzer::Antispoof, Analyzer::GenderAge];
        if let Some(names) = &self.analyses {
            analyzers = names.iter().map(|name| analyzer(name)).collect::<ApiResult<_>>()?;
        }
        if self.collection.is_some() && !analyzers.contains(&Analyzer::Recognition) {
            analyzers.push(Analyzer::Recognition);
        }
        let detector = match &self.detector {
            Some(name) => name.parse::<Detector>().map_err(|e| ApiError::invalid(e.to_string()))?,
            None => Detector::Auto,
        };
        let level = match &self.verification_level {
            Some(name) => name.parse::<Level>().map_err(|e| ApiError::invalid(format!("verification_level: {e}")))?,
            None => Level::default(),
        };
        Ok(Wanted {
            analyzers,
            detector,
            fps: within("max_fps", self.max_fps, f64::from(most_fps), 0.1, f64::from(most_fps))?,
            min_score: within("min_score", self.min_score, 0.5, 0.0, 1.0)?,
            min_size: within("min_size", self.min_size, 0.0, 0.0, 65_535.0)?,
            max_faces: within("max_faces", self.max_faces, DEFAULT_FACES, 1, MAX_FACES)?,
            level,
            collection: self.collection,
        })
    }
}

fn analyzer(name: &str) -> ApiResult<Analyzer> {
    match name.parse() {
        Ok(Analyzer::Deepfake) | Err(_) => Err(ApiError::invalid(
            "analyses names one that is not done live; allowed are quality, recognition, antispoof, gender_age",
        )),
        Ok(analyzer) => Ok(analyzer),
    }
}

/// A number between two others; what is no number is between none.
fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    given: Option<T>,
    default: T,
    low: T,
    high: T,
) -> ApiResult<T> {
    match given {
        None => Ok(default),
        Some(value) if value >= low && value <= high => Ok(value),
        Some(_) => Err(ApiError::invalid(format!("{name} must lie between {low} and {high}"))),
    }
}

/// A number of frames by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Frames that came.
    pub received: u64,
    /// Frames that were answered with tracks.
    pub analysed: u64,
    /// Frames that a newer one replaced before their turn came.
    pub dropped: u64,
    /// Frames that were answered with an error.
    pub failed: u64,
}

/// An error as a message: the problem document's members, and which frame it is about.
pub fn error(error: &ApiError, frame: Option<Value>) -> Value {
    let mut message = json!({ "type": "error", "code": error.code.as_str(), "detail": error.detail });
    let retry_after = error.retry_after.or(error.code.retry_after());
    message["retryable"] = retry_after.is_some().into();
    if let Some(seconds) = retry_after {
        message["retry_after"] = seconds.into();
    }
    if let (Some(Value::Object(frame)), Some(message)) = (frame, message.as_object_mut()) {
        message.extend(frame);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn messages_are_read_and_others_refused_without_repeating_them() {
        assert!(matches!(parse(r#"{"type":"auth","token":"x"}"#), Ok(Message::Auth { .. })));
        assert!(matches!(parse(r#"{"type":"frame","seq":7}"#), Ok(Message::Frame { seq: 7 })));
        assert!(matches!(parse(r#"{"type":"stop"}"#), Ok(Message::Stop {})));
        assert!(matches!(parse(r#"{"type":"start"}"#), Ok(Message::Start(_))));
        for wrong in [
            "",
            "secret",
            r#"{"type":"frame","seq":-1}"#,
            r#"{"type":"frame","seq":"secret"}"#,
            r#"{"type":"auth","token":["secret"]}"#,
            r#"{"type":"start","no such option":1}"#,
            &format!(r#"{{"type":"auth","token":"{}"}}"#, "x".repeat(MAX_TEXT)),
        ] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.code, Code::InvalidInput);
            assert!(!error.detail.contains("secret"), "{error}");
        }
    }

    fn wanted(start: &str) -> ApiResult<Wanted> {
        serde_json::from_str::<Start>(start).unwrap().checked(15)
    }

    #[test]
    fn options_have_defaults_and_limits() {
        let plain = wanted("{}").unwrap();
        assert_eq!(plain.analyzers, [Analyzer::Antispoof, Analyzer::GenderAge]);
        assert_eq!((plain.detector, plain.fps, plain.max_faces), (Detector::Auto, 15.0, 10));
        let searching =
            wanted(r#"{"analyses":[],"collection":"crew","verification_level":"strict","max_fps":2}"#).unwrap();
        assert_eq!(
            (searching.analyzers, searching.level, searching.fps),
            (vec![Analyzer::Recognition], Level::Strict, 2.0)
        );
        for wrong in [
            r#"{"analyses":["deepfake"]}"#,
            r#"{"analyses":["iris"]}"#,
            r#"{"max_fps":0}"#,
            r#"{"max_fps":60}"#,
            r#"{"min_score":1.5}"#,
            r#"{"max_faces":0}"#,
            r#"{"detector":"eyes"}"#,
            r#"{"verification_level":"sure"}"#,
        ] {
            assert_eq!(wanted(wrong).unwrap_err().code, Code::InvalidInput, "{wrong}");
        }
    }

    #[test]
    fn an_error_tells_when_to_try_again_and_which_frame_it_is_about() {
        let busy = error(&ApiError::new(Code::Overloaded, "busy"), Some(json!({ "frame": 3, "seq": 9 })));
        assert_eq!((&busy["retryable"], &busy["retry_after"], &busy["seq"]), (&true.into(), &2.into(), &9.into()));
        let wrong = error(&ApiError::invalid("x"), None);
        assert_eq!((&wrong["retryable"], &wrong["retry_after"]), (&false.into(), &Value::Null));
    }
}
