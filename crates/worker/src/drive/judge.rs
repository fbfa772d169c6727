//! What becomes of a running trial after an evaluation.
//!
//! A trial that is judged waits for its verdict, so that a stop does not depend on how fast the
//! driver and the worker are.

use planner::Decision;
use spec::{StopReason, TrialId};

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
            Decision::Stop { reason } => self.order_stop(id, reason),
            Decision::Keep => {
                if let Some(worker) = self.fleet.with_trial(id) {
                    worker.order(Order::GoOn { trial: id, step });
                }
            }
        }
    }

    pub(super) fn order_stop(&mut self, id: TrialId, reason: StopReason) {
        if let Some(worker) = self.fleet.with_trial(id) {
            worker.order(Order::Stop { trial: id, reason });
        }
    }
}
