//! A sweep's folder: [`SweepFolder`] to look at, [`SweepDir`] to drive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::{Evaluation, Event, Record, SweepState, TrialId, TrialState};

use crate::checkpoint::{self, Checkpoint, CheckpointDamage, Purpose};
use crate::claim::{claim, refuse_different, refuse_occupied};
use crate::error::{BuildError, StoreError};
use crate::identity::Identity;
use crate::input::InputFile;
use crate::journal::{News, TornLine};
use crate::layout::ReportFile;
use crate::lock::{DriverLock, Holder};
use crate::lost::Told;
use crate::ours::Ours;
use crate::replace::replace_dir;
use crate::worker::{Orders, new_worker, newest_claim};
use crate::{adapter, atomic, journal, layout, lock, lost, own_files, plots, room};

/// The driver's name among the journal's writers.
const DRIVER: &str = "driver";

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
        write_own(&self.root, &layout::cancel(&self.root), b"")
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
        let trials = own_files::entries(&layout::trials(&self.root))?;
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

/// A sweep's folder in the hands of the one process that drives it.
#[derive(Debug)]
pub struct SweepDir {
    folder: SweepFolder,
    journal: journal::Writer,
    others: journal::Follower,
    _lock: DriverLock,
}

/// A trial's points as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrialTables {
    /// One line for each evaluation.
    pub metrics_csv: String,
    /// One line for each optimizer step.
    pub steps_csv: String,
}

/// An opened sweep with its history.
#[derive(Debug)]
pub struct Opened {
    /// The folder, locked.
    pub dir: SweepDir,
    /// What happened so far.
    pub state: SweepState,
    /// Unfinished lines that an earlier driver left when it died, and that are gone now.
    pub cut: Vec<TornLine>,
}

impl Opened {
    /// Journals events, then applies them.
    pub fn record(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let at_ms = self.dir.record(events)?;
        for event in events {
            self.state.apply_at(at_ms, event);
        }
        Ok(())
    }
}

impl SweepDir {
    /// Opens or creates `results/<name>` for driving: takes the lock, checks that it holds the
    /// same sweep, reads the history, cuts a torn tail, begins a new journal file and sees that
    /// there is room to write. `written` is the sweep file's text.
    pub fn open(results: &Path, identity: &Identity, written: &str) -> Result<Opened, StoreError> {
        let root = results.join(&identity.name);
        atomic::create_dir(&root)?;
        let lock = DriverLock::acquire(&root)?;
        claim(&root, identity, written)?;
        room::try_folder(&root)?;
        let cancel = layout::cancel(&root);
        own_files::remove_file(&cancel).map_err(StoreError::io("remove", &cancel))?;
        Self::read(root, lock, |journals, seq| journal::Writer::create(journals, DRIVER, seq))
    }

    /// Reads the history and goes on with it in the journal file that `writer` gives.
    fn read(
        root: PathBuf,
        lock: DriverLock,
        writer: impl FnOnce(&Path, u64) -> Result<journal::Writer, StoreError>,
    ) -> Result<Opened, StoreError> {
        let folder = SweepFolder { root };
        let journals = layout::journal(&folder.root);
        let mut others = journal::Follower::new(journals.clone());
        let history = others.read(None)?;
        let told = Told::of(history.iter().map(|news| &news.record.event));
        lost::refuse(&folder.root, told.missing(&folder.root)?)?;
        let cut = journal::cut_torn_tails(&journals, DRIVER)?;
        let mut state = SweepState::default();
        for news in history {
            state.apply_at(news.record.at_ms, &news.record.event);
        }
        let journal = writer(&journals, others.seq())?;
        Ok(Opened { dir: Self { folder, journal, others, _lock: lock }, state, cut })
    }

    /// Removes what processes that died left half written. Only while no worker of the sweep lives.
    pub fn remove_leftovers(&mut self) -> Result<(), StoreError> {
        remove_leftovers(&self.folder.root)
    }

    /// What workers have written since the last call, in order; whatever is recorded from now on
    /// comes after it.
    pub fn news(&mut self) -> Result<Vec<News>, StoreError> {
        let news = self.others.read(Some(self.journal.path()))?;
        self.journal.has_seen(self.others.seq());
        Ok(news)
    }

    /// The number of the last record written or read.
    pub const fn seq(&self) -> u64 {
        self.journal.seq()
    }

    /// Where orders for the worker `name` are written.
    pub fn orders(&self, name: &str) -> Result<Orders, StoreError> {
        Orders::open(&self.folder.root, name)
    }

    /// A name that no worker of this sweep has had; its folder is there from now on.
    pub fn new_worker(&mut self) -> Result<String, StoreError> {
        new_worker(&self.folder.root)
    }

    /// The number for the next attempt at `trial`: above all that were claimed.
    pub fn next_attempt(&self, trial: TrialId) -> Result<u32, StoreError> {
        Ok(newest_claim(&self.folder.root, trial)? + 1)
    }

    /// Opens or creates `results/<name>` to write a few events, waiting for others who do the same.
    /// Nothing is tidied up, and the last journal file is gone on with, so that this may happen
    /// thousands of times.
    pub fn join(
        results: &Path,
        identity: &Identity,
        written: &str,
        patience: Duration,
    ) -> Result<Opened, StoreError> {
        let root = results.join(&identity.name);
        atomic::create_dir(&root)?;
        let lock = DriverLock::wait_for(&root, patience)?;
        match refuse_different(&root, identity) {
            Err(StoreError::NotASweep { .. }) => claim(&root, identity, written)?,
            other => other?,
        }
        Self::read(root, lock, |journals, seq| journal::Writer::join(journals, DRIVER, seq))
    }

