//! In which order decisions are made that depend on other trials, and what each of them sees.
//!
//! Such a decision (what a method that learns proposes, what a rule that compares trials stops or
//! promotes) belongs to a logical time: the time of the evaluation that is judged, or the time at
//! which a slot became free. It is made on the sweep as it was at that time
//! ([`spec::SweepState::as_of`]), once all trials have got beyond it, the earliest decision first. So
//! it is the same whatever died meanwhile (conservative discrete event simulation; Chandy & Misra
//! 1979, IEEE Trans. Software Eng. SE-5:440).
//!
//! Slots are counted logically too: the sweep trains `slots` trials at a time, as many as its
//! workers could take when it began. The n-th beginning has a slot when all but `slots - 1` of the
//! earlier ones have ended. When no trial can get on (there is less room than there was, or one
//! trial waits for the steps of another), the earliest decision is made on what is known.

use std::collections::{BTreeMap, BTreeSet};

use planner::Pruner;
use spec::{EndsSeen, Event, LogicalStart, SweepState, Trial, TrialId, TrialState};

use super::fleet::Phase;
use super::{Drive, Run};
use crate::error::WorkerError;

/// What waits to be decided.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Trials that wait to be judged, with the optimizer step at which they do.
    asked: BTreeMap<TrialId, u32>,
    /// Trials that were told to stop and have not ended yet.
    stopping: BTreeSet<TrialId>,
    /// Nothing was proposed at this time nor at any before it.
    tried: Option<u64>,
}

impl Pending {
    /// The trial has ended, or its worker has it no more.
    pub fn forget(&mut self, id: TrialId) {
        self.asked.remove(&id);
        self.stopping.remove(&id);
    }

    /// The trial was told to stop.
    pub fn stops(&mut self, id: TrialId) {
        self.asked.remove(&id);
        self.stopping.insert(id);
    }

    /// The trial waits to be judged at `step`.
    pub fn ask(&mut self, id: TrialId, step: u32) {
        self.asked.insert(id, step);
    }
}

/// A decision that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Does this trial go on after `step`?
    Judgement { id: TrialId, step: u32 },
    /// Which trial gets the free slot?
    Proposal,
}

impl Due {
    const fn seen(self) -> EndsSeen {
        match self {
            Self::Judgement { .. } => EndsSeen::Before,
            Self::Proposal => EndsSeen::UpTo,
        }
    }
}

/// Whether decisions are made in logical order. A sweep that was begun without logical times goes on
/// without them.
pub(super) fn is_ordered(drive: &Drive) -> bool {
    let depends_on_others =
        drive.planner.is_adaptive() || drive.pruner.is_some_and(Pruner::is_relative);
    drive.settings.is_ordered
        && depends_on_others
        && drive.sweep.state.trials.values().all(|trial| trial.clock.is_some())
}

