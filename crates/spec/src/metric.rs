//! What trials are compared by: the validation loss, or a score of what their adapters answer.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::evaluation::Evaluation;

/// The metric of a sweep that names none.
pub const EVAL_LOSS: &str = "eval_loss";

/// The better direction of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Lower is better.
    Minimize,
    /// Higher is better.
    Maximize,
}

impl Goal {
    /// The name used in sweep files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minimize => "minimize",
            Self::Maximize => "maximize",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Scores of an answer against its reference, each in 0..=1 and higher is better: their names.
pub const SCORES: [&str; 9] = [
    "exact_match",
    "contains",
    "regex_match",
    "number_match",
    "token_f1",
    "rouge_l",
    "chrf",
    "json_match",
    "tool_call_match",
];

/// Whether a metric's values are in 0..=1: those of [`SCORES`].
pub fn is_share(metric: &str) -> bool {
    SCORES.contains(&metric)
}

/// What trials are compared by, and which direction is better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// Name of the metric.
    pub metric: String,
    /// The better direction.
    pub goal: Goal,
}

impl Default for Objective {
    fn default() -> Self {
        Self { metric: EVAL_LOSS.to_owned(), goal: Goal::Minimize }
    }
}

impl Objective {
    /// Whether trials are compared by their validation loss.
    pub fn is_loss(&self) -> bool {
        self.metric == EVAL_LOSS
    }

    /// Whether there is nothing to say of it: the default.
    pub fn is_default(&self) -> bool {
        self.is_loss() && self.goal == Goal::Minimize
    }

    /// Its value at an evaluation; `None` where it was not measured.
    pub fn value(&self, evaluation: &Evaluation) -> Option<f64> {
        if self.is_loss() {
            return Some(evaluation.eval_loss);
        }
        evaluation.score(&self.metric).map(|score| score.value)
    }

    /// Standard error of [`Self::value`] over the validation examples.
    pub fn stderr(&self, evaluation: &Evaluation) -> Option<f64> {
        if self.is_loss() {
            return Some(evaluation.eval_loss_stderr);
        }
        evaluation.score(&self.metric).map(|score| score.stderr)
    }

    /// A value as planners and statistics see it: the lower the better. A score in 0..=1 becomes the
    /// share that is missing, any other value that is to be high its negative.
    pub fn cost_of(&self, value: f64) -> f64 {
        match self.goal {
            Goal::Minimize => value,
            Goal::Maximize => self.ceiling() - value,
        }
    }

    /// The value of a cost: the inverse of [`Self::cost_of`].
    pub fn value_of(&self, cost: f64) -> f64 {
        self.cost_of(cost)
    }

    /// The value of a cost that statistics expect: a share stays one, whatever was added to it.
    pub fn expected_value(&self, cost: f64) -> f64 {
        self.value_of(if is_share(&self.metric) { cost.clamp(0.0, 1.0) } else { cost })
    }

    /// The cost at an evaluation; `None` where it was not measured.
    pub fn cost(&self, evaluation: &Evaluation) -> Option<f64> {
        self.value(evaluation).map(|value| self.cost_of(value))
    }

    /// The better evaluation first: by cost, of equals the one with the lower validation loss. One
    /// without a value comes last.
    pub fn compare(&self, a: &Evaluation, b: &Evaluation) -> Ordering {
        let cost = |e: &Evaluation| self.cost(e).unwrap_or(f64::INFINITY);
        cost(a).total_cmp(&cost(b)).then(a.eval_loss.total_cmp(&b.eval_loss))
    }

    /// Whether `value` is as good as `target`.
    pub fn reaches(&self, value: f64, target: f64) -> bool {
        match self.goal {
            Goal::Minimize => value <= target,
            Goal::Maximize => value >= target,
        }
    }

    /// Its name with its value at an evaluation: `exact_match 0.6333`.
    pub fn in_short(&self, evaluation: &Evaluation) -> String {
        match self.value(evaluation) {
            Some(value) => format!("{} {value:.4}", self.metric),
            None => format!("{} not measured", self.metric),
        }
    }

    /// What it is called in a sentence.
    pub fn in_words(&self) -> &str {
        if self.is_loss() { "validation loss" } else { &self.metric }
    }

    /// The best value there is, where that is known.
    fn ceiling(&self) -> f64 {
        f64::from(u8::from(is_share(&self.metric)))
    }
}
