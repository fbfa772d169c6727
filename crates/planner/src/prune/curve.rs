//! The whole curve, as the Gaussian process of the Bayesian planner sees it: how likely is the trial
//! to end among the best?
//!
//! The model has learned from every evaluation of every trial, this one's included, and predicts
//! the loss of this trial's last evaluation. A trial is stopped when the probability that it ends
//! below the `top`-th lowest loss of the others is less than `chance`: of the trials that would
//! have got there, about that share is given up if the model is right.

use spec::{Sweep, SweepState, TrialId};

use super::{Decision, Pruner, best_up_to, running};
use crate::bayes::Forecaster;

pub(super) struct Curve {
    pub forecaster: Forecaster,
    pub top: u32,
    pub chance: f64,
    pub min_iter: u32,
}

impl Curve {
    pub fn new(sweep: &Sweep, top: u32, chance: f64, min_iter: u32) -> Self {
        Self { forecaster: Forecaster::new(sweep), top, chance, min_iter }
    }
}

impl Pruner for Curve {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let Some(judged) = running(state, trial) else { return Decision::Keep };
        let count = judged.evaluations.len();
        if count < self.min_iter as usize {
            return Decision::Keep;
        }
        let best_of_others = |iterations: usize| {
            let others = state.trials.values().filter(|t| t.trial.id != trial);
            let mut best: Vec<f64> = others.filter_map(|t| best_up_to(t, iterations)).collect();
            best.sort_by(f64::total_cmp);
            best
        };
        let others = best_of_others(usize::MAX);
        let Some(&bar) = others.get(self.top as usize - 1) else { return Decision::Keep };
        // What it has reached counts, whatever comes; and so does being ahead so far, however far
        // those that began before it have got since.
        let ahead = best_of_others(count).get(self.top as usize - 1).copied();
        if best_up_to(judged, count).is_some_and(|own| own <= bar || Some(own) <= ahead) {
            return Decision::Keep;
        }
        match self.forecaster.end(state, trial, bar) {
            Some(forecast) if forecast.probability < self.chance => Decision::early(format!(
                "curve: after {count} evaluations it is expected to end at {:.4} ({:.4} to {:.4}); \
                 the probability of getting below {bar:.4} and so among the best {} is {:.1}%",
                forecast.loss,
                forecast.low,
                forecast.high,
                self.top,
                forecast.probability * 100.0,
            )),
            _ => Decision::Keep,
        }
    }
}
