//! What is measured of a trial at one point.

use serde::{Deserialize, Serialize};

use crate::scores::MeanScore;

/// Losses of one trial at one point, all in evaluation mode (no dropout) on fixed sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Optimizer steps taken.
    pub step: u32,
    /// Epochs completed, as a fraction.
    pub epoch: f64,
    /// Loss on the validation set.
    pub eval_loss: f64,
    /// Standard error of `eval_loss` over validation examples.
    pub eval_loss_stderr: f64,
    /// Standard error, over validation examples, of the paired difference between this
    /// evaluation and the run's best one before it; `None` at the first evaluation.
    pub rise_stderr: Option<f64>,
    /// Summed negative log-likelihood of each group of validation examples, in nats, as
    /// [`ExampleLosses::group`](crate::ExampleLosses::group) makes them; empty where the trainer
    /// does not measure it and in journals from before it was kept. From these follows how far the
    /// noise of two evaluations is one and the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_nll: Vec<f32>,
    /// Loss on the fixed subset of the training set, where the trainer measures it.
    pub train_loss: Option<f64>,
    /// Loss on the retention set, when there is one.
    pub retention_loss: Option<f64>,
    /// Metrics beside the losses; empty where none were measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<MeanScore>,
    /// Tokens trained so far; 0 where the trainer does not tell.
    pub tokens: u64,
    /// Seconds this trial has spent so far.
    pub seconds: f64,
}

impl Evaluation {
    /// Validation loss minus train loss: the generalisation gap, where both are known.
    pub fn gap(&self) -> Option<f64> {
        self.train_loss.map(|train_loss| self.eval_loss - train_loss)
    }

    /// What was measured by a metric's name.
    pub fn score(&self, metric: &str) -> Option<&MeanScore> {
        self.scores.iter().find(|score| score.metric == metric)
    }

    /// The epoch at whose end it was made, if it was made at one's end.
    pub fn whole_epoch(&self) -> Option<u32> {
        (self.epoch > 0.0 && self.epoch.fract() == 0.0).then_some(self.epoch as u32)
    }
}

/// Loss on held-out rows that nothing was chosen by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestEvaluation {
    /// Mean loss per target token, in nats.
    pub loss: f64,
    /// Standard error of `loss` over the rows.
    pub loss_stderr: f64,
    /// Number of rows.
    pub examples: u32,
}
