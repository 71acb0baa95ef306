//! Which network, in which version, gave an answer.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Name and version of a network, or of an ensemble of networks; written `name@version`.
///
/// Two answers may be compared only if their ids are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId {
    name: String,
    version: String,
}

impl ModelId {
    /// An id from its parts.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into() }
    }

    /// From its written form; `None` without an `@`.
    pub fn parse(written: &str) -> Option<Self> {
        let (name, version) = written.rsplit_once('@')?;
        Some(Self::new(name, version))
    }

    /// The network's name, as in `weights/weights.lock`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version: for weights, the first 8 hex digits of their sha256.
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl Serialize for ModelId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let written = String::deserialize(d)?;
        Self::parse(&written).ok_or_else(|| D::Error::custom(format!("\"{written}\" is not name@version")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_form_reads_back() {
        let id = ModelId::new("mobilefacenet", "e05a5b1f");
        assert_eq!(ModelId::parse(&id.to_string()), Some(id));
        assert_eq!(ModelId::parse("mobilefacenet"), None);
    }
}
