//! What runs: the gateway, or one of the services.

use std::{fmt, str::FromStr};

use facesocial_types::Service;
use serde::{Deserialize, Serialize};

/// Port of the gateway in the original system; the services have the seven after it.
const FIRST_PORT: u16 = 8000;

/// A part of a deployment that can be started, stopped and looked at by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// What clients ask. In a deployment of one process, everything.
    Gateway,
    /// One service in a process of its own.
    Service(Service),
}

impl Unit {
    /// All, the gateway last: it is of use once the others are there.
    pub fn all() -> impl Iterator<Item = Self> {
        Service::ALL.iter().copied().map(Self::Service).chain([Self::Gateway])
    }

    /// Stable name, as in files and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Service(service) => service.as_str(),
        }
    }

    /// Port of the first replica in the original system: 8000 for the gateway, 8001 to 8007 for the services.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Gateway => FIRST_PORT,
            Self::Service(service) => {
                let place = Service::ALL.iter().position(|s| *s == service).unwrap_or_default();
                FIRST_PORT + 1 + u16::try_from(place).unwrap_or_default()
            }
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Unit {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        // As the original's scripts call it.
        if matches!(s.trim().to_ascii_lowercase().as_str(), "gateway" | "api-gateway") {
            return Ok(Self::Gateway);
        }
        s.replace('-', "_")
            .parse()
            .map(Self::Service)
            .map_err(|e: facesocial_types::ParseNameError| format!("{e}, gateway"))
    }
}

impl Serialize for Unit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_names_and_the_originals_ports() {
        let told: Vec<_> = Unit::all().map(|u| (u.as_str(), u.default_port())).collect();
        assert_eq!(told.first(), Some(&("mediapipe", 8001)));
        assert_eq!(told.last(), Some(&("gateway", 8000)));
        assert_eq!(told.len(), 8);
        assert!(told.contains(&("deepfake", 8007)));
        assert_eq!("gender-age".parse(), Ok(Unit::Service(Service::GenderAge)));
        assert_eq!("api-gateway".parse(), Ok(Unit::Gateway));
        assert!("cat".parse::<Unit>().unwrap_err().contains("gateway"));
    }
}
