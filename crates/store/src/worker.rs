//! A worker's files: what it writes and the driver reads, and the other way round.
//!
//! Every file has one writer. The worker writes its journal and its heartbeat, the driver the
//! worker's orders; attempts at trials are claimed by creating a file, which only one can.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spec::{Event, TrialId};

use crate::error::{BuildError, StoreError};
use crate::folder::SweepFolder;
use crate::layout::Purpose;
use crate::lock::{self, Alive};
use crate::place::{Holder, now_ms, this_host};
use crate::{adapter, atomic, checkpoint, journal, layout, own_files, room};

const ORDERS: &str = "orders.jsonl";
const HEARTBEAT: &str = "heartbeat.json";
const ALIVE: &str = "alive";
const LOG: &str = "log.txt";
/// Names of workers and of claims are numbered.
const WORKER: &str = "worker-";
const CLAIM: &str = "attempt-";

/// A sign of life of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// How many there have been; that it grows is what shows life.
    pub beats: u64,
    /// When, in milliseconds since the Unix epoch, by the worker's clock; for people only.
    pub at_ms: u64,
    /// The machine.
    pub place: String,
    /// The process's number there.
    pub pid: u32,
    /// The trials in its slots.
    pub trials: Vec<TrialId>,
}

impl Beat {
    /// Seconds since it was given, by its machine's clock and this one's; for people only.
    pub fn age_seconds(&self) -> u64 {
        now_ms().saturating_sub(self.at_ms) / 1000
    }
}

/// A worker's files as anyone may see them.
#[derive(Debug, Clone)]
pub struct WorkerFiles {
    /// The worker's name.
    pub name: String,
    dir: PathBuf,
}

impl WorkerFiles {
    /// Its last sign of life; `None` when there was none (or it is being written).
    pub fn beat(&self) -> Option<Beat> {
        serde_json::from_slice(&own_files::read(&self.dir.join(HEARTBEAT)).ok()?).ok()
    }

    /// The process of this machine that works under this name, if one does.
    pub fn holder(&self) -> Result<Option<Holder>, StoreError> {
        lock::holder_of(&self.dir.join(ALIVE))
    }

