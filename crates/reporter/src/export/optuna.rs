//! An Optuna study as the log of its journal storage, which `optuna.load_study` and
//! optuna-dashboard open.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use spec::{Evaluation, Goal, Outcome, SweepState, TrialConfig, TrialState};

use crate::diagnose::Diagnosis;
use crate::parameters::{self, Parameter};

/// Operations of the journal, by Optuna's numbers.
const CREATE_STUDY: u32 = 0;
const SET_STUDY_SYSTEM_ATTR: u32 = 3;
const CREATE_TRIAL: u32 = 4;

/// States of a trial, by Optuna's numbers.
const RUNNING: u32 = 0;
const COMPLETE: u32 = 1;
const PRUNED: u32 = 2;
const FAIL: u32 = 3;
const WAITING: u32 = 4;

/// Optuna's direction.
const fn direction(goal: Goal) -> u32 {
    match goal {
        Goal::Minimize => 1,
        Goal::Maximize => 2,
    }
}

/// One JSON operation a line: the study, then every trial with its parameters, its evaluations as
/// intermediate values and its best one, all by the metric that the sweep compares trials by. The parameters are those that the sweep
/// varied. A run that was stopped early or diverged is `PRUNED`.
pub fn optuna_journal(
    state: &SweepState,
    diagnoses: &BTreeMap<spec::TrialId, Diagnosis>,
) -> String {
    let configs: Vec<&TrialConfig> = state.trials.values().map(|t| &t.trial.config).collect();
    let axes: Vec<Axis> = parameters::varying(&configs)
        .into_iter()
        .map(|parameter| Axis::of(parameter, &configs))
        .collect();
    let (metric, directions) = (&state.objective.metric, [direction(state.objective.goal)]);
    let mut lines = vec![
        operation(CREATE_STUDY, json!({ "study_name": state.name, "directions": directions })),
        operation(
            SET_STUDY_SYSTEM_ATTR,
            json!({ "study_id": 0, "system_attr": { "study:metric_names": [metric] } }),
        ),
    ];
    for (id, trial) in &state.trials {
        let time = state.timeline.bounds(*id).unwrap_or_default();
        let flag = diagnoses.get(id).map(|diagnosis| diagnosis.flag.name());
        lines.push(operation(CREATE_TRIAL, created(trial, &axes, flag, time)));
    }
    lines.concat()
}

fn operation(code: u32, mut content: Value) -> String {
    content["op_code"] = code.into();
    content["worker_id"] = "lorasweep".into();
    content.to_string() + "\n"
}

fn created(trial: &TrialState, axes: &[Axis], flag: Option<&str>, (from, to): (u64, u64)) -> Value {
    let config = &trial.trial.config;
    let state = match trial.outcome() {
        Some(Outcome::Completed) if trial.best().is_some() => COMPLETE,
        Some(Outcome::Failed { .. } | Outcome::Completed) => FAIL,
        Some(Outcome::Stopped { .. } | Outcome::Diverged { .. }) => PRUNED,
        None if trial.device.is_some() => RUNNING,
        None => WAITING,
    };
    let has_ended = trial.outcome().is_some();
    let value =
        trial.best().filter(|_| state == COMPLETE).and_then(|best| trial.objective.value(best));
    let measured = |e: &Evaluation| Some((e.step.to_string(), trial.objective.value(e)?.into()));
    let intermediate: Map<String, Value> = trial.evaluations.iter().filter_map(measured).collect();
    let params: Map<String, Value> =
        axes.iter().map(|axis| (axis.parameter.name.to_owned(), axis.internal(config))).collect();
    let distributions: Map<String, Value> = axes
        .iter()
        .map(|axis| (axis.parameter.name.to_owned(), axis.distribution().to_string().into()))
        .collect();
    let best = trial.best();
    json!({
        "study_id": 0,
        "datetime_start": if state == WAITING { Value::Null } else { date(from) },
        "datetime_complete": has_ended.then(|| date(to)),
        "state": state,
        "value": Value::Null,
        "values": value.map(|value| vec![value]),
        "params": params,
        "distributions": distributions,
        "intermediate_values": intermediate,
        "system_attrs": {},
        "user_attrs": {
            "trial": trial.trial.id,
            "flag": flag,
            "best_epoch": best.map(|e| e.epoch),
            "eval_loss": best.map(|e| e.eval_loss),
            "gap": best.map(Evaluation::gap),
            "retention_loss": best.and_then(|e| e.retention_loss),
        },
    })
}

/// A parameter with the values that the sweep tried.
struct Axis {
    parameter: &'static Parameter,
    kind: Kind,
}

enum Kind {
    /// All values are numbers: the least and the largest, and whether all are whole.
    Number { low: f64, high: f64, is_whole: bool },
    /// Words, in order.
    Words(Vec<String>),
}

impl Axis {
    fn of(parameter: &'static Parameter, configs: &[&TrialConfig]) -> Self {
        let mut words: Vec<String> = configs.iter().map(|c| parameter.value(c)).collect();
        let numbers: Option<Vec<f64>> = words.iter().map(|word| word.parse().ok()).collect();
        words.sort();
        words.dedup();
        let kind = numbers.map_or(Kind::Words(words), |numbers| Kind::Number {
            low: numbers.iter().copied().fold(f64::INFINITY, f64::min),
            high: numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            is_whole: numbers.iter().all(|x| x.fract() == 0.0) && parameter.name != "lora_alpha",
        });
        Self { parameter, kind }
    }

    /// The value as Optuna stores it: a number, or the place of a word.
    fn internal(&self, config: &TrialConfig) -> Value {
        let text = self.parameter.value(config);
        match &self.kind {
            Kind::Number { .. } => text.parse::<f64>().ok().into(),
            Kind::Words(words) => words.binary_search(&text).ok().into(),
        }
    }

    fn distribution(&self) -> Value {
        match &self.kind {
            Kind::Number { low, high, is_whole: true } => json!({
                "name": "IntDistribution",
                "attributes": { "log": false, "step": 1, "low": *low as i64, "high": *high as i64 },
            }),
            Kind::Number { low, high, is_whole: false } => {
                let is_log = *low > 0.0 && high / low >= 8.0;
                json!({
                    "name": "FloatDistribution",
                    "attributes": { "log": is_log, "step": null, "low": low, "high": high },
                })
            }
            Kind::Words(words) => json!({
                "name": "CategoricalDistribution",
                "attributes": { "choices": words },
            }),
        }
    }
}

/// ISO 8601 in UTC, from milliseconds since the Unix epoch; `null` beyond the year 9999.
fn date(ms: u64) -> Value {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01T00:00:00.000000+00:00");
        assert_eq!(date(951_782_400_123), "2000-02-29T00:00:00.123000+00:00");
        assert_eq!(date(1_767_225_599_999), "2025-12-31T23:59:59.999000+00:00");
        assert_eq!(date(u64::MAX), Value::Null);
    }
}
