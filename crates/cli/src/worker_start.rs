//! How worker processes are started: this program once more, with its share of the machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use spec::{DeviceChoice, ExecutorSettings};
use store::SweepFolder;
use worker::Berth;
use worker::launch::WorkerCommand;

use crate::devices;
use crate::error::CliError;
use crate::inputs;
use crate::sweep_file::SweepFile;

const THREADS: &str = "RAYON_NUM_THREADS";

/// What all workers of a sweep have in common.
#[derive(Debug)]
pub struct WorkerStart {
    program: PathBuf,
    folder: SweepFolder,
    dir: PathBuf,
    file: PathBuf,
    /// The device of each worker.
    pub devices: Vec<DeviceChoice>,
    memory_limit: Option<u64>,
    /// Threads of each worker, where they share the processor's cores.
    threads: Option<usize>,
}

impl WorkerStart {
    /// Workers of `file`'s sweep, one on each of `devices`.
    pub fn new(
        file: &SweepFile,
        folder: &SweepFolder,
        devices: Vec<DeviceChoice>,
    ) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(CliError::io("find", "lorasweep"))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = (cores / devices.len()).max(1);
        let is_set = std::env::var_os(THREADS).is_some();
        Ok(Self {
            program,
            dir: inputs::absolute(folder.path())?,
            folder: folder.clone(),
            file: inputs::absolute(&file.path)?,
            memory_limit: memory_limit(&file.sweep.executor, &devices),
            threads: (devices.len() > 1 && !is_set).then_some(share),
            devices,
        })
    }

    /// The command of one worker.
    pub fn command(&self, berth: &Berth) -> WorkerCommand {
        let mut args: Vec<std::ffi::OsString> = vec![
            "worker".into(),
            "--sweep".into(),
            self.dir.clone().into(),
            "--file".into(),
            self.file.clone().into(),
            "--name".into(),
            berth.name.into(),
            "--seq".into(),
            berth.seq.to_string().into(),
            "--piped".into(),
        ];
        if let Some(&device) = self.devices.get(berth.index) {
            args.extend(["--device".into(), devices::name(device).into()]);
        }
        if let Some(bytes) = self.memory_limit {
            args.extend(["--memory-limit".into(), bytes.to_string().into()]);
        }
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

/// Bytes that each worker may take on the CPU: what the settings say, and of what is free its share.
pub fn memory_limit(executor: &ExecutorSettings, devices: &[DeviceChoice]) -> Option<u64> {
    let on_cpu = devices.iter().filter(|&&device| device == DeviceChoice::Cpu).count() as u64;
    if on_cpu < 2 {
        return executor.memory_limit;
    }
    let share = trainer::memory::available(None).map(|bytes| bytes / on_cpu);
    [executor.memory_limit, share].into_iter().flatten().min()
}
