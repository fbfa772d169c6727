//! How much work a sweep is: for `check`, and for the time that is left.

use std::collections::BTreeMap;

use planner::Planner;
use serde::Serialize;
use spec::{Sweep, SweepState, Trial, TrialId};
use trainer::data::PreparedData;
use trainer::plan::{self, Work};

/// Trials listed beforehand; a sweep that has no end is not counted.
const MOST_TRIALS: usize = 100_000;

/// The work of every trial that is known beforehand.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct Workload {
    trials: BTreeMap<TrialId, Work>,
}

/// A trial in full.
pub type TrialWork<'a> = (TrialId, &'a Work);

/// All trials a fresh sweep will have; `None` when that cannot be told beforehand.
pub fn all_trials(planner: &dyn Planner) -> Option<Vec<Trial>> {
    let total = planner.total().filter(|&n| n <= MOST_TRIALS && !planner.is_adaptive())?;
    Some(planner.suggest(&SweepState::default(), total))
}

impl Workload {
    /// The work of `trials` on this data.
    pub fn of(trials: &[Trial], sweep: &Sweep, data: &PreparedData) -> Self {
        let work = |trial: &Trial| plan::work(&trial.config, data, &sweep.train);
        Self { trials: trials.iter().map(|trial| (trial.id, work(trial))).collect() }
    }

    pub fn trials(&self) -> impl Iterator<Item = TrialWork<'_>> {
        self.trials.iter().map(|(id, work)| (*id, work))
    }

    /// Share of all work that is done, in `[0, 1]`; `None` when all of it is not known.
    pub fn done_share(&self, state: &SweepState) -> Option<f64> {
        let total: f64 = self.trials.values().map(cost).sum();
        let done: f64 = self
            .trials
            .iter()
            .filter_map(|(id, work)| Some(cost(work) * trial_share(state, *id)?))
            .sum();
        (total > 0.0).then(|| (done / total).min(1.0))
    }
}

/// Share of a trial that is done; an ended one is done, however early it ended.
fn trial_share(state: &SweepState, id: TrialId) -> Option<f64> {
    let trial = state.trials.get(&id)?;
    if trial.outcome().is_some() {
        return Some(1.0);
    }
    let total = f64::from(trial.total_steps?.max(1));
    let step = trial.train_points.last().map_or(0, |point| point.step);
    Some(f64::from(step) / total)
}

/// A trained token costs a forward and a backward pass of about the same size, an evaluated one
/// the forward pass alone.
fn cost(work: &Work) -> f64 {
    2.0 * work.train_tokens as f64 + work.eval_tokens as f64
}
