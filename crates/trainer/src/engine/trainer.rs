//! What a worker asks of the engine.

use std::path::Path;

use data::Example;
use spec::{
    Admission, BaseForm, Evaluation, Event, ExampleLosses, ScoredAnswers, TestEvaluation, Trainer,
    Trial, TrialId,
};

use super::checkpoint;
use super::packed::Packed;
use super::scoring::Scoring;
use crate::backend::Backend;
use crate::error::TrainerError;
use crate::{memory, peft};

impl<B: Backend> Trainer for Packed<B> {
    fn device(&self) -> String {
        self.backend().device()
    }

    fn check_device(&self) -> Result<(), spec::TrainerError> {
        Ok(self.backend().check_device()?)
    }

    fn capacity(&self) -> usize {
        self.packing.slots
    }

    fn evaluate_base(&mut self, form: Option<BaseForm>) -> Result<Evaluation, spec::TrainerError> {
        Ok(self.base_losses(form)?)
    }

    fn base_example_losses(&self, form: Option<BaseForm>) -> Option<ExampleLosses> {
        self.bases.examples(form)
    }

    fn example_losses(&self, trial: TrialId) -> Option<ExampleLosses> {
        let best = self.slot(trial).ok()?.best.as_ref()?;
        let targets = self.data.validation.examples.iter().map(Example::targets);
        Some(ExampleLosses::collect(best.nll.iter().copied().zip(targets)))
    }

    fn base_answers(&self, form: Option<BaseForm>) -> Option<ScoredAnswers> {
        let answers = self.bases.written(form)?.answers(None);
        Some(self.scoring.as_ref()?.with_questions(answers))
    }

    fn answers(&self, trial: TrialId) -> Option<ScoredAnswers> {
        let slot = self.slot(trial).ok()?;
        Some(slot.best.as_ref()?.written.as_ref()?.answers(slot.last_written.as_ref()))
    }

    fn best_step(&self, trial: TrialId) -> Option<u32> {
        Some(self.slot(trial).ok()?.best.as_ref()?.evaluation.step)
    }

    fn admit(
        &mut self,
        trial: &Trial,
        checkpoint: Option<&Path>,
    ) -> Result<Admission, spec::TrainerError> {
        let refuse =
            |message: &str| TrainerError::Trial { trial: trial.id, message: message.to_owned() };
        if self.slots.len() >= self.packing.slots {
            return Err(refuse("every slot is taken").into());
        }
        if self.slots.iter().any(|s| s.trial.id == trial.id) {
            return Err(refuse("already has a slot").into());
        }
        match self.new_slot(trial, checkpoint) {
            Ok(slot) => {
                let (from_step, total_steps) = (slot.step, slot.schedule.total_steps);
                self.slots.push(slot);
                Ok(Admission::Admitted { from_step, total_steps })
            }
            Err(error) if error.out_of_memory().is_some() && !self.slots.is_empty() => {
                self.packing.slots = self.slots.len();
                Ok(Admission::NoRoom)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn step(&mut self) -> Result<Vec<Event>, spec::TrainerError> {
        Ok(rayon::scope(|_| self.take_step())?)
    }

    fn hold(&mut self, trial: TrialId, held: bool) -> bool {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.trial.id == trial) {
            slot.held = held;
        }
        true
    }

    fn evaluate_test(
        &mut self,
        adapter: Option<&Path>,
        form: Option<BaseForm>,
    ) -> Result<Option<TestEvaluation>, spec::TrainerError> {
        Ok(self.test_losses(adapter, form)?)
    }

    fn save_checkpoint(&self, trial: TrialId, path: &Path) -> Result<u32, spec::TrainerError> {
        let slot = self.slot(trial)?;
        checkpoint::save(self.backend(), slot, path)?;
        Ok(slot.step)
    }

    fn checkpoint_bytes(&self, trial: TrialId) -> Option<u64> {
        let values = self.slot(trial).ok()?.layout.len;
        let scored = self.scoring.as_ref().map_or(0, Scoring::checkpoint_bytes);
        Some(checkpoint::size(values, self.data.validation.examples.len()) + scored)
    }

    fn save_best(&self, trial: TrialId, dir: &Path) -> Result<bool, spec::TrainerError> {
        let slot = self.slot(trial)?;
        let Some(best) = &slot.best else { return Ok(false) };
        peft::save(dir, &slot.layout, &best.values, &slot.trial.config, &self.model_dir)?;
        Ok(true)
    }

    fn save_last(&self, trial: TrialId, dir: &Path) -> Result<bool, spec::TrainerError> {
        let slot = self.slot(trial)?;
        let values = self.backend().values(&slot.params)?;
        peft::save(dir, &slot.layout, &values, &slot.trial.config, &self.model_dir)?;
        Ok(true)
    }

    fn peak_bytes(&self) -> Option<u64> {
        memory::peak()
    }

    fn release(&mut self, trial: TrialId) {
        self.slots.retain(|slot| slot.trial.id != trial);
    }
}
