//! What becomes of a running trial after an evaluation, and of one that was stopped.
//!
//! A trial that is judged waits for its verdict, so that a stop does not depend on how fast the
//! driver and the worker are.
//!
//! Where the rule promotes, the checkpoint of a stopped trial is kept, and whenever a slot is free
//! the rule says first whether one of them goes on. It then waits for a worker like any trial that
//! was begun, and its worker finds the checkpoint as after a crash.

use planner::{Decision, Promotion};
use spec::{Event, StopReason, TrialId, TrialState};
use store::Purpose;

use super::{Run, is_target_reached};
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

    /// Asks the pruner about a running trial and tells its worker.
    pub(super) fn judge(&mut self, id: TrialId, step: u32) {
        let Some(pruner) = self.drive.pruner.filter(|_| self.fleet.has(id)) else { return };
        match pruner.judge(&self.drive.sweep.state, id) {
            Decision::Stop { reason } => self.order_stop(id, reason, pruner.promotes()),
            Decision::Keep => {
                if let Some(worker) = self.fleet.with_trial(id) {
                    worker.order(Order::GoOn { trial: id, step });
                }
            }
        }
    }

    pub(super) fn order_stop(&mut self, id: TrialId, reason: StopReason, pause: bool) {
        if let Some(worker) = self.fleet.with_trial(id) {
            worker.order(Order::Stop { trial: id, reason, pause });
        }
    }

    /// Journals that a stopped trial goes on, if the rule says so of one.
    pub(super) fn promote(&mut self) -> Result<bool, WorkerError> {
        let Some(Promotion { trial, reason }) = self.promotion() else { return Ok(false) };
        self.record(&[Event::TrialPromoted { trial, reason }])?;
        self.waiting.push_back(trial);
        Ok(true)
    }

    pub(super) fn promotion(&self) -> Option<Promotion> {
        self.drive.pruner?.promote(&self.drive.sweep.state)
    }

    /// Gives up all stopped trials but the `most` with the lowest losses.
    pub(super) fn keep_paused(&mut self, most: usize) -> Result<(), WorkerError> {
        let best = |trial: &TrialState| trial.best().map_or(f64::INFINITY, |best| best.eval_loss);
        let mut paused: Vec<(f64, TrialId)> = self
            .trials()
            .filter(|trial| trial.paused().is_some())
            .map(|trial| (best(trial), trial.trial.id))
            .collect();
        paused.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, trial) in paused.into_iter().skip(most) {
            self.record(&[Event::CheckpointDropped { trial }])?;
            self.drive.sweep.dir.discard_checkpoint(trial, Purpose::Resume)?;
        }
        Ok(())
    }
}
