//! A sweep's folder in the hands of the one process that drives it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::{Evaluation, Event, SweepState, TrialId, TrialState};

use crate::claim::{claim, refuse_different, refuse_occupied, write_identity};
use crate::error::{BuildError, StoreError};
use crate::folder::SweepFolder;
use crate::identity::Identity;
use crate::journal::{News, TornLine};
use crate::layout::Purpose;
use crate::lock::DriverLock;
use crate::lost::Told;
use crate::worker::{Orders, new_worker, newest_claim};
use crate::{
    adapter, atomic, checkpoint, journal, layout, leftovers, lost, own_files, plots, request, room,
};

/// The driver's name among the journal's writers.
const DRIVER: &str = "driver";

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
    /// What the sweep file changes of the sweep that the folder holds, one line for each setting.
    /// Unless it is empty, [`SweepDir::write_identity`] is to follow once that is journalled.
    pub extended: Vec<String>,
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

/// A sweep that [`SweepDir::open`] would continue.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// What happened so far.
    pub state: SweepState,
    /// See [`Opened::extended`].
    pub extended: Vec<String>,
}

impl SweepDir {
    /// Opens or creates `results/<name>` for driving: takes the lock, checks that it holds the
    /// same sweep, reads the history, cuts a torn tail, begins a new journal file and sees that
    /// there is room to write. `written` is the sweep file's text.
    pub fn open(results: &Path, identity: &Identity, written: &str) -> Result<Opened, StoreError> {
        let root = results.join(&identity.name);
        atomic::create_dir(&root)?;
        let lock = DriverLock::acquire(&root)?;
        let extended = claim(&root, identity, written)?;
        room::try_folder(&root)?;
        let cancel = layout::cancel(&root);
        own_files::remove_file(&cancel).map_err(StoreError::io("remove", &cancel))?;
        let writer = |journals: &Path, seq| journal::Writer::create(journals, DRIVER, seq);
        Self::read(root, lock, extended, writer)
    }

    /// Writes what the sweep is from now on; see [`Opened::extended`].
    pub fn write_identity(&mut self, identity: &Identity, written: &str) -> Result<(), StoreError> {
        write_identity(self.folder.path(), identity, written)
    }

    /// Reads the history and goes on with it in the journal file that `writer` gives.
    fn read(
        root: PathBuf,
        lock: DriverLock,
        extended: Vec<String>,
        writer: impl FnOnce(&Path, u64) -> Result<journal::Writer, StoreError>,
    ) -> Result<Opened, StoreError> {
        let folder = SweepFolder::at(root);
        let journals = layout::journal(folder.path());
        let mut others = journal::Follower::new(journals.clone());
        let history = others.read(None)?;
        let told = Told::of(history.iter().map(|news| &news.record.event));
        lost::refuse(folder.path(), told.missing(folder.path())?)?;
        let cut = journal::cut_torn_tails(&journals, DRIVER)?;
        let mut state = SweepState::default();
        for news in history {
            state.apply_at(news.record.at_ms, &news.record.event);
        }
        let journal = writer(&journals, others.seq())?;
        Ok(Opened { dir: Self { folder, journal, others, _lock: lock }, state, extended, cut })
    }

    /// Removes what processes that died left half written. Only while no worker of the sweep lives.
    pub fn remove_leftovers(&mut self) -> Result<(), StoreError> {
        remove_leftovers(self.folder.path())
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
        Orders::open(self.folder.path(), name)
    }

    /// A name that no worker of this sweep has had; its folder is there from now on.
    pub fn new_worker(&mut self) -> Result<String, StoreError> {
        new_worker(self.folder.path())
    }

    /// The number for the next attempt at `trial`: above all that were claimed.
    pub fn next_attempt(&self, trial: TrialId) -> Result<u32, StoreError> {
        Ok(newest_claim(self.folder.path(), trial)? + 1)
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
        let extended = match refuse_different(&root, identity) {
            Err(StoreError::NotASweep { .. }) => claim(&root, identity, written)?,
            other => other?,
        };
        let writer = |journals: &Path, seq| journal::Writer::join(journals, DRIVER, seq);
        Self::read(root, lock, extended, writer)
    }

    /// Whether [`SweepDir::open`] would take `results/<name>`, without creating or changing
    /// anything: the history when there is one, an error when the folder belongs to a different
    /// sweep or is in use.
    pub fn look(results: &Path, identity: &Identity) -> Result<Option<Found>, StoreError> {
        let folder = match SweepFolder::open(results.join(&identity.name)) {
            Ok(folder) => folder,
            Err(StoreError::NotASweep { path }) => {
                return refuse_occupied(&path, "").map(|()| None);
            }
            Err(error) => return Err(error),
        };
        if let Some(holder) = folder.holder()? {
            return Err(StoreError::Locked { path: folder.path().to_path_buf(), holder });
        }
        let extended = refuse_different(folder.path(), identity)?;
        Ok(Some(Found { state: folder.state()?, extended }))
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
        checkpoint::discard(self.folder.path(), trial, purpose)
    }

    /// Fills the trial's adapter folder with `save`, which returns whether there was anything to
    /// save; if not, no folder appears.
    pub fn save_adapter(
        &mut self,
        trial: TrialId,
        save: impl FnOnce(&Path) -> Result<bool, BuildError>,
    ) -> Result<bool, StoreError> {
        adapter::save(self.folder.path(), trial, save)
    }

    /// Writes a trial's `metrics.csv`, `steps.csv` and `trial.json`. One that cannot be written keeps none
    /// of the others from being written; the error is the first one.
    pub fn write_trial(
        &mut self,
        trial: &TrialState,
        tables: &TrialTables,
    ) -> Result<(), StoreError> {
        let (root, id) = (self.folder.path(), trial.trial.id);
        let written = [
            atomic::write_own(root, &layout::metrics_csv(root, id), tables.metrics_csv.as_bytes()),
            atomic::write_own(root, &layout::steps_csv(root, id), tables.steps_csv.as_bytes()),
            write_json(root, &layout::trial_json(root, id), &summary(trial)),
        ];
        written.into_iter().collect()
    }

    /// Writes `base/base.json`: the untouched base model's losses.
    pub fn write_base(&mut self, evaluation: &Evaluation) -> Result<(), StoreError> {
        let root = self.folder.path();
        write_json(root, &layout::base_json(root), evaluation)
    }
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

fn write_json(root: &Path, path: &Path, value: &impl serde::Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|source| StoreError::DamagedJson { path: path.to_path_buf(), source })?;
    atomic::write_own(root, path, (text + "\n").as_bytes())
}

/// Removes temporaries of the files and folders that the layout names.
fn remove_leftovers(root: &Path) -> Result<(), StoreError> {
    leftovers::remove_leftovers(root, layout::is_sweep_file)?;
    plots::remove_leftovers(root)?;
    request::remove_leftovers(root)?;
    let trials = layout::trials(root);
    leftovers::remove_leftovers(&trials, room::is_tried)?;
    for trial in atomic::own_entries(&trials)? {
        if !own_files::is_dir(&trial) {
            continue;
        }
        leftovers::remove_leftovers(&trial, layout::is_trial_file)?;
        let epochs = layout::epochs(&trial);
        if own_files::is_dir(&epochs) {
            leftovers::remove_leftovers(&epochs, layout::is_epoch)?;
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
