//! What a trainer does: a frozen base, several slots, one step at a time. An engine implements it, and
//! a worker drives it; neither knows the other.

use std::path::Path;

use crate::base::BaseForm;
use crate::evaluation::{Evaluation, TestEvaluation};
use crate::event::Event;
use crate::example_losses::ExampleLosses;
use crate::scores::ScoredAnswers;
use crate::trial::{Trial, TrialId};

/// An error of the trainer, whatever its type.
pub type TrainerError = Box<dyn std::error::Error + Send + Sync>;

/// What became of a trial that asked for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It has one.
    Admitted {
        /// Optimizer steps already taken: 0, or the checkpoint's.
        from_step: u32,
        /// Optimizer steps the trial takes in all.
        total_steps: u32,
    },
    /// There is no memory for it beside the others; [`Trainer::capacity`] has become what it is.
    NoRoom,
}

/// How many steps a trial takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// All of them.
    pub total: u32,
    /// How many of the first ones it shares with every longer trial of its trajectory (see
    /// [`TrialConfig::trajectory`](crate::TrialConfig::trajectory)); `None` when it shares none.
    pub shared: Option<u32>,
    /// Micro-batches that one of them takes, as far as that is known beforehand: the unit of logical
    /// time ([`LogicalStart`](crate::LogicalStart)).
    pub micro_batches: u32,
}

/// A frozen base model that trains several trials in the same step. Where trials ask for several forms
/// of it, those of one form share a step.
///
/// A trial's numbers depend on its configuration and seed alone, never on the trials beside it.
pub trait Trainer {
    /// Where it computes, for instance `cpu` or `cuda:0`.
    fn device(&self) -> String;

    /// Whether the device still answers, asked after an error: a GPU that was reset, has fallen off the
    /// bus or has run into a fault answers every later call with it, and no trial is to blame.
    fn check_device(&self) -> Result<(), TrainerError> {
        Ok(())
    }

    /// How many trials may share a step.
    fn capacity(&self) -> usize;

    /// Evaluates the untouched base model in a form that trials ask for (`None`: that of the sweep).
    fn evaluate_base(&mut self, form: Option<BaseForm>) -> Result<Evaluation, TrainerError>;

    /// The losses of the single validation examples of the base model in a form that was evaluated;
    /// `None` as for [`Trainer::example_losses`].
    fn base_example_losses(&self, _form: Option<BaseForm>) -> Option<ExampleLosses> {
        None
    }

    /// The losses of the single validation examples at the best evaluation of a trial that has a
    /// slot. A trainer that has none says `None`, and runs are then compared by their means alone.
    fn example_losses(&self, _trial: TrialId) -> Option<ExampleLosses> {
        None
    }

    /// What the base model in a form that was evaluated answered, where answers are scored.
    fn base_answers(&self, _form: Option<BaseForm>) -> Option<ScoredAnswers> {
        None
    }

    /// What a trial that has a slot answered at its best evaluation, where answers are scored.
    fn answers(&self, _trial: TrialId) -> Option<ScoredAnswers> {
        None
    }

    /// Optimizer step of the best evaluation of a trial that has a slot, where the trainer knows.
    fn best_step(&self, _trial: TrialId) -> Option<u32> {
        None
    }

    /// Gives `trial` a free slot, going on from `checkpoint` when there is one: its own, or one of
    /// its trajectory at a step that it shares with the trial that left it. An error here is
    /// the trial's own (it does not fit, its checkpoint is damaged), not the sweep's.
    fn admit(
        &mut self,
        trial: &Trial,
        checkpoint: Option<&Path>,
    ) -> Result<Admission, TrainerError>;

    /// Takes one step for the occupied slots and returns what happened, in slot order:
    /// `Trained`, `Evaluated` and, for a trial that reached its end or diverged,
    /// `TrialFinished`; and `OutOfMemory` when the step had to be made smaller. A slot whose trial
    /// finished takes no further steps but keeps its best adapter until [`Trainer::release`].
    fn step(&mut self) -> Result<Vec<Event>, TrainerError>;

    /// Keeps a trial that has a slot out of the next steps, or lets it take part again. A trainer
    /// that cannot do so returns false, and then no step is taken until the trial may take part.
    fn hold(&mut self, _trial: TrialId, _held: bool) -> bool {
        false
    }

    /// Evaluates the held-out test rows with a saved adapter, or with the base model alone, on the
    /// base in a form; `None` where there are no such rows.
    fn evaluate_test(
        &mut self,
        _adapter: Option<&Path>,
        _form: Option<BaseForm>,
    ) -> Result<Option<TestEvaluation>, TrainerError> {
        Ok(None)
    }

    /// Writes everything needed to go on with `trial` into the file `path` and returns the
    /// number of optimizer steps it has taken. The caller provides atomicity (a temporary name,
    /// then a rename).
    fn save_checkpoint(&self, trial: TrialId, path: &Path) -> Result<u32, TrainerError>;

    /// Bytes that [`Trainer::save_checkpoint`] will write for a trial that has a slot, at most;
    /// `None` where nobody knows.
    fn checkpoint_bytes(&self, _trial: TrialId) -> Option<u64> {
        None
    }

    /// Writes the adapter of the best evaluation so far in PEFT's format into the folder `dir`,
    /// which exists. Returns false when the trial was never evaluated, and then writes nothing.
    fn save_best(&self, trial: TrialId, dir: &Path) -> Result<bool, TrainerError>;

    /// Writes the adapter as the last step left it in PEFT's format into the folder `dir`, which
    /// exists. Returns false where the trainer cannot, and then writes nothing.
    fn save_last(&self, _trial: TrialId, _dir: &Path) -> Result<bool, TrainerError> {
        Ok(false)
    }

    /// The most memory that training has taken so far, in bytes, where the system tells.
    fn peak_bytes(&self) -> Option<u64> {
        None
    }

    /// Frees the trial's slot.
    fn release(&mut self, trial: TrialId);
}
