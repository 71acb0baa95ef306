//! Which networks run, and where their weights are; the same for every command.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use clap::Args;
use facesocial_hub::PulledFolder;
use facesocial_pipeline::{Choice, ChosenThresholds, Ensemble, LoadOptions, Pipeline, Selection, Thresholds};
use facesocial_types::Service;

use crate::{engine_args::EngineArgs, thresholds_file::ThresholdsFile, weights_dir};

/// Which networks run, and where their weights are.
#[derive(Debug, Clone, Default, Args)]
pub struct NetworkArgs {
    /// Folder with weights.lock. Unless given: ./weights, else a folder weights beside or above the program.
    #[arg(long, value_name = "DIR", env = "FACESOCIAL_WEIGHTS")]
    pub weights: Option<PathBuf>,
    /// Folder of the networks that `facesocial models pull` brought; the user's data folder unless given.
    #[arg(long, value_name = "DIR", env = "FACESOCIAL_MODELS_DIR")]
    pub models_dir: Option<PathBuf>,
    /// The network of a service that has several; unless given, the best one whose weights are present. May be given
    /// several times. `facesocial models list` shows what there is.
    #[arg(long, value_name = "SERVICE=NAME", env = "FACESOCIAL_NETWORKS", value_delimiter = ',')]
    pub network: Vec<Choice>,
    /// Members of the recognition ensemble and their weights, as adaface-ir101:0.25,arcface-iresnet100:0.75. Unless given,
    /// the full profile's if it was pulled, else the bundled one.
    #[arg(long, value_name = "NAME:WEIGHT,...", env = "FACESOCIAL_ENSEMBLE")]
    pub ensemble: Option<Ensemble>,
    /// Similarities from which two faces are the same person's, by false accept rate, as 1e-2=0.31,1e-3=0.42; where it was
    /// measured with 1e-4=0.48, for decisions at the level strict. Needed for an ensemble other than the bundled one;
    /// `facesocial eval verification` measures them.
    #[arg(long, value_name = "RATE=SIMILARITY,...", env = "FACESOCIAL_THRESHOLDS")]
    pub thresholds: Option<Thresholds>,
    /// File of thresholds measured at the place of use, for recognition, liveness and deepfakes; `facesocial eval --apply`
    /// writes it. An entry counts for the network it names; for recognition --thresholds goes before it.
    #[arg(long, value_name = "FILE", env = "FACESOCIAL_THRESHOLDS_FILE")]
    pub thresholds_file: Option<PathBuf>,
    /// What they run on, and how they share cores.
    #[command(flatten)]
    pub engine: EngineArgs,
}

impl NetworkArgs {
    /// What is loaded for `services`.
    ///
    /// # Errors
    /// No weights folder; a file of thresholds that cannot be used.
    pub fn options(&self, services: Vec<Service>) -> anyhow::Result<LoadOptions> {
        Ok(LoadOptions {
            weights: weights_dir::resolve(self.weights.as_deref())?,
            // A system without a folder for data has nothing pulled into it.
            pulled: self.models_dir.clone().or_else(|| Some(PulledFolder::of_user().ok()?.path().to_owned())),
            services,
            on_demand: Vec::new(),
            remotes: BTreeMap::new(),
            selection: Selection {
                // The last one wins, as with every other flag.
                networks: self.network.iter().map(|c| (c.service, c.network.clone())).collect(),
                ensemble: self.ensemble.clone(),
            },
            thresholds: self.thresholds,
            chosen: match &self.thresholds_file {
                Some(path) => ThresholdsFile::read(path)?.chosen(path)?,
                None => ChosenThresholds::default(),
            },
            settings: self.engine.settings(),
        })
    }

    /// Loads the networks for `services`.
    ///
    /// # Errors
    /// No weights folder, damaged weights, a chosen network without weights.
    pub fn load(&self, services: Vec<Service>) -> anyhow::Result<Pipeline> {
        self.engine.start_pool();
        let options = self.options(services)?;
        Pipeline::load(&options).with_context(|| format!("cannot load the networks from {}", options.weights.display()))
    }
}