    /// Whether [`SweepDir::open`] would take `results/<name>`, without creating or changing
    /// anything: the history when there is one, an error when the folder belongs to a different
    /// sweep or is in use.
    pub fn look(results: &Path, identity: &Identity) -> Result<Option<SweepState>, StoreError> {
        let folder = match SweepFolder::open(results.join(&identity.name)) {
            Ok(folder) => folder,
            Err(StoreError::NotASweep { path }) => {
                return refuse_occupied(&path, "").map(|()| None);
            }
            Err(error) => return Err(error),
        };
        if let Some(holder) = folder.holder()? {
            return Err(StoreError::Locked { path: folder.root, holder });
        }
        refuse_different(&folder.root, identity)?;
        folder.state().map(Some)
    }

    /// The folder as anyone may see it.
    pub fn folder(&self) -> &SweepFolder {
        &self.folder
    }

    /// Appends events to the journal in one write; durable when one of them is more than a train
    /// step. Returns the time that they are journalled with, in milliseconds since the Unix epoch.
    pub fn record(&mut self, events: &[Event]) -> Result<u64, StoreError> {
        self.journal.append(None, events)
    }

    /// Removes a checkpoint that nobody will go on from, if there is one.
    pub fn discard_checkpoint(
        &mut self,
        trial: TrialId,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        checkpoint::discard(&self.folder.root, trial, purpose)
    }

    /// Fills the trial's adapter folder with `save`, which returns whether there was anything to
    /// save; if not, no folder appears.
    pub fn save_adapter(
        &mut self,
        trial: TrialId,
        save: impl FnOnce(&Path) -> Result<bool, BuildError>,
    ) -> Result<bool, StoreError> {
        save_adapter(&self.folder.root, trial, save)
    }

    /// Writes a trial's `metrics.csv`, `steps.csv` and `trial.json`. One that cannot be written keeps none
    /// of the others from being written; the error is the first one.
    pub fn write_trial(
        &mut self,
        trial: &TrialState,
        tables: &TrialTables,
    ) -> Result<(), StoreError> {
        let (root, id) = (&self.folder.root, trial.trial.id);
        let written = [
            write_own(root, &layout::metrics_csv(root, id), tables.metrics_csv.as_bytes()),
            write_own(root, &layout::steps_csv(root, id), tables.steps_csv.as_bytes()),
            write_json(root, &layout::trial_json(root, id), &summary(trial)),
        ];
        written.into_iter().collect()
    }

    /// Writes `base/base.json`: the untouched base model's losses.
    pub fn write_base(&mut self, evaluation: &Evaluation) -> Result<(), StoreError> {
        let root = &self.folder.root;
        write_json(root, &layout::base_json(root), evaluation)
    }
}

/// See [`SweepDir::save_adapter`].
pub(crate) fn save_adapter(
    root: &Path,
    trial: TrialId,
    save: impl FnOnce(&Path) -> Result<bool, BuildError>,
) -> Result<bool, StoreError> {
    save_if_any(root, &layout::adapter(root, trial), save)
}

/// Fills the folder `target` with `save`, which returns whether there was anything to save; if not,
/// no folder appears.
pub(crate) fn save_if_any(
    root: &Path,
    target: &Path,
    save: impl FnOnce(&Path) -> Result<bool, BuildError>,
) -> Result<bool, StoreError> {
    own_files::check_folder(root, target)?;
    let saved = replace_dir(target, Ours::by_name(adapter::is_in_adapter), |dir| {
        let saved = save(dir)?;
        if saved {
            adapter::seal(dir)?;
        }
        Ok(saved)
    })?;
    if !saved {
        own_files::remove_empty_dir(target).map_err(StoreError::io("remove the folder", target))?;
    }
    Ok(saved)
}

/// What `trial.json` tells: the points themselves are in the tables beside it.
fn summary(trial: &TrialState) -> serde_json::Value {
    serde_json::json!({
        "trial": trial.trial,
        "status": trial.status,
        "device": trial.device,
        "total_steps": trial.total_steps,
        "continues": trial.continues,
        "best": trial.best(),
        "last": trial.last(),
    })
}

/// Writes a file of the sweep in `root`, where nothing that is not ours is in the way.
pub(crate) fn write_own(root: &Path, path: &Path, contents: &[u8]) -> Result<(), StoreError> {
    own_files::check_place(root, path)?;
    atomic::write_file(path, contents)
}

fn write_json(root: &Path, path: &Path, value: &impl serde::Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|source| StoreError::DamagedJson { path: path.to_path_buf(), source })?;
    write_own(root, path, (text + "\n").as_bytes())
}

/// Removes temporaries of the files and folders that the layout names.
fn remove_leftovers(root: &Path) -> Result<(), StoreError> {
    atomic::remove_leftovers(root, layout::is_sweep_file)?;
    plots::remove_leftovers(root)?;
    let trials = layout::trials(root);
    atomic::remove_leftovers(&trials, room::is_tried)?;
    for trial in own_files::entries(&trials)? {
        if !own_files::is_dir(&trial) {
            continue;
        }
        atomic::remove_leftovers(&trial, layout::is_trial_file)?;
        let epochs = layout::epochs(&trial);
        if own_files::is_dir(&epochs) {
            atomic::remove_leftovers(&epochs, layout::is_epoch)?;
        }
        for purpose in [Purpose::Resume, Purpose::Fork] {
            let checkpoint = layout::checkpoint_in(&trial, purpose);
            if own_files::is_dir(&checkpoint) {
                checkpoint::remove_leftovers(&checkpoint)?;
            }
        }
    }
    Ok(())
}
