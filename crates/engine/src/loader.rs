//! From weights on disk to networks that can run.

use std::sync::Arc;

use candle::Device;
use candle_nn::VarBuilder;
use facesocial_models::{ModelError, Weights};
use facesocial_types::{ModelId, Service};

use crate::{
    EngineSettings,
    batch::BatchLimits,
    error::{EngineError, Result},
    executor::Executor,
    folders::{Folders, Found},
    lock::LockedNetwork,
    network::{Network, Recipe, Task},
    precision::Precision,
    registry::Registry,
    remote::Remote,
    selection::bring,
};

/// Digits of a digest that tell versions apart; the whole digest is checked when the file is read.
const VERSION_DIGITS: usize = 8;
/// Digits of each part's version in the version of networks that answer together.
const PART_DIGITS: usize = 4;
/// Whether weights that nobody trained are run: only in builds made for tests.
const RUNS_UNTRAINED: bool = cfg!(feature = "untrained");

/// Reads weights, now or later.
pub(crate) struct Reader {
    folders: Folders,
    device: Device,
    precision: Precision,
}

/// Makes networks of one device.
pub(crate) struct Loader {
    reader: Arc<Reader>,
    executor: Arc<Executor>,
    registry: Arc<Registry>,
    limits: BatchLimits,
}

impl Reader {
    /// The network called `name`, built from its weights.
    ///
    /// # Errors
    /// [`EngineError::Absent`] without weights; [`EngineError::Load`] if they are damaged or belong to another version
    /// of the code.
    pub fn read<T>(
        &self,
        name: &'static str,
        build: impl FnOnce(VarBuilder<'static>) -> facesocial_models::Result<T>,
    ) -> Result<T> {
        let Found { locked, path } = self.find(name)?;
        let load = || {
            let weights = Weights::open(&path, Some(&locked.sha256))?;
            let model = build(weights.var_builder(self.precision.of(name, &self.device), &self.device))?;
            weights.finish()?;
            Ok(model)
        };
        load().map_err(|source: ModelError| EngineError::Load { network: name, source: Arc::new(source) })
    }

    fn find(&self, name: &'static str) -> Result<Found<'_>> {
        let absent =
            || EngineError::Absent { network: name, reason: format!("its weights are missing; {}", bring(name)) };
        let found = self.folders.find(name).ok_or_else(absent)?;
        check_trained(name, found.locked.untrained, RUNS_UNTRAINED)?;
        Ok(found)
    }
}

impl Loader {
    pub fn new(folders: Folders, executor: Arc<Executor>, registry: Arc<Registry>, settings: &EngineSettings) -> Self {
        let (device, precision) = (executor.device().clone(), settings.precision);
        let reader = Arc::new(Reader { folders, device, precision });
        Self { reader, executor, registry, limits: settings.batches }
    }

    pub fn folders(&self) -> &Folders {
        &self.reader.folders
    }

    /// The network called `name`, made of `parts`, for `services`. Nothing is read before it is used; its absence is no
    /// error.
    ///
    /// # Errors
    /// [`EngineError::Untrained`].
    pub fn network<M: Task>(
        &self,
        name: &'static str,
        parts: &[&'static str],
        services: &[Service],
        spec: M::Spec,
        build: impl Fn(&Reader) -> Result<M> + Send + Sync + 'static,
    ) -> Result<Network<M>> {
        let mut parameters = 0;
        let mut ids = Vec::with_capacity(parts.len());
        for part in parts {
            let found = match self.reader.find(part) {
                Ok(found) => found,
                Err(EngineError::Absent { reason, .. }) => return Ok(Network::absent(name, reason)),
                Err(other) => return Err(other),
            };
            ids.push(version(found.locked));
            parameters += found.locked.parameters;
        }
        let reader = Arc::clone(&self.reader);
        let recipe = Recipe {
            id: joint_id(name, &ids),
            services: services.to_vec(),
            spec,
            weights: parameters * self.reader.precision.of(name, &self.reader.device).size_in_bytes(),
            load: Box::new(move || build(&reader)),
        };
        Ok(Network::present(name, recipe, &self.registry, &self.executor, self.limits))
    }

    /// The network called `name`, made of `parts`, that another process runs: with the weights that are listed here.
    ///
    /// # Errors
    /// [`EngineError::Untrained`].
    pub fn elsewhere<M: Task>(
        &self,
        name: &'static str,
        parts: &[&'static str],
        spec: M::Spec,
        remote: &Arc<dyn Remote>,
    ) -> Result<Network<M>> {
        let mut ids = Vec::with_capacity(parts.len());
        for part in parts {
            let Some(locked) = self.folders().listed(part) else {
                let reason =
                    format!("{part} is in no weights.lock here, so that its version is not known; {}", bring(part));
                return Ok(Network::absent(name, reason));
            };
            check_trained(part, locked.untrained, RUNS_UNTRAINED)?;
            ids.push(version(locked));
        }
        Ok(Network::elsewhere(name, joint_id(name, &ids), spec, Arc::clone(remote)))
    }
}

/// The id of a network with the weights that a lock lists.
fn version(locked: &LockedNetwork) -> ModelId {
    ModelId::new(&locked.name, locked.sha256.get(..VERSION_DIGITS).unwrap_or(&locked.sha256))
}

fn check_trained(network: &'static str, untrained: bool, runs_untrained: bool) -> Result<()> {
    if untrained && !runs_untrained { Err(EngineError::Untrained { network }) } else { Ok(()) }
}

/// The id of networks that answer together: its version is made of theirs, so that it changes when any of them does.
pub fn joint_id<'a>(name: &str, parts: impl IntoIterator<Item = &'a ModelId>) -> ModelId {
    let parts: Vec<&ModelId> = parts.into_iter().collect();
    if let [only] = parts[..] {
        return only.clone();
    }
    let versions: Vec<_> = parts.iter().map(|id| id.version().get(..PART_DIGITS).unwrap_or(id.version())).collect();
    ModelId::new(name, versions.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrained_weights_run_only_where_tests_ask_for_them() {
        assert!(matches!(check_trained("x", true, false), Err(EngineError::Untrained { network: "x" })));
        assert!(check_trained("x", true, true).is_ok());
        assert!(check_trained("x", false, false).is_ok());
    }
}
