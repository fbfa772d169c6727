//! The metric's target: a trial that is there need not go on.

use spec::{StopReason, SweepState, TrialId};

use super::{Decision, Pruner, running};

/// Stops a trial whose best evaluation is as good as `target`.
pub(super) struct Target {
    pub target: f64,
}

impl Pruner for Target {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        match running(state, trial) {
            Some(running) if running.reaches(self.target) => {
                Decision::Stop { reason: StopReason::TargetReached { target: self.target } }
            }
            _ => Decision::Keep,
        }
    }

    fn is_relative(&self) -> bool {
        false
    }
}
