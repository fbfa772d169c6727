//! The data that the page's script draws from.

use serde_json::{Map, Value, json};
use spec::{TrialConfig, TrialId};

use super::Page;
use super::answers;
use super::curves::{self, short};
use crate::compare::Comparison;
use crate::diagnose::{BestRun, Note};
use crate::importance::importance;
use crate::number;
use crate::parameters::{self, PARAMETERS, Parameter};
use crate::rank::{Row, RowScore};
use crate::text::{Lang, say};

/// Points of all curves together; more are thinned, so that the page stays small.
const MOST_POINTS: usize = 100_000;

/// Runs up to which their smooth curves are drawn too.
const MOST_SMOOTH: usize = 500;

/// Points of one curve, at least and at most.
const POINTS_OF_A_CURVE: (usize, usize) = (12, 400);

/// Everything, as one JSON object.
pub fn of(page: Page<'_>) -> Value {
    let Page { state, ranking, .. } = page;
    let configs: Vec<&TrialConfig> = state.trials.values().map(|t| &t.trial.config).collect();
    let varying = parameters::varying(&configs);
    let share = MOST_POINTS / state.trials.len().max(1);
    let points = share.clamp(POINTS_OF_A_CURVE.0, POINTS_OF_A_CURVE.1);
    let rows: Vec<Value> =
        ranking.rows.iter().map(|row| run(page, row, &varying, points)).collect();
    let choice = ranking.verdict.choice.as_ref();
    json!({
        "name": ranking.sweep,
        "lang": page.lang.code(),
        "words": page.lang.page_labels().collect::<std::collections::BTreeMap<_, _>>(),
        "reload": page.reload_seconds,
        "chosen": choice.map(|choice| choice.trial.0),
        "parameters": varying.iter().map(|p| axis(p, &configs)).collect::<Vec<_>>(),
        "fixed": fixed(&configs, &varying),
        "names": PARAMETERS.iter().map(names).collect::<Map<_, _>>(),
        "metric": ranking.objective.metric,
        "goal": ranking.objective.goal,
        "metrics": ranking.metrics,
        "answers": answers::of(state, ranking),
        "rows": rows,
        "spans": state.timeline.spans(),
        "importance": importance(state),
    })
}

/// The facts beside the verdict's first sentence.
pub fn headline(choice: &BestRun, row: Option<&Row>, lang: Lang) -> Value {
    let loss = |value: f64| lang.number(&number::loss(value)).into_owned();
    let interval = row.and_then(|row| row.eval_loss_interval);
    let settings = choice.settings.split(", ").filter(|setting| !setting.is_empty());
    json!({
        "trial": choice.trial.to_string(),
        "number": choice.trial.0,
        "settings": settings.collect::<Vec<_>>(),
        "eval_loss": loss(choice.eval_loss),
        "interval": interval.map(|[low, high]| format!("{} – {}", loss(low), loss(high))),
        "epoch": lang.number(&number::epoch(choice.epoch)),
        "base": choice.improvement.map(|drop| loss(choice.eval_loss + drop)),
        "test": choice.test.as_ref().map(|test| {
            format!("{} ± {}", loss(test.loss), loss(test.loss_stderr))
        }),
    })
}

/// What to expect on new rows, as text: of the adapter, and of its settings under another seed.
pub fn expected(comparison: &Comparison, lang: Lang) -> Option<String> {
    let loss = |value: f64| lang.number(&number::loss(value)).into_owned();
    let own = comparison.expected_loss.map(loss)?;
    Some(match comparison.expected.filter(|_| comparison.candidates > 1) {
        Some(other) => {
            let ends = (loss(other.low), loss(other.high));
            say!(lang, ExpectedShort, own, loss(other.loss), ends.0, ends.1)
        }
        None => own,
    })
}

/// A parameter that the sweep varied: whether its values are numbers, and spread over decades.
fn axis(parameter: &Parameter, configs: &[&TrialConfig]) -> Value {
    let values: Option<Vec<f64>> = configs.iter().map(|c| numeric(parameter, c)).collect();
    let is_log = values.as_ref().is_some_and(|values| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        low > 0.0 && high / low >= 8.0
    });
    let names: Vec<&str> = parameter.row.other_names().collect();
    json!({ "name": parameter.name, "names": names, "numeric": values.is_some(), "log": is_log })
}

