//! A sweep as it was at a logical time (`logical`).

use crate::event::Outcome;
use crate::state::{SweepState, TrialState, TrialStatus};

/// Which ends a decision at a time sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndsSeen {
    /// Those before that time: for a judgement, which may itself end a trial at that time.
    Before,
    /// Those up to that time: for a proposal, which fills the slot of a trial that ended then.
    UpTo,
}

impl TrialState {
    /// When the trial took `step`; `None` where its sweep keeps no logical time.
    pub fn logical_time(&self, step: u32) -> Option<u64> {
        let shared = self.continues.map_or(0, |continued| continued.steps);
        Some(self.clock.as_ref()?.time_of(step, shared))
    }

    /// The last optimizer step that is known of it.
    pub fn last_step(&self) -> u32 {
        let trained = self.train_points.last().map_or(0, |point| point.step);
        let evaluated = self.last().map_or(0, |evaluation| evaluation.step);
        trained.max(evaluated)
    }

    /// The logical times of its ends: one for each early stop that it was promoted from, and that
    /// of its outcome, if it has one.
    pub fn logical_ends(&self) -> Vec<u64> {
        let Some(clock) = &self.clock else { return Vec::new() };
        let stops = self.promotions.iter().filter_map(|promoted| self.logical_time(promoted.step));
        let end = self.outcome().and_then(|outcome| match outcome {
            Outcome::Diverged { step, .. } => self.logical_time(self.last_step().max(*step)),
            _ => self.logical_time(self.last_step()),
        });
        // One that was promoted may have failed before it took another step.
        let earliest = clock.last_start() + u64::from(clock.per_step);
        stops.chain(end.map(|end| end.max(earliest))).collect()
    }

    /// The trial as it was at `time`; `None` when it had not begun. Without the training steps and
    /// the losses of single examples, which no decision reads.
    fn as_of(&self, time: u64, seen: EndsSeen) -> Option<Self> {
        let light = Self {
            train_points: Vec::new(),
            examples: None,
            answers: None,
            objective: self.objective.clone(),
            failure_log: None,
            evaluations: self.evaluations.clone(),
            clock: self.clock.clone(),
            trial: self.trial.clone(),
            status: self.status.clone(),
            device: None,
            promotions: self.promotions.clone(),
            ..*self
        };
        let Some(clock) = &self.clock else { return Some(light) };
        let begun = clock.starts.iter().filter(|(_, at)| *at <= time).count();
        let promoted = begun.checked_sub(1)?;
        let is_seen = |end: &u64| match seen {
            EndsSeen::Before => *end < time,
            EndsSeen::UpTo => *end <= time,
        };
        let has_ended = self.logical_ends().get(promoted).is_some_and(is_seen);
        let later = self.promotions.get(promoted);
        let status = match later {
            _ if !has_ended => TrialStatus::Running,
            Some(later) => {
                let reason = later.stopped.clone();
                TrialStatus::Finished { outcome: Outcome::Stopped { reason } }
            }
            None => self.status.clone(),
        };
        let is_kept = has_ended && (later.is_some() || self.is_kept);
        let mut then = Self { status, is_kept, ..light };
        then.evaluations.retain(|e| self.logical_time(e.step).is_none_or(|at| at <= time));
        then.promotions.truncate(promoted);
        Some(then)
    }
}

impl SweepState {
    /// The sweep as it was at the logical `time`: the trials that had begun, with the evaluations
    /// and ends up to then. A trial that was training then is `Running`, whatever became of it
    /// since.
    #[must_use]
    pub fn as_of(&self, time: u64, seen: EndsSeen) -> Self {
        let trials = self.trials.iter();
        Self {
            name: self.name.clone(),
            fingerprint: self.fingerprint.clone(),
            objective: self.objective.clone(),
            facts: self.facts.clone(),
            base: self.base.clone(),
            quantized_bases: self.quantized_bases.clone(),
            first_draw: self.first_draw,
            trials: trials.filter_map(|(id, t)| Some((*id, t.as_of(time, seen)?))).collect(),
            ..Self::default()
        }
    }
}
