//! The trainer's engine behind the worker's trait.

use std::path::Path;

use spec::{Evaluation, Event, ExampleLosses, Sweep, TestEvaluation, Trial, TrialConfig, TrialId};
use trainer::data::PreparedData;
use trainer::plan::Packing;
use worker::{Admission, Steps, Trainer, TrainerError};

use crate::error::CliError;

/// An engine that the drive loop can drive.
#[derive(Debug)]
pub struct EngineTrainer(trainer::Engine);

impl EngineTrainer {
    /// Loads the sweep's base model onto its device.
    pub fn load(sweep: &Sweep, data: PreparedData, packing: Packing) -> Result<Self, CliError> {
        trainer::Engine::load(&sweep.model, data, &sweep.train, &sweep.executor, packing)
            .map(Self)
            .map_err(|source| CliError::Model { path: sweep.model.clone(), source })
    }

    /// Why it does not compute where one might expect, if so.
    pub fn device_note(&self) -> Option<&str> {
        self.0.device_note()
    }
}

impl EngineTrainer {
    /// Losses of the held-out test rows with a saved adapter, or of the base model alone; `None`
    /// where there are no such rows.
    pub fn evaluate_test(
        &self,
        adapter: Option<&Path>,
    ) -> Result<Option<TestEvaluation>, CliError> {
        self.0.evaluate_test(adapter).map_err(|source| CliError::Test { source })
    }
}

impl Trainer for EngineTrainer {
    fn device(&self) -> String {
        self.0.device()
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn evaluate_base(&mut self) -> Result<Evaluation, TrainerError> {
        Ok(self.0.evaluate_base()?)
    }

    fn steps(&self, trial: &TrialConfig) -> Steps {
        let trainer::engine::Steps { total, shared } = self.0.steps(trial);
        Steps { total, shared }
    }

    fn admit(&mut self, trial: &Trial, from: Option<&Path>) -> Result<Admission, TrainerError> {
        use trainer::engine::Admission as Engines;
        Ok(match self.0.admit(trial, from)? {
            Engines::Admitted { from_step, total_steps } => {
                Admission::Admitted { from_step, total_steps }
            }
            Engines::NoRoom => Admission::NoRoom,
        })
    }

    fn example_losses(&self, trial: TrialId) -> Option<ExampleLosses> {
        self.0.example_losses(trial)
    }

    fn step(&mut self) -> Result<Vec<Event>, TrainerError> {
        Ok(self.0.step()?)
    }

    fn save_checkpoint(&self, trial: TrialId, path: &Path) -> Result<u32, TrainerError> {
        Ok(self.0.save_checkpoint(trial, path)?)
    }

    fn save_best(&self, trial: TrialId, dir: &Path) -> Result<bool, TrainerError> {
        Ok(self.0.save_best(trial, dir)?)
    }

    fn release(&mut self, trial: TrialId) {
        self.0.release(trial);
    }
}
