//! Which running trial to give up, and which of those to go on with after all. An iteration is one
//! evaluation; they count from 1.

mod curve;
mod hyperband;
mod median;
mod overfit;
mod target;

use std::borrow::Cow;

use spec::{EarlyTerminate, StopReason, Sweep, SweepState, TrialId, TrialState, TrialStatus};

use crate::replicates;
use crate::searched::View;

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

/// A stopped trial that is to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// Which.
    pub trial: TrialId,
    /// Why, in words and numbers.
    pub reason: String,
}

/// Judges running trials, and paused ones: those that were stopped and may go on from there.
pub trait Pruner: Send + Sync {
    /// Whether `trial` should go on, given everything that happened so far. A trial that is not
    /// running, not known, or not evaluated since it began or was promoted is kept. The answer
    /// depends on the sweep and on `state` alone.
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision;

    /// The paused trial to go on with rather than to begin a new one, if there is one. The answer
    /// depends on the sweep and on `state` alone.
    fn promote(&self, state: &SweepState) -> Option<Promotion> {
        let _ = state;
        None
    }

    /// Whether it ever promotes a trial, so that what stopped ones need for that is kept.
    fn promotes(&self) -> bool {
        false
    }

    /// Whether its judgement of a trial depends on other trials, so that it matters how far those are.
    fn is_relative(&self) -> bool {
        true
    }
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
        EarlyTerminate::Overfit { patience, probability, min_rise } => {
            boxed(overfit::Overfit { patience, probability, min_rise })
        }
    });
    let early = early.map(|early| if sweep.promote { early } else { boxed(ForGood(early)) });
    let early = early.map(|early| match sweep.replicates {
        Some(_) => boxed(NoReplicates(early)),
        None => early,
    });
    // Overfitting is judged on the losses, whatever trials are compared by.
    let early = match &sweep.early_terminate {
        Some(EarlyTerminate::Overfit { .. }) | None => early,
        Some(_) => early.map(|pruner| boxed(Seeing { view: SweepState::costs, pruner })),
    };
    let early = early.map(|pruner| boxed(Seeing { view: SweepState::within_space, pruner }));
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

    fn promote(&self, state: &SweepState) -> Option<Promotion> {
        self.0.iter().find_map(|pruner| pruner.promote(state))
    }

    fn promotes(&self) -> bool {
        self.0.iter().any(|pruner| pruner.promotes())
    }

    fn is_relative(&self) -> bool {
        self.0.iter().any(|pruner| pruner.is_relative())
    }
}

/// Stops without a way back.
struct ForGood(Box<dyn Pruner>);

impl Pruner for ForGood {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        self.0.judge(state, trial)
    }

    fn is_relative(&self) -> bool {
        self.0.is_relative()
    }
}

/// Judges by another view of the sweep: [`SweepState::within_space`], since trials that left the space would be
/// no measure, or [`SweepState::costs`], the metric's in the place of the validation loss.
struct Seeing {
    view: View,
    pruner: Box<dyn Pruner>,
}

impl Pruner for Seeing {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        self.pruner.judge(&(self.view)(state), trial)
    }

    fn promote(&self, state: &SweepState) -> Option<Promotion> {
        self.pruner.promote(&(self.view)(state))
    }

    fn promotes(&self) -> bool {
        self.pruner.promotes()
    }

    fn is_relative(&self) -> bool {
        self.pruner.is_relative()
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

    fn promote(&self, state: &SweepState) -> Option<Promotion> {
        self.0.promote(&replicates::without(state))
    }

    fn promotes(&self) -> bool {
        self.0.promotes()
    }

    fn is_relative(&self) -> bool {
        self.0.is_relative()
    }
}

/// The trial, if it is running and has been evaluated, since its promotion if it had one: it was
/// promoted knowing what it had reached, and is not stopped for that again.
fn running(state: &SweepState, trial: TrialId) -> Option<&TrialState> {
    let trial = state.trials.get(&trial).filter(|t| t.status == TrialStatus::Running)?;
    let judged = trial.promotions.last().map_or(0, |promoted| promoted.step);
    trial.last().filter(|last| last.step > judged).map(|_| trial)
}

/// Trials that were stopped and may go on.
fn paused(state: &SweepState) -> impl Iterator<Item = &TrialState> {
    state.trials.values().filter(|t| t.paused().is_some() && !t.evaluations.is_empty())
}

/// A trial's lowest loss among its first `iterations` evaluations.
fn best_up_to(trial: &TrialState, iterations: usize) -> Option<f64> {
    trial.evaluations.iter().take(iterations).map(|e| e.eval_loss).min_by(f64::total_cmp)
}
