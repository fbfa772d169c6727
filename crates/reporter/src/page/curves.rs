//! The curve of one run, thinned to what a plot can show.

use curves::SmoothPoint;
use serde_json::{Map, Value, json};
use spec::{Evaluation, TrialState};

use crate::compare::Z95;

/// Columns of the curve, beginning with the base model at epoch 0; at most `most` points, of which
/// the first, the best and the last are always there.
pub fn of(trial: &TrialState, base: Option<&Evaluation>, most: usize) -> Value {
    let (evaluations, objective) = (&trial.evaluations[..], &trial.objective);
    let start = base.filter(|_| evaluations.first().is_some_and(|first| first.step > 0));
    let all: Vec<&Evaluation> = start.into_iter().chain(evaluations).collect();
    let best = (0..all.len()).min_by(|&a, &b| objective.compare(all[a], all[b]));
    let step = all.len().div_ceil(most.max(1)).max(1);
    let last = all.len().saturating_sub(1);
    let kept: Vec<usize> = (0..all.len())
        .filter(|&at| at.is_multiple_of(step) || at == last || Some(at) == best)
        .collect();
    let column = |of: &dyn Fn(&Evaluation) -> Option<f64>| -> Vec<Value> {
        kept.iter().map(|&at| short(of(all[at]))).collect()
    };
    let mut names: Vec<&str> = Vec::new();
    for score in all.iter().flat_map(|evaluation| &evaluation.scores) {
        if !names.contains(&score.metric.as_str()) {
            names.push(&score.metric);
        }
    }
    let score = |name: &str| column(&|e| e.score(name).map(|score| score.value));
    let scores = names.iter().map(|name| ((*name).to_owned(), score(name).into()));
    let has_retention = all.iter().any(|e| e.retention_loss.is_some());
    json!({
        "epoch": column(&|e| Some(if e.step == 0 { 0.0 } else { e.epoch })),
        "validation": column(&|e| Some(e.eval_loss)),
        "train": column(&|e| e.train_loss),
        "retention": has_retention.then(|| column(&|e| e.retention_loss)),
        "scores": scores.collect::<Map<String, Value>>(),
        "best": best.and_then(|best| kept.iter().position(|&at| at == best)),
    })
}

/// Columns of the smooth curve with its 95 % limits.
pub fn smooth(points: &[SmoothPoint]) -> Value {
    let column = |of: &dyn Fn(&SmoothPoint) -> f64| -> Vec<Value> {
        points.iter().map(|point| short(of(point))).collect()
    };
    json!({
        "epoch": column(&|point| point.epoch),
        "loss": column(&|point| point.loss),
        "low": column(&|point| point.loss - Z95 * point.deviation),
        "high": column(&|point| point.loss + Z95 * point.deviation),
    })
}

/// Six significant digits; `null` for what is no number.
pub fn short(value: impl Into<Option<f64>>) -> Value {
    let value = value.into().filter(|value| value.is_finite());
    value.and_then(|value| format!("{value:.5e}").parse::<f64>().ok()).into()
}
