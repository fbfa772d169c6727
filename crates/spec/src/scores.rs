//! Scores of answers, as the journal keeps them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::example_losses::ExampleLosses;

/// A metric's mean over the validation examples that it was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeanScore {
    /// Name of the metric.
    pub metric: String,
    /// Its mean over the examples.
    pub value: f64,
    /// Standard error of `value` over the examples; 0 where it is not known.
    #[serde(default)]
    pub stderr: f64,
    /// Standard error, over the examples, of the paired difference between this evaluation and the
    /// run's best one before it; `None` at the first one and where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise_stderr: Option<f64>,
    /// Sums over groups of examples, as [`ExampleLosses::group`](crate::ExampleLosses::group) makes
    /// them; empty where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<f32>,
}

impl MeanScore {
    /// Of the scores of the single examples, of which there is one at least.
    pub fn of_examples(metric: impl Into<String>, scores: &[f64]) -> Self {
        let groups = ExampleLosses::group(scores.iter().copied());
        Self {
            stderr: standard_error(scores),
            groups: groups.into_iter().map(|sum| sum as f32).collect(),
            ..Self::bare(metric, mean_of(scores))
        }
    }

    /// The same beside the scores of the same examples at the run's best evaluation before.
    #[must_use]
    pub fn since(self, scores: &[f64], before: &[f64]) -> Self {
        let rises: Vec<f64> = scores.iter().zip(before).map(|(now, then)| now - then).collect();
        Self { rise_stderr: Some(standard_error(&rises)), ..self }
    }

    /// A value of which nothing else is known.
    pub fn bare(metric: impl Into<String>, value: f64) -> Self {
        Self { metric: metric.into(), value, stderr: 0.0, rise_stderr: None, groups: Vec::new() }
    }
}

fn mean_of(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard error of the mean; 0 for a single value.
fn standard_error(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = mean_of(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (n - 1.0) / n).sqrt()
}

/// What was answered to the scored validation examples at one evaluation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoredAnswers {
    /// Optimizer step of the evaluation.
    pub step: u32,
    /// The score of each example by metric, in the order of the set.
    pub scores: BTreeMap<String, Vec<f32>>,
    /// The answers to the first few of the examples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptAnswer>,
    /// The answers to the same examples at the last evaluation, where that is another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last: Vec<KeptAnswer>,
}

/// An answer that can be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// Place of the example among the validation examples, from 0.
    pub example: u32,
    /// What was asked; kept with the base model's answers alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// What the row answers; kept with the base model's answers alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
    /// What the model wrote, without special tokens.
    pub output: String,
}
