//! What the verdict says of the metric where that is not the validation loss.

use spec::{Evaluation, Objective, SweepState, TrialId, TrialState};

use crate::compare::{Comparison, score_interval};
use crate::number::{change, epoch, loss};
use crate::text::{Lang, say};

/// The metric of the run to take, and which run its loss would have chosen.
pub(super) fn sentences(state: &SweepState, choice: TrialId, lang: Lang) -> Vec<String> {
    let objective = &state.objective;
    let Some(chosen) = state.trials.get(&choice) else { return Vec::new() };
    let Some(best) = chosen.best() else { return Vec::new() };
    let mut sentences = Vec::new();
    if let Some(value) = objective.value(best) {
        let metric = objective.metric.as_str();
        let score = best.score(metric);
        let answers = chosen.answers.as_ref().filter(|answers| answers.step == best.step);
        let interval = score.and_then(|score| score_interval(score, answers));
        let interval = interval.map(|[low, high]| say!(lang, Interval, loss(low), loss(high)));
        let interval = interval.unwrap_or_default();
        let base = state.base_of(chosen).and_then(|base| objective.value(base));
        sentences.push(match base {
            Some(base) => say!(lang, ScoreOfChoice, metric, loss(value), interval, loss(base)),
            None => say!(lang, ScoreOfChoiceAlone, metric, loss(value), interval),
        });
    }
    sentences.extend(by_loss(state, chosen, best, lang));
    sentences
}

/// Where the lowest loss lies, if that is elsewhere, and what taking it would cost.
fn by_loss(
    state: &SweepState,
    chosen: &TrialState,
    best: &Evaluation,
    lang: Lang,
) -> Option<String> {
    let objective = &state.objective;
    let lowest = state.trials.values().filter_map(|trial| Some((trial, trial.lowest()?)));
    let (trial, at) = lowest.min_by(|a, b| a.1.eval_loss.total_cmp(&b.1.eval_loss))?;
    if trial.trial.id == chosen.trial.id && at.step == best.step {
        return Some(say!(lang, LossAgrees));
    }
    let (id, at_epoch) = (trial.trial.id.to_string(), epoch(at.epoch));
    let lower = loss(best.eval_loss - at.eval_loss);
    let behind = objective.value(at).zip(objective.value(best));
    Some(match behind {
        Some((there, here)) => {
            let metric = objective.metric.as_str();
            say!(lang, LossDiffers, id, at_epoch, lower, metric, change(there - here))
        }
        None => say!(lang, LossDiffersAlone, id, at_epoch, lower),
    })
}

/// What to expect of the choice on new rows.
pub(super) fn expectation(
    comparison: &Comparison,
    objective: &Objective,
    lang: Lang,
) -> Vec<String> {
    if comparison.candidates < 2 {
        return Vec::new();
    }
    let metric = objective.metric.as_str();
    let corrected = comparison.optimism.zip(comparison.expected_loss);
    let corrected = corrected.filter(|(optimism, _)| *optimism >= 0.000_05);
    let corrected = corrected.map(|(optimism, expected)| {
        let all = comparison.candidates.to_string();
        say!(lang, ExpectScore, all, metric, loss(optimism), loss(expected))
    });
    let other = comparison.expected.map(|expected| {
        let (low, high) = (loss(expected.low), loss(expected.high));
        say!(lang, ExpectWithSeeds, loss(expected.loss), low, high)
    });
    corrected.into_iter().chain(other).collect()
}
