//! Hyperband's successive halving, asynchronous, as in W&B sweeps (Li et al. 2018,
//! arXiv:1603.06560; W&B's `early_terminate: {type: hyperband}`).
//!
//! A bracket lies at an iteration b. Its threshold is the loss at rank `floor(n / eta)` (from 0,
//! ascending) among the n trials that have reached b, each with its loss at b. A trial is held to
//! the last bracket it has passed: it stops when its best loss up to now (with `strict`: its loss
//! at b) is above that threshold. The first trial at a bracket is its own threshold and goes on,
//! so nobody waits for anybody.
//!
//! As trials come that are worse, one that was stopped may come to be among the best `floor(n / eta)`
//! of its bracket; then it goes on (ASHA's promotion: Li et al. 2020, arXiv:1810.05934, algorithm 2).

use spec::{Brackets, Goal, Objective, SweepState, TrialId, TrialState};

use super::{Decision, Promotion, Pruner, best_up_to, paused, running};

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

/// A trial beside the others of its bracket.
struct Standing {
    bracket: usize,
    /// What it is held to the others by.
    own: f64,
    /// The losses of all at the bracket, ascending.
    losses: Vec<f64>,
    /// How many of them are the best `1/eta`.
    best: usize,
}

impl Hyperband {
    fn standing(&self, state: &SweepState, judged: &TrialState) -> Option<Standing> {
        let bracket = self.last_bracket(judged.evaluations.len())?;
        let loss_there = |t: &TrialState| t.evaluations.get(bracket - 1).map(|e| e.eval_loss);
        let mut losses: Vec<f64> = state.trials.values().filter_map(loss_there).collect();
        losses.sort_by(f64::total_cmp);
        let best = (losses.len() as f64 / self.eta).floor() as usize;
        let own = if self.strict {
            loss_there(judged)?
        } else {
            best_up_to(judged, judged.evaluations.len())?
        };
        Some(Standing { bracket, own, losses, best })
    }

    const fn own_in_words(&self) -> &'static str {
        if self.strict { "this one had" } else { "this one's best up to now is" }
    }
}

/// What a trial at a cost had, or better.
fn bound(objective: &Objective, cost: f64) -> String {
    let value = objective.value_of(cost);
    match objective.goal {
        _ if objective.is_loss() => format!("a validation loss of {value:.4} or less"),
        Goal::Minimize => format!("{} {value:.4} or less", objective.metric),
        Goal::Maximize => format!("{} {value:.4} or more", objective.metric),
    }
}

impl Pruner for Hyperband {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let standing = running(state, trial).and_then(|judged| self.standing(state, judged));
        let Some(Standing { bracket, own, losses, best }) = standing else {
            return Decision::Keep;
        };
        match losses.get(best) {
            Some(&threshold) if own > threshold => Decision::early(format!(
                "hyperband: at evaluation {bracket} the best {} of {} trials had {}; {} {:.4}",
                best + 1,
                losses.len(),
                bound(&state.objective, threshold),
                self.own_in_words(),
                state.objective.value_of(own),
            )),
            _ => Decision::Keep,
        }
    }

    fn promote(&self, state: &SweepState) -> Option<Promotion> {
        let is_among_best = |standing: &Standing| {
            let last = standing.best.checked_sub(1).and_then(|last| standing.losses.get(last));
            last.is_some_and(|&threshold| standing.own <= threshold)
        };
        let standings = paused(state).filter_map(|t| Some((t.trial.id, self.standing(state, t)?)));
        let (trial, standing) = standings.filter(|(_, standing)| is_among_best(standing)).min_by(
            |(_, a), (_, b)| {
                // Those that have come furthest first.
                b.bracket.cmp(&a.bracket).then(a.own.total_cmp(&b.own))
            },
        )?;
        let reason = format!(
            "hyperband: it is among the best {} of {} trials at evaluation {} now; {} {:.4}",
            standing.best,
            standing.losses.len(),
            standing.bracket,
            self.own_in_words(),
            state.objective.value_of(standing.own),
        );
        Some(Promotion { trial, reason })
    }

    fn promotes(&self) -> bool {
        true
    }
}
