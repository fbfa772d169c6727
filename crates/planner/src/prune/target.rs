//! The metric's target: a trial that is there need not go on.

use spec::{StopReason, SweepState, TrialId};

use super::{Decision, Pruner, running};

/// Stops a trial whose best evaluation is at `target` or below.
pub(super) struct Target {
    pub target: f64,
}

impl Pruner for Target {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let best = running(state, trial).and_then(|t| t.best());
        match best {
            Some(best) if best.eval_loss <= self.target => {
                Decision::Stop { reason: StopReason::TargetReached { target: self.target } }
            }
            _ => Decision::Keep,
        }
    }

    fn is_relative(&self) -> bool {
        false
    }
}
