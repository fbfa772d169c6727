//! The median rule (as in Google Vizier, Golovin et al. 2017), for trials that run side by side.
//!
//! At iteration i a trial is held to the others' best losses up to i. Others that are still before
//! i are left out, since they may yet get better. Others that have ended before i count with their
//! best: were they left out, the median would be that of the survivors alone, and would throw out
//! half of them at every iteration.

use spec::{SweepState, TrialId, TrialState};

use super::{Decision, Pruner, best_up_to, running};

/// A median of fewer other trials says too little.
const FEWEST_OTHERS: usize = 2;

/// Stops a trial whose best loss is above the median of the others', from `min_iter` on.
pub(super) struct Median {
    pub min_iter: u32,
}

impl Pruner for Median {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let Some(judged) = running(state, trial) else { return Decision::Keep };
        let iteration = judged.evaluations.len();
        if iteration < self.min_iter as usize {
            return Decision::Keep;
        }
        let counts = |t: &&TrialState| t.evaluations.len() >= iteration || t.outcome().is_some();
        let others: Vec<f64> = state
            .trials
            .values()
            .filter(|t| t.trial.id != trial)
            .filter(counts)
            .filter_map(|t| best_up_to(t, iteration))
            .collect();
        if others.len() < FEWEST_OTHERS {
            return Decision::Keep;
        }
        let count = others.len();
        let median = median(others);
        match best_up_to(judged, iteration) {
            Some(own) if own > median => Decision::early(format!(
                "median: after {iteration} evaluations its best validation loss is {own:.4}, the \
                 median of {count} other trials {median:.4}"
            )),
            _ => Decision::Keep,
        }
    }
}

/// The middle value, or the mean of the two in the middle; `values` is not empty.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
