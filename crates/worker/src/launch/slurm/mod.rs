//! Workers as jobs of a Slurm cluster that shares the results folder with this machine.
//!
//! `sbatch`, `squeue`, `sacct`, `scontrol` and `scancel` are all that is used of Slurm. A
//! submission whose answer is lost is told as such, and its job is found again by its comment,
//! `lorasweep:<sweep>@<id>:<worker>`.

mod client;
mod jobs;
mod refusals;
mod script;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::SlurmSettings;

use self::client::{Client, Kind, by_id};
use self::jobs::Job;
use self::script::Mark;
use super::{Handle, Hint, LaunchError, Launcher, Submission, WorkerCommand};

/// Holds the sweep's id, in the folder for Slurm's files.
const ID_FILE: &str = "id";
/// Changes as long as there is a driver: its workers' inputs do not end when it dies.
const DRIVER_FILE: &str = "driver";
/// How long a command of Slurm may take; its own messages are given up after 10 s by default, and
/// `sbatch` repeats them.
const LIMIT: Duration = Duration::from_secs(60);
/// What stands in a script that is only shown, for the id that a sweep gets when it begins.
const ID_SHOWN: &str = "(id)";

/// Submits the workers of one sweep with `sbatch`.
#[derive(Debug)]
pub struct SlurmLauncher {
    settings: SlurmSettings,
    mark: Mark,
    folder: PathBuf,
    client: Client,
    /// Times that the driver has asked for its workers.
    polls: u64,
}

/// The file in the sweep's folder for Slurm's files that changes as long as there is a driver.
pub fn driver_file(folder: &Path) -> PathBuf {
    folder.join(DRIVER_FILE)
}

/// The script that would run `worker`, for a person to look at; `folder` is where the sweep's files
/// for Slurm will be.
pub fn render_script(
    settings: &SlurmSettings,
    sweep: &str,
    folder: &Path,
    worker: &WorkerCommand,
) -> Result<String, LaunchError> {
    let mark =
        Mark { sweep: sweep.to_owned(), id: ID_SHOWN.to_owned(), file: folder.join(ID_FILE) };
    script::render(settings, &mark, worker)
}

impl SlurmLauncher {
    /// A launcher for the sweep named `sweep`, which keeps its files for Slurm in `folder`: the job
    /// scripts and the id that tells it from other sweeps of its name.
    pub fn open(settings: SlurmSettings, sweep: &str, folder: &Path) -> Result<Self, LaunchError> {
        // Jobs may start in another folder than the driver's.
        let prepared = std::path::absolute(folder)
            .and_then(|folder| std::fs::create_dir_all(&folder).map(|()| folder));
        let folder = prepared.map_err(|error| unusable(folder, &error))?;
        let sweep_folder = folder.parent().unwrap_or(&folder);
        store::check_own_folder(sweep_folder, &folder)
            .map_err(|error| unusable(&folder, &error))?;
        let mark = Mark {
            sweep: sweep.to_owned(),
            id: id(&folder).map_err(|error| unusable(&folder, &*error))?,
            file: folder.join(ID_FILE),
        };
        Ok(Self { settings, mark, folder, client: Client::new(LIMIT), polls: 0 })
    }

    /// The sweep's jobs that have not ended, by their worker. Of two jobs of one worker, the later
    /// one is its: the earlier one's answer was lost.
    pub fn jobs(&self) -> Result<BTreeMap<String, (Handle, Hint)>, LaunchError> {
        let prefix = self.mark.prefix();
        let jobs = self.client.list().map_err(|trouble| trouble.error)?;
        let running = by_id(jobs).into_values().filter(|job| !job.has_ended());
        let of_worker = |job: Job| {
            let worker = job.comment.strip_prefix(&prefix)?.to_owned();
            Some((worker, (Handle(job.id.to_string()), job.hint())))
        };
        Ok(running.filter_map(of_worker).collect())
    }

    /// Gives up a command of Slurm after `limit`.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.client.limit = limit;
        self
    }

    /// Looks for Slurm's commands in the folders of `path` instead of this process's `PATH`.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<OsString>) -> Self {
        self.client.path = Some(path.into());
        self
    }
}

