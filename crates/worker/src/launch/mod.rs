//! Where worker processes come from: child processes on this machine, jobs on a cluster.
//!
//! A launcher starts workers and says what its system believes of them. What it says is a hint:
//! files in the sweep's folder decide what was trained, so that a job that is said to run may be
//! dead, and one that is said to be dead may still write.

mod command;
mod slurm;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub mod local;

pub use slurm::{SlurmLauncher, driver_file, render_script};

/// The exit code of a worker that found no room on the disk, where it can leave no message either:
/// the system's number of that error.
pub const DISK_FULL: u8 = 28;
/// What the system says of a full disk, which workers pass on as text.
pub(crate) const NO_SPACE: &str = "No space left on device";

/// A worker to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCommand {
    /// Its name, unique within the sweep and usable as a file name: `worker-003`.
    pub name: String,
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables set beside those that are inherited.
    pub env: BTreeMap<String, String>,
    /// Where its output is appended to.
    pub log: PathBuf,
}

/// What the system calls a worker: a process's or a job's number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub String);

/// What came of a request to start a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// It was accepted.
    Known(Handle),
    /// The system did not answer in time or not clearly: the worker may or may not start.
    /// [`Launcher::find`] tells later.
    Uncertain {
        /// What was seen instead of an answer.
        said: String,
    },
}

/// What the system believes of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// It waits for its turn.
    Queued {
        /// Why, in the system's words.
        reason: String,
    },
    /// It runs.
    Running {
        /// Where: a node's name, or this machine.
        place: String,
    },
    /// It ended.
    Gone {
        /// How: an exit status or a state's name.
        how: String,
    },
    /// The system does not know it or calls its state something unknown to us.
    Unknown {
        /// What was said.
        said: String,
    },
}

/// Why a launcher could not do its work.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {said}")]
pub struct LaunchError {
    /// What was tried, with the command.
    pub what: String,
    /// What the system said.
    pub said: String,
    /// What the person can do about it, when there is something specific.
    pub help: Option<String>,
}

/// Starts workers of one sweep and says what became of them.
pub trait Launcher {
    /// Starts a worker. An error means that it certainly does not start.
    fn submit(&mut self, worker: &WorkerCommand) -> Result<Submission, LaunchError>;

    /// Workers of this sweep that an earlier driver started and that may still run, by name.
    fn find(&mut self) -> Result<BTreeMap<String, Handle>, LaunchError>;

    /// What the system believes of `workers`, asked in as few calls as it allows.
    fn poll(&mut self, workers: &[Handle]) -> Result<BTreeMap<Handle, Hint>, LaunchError>;

    /// Asks a worker to look at its orders now. Best effort: it looks by itself as well.
    fn nudge(&mut self, worker: &Handle) -> Result<(), LaunchError>;

    /// Sleeps until a worker may have something to say, at most so long.
    fn wait(&mut self, longest: Duration) {
        std::thread::sleep(longest);
    }

    /// Ends a worker, gently at first.
    fn kill(&mut self, worker: &Handle) -> Result<(), LaunchError>;
}
