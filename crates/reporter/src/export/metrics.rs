//! The curves of one run. Evaluations and optimizer steps have different columns and very
//! different numbers of rows, so they are two tables: `metrics.csv` (one row an evaluation, the
//! base model's as step 0 first) and `steps.csv` (one row an optimizer step).

use std::collections::HashSet;

use spec::{Evaluation, SweepState, TrialState};

use super::{measured, table};
use crate::error::ReportError;
use crate::parameters::PARAMETERS;

const METRICS: [&str; 11] = [
    "step",
    "epoch",
    "eval_loss",
    "eval_loss_stderr",
    "rise_stderr",
    "train_loss",
    "gap",
    "retention_loss",
    "is_best",
    "tokens",
    "seconds",
];

const STEPS: [&str; 7] =
    ["step", "epoch", "loss", "grad_norm", "learning_rate", "tokens", "seconds"];

/// `metrics.csv` of one run: one row an evaluation. `base` adds the untouched base model, at
/// which every run starts, as its step 0; `is_best` marks the run's own best evaluation.
pub fn metrics_csv(trial: &TrialState, base: Option<&Evaluation>) -> Result<String, ReportError> {
    let scores = scores_of([trial], base);
    let columns = columns(&scores);
    let header: Vec<&str> = columns.iter().map(String::as_str).collect();
    table("metrics.csv", &header, rows(trial, base, &scores).into_iter())
}

/// All evaluations of all runs in one table, each with its run's number and settings.
pub fn evaluations_csv(state: &SweepState) -> Result<String, ReportError> {
    let settings = PARAMETERS.iter().map(|parameter| parameter.name);
    let scores = scores_of(state.trials.values(), state.base.as_ref());
    let columns = columns(&scores);
    let columns = columns.iter().map(String::as_str);
    let header: Vec<&str> = ["trial"].into_iter().chain(columns).chain(settings).collect();
    let all = state.trials.values().flat_map(|trial| {
        let config = &trial.trial.config;
        rows(trial, state.base_of(trial), &scores).into_iter().map(|row| {
            let number = trial.trial.id.0.to_string();
            let settings = PARAMETERS.iter().map(|parameter| parameter.value(config));
            [number].into_iter().chain(row).chain(settings).collect()
        })
    });
    table("evaluations.csv", &header, all)
}

/// Whether every row of an earlier table of evaluations is in a later one, so that nothing is lost
/// with it. As a sweep goes on, another evaluation may become the best; one that was taken again
/// after an interruption took another time.
pub fn is_within_evaluations(earlier: &str, later: &str) -> bool {
    const MAY_CHANGE: [&str; 2] = ["is_best", "seconds"];
    let read = |text: &str| -> Option<(Vec<String>, HashSet<Vec<String>>)> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header: Vec<String> = reader.headers().ok()?.iter().map(str::to_owned).collect();
        let kept = |row: csv::StringRecord| -> Vec<String> {
            let cells = header.iter().zip(&row);
            let cells = cells.filter(|(name, _)| !MAY_CHANGE.contains(&name.as_str()));
            cells.map(|(_, cell)| cell.to_owned()).collect()
        };
        let rows = reader.records().map(|row| row.map(kept)).collect::<Result<_, _>>().ok()?;
        Some((header, rows))
    };
    match (read(earlier), read(later)) {
        (Some((columns, earlier)), Some((same_columns, later))) => {
            columns == same_columns && earlier.is_subset(&later)
        }
        _ => false,
    }
}

/// The metrics that were measured beside the losses, in the order in which they come.
pub(super) fn scores_of<'a>(
    trials: impl IntoIterator<Item = &'a TrialState>,
    base: Option<&'a Evaluation>,
) -> Vec<String> {
    let evaluations = trials.into_iter().flat_map(|trial| &trial.evaluations);
    let mut names: Vec<String> = Vec::new();
    for score in base.into_iter().chain(evaluations).flat_map(|evaluation| &evaluation.scores) {
        if !names.contains(&score.metric) {
            names.push(score.metric.clone());
        }
    }
    names
}

/// The columns of a table of evaluations.
fn columns(scores: &[String]) -> Vec<String> {
    let own = METRICS.into_iter().map(str::to_owned);
    own.chain(scores.iter().flat_map(|name| [name.clone(), format!("{name}_stderr")])).collect()
}

fn rows(trial: &TrialState, base: Option<&Evaluation>, scores: &[String]) -> Vec<Vec<String>> {
    let row = |(e, is_best): (Evaluation, bool)| {
        let mut row = vec![
            e.step.to_string(),
            measured(e.epoch),
            measured(e.eval_loss),
            measured(e.eval_loss_stderr),
            measured(e.rise_stderr),
            measured(e.train_loss),
            measured(e.gap()),
            measured(e.retention_loss),
            is_best.to_string(),
            e.tokens.to_string(),
            measured(e.seconds),
        ];
        for name in scores {
            let score = e.score(name);
            row.push(measured(score.map(|score| score.value)));
            row.push(measured(score.map(|score| score.stderr)));
        }
        row
    };
    points(trial, base).into_iter().map(row).collect()
}

/// A run's evaluations, from the base model's as step 0 on, and whether each is the run's best.
pub(super) fn points(trial: &TrialState, base: Option<&Evaluation>) -> Vec<(Evaluation, bool)> {
    let best = trial.best().map(|best| best.step);
    let start = base.filter(|_| trial.evaluations.first().is_none_or(|first| first.step > 0));
    start
        .map(|base| (Evaluation { step: 0, epoch: 0.0, tokens: 0, ..base.clone() }, false))
        .into_iter()
        .chain(trial.evaluations.iter().map(|e| (e.clone(), best == Some(e.step))))
        .collect()
}

/// `steps.csv` of one run: one row an optimizer step; `loss` is the step's batch in training mode.
pub fn steps_csv(trial: &TrialState) -> Result<String, ReportError> {
    let rows = trial.train_points.iter().map(|p| {
        vec![
            p.step.to_string(),
            measured(p.epoch),
            measured(p.loss),
            measured(p.grad_norm),
            p.learning_rate.to_string(),
            p.tokens.to_string(),
            measured(p.seconds),
        ]
    });
    table("steps.csv", &STEPS, rows)
}
