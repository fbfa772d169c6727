//! Two runs side by side, of one sweep or of two.

use std::fmt::Write as _;

use serde::Serialize;
use spec::{Evaluation, Goal, Objective, SweepState, TrialId, TrialState};

use crate::compare::{Against, pair};
use crate::number::{change, epoch, loss, plain};
use crate::parameters::PARAMETERS;
use crate::text::{Lang, say};

/// One run in a comparison of two.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// The sweep's name and the trial's number.
    pub name: String,
    /// Its best evaluation.
    pub best: Evaluation,
    /// Seconds it took in all.
    pub seconds: f64,
    /// Validation loss of the base model of its sweep.
    pub base_eval_loss: Option<f64>,
}

/// A setting in which two runs differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The parameter's name.
    pub parameter: &'static str,
    /// Its value in the first run.
    pub a: String,
    /// Its value in the second run.
    pub b: String,
}

/// Two runs and what to think of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideBySide {
    /// The first run.
    pub a: Side,
    /// The second run.
    pub b: Side,
    /// What they are compared by: what both sweeps are, else the validation loss.
    pub objective: Objective,
    /// Settings in which they differ.
    pub settings: Vec<Difference>,
    /// The second run's loss (or whatever they are compared by) minus the first's, example by example,
    /// with what other seeds may do; `None` when they were not measured on the same examples, or one
    /// has not ended.
    pub difference: Option<Against>,
    /// Runs of the two that have not ended: what is said of them is preliminary.
    pub not_ended: Vec<String>,
    /// They are runs of one configuration, under two seeds.
    pub are_replicates: bool,
}

/// Sets two runs side by side; `None` when one of them was never evaluated.
pub fn side_by_side(
    a: (&str, &SweepState, TrialId),
    b: (&str, &SweepState, TrialId),
) -> Option<SideBySide> {
    let (first, second) = (a.1.trials.get(&a.2)?, b.1.trials.get(&b.2)?);
    let (own, other) = (&first.trial.config, &second.trial.config);
    let settings = PARAMETERS
        .iter()
        .map(|p| Difference { parameter: p.name, a: p.value(own), b: p.value(other) })
        .filter(|difference| difference.a != difference.b)
        .collect();
    let (a_side, b_side) = (side(a.0, a.1, first)?, side(b.0, b.1, second)?);
    let not_ended = [(first, &a_side.name), (second, &b_side.name)]
        .into_iter()
        .filter(|(trial, _)| trial.outcome().is_none())
        .map(|(_, name)| name.clone());
    let is_common = a.1.objective == b.1.objective;
    let objective = if is_common { a.1.objective.clone() } else { Objective::default() };
    let difference = pair((b.1, b.2), (a.1, a.2)).map(|apart| in_values(apart, &objective));
    Some(SideBySide {
        settings,
        difference,
        not_ended: not_ended.collect(),
        are_replicates: own.key_without_seed() == other.key_without_seed()
            && own.seed != other.seed,
        objective,
        a: a_side,
        b: b_side,
    })
}

/// A difference of costs as one of values.
fn in_values(apart: Against, objective: &Objective) -> Against {
    match objective.goal {
        Goal::Minimize => apart,
        Goal::Maximize => {
            Against { difference: -apart.difference, low: -apart.high, high: -apart.low, ..apart }
        }
    }
}

fn side(name: &str, state: &SweepState, trial: &TrialState) -> Option<Side> {
    Some(Side {
        name: name.to_owned(),
        best: trial.best()?.clone(),
        seconds: trial.last()?.seconds,
        base_eval_loss: state.base_of(trial).map(|base| base.eval_loss),
    })
}

impl SideBySide {
    /// The two in words and numbers.
    pub fn text(&self, lang: Lang) -> String {
        let Self { a, b, .. } = self;
        let mut out = String::new();
        let mut line = |what: &str, a: &str, b: &str| {
            let (a, b) = (lang.number(a), lang.number(b));
            let _ = writeln!(out, "{what:<16}{a:>24}{b:>24}");
        };
        let optional = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), loss);
        let gap = |of: &Evaluation| of.gap().map_or_else(|| "-".to_owned(), change);
        let error = say!(lang, CompareError);
        line("", &a.name, &b.name);
        let scores = a.best.scores.iter().map(|score| &score.metric);
        for metric in scores.filter(|metric| b.best.score(metric).is_some()) {
            let value = |of: &Evaluation| optional(of.score(metric).map(|score| score.value));
            line(metric, &value(&a.best), &value(&b.best));
        }
        line("eval_loss", &loss(a.best.eval_loss), &loss(b.best.eval_loss));
        line(&error, &loss(a.best.eval_loss_stderr), &loss(b.best.eval_loss_stderr));
        let base = (optional(a.base_eval_loss), optional(b.base_eval_loss));
        line(&say!(lang, PlotBaseModel), &base.0, &base.1);
        line(&say!(lang, CompareBestEpoch), &epoch(a.best.epoch), &epoch(b.best.epoch));
        line("gap", &gap(&a.best), &gap(&b.best));
        line("retention_loss", &optional(a.best.retention_loss), &optional(b.best.retention_loss));
        let seconds = |of: &Side| plain(of.seconds.round());
        line(&say!(lang, CompareSeconds), &seconds(a), &seconds(b));
        for difference in &self.settings {
            // As a sweep file has it.
            let Difference { parameter, a, b } = difference;
            let _ = writeln!(out, "{parameter:<16}{a:>24}{b:>24}");
        }
        format!("{out}\n{}\n", self.conclusion(lang))
    }

    fn conclusion(&self, lang: Lang) -> String {
        let Self { a, b, .. } = self;
        match &self.not_ended[..] {
            [] => {}
            [one] => return say!(lang, CompareNotEnded, one),
            several => return say!(lang, CompareNoneEnded, several.join(", ")),
        }
        let Some(apart) = self.difference else {
            return say!(lang, CompareOtherExamples);
        };
        let metric = &self.objective;
        let of = if metric.is_loss() { String::new() } else { format!(" {}", metric.metric) };
        let difference = format!("{}{of}", change(apart.difference));
        let interval = say!(lang, CompareInterval, change(apart.low), change(apart.high));
        let is_b_better = metric.cost_of(apart.difference) < metric.cost_of(0.0);
        let (better, worse) = if is_b_better { (b, a) } else { (a, b) };
        if self.are_replicates {
            say!(lang, CompareSeeds, b.name, a.name, difference)
        } else if apart.low > 0.0 || apart.high < 0.0 {
            say!(lang, CompareBetter, better.name, worse.name, difference, interval)
        } else if apart.is_tied_on_rows {
            say!(lang, CompareTied, b.name, a.name, difference, interval)
        } else {
            say!(lang, CompareBetterOnRows, better.name, worse.name, difference, interval)
        }
    }
}
