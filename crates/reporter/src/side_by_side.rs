//! Two runs side by side, of one sweep or of two.

use std::fmt;

use serde::Serialize;
use spec::{Evaluation, SweepState, TrialId, TrialState};

use crate::compare::{Against, against};
use crate::number::{change, epoch, loss, plain};
use crate::parameters::PARAMETERS;

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
    /// Settings in which they differ.
    pub settings: Vec<Difference>,
    /// The second run's loss minus the first's, example by example; `None` when they were not
    /// measured on the same examples.
    pub difference: Option<Against>,
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
    let examples = first.examples.as_ref().zip(second.examples.as_ref());
    Some(SideBySide {
        a: side(a.0, a.1, first)?,
        b: side(b.0, b.1, second)?,
        settings,
        difference: examples.and_then(|(first, second)| against(second, first)),
    })
}

fn side(name: &str, state: &SweepState, trial: &TrialState) -> Option<Side> {
    Some(Side {
        name: name.to_owned(),
        best: trial.best()?.clone(),
        seconds: trial.last()?.seconds,
        base_eval_loss: state.base_of(trial).map(|base| base.eval_loss),
    })
}

impl fmt::Display for SideBySide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, b, .. } = self;
        let mut line = |what: &str, a: &str, b: &str| writeln!(f, "{what:<16}{a:>24}{b:>24}");
        let optional = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), loss);
        line("", &a.name, &b.name)?;
        line("eval_loss", &loss(a.best.eval_loss), &loss(b.best.eval_loss))?;
        line("standard error", &loss(a.best.eval_loss_stderr), &loss(b.best.eval_loss_stderr))?;
        line("base model", &optional(a.base_eval_loss), &optional(b.base_eval_loss))?;
        line("best epoch", &epoch(a.best.epoch), &epoch(b.best.epoch))?;
        let gap = |of: &Evaluation| of.gap().map_or_else(|| "-".to_owned(), change);
        line("gap", &gap(&a.best), &gap(&b.best))?;
        line("retention_loss", &optional(a.best.retention_loss), &optional(b.best.retention_loss))?;
        line("seconds", &plain(a.seconds.round()), &plain(b.seconds.round()))?;
        for difference in &self.settings {
            line(difference.parameter, &difference.a, &difference.b)?;
        }
        writeln!(f)?;
        let Some(apart) = self.difference else {
            return writeln!(
                f,
                "They were not measured on the same validation examples (or by an older version, \
                 which did not keep single losses): only their means can be set side by side."
            );
        };
        let interval = format!("95 % {} to {}", change(apart.low), change(apart.high));
        let difference = change(apart.difference);
        if apart.low <= 0.0 && apart.high >= 0.0 {
            writeln!(f, "Tied: {} minus {} is {difference} ({interval}).", b.name, a.name)
        } else {
            let (better, worse) = if apart.difference < 0.0 { (b, a) } else { (a, b) };
            writeln!(
                f,
                "{} is better than {} beyond chance: {difference} ({interval}), example by example.",
                better.name, worse.name
            )
        }
    }
}