impl Run<'_> {
    pub(super) fn is_judged_by_others(&self) -> bool {
        self.drive.pruner.is_some_and(Pruner::is_relative)
    }

    /// Makes all decisions that are due and settled.
    pub(super) fn decide(&mut self) -> Result<(), WorkerError> {
        while let Some((time, due)) = self.next_due() {
            if !self.is_settled(time, due) {
                return Ok(());
            }
            self.make(time, due)?;
        }
        self.is_exhausted =
            self.trials().all(|trial| trial.outcome().is_some()) && self.slots().is_some();
        Ok(())
    }

    /// Makes the earliest judgement although not all trials have got there, if none can get on before
    /// it is made; whether it did.
    pub(super) fn break_deadlock(&mut self) -> Result<bool, WorkerError> {
        let all_ready = self.fleet.workers.iter().all(|worker| worker.phase == Phase::Ready);
        let all_asked = self.fleet.trials().all(|id| self.pending.asked.contains_key(&id));
        let earliest = self.next_judgement().filter(|_| all_ready && all_asked);
        match earliest {
            Some((time, due)) => self.make(time, due).map(|()| true),
            None => Ok(false),
        }
    }

    /// Whether a decision waits for trials to get further.
    pub(super) fn has_due(&self) -> bool {
        self.next_due().is_some()
    }

    fn next_due(&self) -> Option<(u64, Due)> {
        let proposal = self.next_proposal().map(|time| (time, Due::Proposal));
        // Of equals the judgement: it may end a trial at that time.
        self.next_judgement().into_iter().chain(proposal).min_by_key(|(time, _)| *time)
    }

    /// The earliest trial that waits to be judged, by its last evaluation. Its worker may ask again
    /// at a later step, from a checkpoint, and must hear the same.
    fn next_judgement(&self) -> Option<(u64, Due)> {
        let times = self.pending.asked.iter().map(|(&id, &step)| {
            let trial = self.state(id);
            let evaluated = trial.evaluations.iter().rev().find(|e| e.step <= step);
            let time = evaluated.and_then(|e| trial.logical_time(e.step)).unwrap_or(0);
            (time, Due::Judgement { id, step })
        });
        times.min_by_key(|(time, _)| *time)
    }

    /// The next time at which a slot is free and something may be proposed that was not before;
    /// `None` when that is not known yet.
    fn next_proposal(&self) -> Option<u64> {
        let slots = self.slots()?;
        let clocks = || self.trials().filter_map(|trial| trial.clock.as_ref());
        let begun: usize = clocks().map(|clock| clock.starts.len()).sum();
        let last = clocks().map(spec::LogicalClock::last_start).max().unwrap_or(0);
        let mut ends: Vec<u64> = self.trials().flat_map(TrialState::logical_ends).collect();
        ends.sort_unstable();
        let is_free = match begun.checked_sub(slots) {
            Some(must_end) => (*ends.get(must_end)?).max(last),
            None => last,
        };
        match self.pending.tried {
            Some(tried) if tried >= is_free => ends.into_iter().find(|end| *end > tried),
            _ => Some(is_free),
        }
    }

    /// How many trials the sweep trains at a time: as its journal says, or as many as its workers take
    /// once all of them are ready.
    fn slots(&self) -> Option<usize> {
        let journalled = self.trials().find_map(|trial| trial.clock.as_ref());
        if let Some(clock) = journalled {
            return Some(clock.slots as usize);
        }
        let workers = &self.fleet.workers;
        let all_ready = !workers.is_empty() && workers.iter().all(|w| w.phase == Phase::Ready);
        all_ready.then(|| workers.iter().map(|worker| worker.capacity.max(1)).sum())
    }

    /// Whether nothing can happen any more that the decision at `time` would see.
    fn is_settled(&self, time: u64, due: Due) -> bool {
        let judged = match due {
            Due::Judgement { id, .. } => Some(id),
            Due::Proposal => None,
        };
        let others = self.trials().filter(|trial| Some(trial.trial.id) != judged);
        others.filter(|trial| trial.outcome().is_none()).all(|trial| self.is_past(trial, time, due))
    }

    /// Whether a trial that has not ended is beyond `time`, as far as the decision is concerned.
    fn is_past(&self, trial: &TrialState, time: u64, due: Due) -> bool {
        let id = trial.trial.id;
        let at = |step: u32| trial.logical_time(step).unwrap_or(u64::MAX);
        let evaluated = trial.last().map(|evaluation| at(evaluation.step));
        let is_there = evaluated.is_some_and(|evaluated| evaluated >= time);
        if self.pending.asked.contains_key(&id) || self.pending.stopping.contains(&id) {
            // It takes no further step; a stop ends it at that evaluation.
            return match due {
                Due::Judgement { .. } => is_there,
                Due::Proposal => evaluated.is_some_and(|evaluated| evaluated > time),
            };
        }
        let begun = trial.clock.as_ref().map_or((0, 0), |c| *c.starts.last().unwrap_or(&(0, 0)));
        let step = trial.last_step();
        let next = if step > begun.0 { at(step) } else { at(begun.0 + 1) };
        next > time || (is_there && due != Due::Proposal)
    }

    fn make(&mut self, time: u64, due: Due) -> Result<(), WorkerError> {
        let view = self.drive.sweep.state.as_of(time, due.seen());
        match due {
            Due::Judgement { id, step } => {
                self.pending.asked.remove(&id);
                self.judge_in(&view, id, step);
                Ok(())
            }
            Due::Proposal => self.begin_one(&view, time),
        }
    }

    /// Fills a slot: with a stopped trial that goes on, or with a new one.
    fn begin_one(&mut self, view: &SweepState, at: u64) -> Result<(), WorkerError> {
        self.drop_paused(view)?;
        if let Some(promotion) = self.drive.pruner.and_then(|pruner| pruner.promote(view)) {
            return self.record_promotion(promotion, Some(at));
        }
        let Some(trial) = self.drive.planner.suggest(view, 1).pop() else {
            self.pending.tried = Some(at);
            return Ok(());
        };
        let start = self.start_of(&trial, at);
        self.record_proposal(trial, Some(start), false)
    }

    /// The logical time at which a trial of a person's own begins: not before any other has begun.
    /// `None` before it is known how many trials the sweep trains at a time.
    pub(super) fn time_of_addition(&self) -> Option<u64> {
        let clocks = self.trials().filter_map(|trial| trial.clock.as_ref());
        self.slots().map(|_| clocks.map(spec::LogicalClock::last_start).max().unwrap_or(0))
    }

    pub(super) fn start_of(&self, trial: &Trial, at: u64) -> LogicalStart {
        let per_step = (self.drive.steps)(&trial.config).micro_batches;
        LogicalStart { at, per_step, slots: self.slots().unwrap_or(1) as u32 }
    }

    /// Journals a proposal; the trial waits for a worker.
    pub(super) fn record_proposal(
        &mut self,
        trial: Trial,
        start: Option<LogicalStart>,
        is_added: bool,
    ) -> Result<(), WorkerError> {
        let id = trial.id;
        if self.drive.sweep.state.trials.contains_key(&id) {
            return Err(WorkerError::DuplicateProposal { trial: id });
        }
        self.note_trajectory(&trial);
        self.record(&[Event::TrialProposed { trial, start, is_added }])?;
        self.waiting.push_back(id);
        Ok(())
    }
}
