//! A sweep's folder as anyone may see it.

use std::path::{Path, PathBuf};

use spec::{Event, Record, SweepState, TrialId, TrialState};

use crate::checkpoint::{self, Checkpoint, CheckpointDamage};
use crate::error::StoreError;
use crate::identity::Identity;
use crate::input::InputFile;
use crate::layout::{Purpose, ReportFile};
use crate::lost::{self, Told};
use crate::place::Holder;
use crate::{atomic, journal, layout, lock, own_files};

/// A sweep's folder as anyone may see it, also while another process drives the sweep.
#[derive(Debug, Clone)]
pub struct SweepFolder {
    root: PathBuf,
}

impl SweepFolder {
    /// The folder `root`, which must hold a sweep.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        if layout::resolved_json(&root).is_file() {
            Ok(Self { root })
        } else {
            Err(StoreError::NotASweep { path: root })
        }
    }

    /// The folder `root`, whether or not it holds a sweep yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Every sweep under `results`, by name.
    pub fn all_in(results: &Path) -> Result<Vec<Self>, StoreError> {
        let paths = atomic::entries(results)?;
        Ok(paths.into_iter().filter_map(|path| Self::open(path).ok()).collect())
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The settings and inputs of the sweep.
    pub fn identity(&self) -> Result<Identity, StoreError> {
        Identity::read(&self.root)
    }

    /// The sweep file as it was when the sweep began.
    pub fn written(&self) -> Result<String, StoreError> {
        let path = layout::sweep_yaml(&self.root);
        own_files::read_to_string(&path).map_err(StoreError::io("read", &path))
    }

    /// The state of the sweep: its journal, folded.
    pub fn state(&self) -> Result<SweepState, StoreError> {
        Ok(SweepState::from_records(&self.records()?))
    }

    /// The journal, in order.
    pub fn events(&self) -> Result<Vec<Event>, StoreError> {
        Ok(self.records()?.into_iter().map(|record| record.event).collect())
    }

    /// The journal, in order, with the clock of its writers. An error when it has lost records of
    /// trials that have left something.
    pub fn records(&self) -> Result<Vec<Record>, StoreError> {
        let told = |records: &[Record]| Told::of(records.iter().map(|record| &record.event));
        let records = journal::replay(&layout::journal(&self.root))?;
        let suspected = told(&records).missing(&self.root)?;
        if suspected.is_empty() {
            return Ok(records);
        }
        // A trial may have been proposed, and may have begun, after the journal was read.
        let records = journal::replay(&layout::journal(&self.root))?;
        let mut missing = told(&records).missing(&self.root)?;
        missing.retain(|id| suspected.contains(id));
        lost::refuse(&self.root, missing)?;
        Ok(records)
    }

    /// Size and hash of the whole history, as of an input file.
    pub fn history(&self) -> Result<InputFile, StoreError> {
        journal::hash(&layout::journal(&self.root))
    }

    /// The process that drives the sweep right now, if any does.
    pub fn holder(&self) -> Result<Option<Holder>, StoreError> {
        lock::holder(&self.root)
    }

    /// Asks the processes of the sweep, wherever they run, to save and end.
    pub fn cancel(&self) -> Result<(), StoreError> {
        atomic::write_own(&self.root, &layout::cancel(&self.root), b"")
    }

    /// Whether they were asked to, since the sweep was last launched.
    pub fn is_cancelled(&self) -> bool {
        own_files::is_file(&layout::cancel(&self.root))
    }

    /// The folder with the trial's best adapter; `None` when there is none.
    pub fn adapter(&self, trial: TrialId) -> Option<PathBuf> {
        self.own_folder(layout::adapter(&self.root, trial))
    }

    /// The folder with the adapter of a trial's best evaluation, if it has been saved. The adapter
    /// of a trial that went on after an early stop is that of the stop until it ends again, and what
    /// came since may be better.
    pub fn best_adapter(&self, trial: &TrialState) -> Option<PathBuf> {
        let saved_up_to = match (trial.outcome(), trial.promotions.last()) {
            (None, Some(promoted)) => promoted.step,
            _ => u32::MAX,
        };
        trial.best().filter(|best| best.step <= saved_up_to)?;
        self.adapter(trial.trial.id)
    }

    /// The folder with the adapter of one evaluation of a trial, by the evaluation's step: kept by
    /// the trial itself or by the one that took its steps up to there. `None`: nobody kept it.
    pub fn adapter_at(&self, state: &SweepState, trial: TrialId, step: u32) -> Option<PathBuf> {
        let mut trial = state.trials.get(&trial)?;
        // A trial continues an earlier one; a damaged journal may say otherwise.
        for _ in 0..=state.trials.len() {
            let id = trial.trial.id;
            if trial.best().is_some_and(|best| best.step == step)
                && let Some(best) = self.best_adapter(trial)
            {
                return Some(best);
            }
            let evaluation = trial.evaluations.iter().find(|evaluation| evaluation.step == step)?;
            let epoch = evaluation.whole_epoch();
            let kept = epoch.map(|epoch| layout::epoch_adapter(&self.root, id, epoch));
            if let Some(kept) = kept.and_then(|path| self.own_folder(path)) {
                return Some(kept);
            }
            let shared = trial.continues.filter(|shared| step <= shared.steps)?;
            trial = state.trials.get(&shared.trial)?;
        }
        None
    }

    /// Where [`Self::command_dir`] is or will be.
    pub fn command_place(&self, trial: TrialId) -> PathBuf {
        let path = layout::command(&self.root, trial);
        std::path::absolute(&path).unwrap_or(path)
    }

    /// A folder of the sweep, unless the way there leads through a link: whoever gave away the
    /// results may have put one to a folder of this machine.
    fn own_folder(&self, path: PathBuf) -> Option<PathBuf> {
        own_files::check_folder(&self.root, &path).ok()?;
        own_files::is_dir(&path).then_some(path)
    }

    /// The folder in which the command that trains a trial may write, and its log; created where it
    /// is not there.
    pub fn command_dir(&self, trial: TrialId) -> Result<PathBuf, StoreError> {
        let path = layout::command(&self.root, trial);
        own_files::check_folder(&self.root, &path)?;
        atomic::create_dir(&path)?;
        std::path::absolute(&path).map_err(StoreError::io("resolve", &path))
    }

    /// The folder of the sweep's best adapter, whether or not it exists yet.
    pub fn best_dir(&self) -> PathBuf {
        layout::best(&self.root)
    }

    /// The checkpoint of `trial` to go on from; an error when there is one that must not be used.
    pub fn checkpoint(
        &self,
        trial: TrialId,
        purpose: Purpose,
    ) -> Result<Option<Checkpoint>, CheckpointDamage> {
        checkpoint::find(&self.root, trial, purpose)
    }

    /// Bytes of all checkpoints that trials go on from.
    pub fn checkpoint_bytes(&self) -> Result<u64, StoreError> {
        let trials = atomic::own_entries(&layout::trials(&self.root))?;
        let folders = trials.iter().map(|trial| layout::checkpoint_in(trial, Purpose::Resume));
        folders.map(|dir| checkpoint::bytes_in(&dir)).sum()
    }

    /// Whether `trial` has left what is told of it when it has ended.
    pub fn has_summary(&self, trial: TrialId) -> bool {
        layout::trial_json(&self.root, trial).is_file()
    }

    /// Where a report file is or will be.
    pub fn report_path(&self, file: &ReportFile) -> PathBuf {
        file.path(&self.root)
    }
}
