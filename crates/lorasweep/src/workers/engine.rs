//! The trainer's engine behind the worker's trait.

use std::path::Path;

use data::PreparedData;
use spec::{BaseForm, Evaluation, Event, ExampleLosses, Sweep, TestEvaluation, Trial, TrialId};
use trainer::plan::Packing;
use worker::{Admission, Trainer, TrainerError};

use crate::error::Error;

/// An engine that the drive loop can drive.
#[derive(Debug)]
pub struct EngineTrainer(trainer::Engine);

impl EngineTrainer {
    /// Loads the sweep's base model onto its device, in the first form that its trials ask for.
    pub fn load(sweep: &Sweep, data: PreparedData, packing: Packing) -> Result<Self, Error> {
        let first = sweep.space.base_forms().first().copied().flatten();
        trainer::Engine::load(
            &sweep.model,
            &sweep.base.in_form(first),
            data,
            &sweep.train,
            &sweep.executor,
            packing,
        )
        .map(Self)
        .map_err(|source| Error::Model { path: sweep.model.clone(), source })
    }

    /// Why it does not compute where one might expect, if so.
    pub fn device_note(&self) -> Option<&str> {
        self.0.device_note()
    }
}

impl Trainer for EngineTrainer {
    fn device(&self) -> String {
        self.0.device()
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn evaluate_base(&mut self, form: Option<BaseForm>) -> Result<Evaluation, TrainerError> {
        Ok(self.0.evaluate_base(form)?)
    }

    fn base_example_losses(&self, form: Option<BaseForm>) -> Option<ExampleLosses> {
        self.0.base_example_losses(form)
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

    fn hold(&mut self, trial: TrialId, held: bool) -> bool {
        self.0.hold(trial, held);
        true
    }

    fn evaluate_test(
        &mut self,
        adapter: Option<&Path>,
        form: Option<BaseForm>,
    ) -> Result<Option<TestEvaluation>, TrainerError> {
        Ok(self.0.evaluate_test(adapter, form)?)
    }

    fn peak_bytes(&self) -> Option<u64> {
        trainer::memory::peak()
    }

    fn save_checkpoint(&self, trial: TrialId, path: &Path) -> Result<u32, TrainerError> {
        Ok(self.0.save_checkpoint(trial, path)?)
    }

    fn checkpoint_bytes(&self, trial: TrialId) -> Option<u64> {
        self.0.checkpoint_bytes(trial)
    }

    fn save_best(&self, trial: TrialId, dir: &Path) -> Result<bool, TrainerError> {
        Ok(self.0.save_best(trial, dir)?)
    }

    fn save_last(&self, trial: TrialId, dir: &Path) -> Result<bool, TrainerError> {
        self.0.save_last(trial, dir)?;
        Ok(true)
    }

    fn release(&mut self, trial: TrialId) {
        self.0.release(trial);
    }
}
