//! Thresholds that were measured at the place of use, each for one network.

use std::collections::BTreeMap;

use facesocial_types::ModelId;

use crate::{Band, Thresholds};

/// Thresholds by the network whose scores they speak of; those of a network that does not run have no effect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChosenThresholds {
    /// Similarities of a recognition ensemble.
    pub recognition: BTreeMap<ModelId, Thresholds>,
    /// Liveness scores: attacks below, live faces from the upper end on.
    pub antispoof: BTreeMap<ModelId, Band>,
    /// Probabilities of a fake: photographs below, fakes from the upper end on.
    pub deepfake: BTreeMap<ModelId, Band>,
}
