//! How much of the differences between runs each parameter explains alone.
//!
//! # Notation
//! A regression forest (Breiman 2001) predicts the loss `f(x)` from the d varied parameters, each scaled
//! to `[0, 1]` over the range that was tried (logarithmically for counts and rates). With x uniform in
//! that box, `V = Var f` and `f_j(x_j)` the mean of f over all other parameters, the share of parameter
//! j is its main effect `Var f_j / V`, exactly computed tree by tree and averaged (functional ANOVA;
//! Hutter, Hoos & Leyton-Brown 2014, ICML). Main effects are orthogonal: they add up to at most 1, and
//! what is missing are interactions. `stderr` is the standard deviation over trees, each of which has seen
//! a bootstrap sample of the runs.
//!
//! The page and `lorasweep explain` both show these numbers; Optuna's `FanovaImportanceEvaluator` gives
//! the same on the same runs, if it is given the logarithms (`tests/it/importance.rs`, `scripts/golden/make_importance_golden.py`).

mod forest;

use serde::Serialize;
use spec::{SweepState, TrialConfig};

use crate::parameters::{self, Parameter};
use forest::Forest;

/// Fewer runs than this explain nothing.
const LEAST_RUNS: usize = 4;

/// More runs are thinned, evenly over the ranking.
const MOST_RUNS: usize = 1000;

/// What one parameter explains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Importance {
    /// The parameter's name.
    pub name: &'static str,
    /// Share of the variance of the loss that it explains alone, in `[0, 1]`; those of all parameters
    /// add up to at most 1.
    pub share: f64,
    /// Standard error of the share.
    pub stderr: f64,
}

/// The share of every parameter that the sweep varied, the largest first. The loss of each run (or
/// the cost of whatever else runs are compared by) is its best; those above the base model's count as the base model's, so that a single diverged run does not
/// decide. Seeds are chance and no parameter.
pub fn importance(state: &SweepState) -> Vec<Importance> {
    let state = &*state.costs();
    let base = state.highest_base_loss().unwrap_or(f64::INFINITY);
    let mut runs: Vec<_> = state
        .trials
        .values()
        .filter_map(|t| Some((&t.trial.config, t.best()?.eval_loss.min(base))))
        .filter(|(_, loss)| loss.is_finite())
        .collect();
    if runs.len() < LEAST_RUNS {
        return Vec::new();
    }
    if runs.len() > MOST_RUNS {
        runs.sort_by(|a, b| a.1.total_cmp(&b.1));
        let all = runs.len();
        runs = (0..MOST_RUNS).map(|at| runs[at * all / MOST_RUNS]).collect();
    }
    let configs: Vec<&TrialConfig> = runs.iter().map(|(config, _)| *config).collect();
    let losses: Vec<f64> = runs.iter().map(|(_, loss)| *loss).collect();
    let varying = parameters::settings(&configs);
    let columns: Vec<Column> = varying.iter().map(|p| column(p, &configs)).collect();
    let forest = Forest::new(&columns, &losses);
    let mut found: Vec<Importance> = varying
        .iter()
        .enumerate()
        .map(|(at, parameter)| {
            let (share, stderr) = forest.main_effect(at);
            Importance { name: parameter.name, share, stderr }
        })
        .collect();
    found.sort_by(|a, b| b.share.total_cmp(&a.share));
    found
}

/// The values of one parameter, run by run.
struct Column {
    /// In `[0, 1]`; a name's is the middle of its part of the interval.
    values: Vec<f64>,
    /// Number of parts, one for each name; 0 for numbers.
    names: usize,
}

fn column(parameter: &Parameter, configs: &[&TrialConfig]) -> Column {
    let numbers: Vec<Option<f64>> = configs.iter().map(|c| parameter.coordinate(c)).collect();
    let Some(numbers) = numbers.into_iter().collect::<Option<Vec<f64>>>() else {
        return names(&configs.iter().map(|c| parameter.value(c)).collect::<Vec<_>>());
    };
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let values = numbers.iter().map(|x| (x - low) / (high - low)).collect();
    Column { values, names: 0 }
}

fn names(values: &[String]) -> Column {
    let mut distinct: Vec<&String> = values.iter().collect();
    distinct.sort();
    distinct.dedup();
    let middle = |value: &String| {
        let place = distinct.binary_search(&value).unwrap_or(0) as f64;
        (place + 0.5) / distinct.len() as f64
    };
    Column { values: values.iter().map(middle).collect(), names: distinct.len() }
}
