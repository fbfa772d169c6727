//! Hyperband's successive halving, asynchronous, as in W&B sweeps (Li et al. 2018,
//! arXiv:1603.06560; W&B's `early_terminate: {type: hyperband}`).
//!
//! A bracket lies at an iteration b. Its threshold is the loss at rank `floor(n / eta)` (from 0,
//! ascending) among the n trials that have reached b, each with its loss at b. A trial is held to
//! the last bracket it has passed: it stops when its best loss up to now (with `strict`: its loss
//! at b) is above that threshold. The first trial at a bracket is its own threshold and goes on,
//! so nobody waits for anybody.

use spec::{Brackets, SweepState, TrialId};

use super::{Decision, Pruner, best_up_to, running};

/// W&B's number of brackets for `min_iter`; more could only be told apart with an `eta` near 1.
const MOST_BRACKETS: i32 = 100;

pub(super) struct Hyperband {
    pub brackets: Brackets,
    pub eta: f64,
    pub strict: bool,
}

impl Hyperband {
    /// The last bracket within `iterations`.
    fn last_bracket(&self, iterations: usize) -> Option<usize> {
        let bracket = |k: i32| match self.brackets {
            Brackets::From { min_iter } => Some(f64::from(min_iter) * self.eta.powi(k)),
            Brackets::Below { max_iter, s } => (u32::try_from(k).is_ok_and(|k| k < s))
                .then(|| f64::from(max_iter) / self.eta.powi(k + 1)),
        };
        (0..MOST_BRACKETS)
            .map_while(bracket)
            .map(|b| b.floor() as usize)
            .filter(|b| (1..=iterations).contains(b))
            .max()
    }
}

impl Pruner for Hyperband {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let Some(judged) = running(state, trial) else { return Decision::Keep };
        let Some(bracket) = self.last_bracket(judged.evaluations.len()) else {
            return Decision::Keep;
        };
        let loss_there = |t: &spec::TrialState| t.evaluations.get(bracket - 1).map(|e| e.eval_loss);
        let mut losses: Vec<f64> = state.trials.values().filter_map(loss_there).collect();
        losses.sort_by(f64::total_cmp);
        let place = (losses.len() as f64 / self.eta).floor() as usize;
        let own = if self.strict {
            loss_there(judged)
        } else {
            best_up_to(judged, judged.evaluations.len())
        };
        match (own, losses.get(place)) {
            (Some(own), Some(&threshold)) if own > threshold => Decision::early(format!(
                "hyperband: at evaluation {bracket} the best {} of {} trials had a validation \
                 loss of {threshold:.4} or less; {} {own:.4}",
                place + 1,
                losses.len(),
                if self.strict { "this one had" } else { "this one's best up to now is" },
            )),
            _ => Decision::Keep,
        }
    }
}
