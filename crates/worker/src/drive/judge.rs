//! What becomes of a running trial after an evaluation, and of one that was stopped.
//!
//! A trial that is judged waits for its verdict, so that a stop does not depend on how fast the
//! driver and the worker are.
//!
//! Where the rule promotes, the checkpoint of a stopped trial is kept, and whenever a slot is free
//! the rule says first whether one of them goes on. It then waits for a worker like any trial that
//! was begun, and its worker finds the checkpoint as after a crash.

use planner::{Decision, Promotion};
use spec::{Event, StopReason, SweepState, TrialId, TrialState};
use store::Purpose;

use super::{MOST_PAUSED, Run, is_target_reached};
use crate::error::WorkerError;
use crate::orders::Order;

impl Run<'_> {
    /// A running trial was evaluated.
    pub(super) fn evaluated(&mut self, id: TrialId, step: u32) -> Result<(), WorkerError> {
        if is_target_reached(&self.drive) {
            return self.stop_for_target();
        }
        self.judge(id, step);
        Ok(())
    }

    /// A running trial waits to be judged: now, or when the others are as far.
    pub(super) fn judge(&mut self, id: TrialId, step: u32) {
        if self.drive.pruner.is_none() || !self.fleet.has(id) {
            return;
        }
        let trial = self.state(id);
        let promoted_at = trial.promotions.last().map_or(0, |promoted| promoted.step);
        let is_new = trial.evaluations.iter().any(|e| e.step > promoted_at && e.step <= step);
        // What a trial was promoted with has been judged.
        if is_new && self.is_ordered && self.is_judged_by_others() {
            return self.pending.ask(id, step);
        }
        if let Some(decision) = self.drive.pruner.map(|p| p.judge(&self.drive.sweep.state, id)) {
            self.tell_verdict(decision, id, step);
        }
    }

    /// Asks the pruner about a trial as the sweep was at the time of its evaluation.
    pub(super) fn judge_in(&mut self, view: &SweepState, id: TrialId, step: u32) {
        if let Some(decision) = self.drive.pruner.map(|pruner| pruner.judge(view, id)) {
            self.tell_verdict(decision, id, step);
        }
    }

    fn tell_verdict(&mut self, decision: Decision, id: TrialId, step: u32) {
        let promotes = self.drive.pruner.is_some_and(planner::Pruner::promotes);
        match decision {
            Decision::Stop { reason } => self.order_stop(id, reason, promotes),
            Decision::Keep => {
                if let Some(worker) = self.fleet.with_trial(id) {
                    worker.order(Order::GoOn { trial: id, step });
                }
            }
        }
    }

    pub(super) fn order_stop(&mut self, id: TrialId, reason: StopReason, pause: bool) {
        self.pending.stops(id);
        if let Some(worker) = self.fleet.with_trial(id) {
            worker.order(Order::Stop { trial: id, reason, pause });
        }
    }

    /// Journals that a stopped trial goes on, if the rule says so of one.
    pub(super) fn promote(&mut self) -> Result<bool, WorkerError> {
        let Some(promotion) = self.promotion() else { return Ok(false) };
        self.record_promotion(promotion, None)?;
        Ok(true)
    }

    /// Journals that a stopped trial goes on; it waits for a worker.
    pub(super) fn record_promotion(
        &mut self,
        promotion: Promotion,
        at: Option<u64>,
    ) -> Result<(), WorkerError> {
        let Promotion { trial, reason } = promotion;
        self.record(&[Event::TrialPromoted { trial, reason, at }])?;
        self.waiting.push_back(trial);
        Ok(())
    }

    pub(super) fn promotion(&self) -> Option<Promotion> {
        self.drive.pruner?.promote(&self.drive.sweep.state)
    }

    /// Gives up all stopped trials but the `most` with the lowest losses.
    pub(super) fn keep_paused(&mut self, most: usize) -> Result<(), WorkerError> {
        self.drop_checkpoints(beyond(most, &self.drive.sweep.state))
    }

    /// Gives up what was paused by the time of `view`, but the [`MOST_PAUSED`] lowest losses of it.
    pub(super) fn drop_paused(&mut self, view: &SweepState) -> Result<(), WorkerError> {
        let is_kept = |id: &TrialId| self.state(*id).is_kept;
        self.drop_checkpoints(beyond(MOST_PAUSED, view).into_iter().filter(is_kept).collect())
    }

    fn drop_checkpoints(&mut self, trials: Vec<TrialId>) -> Result<(), WorkerError> {
        for trial in trials {
            self.record(&[Event::CheckpointDropped { trial }])?;
            self.drive.sweep.dir.discard_checkpoint(trial, Purpose::Resume)?;
        }
        Ok(())
    }
}

/// The paused trials of `state` but the `most` best ones.
fn beyond(most: usize, state: &SweepState) -> Vec<TrialId> {
    let best = |trial: &TrialState| trial.best_cost().unwrap_or(f64::INFINITY);
    let mut paused: Vec<(f64, TrialId)> = state
        .trials
        .values()
        .filter(|trial| trial.paused().is_some())
        .map(|trial| (best(trial), trial.trial.id))
        .collect();
    paused.sort_by(|a, b| a.0.total_cmp(&b.0));
    paused.into_iter().skip(most).map(|(_, trial)| trial).collect()
}
