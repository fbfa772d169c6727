//! What happened in a sweep, as the journal records it. Events are the truth; state is a fold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::BaseForm;
use crate::evaluation::{Evaluation, TestEvaluation};
use crate::example_losses::ExampleLosses;
use crate::logical::LogicalStart;
use crate::metric::Objective;
use crate::scores::ScoredAnswers;
use crate::trial::{TargetModule, Trial, TrialId};

/// Version of the journal's records; a reader refuses a higher one. 2 added the losses of single
/// examples, the facts of the data and the test set; 3 the workers and what orders their files, and
/// lets losses that other trainers do not measure be absent; 4 stopped trials that go on; 5 trials on
/// bases of different quantization; 6 numbers of lines; 7 sweeps that were extended, and trials that a
/// person added, stopped or retried; 8 scores of answers, and sweeps that are chosen by them.
pub const SCHEMA_VERSION: u32 = 8;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA_VERSION`] of the writer.
    pub v: u32,
    /// Milliseconds since the Unix epoch, by the writer's clock; never used for decisions.
    pub at_ms: u64,
    /// Puts the records of several writers in order: above every number that its writer had seen
    /// (Lamport 1978, "Time, clocks, and the ordering of events in a distributed system"). Absent
    /// before version 3, when one process wrote at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The attempt at a trial that a worker writes of. What an attempt says after a later one has
    /// begun does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
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
        /// What trials are compared by; absent where that is the validation loss.
        #[serde(default, skip_serializing_if = "Objective::is_default")]
        objective: Objective,
    },
    /// The sweep file was changed in a way that the results so far still fit: the sweep continues.
    SweepExtended {
        /// Hash of the resolved sweep as it is now.
        fingerprint: String,
        /// One line for each setting that changed, with both values.
        changes: Vec<String>,
        /// Trials whose configuration the search space does not have any more.
        outside: Vec<TrialId>,
        /// Methods that draw continue with this draw of their sequence, counted from 0.
        first_draw: u64,
    },
    /// The data and the model were read: what the report needs to know of them.
    DataPrepared {
        /// What was found.
        facts: DataFacts,
    },
    /// The untouched base model was evaluated: the reference row of the ranking.
    BaseEvaluated {
        /// Its losses, at step 0.
        evaluation: Evaluation,
    },
    /// The untouched base model was evaluated in one of the forms that the parameter
    /// `quantization` asks for. The first one that a sweep evaluates is its reference.
    QuantizedBaseEvaluated {
        /// Which form.
        quantization: BaseForm,
        /// Its losses, at step 0.
        evaluation: Evaluation,
        /// Its losses of the single validation examples, where they are known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        examples: Option<ExampleLosses>,
        /// What it answered, where answers are scored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answers: Option<ScoredAnswers>,
    },
    /// The planner proposed a trial.
    TrialProposed {
        /// The trial.
        trial: Trial,
        /// Its logical start, where decisions depend on the other trials (`crate::logical`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<LogicalStart>,
        /// A person added it (`run --add`): it comes on top of what the planner proposes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_added: bool,
    },
    /// A trial that has ended runs again from its beginning, because a person asked for it.
    TrialRetried {
        /// Which trial.
        trial: TrialId,
    },
    /// A trial began training, or went on from a checkpoint.
    TrialStarted {
        /// Which trial.
        trial: TrialId,
        /// Where, for instance `cpu` or `cuda:0`.
        device: String,
        /// Optimizer steps already taken (0 for a fresh start).
        from_step: u32,
        /// Optimizer steps the trial will take in all; 0 where nobody can tell.
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
    /// The losses of the single validation examples: the base model's (trial 0), or those of a
    /// trial's best evaluation. Once each, before the trial's end.
    ExamplesEvaluated {
        /// Which trial.
        trial: TrialId,
        /// Optimizer step of that evaluation.
        step: u32,
        /// The losses.
        examples: ExampleLosses,
    },
    /// What was answered to validation prompts and how it was scored: by the base model (trial 0), or at
    /// a trial's best evaluation, before the trial's end. Of several the last one counts.
    AnswersScored {
        /// Which trial.
        trial: TrialId,
        /// The answers.
        answers: ScoredAnswers,
    },
    /// The held-out test rows were evaluated, once, with the adapter that the report chose or
    /// with the base model (trial 0).
    TestEvaluated {
        /// Which trial.
        trial: TrialId,
        /// What came out.
        test: TestEvaluation,
    },
    /// The trial's state was saved; training can go on from here.
    Checkpointed {
        /// Which trial.
        trial: TrialId,
        /// Optimizer steps taken so far.
        step: u32,
    },
    /// The state of a trial that is about to be stopped was saved, and is kept beyond its end: it may
    /// go on later.
    CheckpointKept {
        /// Which trial.
        trial: TrialId,
        /// Optimizer steps taken so far.
        step: u32,
    },
    /// What was kept of a stopped trial is to be removed: it cannot go on any more.
    CheckpointDropped {
        /// Which trial.
        trial: TrialId,
    },
    /// A stopped trial goes on from the checkpoint that was kept.
    TrialPromoted {
        /// Which trial.
        trial: TrialId,
        /// Why, in words and numbers.
        reason: String,
        /// The logical time at which it goes on, where the sweep keeps one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
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
    /// A worker process has loaded the base model and takes trials.
    WorkerStarted {
        /// Its name, unique within the sweep.
        worker: String,
        /// The machine it runs on.
        place: String,
        /// What it computes on, for instance `cpu` or `cuda:0`.
        device: String,
        /// Trials that it trains at a time.
        capacity: u32,
    },
    /// A worker gave trials back that it could not go on with; they go on from their checkpoints.
    TrialsReturned {
        /// Which.
        trials: Vec<TrialId>,
        /// Why.
        cause: ReturnCause,
        /// Trials that the worker trains at a time from now on.
        capacity: u32,
    },
    /// Something was not as it should be, but ends nothing.
    Warned {
        /// The trial it is about.
        trial: TrialId,
        /// What, in words.
        text: String,
    },
    /// A worker process ended by itself; what it was training is saved, unless its device was lost.
    WorkerEnded {
        /// Its name.
        worker: String,
        /// Why it could not go on, if that was the reason.
        error: Option<String>,
        /// The most memory it took, in bytes, where the system tells.
        peak_bytes: Option<u64>,
        /// Seconds in which it trained or evaluated; the rest of its time went by around that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        busy_seconds: Option<f64>,
        /// Its device does not answer any more: nothing could be saved, and another worker goes on from
        /// the checkpoints.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        device_lost: bool,
    },
    /// A worker process died, or was ended because it gave no sign of life.
    WorkerLost {
        /// Its name.
        worker: String,
        /// What is known of the cause.
        cause: String,
        /// The end of its log.
        log: String,
        /// The trials it was training; they go on from their checkpoints elsewhere.
        trials: Vec<TrialId>,
    },
    /// The end of the log of the worker in which a trial failed.
    FailureLogged {
        /// Which trial.
        trial: TrialId,
        /// The lines.
        log: String,
    },
}

impl Event {
    /// A proposal without a logical start: nothing that is decided later depends on when it began.
    pub const fn proposed(trial: Trial) -> Self {
        Self::TrialProposed { trial, start: None, is_added: false }
    }

    /// The trial that it is about, if it is about one; the base model's losses are trial 0's.
    pub const fn trial(&self) -> Option<TrialId> {
        match self {
            Self::TrialProposed { trial, .. } => Some(trial.id),
            Self::TrialStarted { trial, .. }
            | Self::Trained { trial, .. }
            | Self::Evaluated { trial, .. }
            | Self::ExamplesEvaluated { trial, .. }
            | Self::AnswersScored { trial, .. }
            | Self::TestEvaluated { trial, .. }
            | Self::TrialRetried { trial }
            | Self::Checkpointed { trial, .. }
            | Self::CheckpointKept { trial, .. }
            | Self::CheckpointDropped { trial }
            | Self::TrialPromoted { trial, .. }
            | Self::Warned { trial, .. }
            | Self::FailureLogged { trial, .. }
            | Self::TrialFinished { trial, .. } => Some(*trial),
            Self::SweepStarted { .. }
            | Self::SweepExtended { .. }
            | Self::DataPrepared { .. }
            | Self::BaseEvaluated { .. }
            | Self::QuantizedBaseEvaluated { .. }
            | Self::OutOfMemory { .. }
            | Self::TrialsReturned { .. }
            | Self::WorkerStarted { .. }
            | Self::WorkerEnded { .. }
            | Self::WorkerLost { .. }
            | Self::SweepFinished => None,
        }
    }
}

/// Why a worker gave trials back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReturnCause {
    /// There is no memory for it beside the others.
    NoRoom,
    /// A step that they shared failed; whose fault it was cannot be told.
    SharedStepFailed {
        /// The error with its causes.
        error: String,
    },
    /// Another worker has begun a later attempt.
    Superseded,
}

/// What the report needs to know of the data and of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Training rows in use.
    pub train_examples: u64,
    /// Target tokens of the training rows.
    pub train_targets: u64,
    /// Validation rows in use.
    pub validation_examples: u64,
    /// Validation rows that are also training rows.
    pub leaked_rows: u64,
    /// Further validation rows whose prompt is also one of a training row.
    pub leaked_prompts: u64,
    /// Adapter parameters that one rank adds, by module, summed over layers.
    pub parameters_per_rank: BTreeMap<TargetModule, u64>,
    /// Set where conversations were written without a chat template of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain_chat: Option<PlainChat>,
}

/// Conversations were written as plain `### Role:` turns: the model has no chat template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainChat {
    /// The chat template that writes the same text; absent where the tokenizer does not read its
    /// special tokens from text, so that no template can.
    pub chat_template: Option<String>,
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
    /// Global gradient norm before clipping, where the trainer tells.
    pub grad_norm: Option<f64>,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Tokens trained so far (padding does not exist; prompt tokens count); 0 where the trainer does
    /// not tell.
    pub tokens: u64,
    /// Seconds this trial has spent training and evaluating so far; its share of packed steps.
    pub seconds: f64,
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
    /// A person ended it (`lorasweep stop`).
    Person,
    /// The search space does not have its configuration any more.
    OutsideSpace,
}
