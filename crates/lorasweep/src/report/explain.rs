//! What was expected of each trial when it was proposed, what came, and which
//! parameters matter. Works for every method, also while the sweep runs.

use planner::Expectation;
use reporter::Importance;
use serde::Serialize;
use spec::{Event, Sweep, SweepState, Trial, TrialState};

use super::status::outcome_name;

/// What there is to say of a sweep's choices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The sweep's name.
    pub name: String,
    /// What trials are compared by.
    pub metric: String,
    /// Every trial.
    pub trials: Vec<ExplainedTrial>,
    /// How much each parameter explains of the losses.
    pub importance: Vec<ParameterImportance>,
    /// Why no further trial was proposed.
    pub conclusion: Option<String>,
}

/// What was expected of a trial, and what came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedTrial {
    /// Its number.
    pub trial: u32,
    /// The parameters that the sweep varies.
    pub settings: String,
    /// What was expected of the sweep's metric (by default the validation loss) at its end when it was
    /// proposed.
    pub expected_loss: Option<f64>,
    /// Lower end of the interval that 95 % of the losses were expected in.
    pub expected_low: Option<f64>,
    /// Its upper end.
    pub expected_high: Option<f64>,
    /// The validation loss at the best evaluation, as in every other report.
    pub eval_loss: Option<f64>,
    /// The validation loss of the last evaluation.
    pub last_eval_loss: Option<f64>,
    /// The sweep's metric at the best evaluation.
    pub best_value: Option<f64>,
    /// The sweep's metric where it was measured last, which the expectation is of.
    pub last_value: Option<f64>,
    /// Whether it ended within what was expected.
    pub as_expected: Option<bool>,
    /// How it ended, in words.
    pub status: String,
}

/// How much a parameter explains of the losses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParameterImportance {
    /// Its name.
    pub parameter: &'static str,
    /// Share of the variance that it explains alone.
    pub share: f64,
    /// Standard error of that share.
    pub stderr: f64,
}

/// Goes through the journal, so that each expectation is from what was known at the proposal.
pub fn explain(sweep: &Sweep, events: &[Event]) -> Explanation {
    let mut state = SweepState::default();
    let mut proposals: Vec<(Trial, Option<Expectation>)> = Vec::new();
    for event in events {
        if let Event::TrialProposed { trial, .. } = event {
            let expected = planner::expectation(sweep, &state, &trial.config);
            proposals.push((trial.clone(), expected));
        }
        state.apply(event);
    }
    let lines = proposals
        .iter()
        .filter_map(|(trial, expected)| Some(line(sweep, state.trials.get(&trial.id)?, *expected)));
    Explanation {
        name: sweep.name.clone(),
        metric: sweep.metric.name.clone(),
        trials: lines.collect(),
        importance: reporter::importance(&state).iter().map(importance_line).collect(),
        conclusion: planner::for_sweep(sweep).conclusion(&state),
    }
}

fn line(sweep: &Sweep, trial: &TrialState, expected: Option<Expectation>) -> ExplainedTrial {
    let eval_loss = trial.best().map(|best| best.eval_loss);
    let last_eval_loss = trial.last().map(|last| last.eval_loss);
    let objective = &trial.objective;
    let best_value = trial.best().and_then(|best| objective.value(best));
    let last_value = trial.evaluations.iter().rev().find_map(|e| objective.value(e));
    let is_within = |(e, loss): (Expectation, f64)| (e.low..=e.high).contains(&loss);
    let ended = trial.outcome().is_some();
    ExplainedTrial {
        trial: trial.trial.id.0,
        settings: settings(sweep, trial),
        expected_loss: expected.map(|e| e.loss),
        expected_low: expected.map(|e| e.low),
        expected_high: expected.map(|e| e.high),
        eval_loss,
        last_eval_loss,
        best_value,
        last_value,
        as_expected: expected.zip(last_value).filter(|_| ended).map(is_within),
        status: trial.outcome().map_or_else(|| "not ended".to_owned(), outcome_name),
    }
}

/// The varied settings of a trial.
fn settings(sweep: &Sweep, trial: &TrialState) -> String {
    let varied = sweep.space.varied();
    let shown = varied
        .iter()
        .map(|parameter| format!("{parameter} {}", parameter.row().shown(&trial.trial.config)));
    shown.collect::<Vec<_>>().join(", ")
}

fn importance_line(importance: &Importance) -> ParameterImportance {
    let Importance { name, share, stderr } = *importance;
    ParameterImportance { parameter: name, share, stderr }
}
