//! Trials that differ in `epochs` alone are one training run, observed at several points.
//!
//! The shortest trains first. Where its steps cease to be those of the longer ones (at its end, or
//! at the beginning of its decay) it leaves a fork: a checkpoint from which the next longer one
//! goes on. What came before is that one's history too (`continues` in `Event::TrialStarted`). A
//! trial that is proposed after a longer one has passed its end takes no step at all.

use spec::{ConfigKey, Event, Outcome, ScoredAnswers, Trial, TrialId, TrialState};
use store::Purpose;

use super::Run;
use crate::error::WorkerError;
use crate::observer::Warning;

impl Run<'_> {
    /// Remembers to which trajectory a trial belongs.
    pub(super) fn note_trajectory(&mut self, trial: &Trial) {
        if let Some(key) = self.trajectory(trial) {
            self.trajectories.entry(key).or_default().push(trial.id);
        }
    }

    fn trajectory(&self, trial: &Trial) -> Option<ConfigKey> {
        trial.config.trajectory(&self.drive.settings.train)
    }

    /// The other trials of its trajectory.
    fn siblings(&self, trial: &Trial) -> Vec<&TrialState> {
        let members = self.trajectory(trial).and_then(|key| self.trajectories.get(&key));
        let others = members.into_iter().flatten().filter(|&&id| id != trial.id);
        others.map(|&id| self.state(id)).collect()
    }

    /// Whether steps that `id` shares are being taken, or will be by a shorter trial.
    pub(super) fn must_wait(&self, id: TrialId) -> bool {
        let own = &self.state(id).trial;
        self.siblings(own).iter().any(|other| {
            let is_shorter = other.trial.config.epochs < own.config.epochs;
            other.outcome().is_none() && (is_shorter || self.fleet.has(other.trial.id))
        })
    }

    /// The sibling that has taken all steps of `trial`, or diverged on the way.
    pub(super) fn already_taken(&self, trial: &Trial) -> Option<TrialId> {
        let steps = (self.drive.steps)(&trial.config);
        if steps.shared != Some(steps.total) {
            return None;
        }
        let covers = |other: &&&TrialState| match other.outcome() {
            Some(Outcome::Diverged { .. }) => true,
            Some(Outcome::Completed | Outcome::Stopped { .. }) => other.last_step() >= steps.total,
            Some(Outcome::Failed { .. }) | None => false,
        };
        self.siblings(trial).iter().filter(covers).map(|other| other.trial.id).min()
    }

    /// Ends `trial` with what its sibling went through.
    pub(super) fn observe(&mut self, trial: &Trial, sibling: TrialId) -> Result<(), WorkerError> {
        let total_steps = (self.drive.steps)(&trial.config).total;
        let other = self.state(sibling);
        let device = other.device.clone().unwrap_or_default();
        let from_step = other.last_step().min(total_steps);
        let outcome = match other.outcome() {
            Some(diverged @ Outcome::Diverged { .. }) if from_step < total_steps => {
                diverged.clone()
            }
            _ => Outcome::Completed,
        };
        let continues = Some(sibling);
        let id = trial.id;
        self.record(&[Event::TrialStarted {
            trial: id,
            device,
            from_step,
            total_steps,
            continues,
        }])?;
        self.share_best(trial)?;
        self.end(id, &outcome)
    }

    /// Takes over what is kept of `trial`'s best evaluation (adapter, losses of the single
    /// validation examples, answers) from a sibling that has the same best; the adapter also from one that
    /// has kept it among those of its epochs.
    fn share_best(&mut self, trial: &Trial) -> Result<(), WorkerError> {
        let Some(step) = self.state(trial.id).best().map(|best| best.step) else { return Ok(()) };
        let folder = self.drive.sweep.dir.folder();
        let has_it = |other: &&TrialState| other.best().is_some_and(|b| b.step == step);
        let siblings: Vec<_> = self.siblings(trial).into_iter().filter(has_it).collect();
        let examples = siblings.iter().find_map(|other| other.examples.clone());
        let answers = siblings.iter().find_map(|other| other.answers.clone());
        let adapter = siblings
            .iter()
            .find_map(|other| folder.best_adapter(other))
            .or_else(|| folder.adapter_at(&self.drive.sweep.state, trial.id, step));
        if let Some(examples) = examples {
            self.record(&[Event::ExamplesEvaluated { trial: trial.id, step, examples }])?;
        }
        if let Some(answers) = answers {
            // The sibling's last evaluation need not be this one's.
            let answers = ScoredAnswers { last: Vec::new(), ..answers };
            self.record(&[Event::AnswersScored { trial: trial.id, answers }])?;
        }
        if let Some(from) = adapter {
            if let Err(damage) = store::verify_adapter(&from) {
                self.warn(&Warning::DamagedAdapter { trial: trial.id, damage });
                return Ok(());
            }
            self.drive.sweep.dir.save_adapter(trial.id, |dir| {
                store::copy_adapter(&from, dir, &store::TOKENIZER_FILES)?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// The sibling whose fork lies furthest on the steps of `trial`.
    pub(super) fn fork_for(&mut self, trial: &Trial) -> Option<TrialId> {
        let shared = (self.drive.steps)(&trial.config).shared?;
        let ids: Vec<TrialId> = self.siblings(trial).iter().map(|other| other.trial.id).collect();
        let mut furthest: Option<(TrialId, u32)> = None;
        for id in ids {
            match self.drive.sweep.dir.folder().checkpoint(id, Purpose::Fork) {
                Ok(Some(fork)) if fork.step <= shared => {
                    if furthest.is_none_or(|(_, step)| step < fork.step) {
                        furthest = Some((id, fork.step));
                    }
                }
                Ok(_) => {}
                Err(damage) => self.warn(&Warning::DamagedCheckpoint { trial: trial.id, damage }),
            }
        }
        furthest.map(|(id, _)| id)
    }

    /// The step up to which longer trials share the steps of `trial`, if there can be longer ones:
    /// where it leaves a fork.
    pub(super) fn shared_steps(&self, trial: &Trial) -> Option<u32> {
        let may_be_continued = self.trajectory(trial).is_some()
            && self.drive.settings.most_epochs.is_none_or(|most| trial.config.epochs < most);
        may_be_continued.then(|| (self.drive.steps)(&trial.config).shared.unwrap_or(0))
    }

    /// Removes the fork that an ended trial went on from: its own is further on. Not before its
    /// end is journalled, since until then it may have to begin there again.
    pub(super) fn discard_fork_behind(&mut self, id: TrialId) -> Result<(), WorkerError> {
        let Some(behind) = self.state(id).continues else { return Ok(()) };
        if matches!(self.drive.sweep.dir.folder().checkpoint(id, Purpose::Fork), Ok(Some(_))) {
            self.drive.sweep.dir.discard_checkpoint(behind.trial, Purpose::Fork)?;
        }
        Ok(())
    }

    /// Removes the forks when no trial is left.
    pub(super) fn discard_forks(&mut self) -> Result<(), WorkerError> {
        let shared: Vec<TrialId> = self.trajectories.values().flatten().copied().collect();
        for id in shared {
            self.drive.sweep.dir.discard_checkpoint(id, Purpose::Fork)?;
        }
        Ok(())
    }
}
