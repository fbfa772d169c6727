//! Who watches a sweep: progress bars, plain lines, JSON lines.

use spec::{Event, SweepState, TrialId};
use store::{AdapterDamage, CheckpointDamage};

/// Sees everything that happens, after it was journalled.
pub trait Observer {
    /// `event` has just been applied to `state`.
    fn event(&mut self, event: &Event, state: &SweepState);

    /// Something is wrong that does not end the sweep.
    fn warning(&mut self, warning: &Warning);
}

/// Something that does not end the sweep but that a person may want to know.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// A checkpoint is not what it should be.
    #[error("trial {trial} starts again from its beginning: {damage}")]
    DamagedCheckpoint {
        /// Whose.
        trial: TrialId,
        /// What is wrong with it.
        damage: CheckpointDamage,
    },
    /// A saved adapter is not what it should be: it is neither measured nor shared.
    #[error("trial {trial} is not measured with its adapter, or keeps none: {damage}")]
    DamagedAdapter {
        /// Whose.
        trial: TrialId,
        /// What is wrong with it.
        damage: AdapterDamage,
    },
    /// The trainer did not accept a complete checkpoint.
    #[error("trial {trial} starts again from its beginning: {error}")]
    RefusedCheckpoint {
        /// Whose.
        trial: TrialId,
        /// The trainer's error with causes.
        error: String,
    },
    /// A worker process warned of something.
    #[error("{text}")]
    OfWorker {
        /// Its words.
        text: String,
    },
    /// A worker process died, or was ended because it gave no sign of life.
    #[error("the worker process {worker} was lost: {cause}{}", what_follows(trials))]
    WorkerLost {
        /// Its name.
        worker: String,
        /// What is known of the cause.
        cause: String,
        /// What it was training.
        trials: Vec<TrialId>,
    },
    /// A device is given up.
    #[error("{worker} cannot work ({cause}); the sweep goes on with the other workers")]
    WorkerGivenUp {
        /// The last worker there.
        worker: String,
        /// What happened to it.
        cause: String,
    },
    /// A trial does not fit beside the others and waits for one of them to end.
    #[error(
        "there is no memory for trial {trial} beside the others: {capacity} train at a time now"
    )]
    NoRoom {
        /// Whose turn it was.
        trial: TrialId,
        /// Trials that fit.
        capacity: usize,
    },
    /// A step that several trials shared failed; they go on one at a time to tell whose fault it
    /// was.
    #[error("a step that {} trials shared failed ({error}); they go on one at a time", trials.len())]
    SharedStepFailed {
        /// The trials that shared it.
        trials: Vec<TrialId>,
        /// The trainer's error with causes.
        error: String,
    },
    /// A stopped trial has no checkpoint, although the rule may let it go on.
    #[error(
        "trial {trial} was stopped and cannot be promoted: its command has named no checkpoint by a \
         line such as {{\"step\": 10, \"checkpoint\": \"a/path\"}}"
    )]
    NothingKept {
        /// Which.
        trial: TrialId,
    },
    /// What is derived from the journal could not be written.
    #[error(
        "{what} could not be written: {error}; nothing of the training is lost, and what is missing is \
         written by the next `lorasweep run`"
    )]
    NotWritten {
        /// What, in words.
        what: String,
        /// The error with causes.
        error: String,
    },
    /// The best adapter of a failed trial could not be saved.
    #[error("the best adapter of the failed trial {trial} could not be saved: {error}")]
    AdapterOfFailed {
        /// Whose.
        trial: TrialId,
        /// The error with causes.
        error: String,
    },
}

fn what_follows(trials: &[TrialId]) -> String {
    match trials {
        [] => String::new(),
        [one] => format!("; trial {one} goes on from its checkpoint"),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("; the trials {} go on from their checkpoints", names.join(", "))
        }
    }
}
