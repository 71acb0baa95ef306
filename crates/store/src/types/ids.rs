//! Identifiers: UUIDs of version 7, whose order is that of their making.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident;)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new one, greater than those made before.
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    )+};
}

ids! {
    /// A collection: a gallery of its own, whose persons and faces no other collection sees.
    CollectionId;
    /// A person of a collection.
    PersonId;
    /// A face of a collection, of a person or of nobody known.
    FaceId;
    /// An account.
    UserId;
    /// An API key.
    ApiKeyId;
    /// One login: the family of refresh tokens that follow from it.
    LoginId;
    /// One stored analysis of one photo.
    SessionId;
    /// One face of a stored analysis.
    DetectionId;
    /// Work that goes on after its request was answered.
    JobId;
}
