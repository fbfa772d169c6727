//! What ends a sweep before its end. A trial's own errors do not: they are its outcome.

use spec::TrialId;
use store::StoreError;

use crate::launch::{LaunchError, NO_SPACE};

/// The sweep cannot go on. Running it again goes on from the last checkpoints.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The results folder cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker process said why it cannot work.
    #[error("the worker process {worker} cannot go on: {error}")]
    WorkerFailed {
        /// Its name.
        worker: String,
        /// Its error with causes.
        error: String,
        /// It had not begun to work: the model, the data or the device cannot be used.
        at_start: bool,
    },
    /// Workers die again and again.
    #[error(
        "{count} worker processes died one after another without training anything; the last one, \
         {worker}: {cause}{}",
        after_log(log)
    )]
    WorkersDie {
        /// How many.
        count: u32,
        /// The last one's name.
        worker: String,
        /// What is known of the cause.
        cause: String,
        /// The end of its log.
        log: String,
    },
    /// Workers cannot be started.
    #[error("failed to start a worker process: {0}")]
    Launch(LaunchError),
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
    /// Whether a worker found no room on the disk. The driver's own errors say so themselves.
    pub fn is_disk_full_of_worker(&self) -> bool {
        match self {
            Self::WorkerFailed { error: said, .. } | Self::WorkersDie { cause: said, .. } => {
                said.contains(NO_SPACE)
            }
            _ => false,
        }
    }

    /// What the person can do about it, when there is something specific.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::OnlyFailures { .. } => Some(
                "remove the cause and run the sweep again: it goes on with the trials that are \
                 left; `lorasweep run --fresh` begins anew"
                    .to_owned(),
            ),
            Self::WorkersDie { .. } => Some(
                "if the system ended them for want of memory, give the sweep less to do at a time \
                 (`executor.max_packed`, `executor.memory_limit`); it goes on where it was"
                    .to_owned(),
            ),
            Self::Launch(error) => error.help.clone(),
            Self::WorkerFailed { at_start: false, .. } => Some(
                "remove the cause and run the sweep again: it goes on from its checkpoints"
                    .to_owned(),
            ),
            Self::WorkerFailed { .. } | Self::DuplicateProposal { .. } | Self::Tables { .. } => {
                None
            }
        }
    }
}

/// An error with its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The end of a log below the sentence that it explains.
pub(crate) fn after_log(log: &str) -> String {
    if log.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = log.lines().map(|line| format!("\n  | {line}")).collect();
    format!("; the end of its log:{}", lines.concat())
}
