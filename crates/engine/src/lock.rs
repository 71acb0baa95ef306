//! `weights.lock`: which weights belong to this version, with their digests.

use std::{fs, path::Path, sync::Arc};

use serde::Deserialize;

use crate::error::{EngineError, Result};

/// File name of the lock inside the weights folder.
pub const LOCK_FILE: &str = "weights.lock";

/// The lock file.
#[derive(Debug, Deserialize)]
pub struct WeightsLock {
    /// The listed networks.
    #[serde(rename = "network", default)]
    pub networks: Vec<LockedNetwork>,
}

/// One network's weights.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LockedNetwork {
    /// Name, as the folder in `models-src`.
    pub name: String,
    /// File in the weights folder.
    pub file: String,
    /// Digest of the file, lower-case hex.
    pub sha256: String,
    /// Number of weights.
    pub parameters: usize,
    /// Licence of the weights, SPDX.
    pub licence: String,
    /// Whether nobody trained them: weights made up for tests, which no other build runs.
    #[serde(default)]
    pub untrained: bool,
}

impl WeightsLock {
    /// Reads `dir/weights.lock`.
    ///
    /// # Errors
    /// [`EngineError::NoLock`] or [`EngineError::BadLock`].
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCK_FILE);
        let missing = |source| EngineError::NoLock { path: path.clone(), source: Arc::new(source) };
        let text = fs::read_to_string(&path).map_err(missing)?;
        toml::from_str(&text).map_err(|source| EngineError::BadLock { path, source: Arc::new(source) })
    }

    /// The entry called `name`.
    pub fn get(&self, name: &str) -> Option<&LockedNetwork> {
        self.networks.iter().find(|n| n.name == name)
    }
}
