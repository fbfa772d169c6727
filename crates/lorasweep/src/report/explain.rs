//! `lorasweep explain`: what was expected of each trial when it was proposed, what came, and which
//! parameters matter. Works for every method, also while the sweep runs.

use std::fmt::Write as _;

use planner::Expectation;
use reporter::Importance;
use serde::Serialize;
use spec::{Event, Sweep, SweepState, Trial, TrialState};
use store::SweepFolder;

use crate::args::ExplainArgs;
use crate::commands::status::outcome_name;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::inputs::sweep_file;

/// What there is to say of a sweep's choices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    name: String,
    trials: Vec<ExplainedTrial>,
    importance: Vec<ParameterImportance>,
    /// Why no further trial was proposed.
    conclusion: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedTrial {
    trial: u32,
    settings: String,
    expected_loss: Option<f64>,
    expected_low: Option<f64>,
    expected_high: Option<f64>,
    eval_loss: Option<f64>,
    /// Whether it ended within what was expected.
    as_expected: Option<bool>,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParameterImportance {
    parameter: &'static str,
    share: f64,
    stderr: f64,
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
        trials: lines.collect(),
        importance: reporter::importance(&state).iter().map(importance_line).collect(),
        conclusion: planner::for_sweep(sweep).conclusion(&state),
    }
}

fn line(sweep: &Sweep, trial: &TrialState, expected: Option<Expectation>) -> ExplainedTrial {
    let eval_loss = trial.last().map(|last| last.eval_loss);
    let is_within = |(e, loss): (Expectation, f64)| (e.low..=e.high).contains(&loss);
    let ended = trial.outcome().is_some();
    ExplainedTrial {
        trial: trial.trial.id.0,
        settings: settings(sweep, trial),
        expected_loss: expected.map(|e| e.loss),
        expected_low: expected.map(|e| e.low),
        expected_high: expected.map(|e| e.high),
        eval_loss,
        as_expected: expected.zip(eval_loss).filter(|_| ended).map(is_within),
        status: trial.outcome().map_or_else(|| "not ended".to_owned(), outcome_name),
    }
}

/// The varied settings of a trial.
fn settings(sweep: &Sweep, trial: &TrialState) -> String {
    let config = serde_json::to_value(&trial.trial.config).unwrap_or_default();
    let varied = sweep.space.varied();
    let shown = varied.iter().map(|parameter| match &config[parameter.name()] {
        serde_json::Value::Number(number) if number.as_f64().is_some_and(|x| x < 0.01) => {
            format!("{parameter} {:e}", number.as_f64().unwrap_or_default())
        }
        value => format!("{parameter} {value}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn importance_line(importance: &Importance) -> ParameterImportance {
    let Importance { name, share, stderr } = *importance;
    ParameterImportance { parameter: name, share, stderr }
}
