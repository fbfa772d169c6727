//! The whole curve, as the Gaussian process of the Bayesian planner sees it: how likely is the trial
//! to end among the best?
//!
//! The model has learned from every evaluation of every trial, this one's included, and predicts
//! the loss of this trial's last evaluation. A trial is stopped when the probability that it ends
//! below the `top`-th lowest loss of the others is less than `chance`: of the trials that would
//! have got there, about that share is given up if the model is right.
//!
//! What the model learns later may change its mind. A paused trial goes on when it is no longer below
//! `chance` and promises more than a new one does: more probability of ending among the best for
//! each epoch that is still to be trained.

use spec::{Goal, Objective, Sweep, SweepState, TrialId, TrialState};

use super::{Decision, Promotion, Pruner, best_up_to, paused, running};
use crate::bayes::{Asked, Forecast, Forecaster};

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

    /// The `top`-th lowest of the losses that others have reached within so many evaluations.
    fn bar(&self, state: &SweepState, trial: TrialId, iterations: usize) -> Option<f64> {
        let others = state.trials.values().filter(|t| t.trial.id != trial);
        let mut best: Vec<f64> = others.filter_map(|t| best_up_to(t, iterations)).collect();
        best.sort_by(f64::total_cmp);
        best.get(self.top as usize - 1).copied()
    }
}

impl Pruner for Curve {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let Some(judged) = running(state, trial) else { return Decision::Keep };
        let count = judged.evaluations.len();
        if count < self.min_iter as usize {
            return Decision::Keep;
        }
        let Some(bar) = self.bar(state, trial, usize::MAX) else { return Decision::Keep };
        // What it has reached counts, whatever comes; and so does being ahead so far, however far
        // those that began before it have got since.
        let ahead = self.bar(state, trial, count);
        if best_up_to(judged, count).is_some_and(|own| own <= bar || Some(own) <= ahead) {
            return Decision::Keep;
        }
        match self.forecaster.end(state, Asked { trial, level: bar }) {
            Some(forecast) if forecast.probability < self.chance => Decision::early(format!(
                "curve: after {count} evaluations it is expected to end at {}; the probability of \
                 getting {} and so among the best {} is {:.1}%",
                end(&state.objective, &forecast),
                beyond(&state.objective, bar),
                self.top,
                forecast.probability * 100.0,
            )),
            _ => Decision::Keep,
        }
    }

    fn promote(&self, state: &SweepState) -> Option<Promotion> {
        let asked: Vec<Asked> = paused(state)
            .filter_map(|t| {
                let trial = t.trial.id;
                Some(Asked { trial, level: self.bar(state, trial, usize::MAX)? })
            })
            .collect();
        if asked.is_empty() {
            return None;
        }
        let forecasts = self.forecaster.ends(state, &asked);
        let (asked, forecast, worth) = asked
            .into_iter()
            .zip(forecasts)
            .filter_map(|(asked, forecast)| {
                let forecast = forecast.filter(|f| f.probability >= self.chance)?;
                let worth = forecast.probability / epochs_left(&state.trials[&asked.trial]);
                Some((asked, forecast, worth))
            })
            .max_by(|a, b| a.2.total_cmp(&b.2))?;
        let new = self.forecaster.chance_of_new(state, asked.level, self.top);
        let reason = format!(
            "curve: it is expected to end at {} by now; the probability of getting {} and so among \
             the best {} is {:.1}%, which is {:.1}% for each epoch left, and {:.1}% for a new trial",
            end(&state.objective, &forecast),
            beyond(&state.objective, asked.level),
            self.top,
            forecast.probability * 100.0,
            worth * 100.0,
            new * 100.0,
        );
        (worth > new).then_some(Promotion { trial: asked.trial, reason })
    }

    fn promotes(&self) -> bool {
        true
    }
}

/// A predicted end with its interval.
fn end(objective: &Objective, forecast: &Forecast) -> String {
    let costs = [forecast.loss, forecast.low, forecast.high];
    let [middle, a, b] = costs.map(|cost| objective.value_of(cost));
    format!("{middle:.4} ({:.4} to {:.4})", a.min(b), a.max(b))
}

/// Better than a cost.
fn beyond(objective: &Objective, cost: f64) -> String {
    let side = if objective.goal == Goal::Maximize { "above" } else { "below" };
    format!("{side} {:.4}", objective.value_of(cost))
}

/// Epochs that a paused trial has not trained yet; no fewer than the share of one that is worth
/// telling.
fn epochs_left(trial: &TrialState) -> f64 {
    let trained = trial.last().map_or(0.0, |last| last.epoch);
    (f64::from(trial.trial.config.epochs) - trained).max(0.1)
}
