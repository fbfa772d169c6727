//! Which running trial to give up. An iteration is one evaluation; they count from 1.

mod curve;
mod hyperband;
mod median;
mod overfit;
mod target;

use std::borrow::Cow;

use spec::{EarlyTerminate, StopReason, Sweep, SweepState, TrialId, TrialState, TrialStatus};

use crate::replicates;

/// What becomes of a running trial.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It goes on.
    Keep,
    /// It ends now.
    Stop {
        /// Why.
        reason: StopReason,
    },
}

impl Decision {
    /// Stopped by a rule of `early_terminate`, with the rule's reason in words and numbers.
    fn early(reason: String) -> Self {
        Self::Stop { reason: StopReason::EarlyTerminate { reason } }
    }
}

/// Judges running trials.
pub trait Pruner: Send + Sync {
    /// Whether `trial` should go on, given everything that happened so far. A trial that is not
    /// running, not known, or not yet evaluated is kept. The answer depends on the sweep and on
    /// `state` alone.
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision;
}

/// The pruner of a sweep: its metric's `target` and its `early_terminate`; `None` without either.
pub fn pruner_for(sweep: &Sweep) -> Option<Box<dyn Pruner>> {
    let target = sweep.metric.target.map(|target| boxed(target::Target { target }));
    let early = sweep.early_terminate.as_ref().map(|rule| match *rule {
        EarlyTerminate::Hyperband { brackets, eta, strict } => {
            boxed(hyperband::Hyperband { brackets, eta, strict })
        }
        EarlyTerminate::Median { min_iter } => boxed(median::Median { min_iter }),
        EarlyTerminate::Curve { top, chance, min_iter } => {
            boxed(curve::Curve::new(sweep, top, chance, min_iter))
        }
        EarlyTerminate::Overfit { patience, sigma, min_rise } => {
            boxed(overfit::Overfit { patience, sigma, min_rise })
        }
    });
    let early = early.map(|early| match sweep.replicates {
        Some(_) => boxed(NoReplicates(early)),
        None => early,
    });
    match (target, early) {
        (Some(target), Some(early)) => Some(boxed(FirstStop([target, early]))),
        (one, other) => one.or(other),
    }
}

fn boxed(pruner: impl Pruner + 'static) -> Box<dyn Pruner> {
    Box::new(pruner)
}

/// Stops when any of its pruners does, for the reason of the first.
struct FirstStop([Box<dyn Pruner>; 2]);

impl Pruner for FirstStop {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let stop = self.0.iter().map(|p| p.judge(state, trial)).find(|d| *d != Decision::Keep);
        stop.unwrap_or(Decision::Keep)
    }
}

/// Judges by the trials of the search alone, and none but those: replicates are run for the verdict
/// and go to their end.
struct NoReplicates(Box<dyn Pruner>);

impl Pruner for NoReplicates {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        match replicates::without(state) {
            Cow::Borrowed(state) => self.0.judge(state, trial),
            Cow::Owned(searched) if searched.trials.contains_key(&trial) => {
                self.0.judge(&searched, trial)
            }
            Cow::Owned(_) => Decision::Keep,
        }
    }
}

/// The trial, if it is running and has been evaluated.
fn running(state: &SweepState, trial: TrialId) -> Option<&TrialState> {
    state
        .trials
        .get(&trial)
        .filter(|t| t.status == TrialStatus::Running && !t.evaluations.is_empty())
}

/// A trial's lowest loss among its first `iterations` evaluations.
fn best_up_to(trial: &TrialState, iterations: usize) -> Option<f64> {
    trial.evaluations.iter().take(iterations).map(|e| e.eval_loss).min_by(f64::total_cmp)
}