/// What other tools call a parameter.
fn names(parameter: &Parameter) -> (String, Value) {
    (parameter.name.to_owned(), parameter.row.other_names().collect())
}

fn numeric(parameter: &Parameter, config: &TrialConfig) -> Option<f64> {
    parameter.value(config).parse().ok()
}

fn fixed(configs: &[&TrialConfig], varying: &[&Parameter]) -> Value {
    let Some(first) = configs.first() else { return json!({}) };
    let others = PARAMETERS.iter().filter(|p| varying.iter().all(|v| v.name != p.name));
    // `lora_alpha: 2r` varies with the rank without being an axis of its own.
    let same = others.filter(|p| configs.iter().all(|c| p.value(c) == p.value(first)));
    let given = same.map(|p| (p, p.value(first))).filter(|(_, value)| !value.is_empty());
    given.map(|(p, value)| (p.name.to_owned(), Value::from(value))).collect::<Map<_, _>>().into()
}

/// A metric with its value and the ends of its interval.
fn score(score: &RowScore) -> (String, Value) {
    let [low, high] = [0, 1].map(|end| short(score.interval.map(|ends| ends[end])));
    (score.metric.clone(), json!([short(score.value), low, high]))
}

fn run(page: Page<'_>, row: &Row, varying: &[&Parameter], points: usize) -> Value {
    let Page { state, .. } = page;
    let trial = state.trials.get(&row.trial);
    let base = trial.and_then(|t| state.base_of(t));
    let curve = trial.map(|t| curves::of(t, base, points));
    let text = |p: &&Parameter| row.config.as_ref().map(|c| p.value(c));
    let alone = |p: &&Parameter| row.config.as_ref().and_then(|c| numeric(p, c));
    let against = row.against_best;
    let several_tied = page.ranking.comparison.as_ref().is_some_and(|c| c.tied.len() > 1);
    json!({
        "trial": row.trial.0,
        "position": row.position,
        "flag": row.flag.name(),
        "outcome": row.outcome,
        "stopped": row.stopped,
        "notes": row.notes.iter().copied().map(Note::name).collect::<Vec<_>>(),
        "loss": short(row.eval_loss),
        "low": short(row.eval_loss_interval.map(|interval| interval[0])),
        "high": short(row.eval_loss_interval.map(|interval| interval[1])),
        "scores": row.scores.iter().map(score).collect::<Map<_, _>>(),
        "behind": short(against.map(|a| a.difference)),
        "behind_low": short(against.map(|a| a.low)),
        "behind_high": short(against.map(|a| a.high)),
        "tied": against.map(|a| a.is_tied && several_tied),
        "epoch": short(row.best_epoch),
        "gap": short(row.gap),
        "last": short(row.last_eval_loss),
        "retention": short(row.retention_change),
        "seconds": short(row.seconds),
        "tokens": row.tokens,
        "steps": row.steps,
        "total_steps": row.total_steps,
        "device": trial.and_then(|t| t.device.clone()),
        "text": varying.iter().map(text).collect::<Vec<_>>(),
        "value": varying.iter().map(alone).collect::<Vec<_>>(),
        "alpha": row.config.as_ref().map(|c| number::plain(c.lora_alpha)),
        "explanation": row.explanation,
        "advice": row.advice,
        "overfit": row.overfit.as_ref().map(|o| json!([short(o.best_epoch), short(o.onset_epoch)])),
        "probability": short(row.overfit_probability),
        "shared": short(row.shared_improvement),
        "shared_end": short(row.last_shared_improvement),
        "memorizes_from": short(row.memorizes_from),
        "smooth": (state.trials.len() <= MOST_SMOOTH && row.smooth.len() > 1)
            .then(|| curves::smooth(&row.smooth)),
        "curve": match row.trial {
            TrialId::BASE => None,
            _ => curve,
        },
    })
}
