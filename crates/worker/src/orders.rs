//! What the driver tells a worker. What a worker tells the driver are the events of its journal.

use serde::{Deserialize, Serialize};
use spec::{BaseForm, StopReason, Trial, TrialId};

/// An order with what puts it in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// The number of the last record that the driver had written or read.
    pub seq: u64,
    /// For which process of the worker's name (a cluster may start one again); 0: for any.
    pub to: u32,
    /// The order.
    pub order: Order,
}

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Evaluate the untouched base model.
    EvaluateBase {
        /// In which form; absent: in that of the sweep.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        form: Option<BaseForm>,
    },
    /// Train a trial.
    Train(Box<Assignment>),
    /// A trial was judged at this step and goes on.
    GoOn {
        /// Which.
        trial: TrialId,
        /// The step of the evaluation that was judged.
        step: u32,
    },
    /// End a trial.
    Stop {
        /// Which.
        trial: TrialId,
        /// Why.
        reason: StopReason,
        /// Its checkpoint is kept, so that it may go on later.
        #[serde(default)]
        pause: bool,
    },
    /// Evaluate the test rows with the adapters of these trials (0: with the base model alone).
    Test {
        /// Which.
        trials: Vec<TrialId>,
        /// On the base in which form; absent: in that of the sweep.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        form: Option<BaseForm>,
    },
    /// Save everything, give all trials back and begin anew: the driver is new and knows nothing of
    /// the orders before.
    Report,
    /// Save everything and end.
    End,
}

/// A trial for a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// The trial.
    pub trial: Trial,
    /// Which attempt at it this is; only the latest one counts.
    pub attempt: u32,
    /// The sibling whose fork it goes on from when it has no checkpoint of its own.
    pub fork: Option<TrialId>,
    /// Steps and validation losses of what it went through so far.
    pub evaluated: Vec<(u32, f64)>,
    /// The same of the sibling whose fork it may go on from.
    pub fork_evaluated: Vec<(u32, f64)>,
    /// The step up to which siblings share its steps: where it leaves a fork for them. `None` when
    /// no longer sibling can come.
    pub shared: Option<u32>,
    /// After an evaluation it waits until it was judged.
    pub is_judged: bool,
}
