//! Names of the services, of the detectors among them, and of the analyses asked for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name that is none of the allowed ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} \"{given}\"; allowed are {allowed}")]
pub struct ParseNameError {
    what: &'static str,
    given: String,
    allowed: String,
}

macro_rules! names {
    ($(#[$meta:meta])* $ty:ident, $what:literal: $($(#[$vmeta:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $ty { $($(#[$vmeta])* #[serde(rename = $name)] $variant),+ }

        impl $ty {
            /// Every value, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Stable name, as in URLs, options and JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $ty {
            type Err = ParseNameError;

            fn from_str(s: &str) -> Result<Self, ParseNameError> {
                let wanted = s.trim().to_ascii_lowercase();
                Self::ALL.iter().copied().find(|v| v.as_str() == wanted).ok_or_else(|| ParseNameError {
                    what: $what,
                    given: s.to_owned(),
                    allowed: Self::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

names! {
    /// One of the seven services behind the gateway.
    Service, "service":
    /// BlazeFace pre-detection.
    Mediapipe = "mediapipe",
    /// YOLOv10n detection.
    Yolo = "yolo",
    /// MTCNN detection with landmarks.
    Mtcnn = "mtcnn",
    /// Embeddings and comparison.
    Recognition = "recognition",
    /// Liveness.
    Antispoof = "antispoof",
    /// Age and gender.
    GenderAge = "gender_age",
    /// Generated or swapped faces.
    Deepfake = "deepfake",
}

names! {
    /// How faces are looked for.
    Detector, "detector":
    /// All three together: MTCNN finds, YOLOv10n and BlazeFace find what it misses, MTCNN refines.
    Auto = "auto",
    /// BlazeFace alone, short and full range together.
    Mediapipe = "mediapipe",
    /// BlazeFace short range alone: faces within about two metres.
    MediapipeShort = "mediapipe_short",
    /// BlazeFace full range alone: faces within about five metres.
    MediapipeFull = "mediapipe_full",
    /// YOLOv10n alone.
    Yolo = "yolo",
    /// The MTCNN cascade alone.
    Mtcnn = "mtcnn",
}

names! {
    /// One kind of answer about a face.
    Analyzer, "analysis":
    /// Fitness of the picture for recognition.
    Quality = "quality",
    /// Embedding.
    Recognition = "recognition",
    /// Liveness.
    Antispoof = "antispoof",
    /// Age and gender.
    GenderAge = "gender_age",
    /// Generated or swapped face.
    Deepfake = "deepfake",
}

/// Which analyses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnalyzerSet(u8);

impl AnalyzerSet {
    /// Every analysis.
    pub const ALL: Self = Self((1 << Analyzer::ALL.len()) - 1);
    /// Detection only.
    pub const NONE: Self = Self(0);

    /// Whether `analyzer` is in the set.
    pub fn contains(self, analyzer: Analyzer) -> bool {
        self.0 & (1 << analyzer as u8) != 0
    }

    /// The set with `analyzer` added.
    #[must_use]
    pub fn with(self, analyzer: Analyzer) -> Self {
        Self(self.0 | (1 << analyzer as u8))
    }

    /// The members in the order of [`Analyzer::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Analyzer> {
        Analyzer::ALL.iter().copied().filter(move |a| self.contains(*a))
    }
}

impl FromIterator<Analyzer> for AnalyzerSet {
    fn from_iter<I: IntoIterator<Item = Analyzer>>(iter: I) -> Self {
        iter.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_a_wrong_one_lists_the_allowed() {
        assert_eq!("Gender_Age".parse(), Ok(Analyzer::GenderAge));
        let err = "foo".parse::<Detector>().unwrap_err().to_string();
        assert_eq!(
            err,
            "unknown detector \"foo\"; allowed are auto, mediapipe, mediapipe_short, mediapipe_full, yolo, mtcnn"
        );
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set: AnalyzerSet = [Analyzer::Deepfake, Analyzer::Quality].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Analyzer::Quality, Analyzer::Deepfake]);
        assert_eq!(AnalyzerSet::ALL.iter().count(), 5);
    }
}