    /// Where its output goes.
    pub fn log(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// The last `lines` lines of its output, without those that say nothing; empty when there are
    /// none.
    pub fn log_tail(&self, lines: usize) -> String {
        /// No line is so long that fewer bytes would not hold enough of them.
        const BYTES: u64 = 16 << 10;
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = own_files::open(&self.log())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
            let mut bytes = Vec::new();
            file.take(BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
        let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl SweepFolder {
    /// The workers that this sweep has had, by name.
    pub fn workers(&self) -> Result<Vec<WorkerFiles>, StoreError> {
        let named = |dir: PathBuf| {
            let name = dir.file_name()?.to_str()?.to_owned();
            own_files::is_dir(&dir).then_some(WorkerFiles { name, dir })
        };
        let dirs = atomic::own_entries(&layout::workers(self.path()))?;
        Ok(dirs.into_iter().filter_map(named).collect())
    }

    /// The files of one worker, whether or not they are there yet.
    pub fn worker(&self, name: &str) -> WorkerFiles {
        WorkerFiles { name: name.to_owned(), dir: layout::worker(self.path(), name) }
    }
}

/// A name that no worker has had, taken by creating its folder.
pub(crate) fn new_worker(root: &Path) -> Result<String, StoreError> {
    let workers = layout::workers(root);
    atomic::create_dir(&workers)?;
    let numbers = numbers(&workers, WORKER)?;
    let name = format!("{WORKER}{:03}", numbers.into_iter().max().unwrap_or(0) + 1);
    atomic::create_dir(&layout::worker(root, &name))?;
    Ok(name)
}

/// The highest attempt at `trial` that was claimed; 0 when none was.
pub(crate) fn newest_claim(root: &Path, trial: TrialId) -> Result<u32, StoreError> {
    Ok(numbers(&layout::claims(root, trial), CLAIM)?.into_iter().max().unwrap_or(0))
}

/// The numbers in the names of a folder's entries. One after which there is no next is none of
/// ours.
fn numbers(dir: &Path, prefix: &str) -> Result<Vec<u32>, StoreError> {
    let number = |path: PathBuf| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok();
    let numbers = atomic::own_entries(dir)?.into_iter().filter_map(number);
    Ok(numbers.filter(|number| *number < u32::MAX).collect())
}

/// Orders for a worker, in the hands of the driver.
#[derive(Debug)]
pub struct Orders {
    path: PathBuf,
    file: File,
    committed: u64,
}

impl Orders {
    pub(crate) fn open(root: &Path, name: &str) -> Result<Self, StoreError> {
        let dir = layout::worker(root, name);
        own_files::check_folder(root, &dir)?;
        atomic::create_dir(&dir)?;
        let path = dir.join(ORDERS);
        let file = own_files::open_with(OpenOptions::new().create(true).append(true), &path)
            .map_err(StoreError::io("open the orders", &path))?;
        let committed = file.metadata().map_or(0, |found| found.len());
        let mut orders = Self { path, file, committed };
        // A driver that died in the middle of a line must not spoil the next one.
        if committed > 0 {
            orders.write(b"\n")?;
        }
        Ok(orders)
    }

    /// Appends orders in one write. They are not synced: orders that are lost with the machine are
    /// given again.
    pub fn give<T: Serialize>(&mut self, orders: &[T]) -> Result<(), StoreError> {
        let mut batch = Vec::new();
        for order in orders {
            serde_json::to_writer(&mut batch, order)
                .map_err(std::io::Error::other)
                .map_err(StoreError::io("encode an order for", &self.path))?;
            batch.push(b'\n');
        }
        self.write(&batch)
    }

    fn write(&mut self, batch: &[u8]) -> Result<(), StoreError> {
        if let Err(source) = self.file.write_all(batch) {
            // Best effort: a line that cannot be read is passed over.
            let _ = own_files::truncate(&self.file, self.committed);
            return Err(StoreError::io("append to the orders", &self.path)(source));
        }
        self.committed += batch.len() as u64;
        atomic::send(&self.file);
        Ok(())
    }
}

/// A sweep's folder in the hands of one of its workers.
#[derive(Debug)]
pub struct WorkerDir {
    folder: SweepFolder,
    files: WorkerFiles,
    journal: journal::Writer,
    orders: Option<(File, Instant)>,
    /// Bytes of the orders read so far.
    orders_read: u64,
    unread: Vec<u8>,
    beats: u64,
    _alive: Alive,
}

impl WorkerDir {
    /// Begins to work as `name` on the sweep in `folder`, after everything numbered up to `seq`.
    /// Orders given before are not for this process.
    pub fn open(folder: SweepFolder, name: &str, seq: u64) -> Result<Self, StoreError> {
        let files = folder.worker(name);
        own_files::check_folder(folder.path(), &files.dir)?;
        atomic::create_dir(&files.dir)?;
        let alive = Alive::begin(&files.dir.join(ALIVE));
        let journal = journal::Writer::create(&layout::journal(folder.path()), name, seq)?;
        let mut dir = Self {
            folder,
            files,
            journal,
            orders: None,
            orders_read: 0,
            unread: Vec::new(),
            beats: 0,
            _alive: alive,
        };
        dir.read_orders()?;
        dir.unread.clear();
        Ok(dir)
    }

    /// The folder as anyone may see it.
    pub fn folder(&self) -> &SweepFolder {
        &self.folder
    }

    /// Which process of its name it is, from 1: a cluster may start one again.
    pub const fn number(&self) -> u32 {
        self.journal.number()
    }

    /// The worker's name.
    pub fn name(&self) -> &str {
        &self.files.name
    }

    /// Orders that have come since the last call. A line that cannot be read was cut by a crash of
    /// the driver, which gives its orders again.
    pub fn take_orders<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, StoreError> {
        self.read_orders()?;
        let Some(end) = self.unread.iter().rposition(|&byte| byte == b'\n') else {
            return Ok(Vec::new());
        };
        let lines: Vec<u8> = self.unread.drain(..=end).collect();
        let lines = lines.split(|&byte| byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    fn read_orders(&mut self) -> Result<(), StoreError> {
        let path = self.files.dir.join(ORDERS);
        let is_old = |(_, opened): &(File, Instant)| opened.elapsed() > journal::OPEN_ANEW_AFTER;
        if self.orders.as_ref().is_none_or(is_old) {
            let at = SeekFrom::Start(self.orders_read);
            match own_files::open(&path).and_then(|mut file| file.seek(at).map(|_| file)) {
                Ok(file) => self.orders = Some((file, Instant::now())),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(StoreError::io("open the orders", &path)(error)),
            }
        }
        let Some((file, _)) = &mut self.orders else { return Ok(()) };
        let read = file.read_to_end(&mut self.unread);
        self.orders_read += read.map_err(StoreError::io("read the orders", &path))? as u64;
        Ok(())
    }

    /// Later records come after what is numbered `seq`.
    pub fn has_seen(&mut self, seq: u64) {
        self.journal.has_seen(seq);
    }

    /// Appends events of an attempt at a trial to this worker's journal (`None`: events that are
    /// not of one trial), in one write; durable when one of them is more than a step or an
    /// evaluation.
    pub fn record(&mut self, attempt: Option<u32>, events: &[Event]) -> Result<(), StoreError> {
        self.journal.append(attempt, events).map(|_| ())
    }

    /// Saves a checkpoint of `trial` with `save`, which writes the given file and returns the
    /// step. Nothing is written where its `bytes`, as far as they are known, do not fit on the disk.
    /// The journal is durable up to that step before the checkpoint counts.
    pub fn save_checkpoint(
        &mut self,
        trial: TrialId,
        purpose: Purpose,
        bytes: Option<u64>,
        save: impl FnOnce(&Path) -> Result<u32, BuildError>,
    ) -> Result<u32, StoreError> {
        self.journal.sync()?;
        if let Some(bytes) = bytes {
            let what = || format!("a checkpoint of trial {trial}");
            room::ask(&layout::trials(self.folder.path()), bytes, what)?;
        }
        checkpoint::save(self.folder.path(), trial, purpose, save)
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

    /// Fills the folder of the trial's adapter at the end of `epoch` as [`Self::save_adapter`] does.
    pub fn save_epoch_adapter(
        &mut self,
        trial: TrialId,
        epoch: u32,
        save: impl FnOnce(&Path) -> Result<bool, BuildError>,
    ) -> Result<bool, StoreError> {
        let root = self.folder.path();
        adapter::save_if_any(root, &layout::epoch_adapter(root, trial, epoch), save)
    }

    /// Claims an attempt at a trial; false when it, or a later one, was claimed by another process.
    pub fn claim(&mut self, trial: TrialId, attempt: u32) -> Result<bool, StoreError> {
        let dir = layout::claims(self.folder.path(), trial);
        own_files::check_folder(self.folder.path(), &dir)?;
        atomic::create_dir(&dir)?;
        let path = dir.join(format!("{CLAIM}{attempt:04}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                let who = format!("{}-{}\n", self.name(), self.number());
                file.write_all(who.as_bytes()).map_err(StoreError::io("write the claim", &path))?;
                self.holds(trial, attempt)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StoreError::io("create the claim", &path)(error)),
        }
    }

    /// Whether no later attempt at a trial was claimed.
    pub fn holds(&self, trial: TrialId, attempt: u32) -> Result<bool, StoreError> {
        Ok(newest_claim(self.folder.path(), trial)? <= attempt)
    }

    /// Gives a sign of life.
    pub fn beat(&mut self, trials: &[TrialId]) -> Result<(), StoreError> {
        self.beats += 1;
        let place = this_host();
        let (beats, at_ms, pid) = (self.beats, now_ms(), std::process::id());
        let trials = trials.to_vec();
        let beat = Beat { beats, at_ms, place, pid, trials };
        let path = self.files.dir.join(HEARTBEAT);
        let text = serde_json::to_vec(&beat)
            .map_err(|source| StoreError::DamagedJson { path: path.clone(), source })?;
        atomic::write_unsynced(&path, &text)
    }
}
