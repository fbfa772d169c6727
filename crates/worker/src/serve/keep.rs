//! What a worker puts on disk: checkpoints, forks, and what an ended trial leaves.

use std::path::Path;
use std::time::Instant;

use spec::{Evaluation, Event, Outcome, ReturnCause, SaveStrategy, Trainer, TrialId};
use store::Purpose;

use super::{Serve, ServeError};
use crate::error::chain;
use crate::observer::Warning;

impl<T: Trainer + ?Sized> Serve<T> {
    /// Saves a trial that is about to be stopped, so that it may go on later; false when it has
    /// nothing to go on from.
    pub(super) fn keep(&mut self, id: TrialId) -> Result<bool, ServeError> {
        let Some(attempt) = self.slot(id).map(|slot| slot.assignment.attempt) else {
            return Ok(false);
        };
        if !self.dir.holds(id, attempt)? {
            return Ok(false);
        }
        let trainer = &self.trainer;
        let save = |path: &Path| trainer.save_checkpoint(id, path);
        let bytes = trainer.checkpoint_bytes(id);
        let step = self.dir.save_checkpoint(id, Purpose::Resume, bytes, save)?;
        if step > 0 {
            self.record(Some(attempt), &[Event::CheckpointKept { trial: id, step }])?;
        } else if !std::mem::replace(&mut self.has_told_of_nothing_kept, true) {
            self.warn(id, Some(attempt), &Warning::NothingKept { trial: id })?;
        }
        Ok(step > 0)
    }

    /// Saves what an ended trial leaves, journals its end and frees its slot. `is_kept`: its
    /// checkpoint stays.
    pub(super) fn end(
        &mut self,
        id: TrialId,
        outcome: Outcome,
        is_kept: bool,
    ) -> Result<(), ServeError> {
        let Some(slot) = self.slot(id) else { return Ok(()) };
        let attempt = slot.assignment.attempt;
        let last_known = slot.best.map_or(0, |(step, _)| step);
        let best_step = self.trainer.best_step(id).unwrap_or(last_known);
        if !self.dir.holds(id, attempt)? {
            return self.let_go(id);
        }
        self.save_adapter(id, attempt, &outcome)?;
        if matches!(outcome, Outcome::Completed | Outcome::Stopped { .. }) {
            self.fork_if_shared(id, true)?;
        }
        let mut events: Vec<Event> = self.examples_event(id, best_step).into_iter().collect();
        let answers = self.trainer.answers(id);
        events.extend(answers.map(|answers| Event::AnswersScored { trial: id, answers }));
        events.push(Event::TrialFinished { trial: id, outcome });
        self.record(Some(attempt), &events)?;
        self.release(id);
        if !is_kept {
            self.dir.discard_checkpoint(id, Purpose::Resume)?;
        }
        Ok(())
    }

    /// A later attempt owns the trial.
    fn let_go(&mut self, id: TrialId) -> Result<(), ServeError> {
        let attempt = self.slot(id).map(|slot| slot.assignment.attempt);
        self.release(id);
        self.give_back(vec![id], attempt, ReturnCause::Superseded)
    }

    fn save_adapter(
        &mut self,
        id: TrialId,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<(), ServeError> {
        let trainer = &self.trainer;
        let saved = self.dir.save_adapter(id, |dir| trainer.save_best(id, dir));
        match (saved, outcome) {
            (Ok(_), _) => Ok(()),
            (Err(error), Outcome::Failed { .. }) => {
                let warning = Warning::AdapterOfFailed { trial: id, error: chain(&error) };
                self.warn(id, Some(attempt), &warning)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Keeps the adapter of an evaluation at an epoch's end, where that is asked for. A trial that
    /// goes on from a checkpoint before it comes by again and writes the same.
    pub(super) fn keep_epoch(
        &mut self,
        id: TrialId,
        evaluation: &Evaluation,
    ) -> Result<(), ServeError> {
        let Some(epoch) = evaluation.whole_epoch() else { return Ok(()) };
        let Some(slot) = self.slot(id) else { return Ok(()) };
        if self.settings.save_strategy == SaveStrategy::Epoch
            && self.dir.holds(id, slot.assignment.attempt)?
        {
            let trainer = &self.trainer;
            self.dir.save_epoch_adapter(id, epoch, |dir| trainer.save_last(id, dir))?;
        }
        Ok(())
    }

    /// What later comparisons of runs need.
    pub(super) fn examples_event(&self, trial: TrialId, step: u32) -> Option<Event> {
        let examples = self.trainer.example_losses(trial)?;
        Some(Event::ExamplesEvaluated { trial, step, examples })
    }

    /// Leaves a fork when the trial stands at a step that longer ones share. `at_end`: it takes no
    /// further step.
    pub(super) fn fork_if_shared(&mut self, id: TrialId, at_end: bool) -> Result<(), ServeError> {
        let Some((step, Some(shared))) =
            self.slot(id).map(|slot| (slot.step, slot.assignment.shared))
        else {
            return Ok(());
        };
        if step > shared || (step < shared && !at_end) || step == 0 {
            return Ok(());
        }
        let trainer = &self.trainer;
        let save = |path: &Path| trainer.save_checkpoint(id, path);
        self.dir.save_checkpoint(id, Purpose::Fork, trainer.checkpoint_bytes(id), save)?;
        Ok(())
    }

    pub(super) fn checkpoint_all(&mut self) -> Result<(), ServeError> {
        let slots: Vec<(TrialId, u32)> =
            self.slots.iter().map(|slot| (slot.id(), slot.assignment.attempt)).collect();
        for (trial, attempt) in slots {
            if !self.dir.holds(trial, attempt)? {
                self.let_go(trial)?;
                continue;
            }
            let trainer = &self.trainer;
            let save = |path: &Path| trainer.save_checkpoint(trial, path);
            let bytes = trainer.checkpoint_bytes(trial);
            let step = self.dir.save_checkpoint(trial, Purpose::Resume, bytes, save)?;
            self.record(Some(attempt), &[Event::Checkpointed { trial, step }])?;
        }
        self.last_checkpoint = Instant::now();
        Ok(())
    }
}