/// The id in the folder; a new one where there is none.
fn id(folder: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let file = folder.join(ID_FILE);
    if let Ok(id) = store::read_own_file(&file)
        && let id = String::from_utf8_lossy(&id)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    // Seeded by the operating system; only that another folder has another one matters.
    let id = format!("{:08x}", RandomState::new().hash_one(folder) as u32);
    store::write_file(&file, id.as_bytes())?;
    Ok(id)
}

fn unusable(folder: &Path, error: &dyn std::error::Error) -> LaunchError {
    LaunchError {
        what: format!("failed to prepare {} for Slurm", folder.display()),
        said: error.to_string(),
        help: None,
    }
}

impl Launcher for SlurmLauncher {
    fn submit(&mut self, worker: &WorkerCommand) -> Result<Submission, LaunchError> {
        let path = self.folder.join(format!("{}.sh", worker.name));
        let script = script::render(&self.settings, &self.mark, worker)?;
        store::write_file(&path, script.as_bytes()).map_err(|error| unusable(&path, &error))?;
        let options = script::fixed_options(&self.settings);
        match self.client.submit(&path, &options) {
            Ok(id) => Ok(Submission::Known(Handle(id.to_string()))),
            Err(trouble) if trouble.kind == Kind::Lost => {
                Ok(Submission::Uncertain { said: trouble.error.to_string() })
            }
            Err(trouble) => Err(trouble.error),
        }
    }

    fn find(&mut self) -> Result<BTreeMap<String, Handle>, LaunchError> {
        Ok(self.jobs()?.into_iter().map(|(worker, (job, _))| (worker, job)).collect())
    }

    fn poll(&mut self, workers: &[Handle]) -> Result<BTreeMap<Handle, Hint>, LaunchError> {
        self.polls += 1;
        let sign = format!("{} {}\n", std::process::id(), self.polls);
        // A sign that is missed is no harm: many are.
        let _ = store::write_file_unsynced(&driver_file(&self.folder), sign.as_bytes());
        if workers.is_empty() {
            return Ok(BTreeMap::new());
        }
        let listed = match self.client.list() {
            Ok(jobs) => by_id(jobs),
            Err(trouble) if trouble.kind == Kind::NotInstalled => return Err(trouble.error),
            Err(trouble) => {
                let unknown = Hint::Unknown { said: trouble.error.to_string() };
                return Ok(workers.iter().map(|w| (w.clone(), unknown.clone())).collect());
            }
        };
        let over: Vec<u64> = workers
            .iter()
            .filter_map(number)
            .filter(|id| listed.get(id).is_none_or(Job::has_ended))
            .collect();
        let ends = if over.is_empty() { BTreeMap::new() } else { self.client.ends(&over) };
        let hint = |worker: &Handle| match number(worker) {
            Some(id) => jobs::believe(id, listed.get(&id), ends.get(&id)),
            None => Hint::Unknown { said: format!("`{}` is not a job's number", worker.0) },
        };
        Ok(workers.iter().map(|worker| (worker.clone(), hint(worker))).collect())
    }

    /// Nothing: a worker looks at its orders at every step, and four times a second when it has
    /// none. A signal through the controller would not be faster, and would load it.
    fn nudge(&mut self, _: &Handle) -> Result<(), LaunchError> {
        Ok(())
    }

    /// Slurm sends TERM and, after the cluster's `KillWait`, KILL.
    fn kill(&mut self, worker: &Handle) -> Result<(), LaunchError> {
        // No job has a number that is none, so that there is nothing to end.
        let Some(id) = number(worker) else { return Ok(()) };
        match self.client.cancel(id) {
            // It is asked again when the job goes on.
            Err(trouble) if trouble.kind == Kind::Lost => Ok(()),
            other => other.map_err(|trouble| trouble.error),
        }
    }
}

fn number(worker: &Handle) -> Option<u64> {
    worker.0.parse().ok()
}
