//! The median rule (as in Google Vizier, Golovin et al. 2017), for trials that run side by side.
//!
//! At iteration i a trial is held to the others' best losses up to i. Others that are still before
//! i are left out, since they may yet get better. Others that have ended before i count with their
//! best: were they left out, the median would be that of the survivors alone, and would throw out
//! half of them at every iteration.

use spec::{SweepState, TrialId, TrialState};

use super::{Decision, Promotion, Pruner, best_up_to, paused, running};

/// A median of fewer other trials says too little.
const FEWEST_OTHERS: usize = 2;

/// Stops a trial whose best loss is above the median of the others', from `min_iter` on.
pub(super) struct Median {
    pub min_iter: u32,
}

/// A trial's best loss beside the others'.
struct Standing {
    iteration: usize,
    own: f64,
    median: f64,
    /// Number of the others.
    count: usize,
}

/// `None` when the others are too few.
fn standing(state: &SweepState, judged: &TrialState) -> Option<Standing> {
    let iteration = judged.evaluations.len();
    let counts = |t: &&TrialState| t.evaluations.len() >= iteration || t.outcome().is_some();
    let others: Vec<f64> = state
        .trials
        .values()
        .filter(|t| t.trial.id != judged.trial.id)
        .filter(counts)
        .filter_map(|t| best_up_to(t, iteration))
        .collect();
    let count = others.len();
    let own = best_up_to(judged, iteration)?;
    (count >= FEWEST_OTHERS).then(|| Standing { iteration, own, median: median(others), count })
}

impl Pruner for Median {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let is_due = |t: &&TrialState| t.evaluations.len() >= self.min_iter as usize;
        let judged = running(state, trial).filter(is_due);
        match judged.and_then(|judged| standing(state, judged)) {
            Some(Standing { iteration, own, median, count }) if own > median => {
                let [own, median] = [own, median].map(|cost| state.objective.value_of(cost));
                Decision::early(format!(
                    "median: after {iteration} evaluations its best {} is {own:.4}, the median of \
                     {count} other trials {median:.4}",
                    state.objective.in_words()
                ))
            }
            _ => Decision::Keep,
        }
    }

    fn promote(&self, state: &SweepState) -> Option<Promotion> {
        let standings = paused(state).filter_map(|t| Some((t.trial.id, standing(state, t)?)));
        let better = standings.filter(|(_, standing)| standing.own < standing.median);
        let (trial, Standing { iteration, own, median, count }) =
            better.min_by(|(_, a), (_, b)| a.own.total_cmp(&b.own))?;
        let [own, median] = [own, median].map(|cost| state.objective.value_of(cost));
        let reason = format!(
            "median: its best {} after {iteration} evaluations is {own:.4}, the median of {count} \
             other trials {median:.4} by now",
            state.objective.in_words()
        );
        Some(Promotion { trial, reason })
    }

    fn promotes(&self) -> bool {
        true
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
