//! What happened in a sweep, as the journal records it. Events are the truth; state is a fold.

use serde::{Deserialize, Serialize};

use crate::trial::{Trial, TrialId};

/// Version of the journal's records; a reader refuses a higher one.
pub const SCHEMA_VERSION: u32 = 1;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA_VERSION`] of the writer.
    pub v: u32,
    /// Milliseconds since the Unix epoch, by the writer's clock; never used for decisions.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// Something that happened. Losses are mean negative log-likelihoods per target token, in nats,
/// and always finite: a loss that is not ends the trial as [`Outcome::Diverged`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The sweep was launched, for the first time or again.
    SweepStarted {
        /// Name of the sweep.
        name: String,
        /// Hash of the resolved sweep; a different one is a different sweep.
        fingerprint: String,
        /// Version of lorasweep that wrote this.
        version: String,
    },
    /// The untouched base model was evaluated: the reference row of the ranking.
    BaseEvaluated {
        /// Its losses, at step 0.
        evaluation: Evaluation,
    },
    /// The planner proposed a trial.
    TrialProposed {
        /// The trial.
        trial: Trial,
    },
    /// A trial began training, or went on from a checkpoint.
    TrialStarted {
        /// Which trial.
        trial: TrialId,
        /// Where, for instance `cpu` or `cuda:0`.
        device: String,
        /// Optimizer steps already taken (0 for a fresh start).
        from_step: u32,
        /// Optimizer steps the trial will take in all.
        total_steps: u32,
        /// The trial whose first `from_step` steps are also this one's: it goes on from there, and
        /// what that one went through up to there is its own history too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        continues: Option<TrialId>,
    },
    /// One optimizer step.
    Trained {
        /// Which trial.
        trial: TrialId,
        /// What the step did.
        point: TrainPoint,
    },
    /// One evaluation.
    Evaluated {
        /// Which trial.
        trial: TrialId,
        /// Its losses.
        evaluation: Evaluation,
    },
    /// The trial's state was saved; training can go on from here.
    Checkpointed {
        /// Which trial.
        trial: TrialId,
        /// Optimizer steps taken so far.
        step: u32,
    },
    /// A step needed more memory than there was; training goes on in smaller steps.
    OutOfMemory {
        /// What was asked for, in words and numbers.
        error: String,
        /// Tokens that a step computes on from now on.
        tokens_per_step: u32,
    },
    /// The trial ended.
    TrialFinished {
        /// Which trial.
        trial: TrialId,
        /// How.
        outcome: Outcome,
    },
    /// No trial is left to run.
    SweepFinished,
}

/// One optimizer step of one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainPoint {
    /// Optimizer step, from 1.
    pub step: u32,
    /// Epochs completed, as a fraction.
    pub epoch: f64,
    /// Mean loss per target token of the step's batch, in training mode (with dropout).
    pub loss: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Tokens trained so far (padding does not exist; prompt tokens count).
    pub tokens: u64,
    /// Seconds this trial has spent training and evaluating so far; its share of packed steps.
    pub seconds: f64,
}

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
    /// Loss on the fixed subset of the training set.
    pub train_loss: f64,
    /// Loss on the retention set, when there is one.
    pub retention_loss: Option<f64>,
    /// Tokens trained so far.
    pub tokens: u64,
    /// Seconds this trial has spent so far.
    pub seconds: f64,
}

impl Evaluation {
    /// Validation loss minus train loss: the generalisation gap.
    pub fn gap(&self) -> f64 {
        self.eval_loss - self.train_loss
    }
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// All epochs were trained.
    Completed,
    /// Ended early on purpose.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// Training became useless: not-a-number, or a loss far above the base model's.
    Diverged {
        /// Optimizer step at which it was noticed.
        step: u32,
        /// What was seen, in words and numbers.
        reason: String,
    },
    /// The trial could not be trained.
    Failed {
        /// The error, with its causes.
        error: String,
    },
}

/// Why a trial was ended early on purpose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum StopReason {
    /// The metric's `target` was reached.
    TargetReached {
        /// The target.
        target: f64,
    },
    /// A rule of `early_terminate` ended it.
    EarlyTerminate {
        /// The rule's reason in words and numbers.
        reason: String,
    },
}
