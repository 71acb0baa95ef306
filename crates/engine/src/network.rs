//! One network that is loaded, or the reason why it is not.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use candle::{DType, Device};
use candle_nn::VarBuilder;
use facesocial_models::{ModelError, Weights};
use facesocial_types::ModelId;

use crate::{
    error::{EngineError, Result},
    lock::WeightsLock,
};

/// A network by its name in the lock file.
pub struct Network<T> {
    name: &'static str,
    state: State<T>,
}

enum State<T> {
    Ready { model: T, id: ModelId },
    Absent { reason: String },
}

impl<T> Network<T> {
    /// Loads the network's weights if the file that the lock lists is there.
    ///
    /// # Errors
    /// [`EngineError::Load`] if the file is there but damaged, or belongs to another version of the code.
    pub(crate) fn load(
        name: &'static str,
        dir: &Path,
        lock: &WeightsLock,
        device: &Device,
        build: impl FnOnce(VarBuilder<'static>) -> facesocial_models::Result<T>,
    ) -> Result<Self> {
        let Some(locked) = lock.get(name) else {
            return Ok(Self::absent(name, format!("{name} is not listed in the weights lock; {}", bring(name))));
        };
        let path = dir.join(&locked.file);
        if !path.exists() {
            return Ok(Self::absent(name, format!("{} is missing; {}", locked.file, bring(name))));
        }
        let load = || {
            let weights = Weights::open(&path, Some(&locked.sha256))?;
            let model = build(weights.var_builder(DType::F32, device))?;
            weights.finish()?;
            Ok(model)
        };
        let model = load().map_err(|source: ModelError| EngineError::Load { network: name, source })?;
        // Eight digits tell versions apart; the whole digest was checked above.
        let version = locked.sha256.get(..8).unwrap_or(&locked.sha256);
        Ok(Self { name, state: State::Ready { model, id: ModelId::new(name, version) } })
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
        match &self.state {
            State::Ready { id, .. } => Ok(id),
            State::Absent { reason } => Err(EngineError::Absent { network: self.name, reason: reason.clone() }),
        }
    }

    /// Runs `f` on the network. A panic inside is caught and becomes an error: one photo must not end the process.
    ///
    /// # Errors
    /// [`EngineError::Absent`], [`EngineError::Run`] or [`EngineError::Panicked`].
    pub fn run<R>(&self, f: impl FnOnce(&T) -> facesocial_models::Result<R>) -> Result<R> {
        let network = self.name;
        let model = match &self.state {
            State::Ready { model, .. } => model,
            State::Absent { reason } => return Err(EngineError::Absent { network, reason: reason.clone() }),
        };
        // Networks are immutable values, so nothing can be left half-changed behind the unwinding.
        match catch_unwind(AssertUnwindSafe(|| f(model))) {
            Ok(answer) => answer.map_err(|source| EngineError::Run { network, source }),
            Err(_) => Err(EngineError::Panicked { network }),
        }
    }
}

/// The sentence that tells how to bring a bundled network's weights.
fn bring(name: &str) -> String {
    format!("run `cargo run --release -p facesocial-convert -- fetch --only {name}` in the project's folder")
}
