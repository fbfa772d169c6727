//! Worker processes: how they are started, and what they do.
//!
//! A sweep is driven by the process that runs it, and trained by workers, one process a device. A
//! worker is a program that is started with [`WorkerOptions`]: an installed `lorasweep`, or the
//! driver's own program, which becomes a worker in [`worker_main_if_asked`](crate::worker_main_if_asked).

pub mod cluster;
pub mod engine;
pub mod process;
pub mod start;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;

use crate::error::Error;

/// The first argument of a program that is to become a worker.
const WORKER: &str = "lorasweep-worker";

/// Whether this program has looked at its arguments, so that it can become a worker.
static CAN_BECOME_WORKER: AtomicBool = AtomicBool::new(false);

/// Which program the worker processes of a sweep are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Workers {
    /// This program once more: its `main` begins with
    /// [`worker_main_if_asked`](crate::worker_main_if_asked). A run is refused where it does not.
    #[default]
    ThisProgram,
    /// A `lorasweep` binary of the same version, by its path.
    Program(PathBuf),
}

impl Workers {
    /// An error where workers could not become workers.
    pub(crate) fn refuse_impossible(&self) -> Result<(), Error> {
        match self {
            Self::ThisProgram if !CAN_BECOME_WORKER.load(Ordering::Relaxed) => {
                Err(Error::NoWorkerMain)
            }
            _ => Ok(()),
        }
    }

    fn program(&self) -> Result<PathBuf, Error> {
        match self {
            Self::ThisProgram => std::env::current_exe().map_err(Error::io("find", "lorasweep")),
            Self::Program(path) => Ok(path.clone()),
        }
    }

    /// A worker's command line.
    fn arguments(&self, options: &WorkerOptions) -> Vec<OsString> {
        match self {
            Self::ThisProgram => options.as_own_arguments(),
            Self::Program(_) => options.as_arguments(),
        }
    }
}

/// What a worker process is started with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WorkerOptions {
    /// The sweep's results folder, absolute.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The sweep file, absolute: its paths are relative to it. The text is that in the folder.
    #[serde(skip)]
    pub file: PathBuf,
    /// The worker's name.
    pub name: String,
    /// The number of the journal's last record.
    pub seq: u64,
    /// The device instead of the sweep file's: `cpu`, `auto`, or `cuda:` and the index of a GPU.
    pub device: Option<String>,
    /// Bytes of memory that it may take, instead of the sweep file's.
    pub memory_limit: Option<u64>,
    /// The driver holds the other end of stdin; the worker saves and ends when that is closed.
    pub is_piped: bool,
    /// A file that changes as long as there is a driver; without one and without work it ends.
    #[serde(skip)]
    pub driver: Option<PathBuf>,
}

impl WorkerOptions {
    /// For a program that becomes a worker in [`worker_main_if_asked`](crate::worker_main_if_asked).
    fn as_own_arguments(&self) -> Vec<OsString> {
        let driver = self.driver.clone().unwrap_or_default();
        let rest = serde_json::json!({
            "name": self.name,
            "seq": self.seq,
            "device": self.device,
            "memory_limit": self.memory_limit,
            "is_piped": self.is_piped,
        });
        // Paths need not be text.
        let paths = [&self.folder, &self.file, &driver].map(|path| path.clone().into_os_string());
        [WORKER.into()].into_iter().chain(paths).chain([rest.to_string().into()]).collect()
    }

    /// The reverse, without the first of them; `None` where these are not a worker's.
    fn from_own_arguments(arguments: Vec<OsString>) -> Option<Self> {
        let [folder, file, driver, rest] = <[OsString; 4]>::try_from(arguments).ok()?;
        let mut options: Self = serde_json::from_str(rest.to_str()?).ok()?;
        (options.folder, options.file) = (folder.into(), file.into());
        options.driver = Some(driver).filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(options)
    }

    /// For `lorasweep worker`.
    fn as_arguments(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "worker".into(),
            "--sweep".into(),
            self.folder.clone().into(),
            "--file".into(),
            self.file.clone().into(),
            "--name".into(),
            self.name.clone().into(),
            "--seq".into(),
            self.seq.to_string().into(),
        ];
        if self.is_piped {
            args.push("--piped".into());
        }
        if let Some(device) = &self.device {
            args.extend(["--device".into(), device.into()]);
        }
        if let Some(driver) = &self.driver {
            args.extend(["--driver".into(), driver.into()]);
        }
        if let Some(bytes) = self.memory_limit {
            args.extend(["--memory-limit".into(), bytes.to_string().into()]);
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_reads_the_options_that_it_was_started_with() {
        for driver in [None, Some(PathBuf::from("/r/s/slurm/driver"))] {
            let options = WorkerOptions {
                folder: "/r/my \"s\"".into(),
                file: "/s.yaml".into(),
                name: "worker-001".to_owned(),
                seq: 7,
                device: Some("cuda:1".to_owned()),
                memory_limit: None,
                is_piped: driver.is_none(),
                driver,
            };
            let mut arguments = options.as_own_arguments();
            assert_eq!(arguments.remove(0), WORKER);
            assert_eq!(WorkerOptions::from_own_arguments(arguments), Some(options));
        }
        assert_eq!(WorkerOptions::from_own_arguments(vec!["x".into()]), None);
    }
}
