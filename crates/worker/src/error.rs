//! What ends a sweep before its end. A trial's own errors do not: they are its outcome.

use spec::TrialId;
use store::StoreError;

use crate::trainer::TrainerError;

/// The sweep cannot go on. Running it again goes on from the last checkpoints.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The results folder cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Without the base model's losses there is no reference to compare trials with.
    #[error("failed to evaluate the base model")]
    BaseEvaluation(#[source] TrainerError),
    /// The points of an ended trial could not be turned into text.
    #[error("failed to write the tables of trial {trial}")]
    Tables {
        /// Which.
        trial: TrialId,
        /// Why.
        source: store::BuildError,
    },
    /// Trial after trial failed: the cause is likely not theirs.
    #[error("{count} trials failed one after another; the last one, trial {trial}: {error}")]
    OnlyFailures {
        /// How many.
        count: u32,
        /// The last of them.
        trial: TrialId,
        /// Its error with causes.
        error: String,
    },
    /// The planner broke its contract; going on would train over another trial's results.
    #[error(
        "the planner proposed trial {trial}, which exists already (this is a bug in lorasweep)"
    )]
    DuplicateProposal {
        /// The number proposed again.
        trial: TrialId,
    },
}

impl WorkerError {
    /// What the person can do about it, when there is something specific.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::OnlyFailures { .. } => Some(
                "remove the cause and run the sweep again: it goes on with the trials that are \
                 left; `--fresh` begins anew"
                    .to_owned(),
            ),
            Self::BaseEvaluation(_) | Self::DuplicateProposal { .. } | Self::Tables { .. } => None,
        }
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
