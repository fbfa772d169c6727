//! The commands that start a sweep's workers, each with its share of the machine, or as jobs of a
//! cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spec::{DeviceChoice, SlurmSettings};
use store::SweepFolder;
use worker::Berth;
use worker::launch::{WorkerCommand, driver_file};

use super::{WorkerOptions, Workers};
use crate::error::Error;
use crate::inputs;
use crate::inputs::sweep_file::SweepFile;
use crate::plan::devices;

const THREADS: &str = "RAYON_NUM_THREADS";

/// What all workers of a sweep have in common.
#[derive(Debug)]
pub struct WorkerStart {
    workers: Workers,
    program: PathBuf,
    folder: SweepFolder,
    dir: PathBuf,
    file: PathBuf,
    place: Place,
    memory_limit: Option<u64>,
    /// Threads of each worker, where they share the processor's cores.
    threads: Option<usize>,
}

/// Where workers run.
#[derive(Debug)]
enum Place {
    /// One on each of these devices of this machine.
    Here(Vec<DeviceChoice>),
    /// This many jobs of a cluster, in which each worker looks for its device itself.
    Jobs { most: usize, driver: PathBuf },
}

impl WorkerStart {
    /// Workers of `file`'s sweep, as jobs of a cluster.
    pub fn jobs(
        file: &SweepFile,
        folder: &SweepFolder,
        workers: &Workers,
        slurm: &SlurmSettings,
    ) -> Result<Self, Error> {
        let most = slurm.max_jobs as usize;
        let dir = inputs::absolute(folder.path())?;
        let driver = driver_file(&slurm_folder(&dir));
        Ok(Self {
            program: workers.program()?,
            workers: workers.clone(),
            folder: SweepFolder::at(&dir),
            dir,
            file: inputs::absolute(&file.path)?,
            place: Place::Jobs { most, driver },
            memory_limit: file.sweep.executor.memory_limit,
            threads: None,
        })
    }

    /// Workers of `file`'s sweep, one on each of `devices`.
    pub fn new(
        file: &SweepFile,
        folder: &SweepFolder,
        workers: &Workers,
        devices: Vec<DeviceChoice>,
    ) -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = (cores / devices.len()).max(1);
        let is_set = std::env::var_os(THREADS).is_some();
        Ok(Self {
            program: workers.program()?,
            workers: workers.clone(),
            dir: inputs::absolute(folder.path())?,
            folder: folder.clone(),
            file: inputs::absolute(&file.path)?,
            memory_limit: devices::memory_limit(&file.sweep.executor, &devices),
            threads: (devices.len() > 1 && !is_set).then_some(share),
            place: Place::Here(devices),
        })
    }

    /// The sweep's results folder, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How many workers run at a time, at most.
    pub fn most(&self) -> usize {
        match &self.place {
            Place::Here(devices) => devices.len(),
            Place::Jobs { most, .. } => *most,
        }
    }

    /// The command of one worker.
    pub fn command(&self, berth: &Berth) -> WorkerCommand {
        let (device, driver) = match &self.place {
            Place::Here(devices) => (devices.get(berth.index).copied(), None),
            Place::Jobs { driver, .. } => (None, Some(driver.clone())),
        };
        let args = self.workers.arguments(&WorkerOptions {
            folder: self.dir.clone(),
            file: self.file.clone(),
            name: berth.name.to_owned(),
            seq: berth.seq,
            is_piped: driver.is_none(),
            device: device.map(devices::name),
            memory_limit: self.memory_limit,
            driver,
        });
        let threads = self.threads.map(|threads| (THREADS.to_owned(), threads.to_string()));
        WorkerCommand {
            name: berth.name.to_owned(),
            program: self.program.clone(),
            args,
            env: BTreeMap::from_iter(threads),
            log: self.folder.worker(berth.name).log(),
        }
    }
}

/// The part of a sweep's results folder that holds the job scripts and what belongs to them.
pub fn slurm_folder(sweep: &Path) -> PathBuf {
    sweep.join("slurm")
}
