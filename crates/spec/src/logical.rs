//! Logical time: what a trial has done, counted in its own micro-batches instead of seconds.
//!
//! Decisions that depend on the other trials (which configuration next, which trial to stop or to
//! resume) would depend on the wall clock if they saw whatever has arrived so far. So a trial has a
//! logical start, journalled with its proposal; everything that happens to it follows at
//! `start + micro-batches taken since then`, and a decision at time t sees the sweep as it was at t
//! ([`SweepState::as_of`]). What the machine did in between, a crash included, does not change that
//! view. In a packed step every slot takes a micro-batch in turn, so that in a sweep left alone
//! logical time passes as real time does.

use serde::{Deserialize, Serialize};

use crate::event::Outcome;
use crate::state::{SweepState, TrialState, TrialStatus};

/// The logical start of a trial, journalled with its proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogicalStart {
    /// When, in micro-batches since the sweep began.
    pub at: u64,
    /// Micro-batches of one of its optimizer steps.
    pub per_step: u32,
    /// How many trials the sweep trains at a time; the same for all of its trials.
    pub slots: u32,
}

/// The logical times at which a trial began to train: once, and again at each promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogicalClock {
    /// Micro-batches of an optimizer step.
    pub per_step: u32,
    /// How many trials the sweep trains at a time.
    pub slots: u32,
    /// Optimizer step and logical time of each beginning, ascending; never empty.
    pub starts: Vec<(u32, u64)>,
}

impl LogicalClock {
    pub(crate) fn new(start: LogicalStart) -> Self {
        let LogicalStart { at, per_step, slots } = start;
        Self { per_step: per_step.max(1), slots, starts: vec![(0, at)] }
    }

    /// When the last beginning was.
    pub fn last_start(&self) -> u64 {
        self.starts.last().map_or(0, |(_, at)| *at)
    }

    /// When `step` is taken by a trial whose first `shared` steps are another trial's. Nothing
    /// happens to a trial at its very start: a step that it did not take itself counts as its first.
    fn time_of(&self, step: u32, shared: u32) -> u64 {
        let begun = self.starts.iter().rev().find(|(from, _)| *from < step);
        let (from, at) = begun.or(self.starts.first()).copied().unwrap_or((0, 0));
        let taken = step.saturating_sub(from.max(shared)).max(1);
        at + u64::from(taken) * u64::from(self.per_step)
    }
}

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
            facts: self.facts.clone(),
            base: self.base.clone(),
            quantized_bases: self.quantized_bases.clone(),
            trials: trials.filter_map(|(id, t)| Some((*id, t.as_of(time, seen)?))).collect(),
            ..Self::default()
        }
    }
}
