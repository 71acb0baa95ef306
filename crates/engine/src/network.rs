//! One network that is loaded, or the reason why it is not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle::{DType, Device};
use candle_nn::VarBuilder;
use facesocial_models::{ModelError, Weights};
use facesocial_types::ModelId;

use crate::{
    error::{EngineError, Result},
    folders::{Folders, Found},
    selection::bring,
};

/// Digits of a digest that tell versions apart; the whole digest is checked when the file is read.
const VERSION_DIGITS: usize = 8;
/// Whether weights that nobody trained are run: only in builds made for tests.
const RUNS_UNTRAINED: bool = cfg!(feature = "untrained");

/// A network by its name in the lock file, or several that answer together.
pub struct Network<T> {
    name: &'static str,
    state: State<T>,
}

enum State<T> {
    Ready { model: T, id: ModelId },
    Absent { reason: String },
}

/// Reads weights for [`Network`]s.
pub(crate) struct Loader<'a> {
    pub folders: &'a Folders,
    pub device: &'a Device,
}

impl Loader<'_> {
    /// One network with its version.
    ///
    /// # Errors
    /// [`EngineError::Absent`] without weights; [`EngineError::Load`] if they are damaged or belong to another version
    /// of the code; [`EngineError::Untrained`].
    pub fn part<T>(
        &self,
        name: &'static str,
        build: impl FnOnce(VarBuilder<'static>) -> facesocial_models::Result<T>,
    ) -> Result<(T, ModelId)> {
        let absent =
            || EngineError::Absent { network: name, reason: format!("its weights are missing; {}", bring(name)) };
        let Found { locked, path } = self.folders.find(name).ok_or_else(absent)?;
        check_trained(name, locked.untrained, RUNS_UNTRAINED)?;
        let load = || {
            let weights = Weights::open(&path, Some(&locked.sha256))?;
            let model = build(weights.var_builder(DType::F32, self.device))?;
            weights.finish()?;
            Ok(model)
        };
        let model = load().map_err(|source: ModelError| EngineError::Load { network: name, source })?;
        let version = locked.sha256.get(..VERSION_DIGITS).unwrap_or(&locked.sha256);
        Ok((model, ModelId::new(name, version)))
    }

    /// A network whose absence is no error.
    ///
    /// # Errors
    /// As [`part`](Self::part), but for [`EngineError::Absent`].
    pub fn network<T>(
        &self,
        name: &'static str,
        build: impl FnOnce(VarBuilder<'static>) -> facesocial_models::Result<T>,
    ) -> Result<Network<T>> {
        match self.part(name, build) {
            Ok((model, id)) => Ok(Network::ready(name, model, id)),
            Err(EngineError::Absent { reason, .. }) => Ok(Network::absent(name, reason)),
            Err(other) => Err(other),
        }
    }
}

fn check_trained(network: &'static str, untrained: bool, runs_untrained: bool) -> Result<()> {
    if untrained && !runs_untrained { Err(EngineError::Untrained { network }) } else { Ok(()) }
}

impl<T> Network<T> {
    /// A loaded network.
    pub(crate) const fn ready(name: &'static str, model: T, id: ModelId) -> Self {
        Self { name, state: State::Ready { model, id } }
    }

    /// A network that was not asked for or has no weights.
    pub(crate) const fn absent(name: &'static str, reason: String) -> Self {
        Self { name, state: State::Absent { reason } }
    }

    /// The network's id.
    ///
    /// # Errors
    /// [`EngineError::Absent`] with the sentence that says how to bring the weights.
    pub fn id(&self) -> Result<&ModelId> {
        self.get().map(|(_, id)| id)
    }

    /// The network and its id, to ask what it looks at.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    pub fn get(&self) -> Result<(&T, &ModelId)> {
        match &self.state {
            State::Ready { model, id } => Ok((model, id)),
            State::Absent { reason } => Err(EngineError::Absent { network: self.name, reason: reason.clone() }),
        }
    }

    /// Runs `f` on the network. A panic inside is caught and becomes an error: one photo must not end the process.
    ///
    /// # Errors
    /// [`EngineError::Absent`], [`EngineError::Run`] or [`EngineError::Panicked`].
    pub fn run<R>(&self, f: impl FnOnce(&T) -> facesocial_models::Result<R>) -> Result<R> {
        let network = self.name;
        let (model, _) = self.get()?;
        // Networks are immutable values, so nothing can be left half-changed behind the unwinding.
        match catch_unwind(AssertUnwindSafe(|| f(model))) {
            Ok(answer) => answer.map_err(|source| EngineError::Run { network, source }),
            Err(_) => Err(EngineError::Panicked { network }),
        }
    }
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

    #[test]
    fn a_panic_inside_becomes_an_error() {
        let network = Network::ready("x", (), ModelId::new("x", "0"));
        let answer = network.run(|()| -> facesocial_models::Result<()> { panic!("a fault in a network") });
        assert!(matches!(answer, Err(EngineError::Panicked { network: "x" })));
    }
}
