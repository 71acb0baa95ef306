//! Text that must not show up in logs.

use std::{convert::Infallible, fmt, str::FromStr};

use zeroize::Zeroizing;

/// A password, or an address that may hold one. Printed as `***`; its memory is cleared when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for whom it is meant.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret, unless it is empty: an empty environment variable counts as none.
    pub fn given(self) -> Option<Self> {
        (!self.0.is_empty()).then_some(self)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(s: &str) -> Result<Self, Infallible> {
        Ok(Self::new(s))
    }
}
